#!/usr/bin/python3
"""A real RTSP camera for the demo, the tests and the benchmark, made of GStreamer's own RTSP server.

Its picture moves, shows the time for people, and carries the camera's clock for programs: a row of
black and white blocks along the top left edge. Every block is BLOCK(width) pixels wide and high:
white, black, then 32 bits (the monotonic clock in milliseconds, most significant bit first), then
8 bits (the exclusive or of the clock's four bytes). White is 1.

On standard output it prints one JSON object a line: first {"event":"ready","port":…}, then what its
viewers do: connected, play, teardown, closed. It ends when its standard input does, so it never
outlives the program that started it.
"""
import argparse
import json
import os
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

CLOCK_BLOCKS = 2 + 32 + 8


def block_size(width):
    """The clock's block in pixels: even, and narrow enough that the row fits into the picture."""
    return width // (CLOCK_BLOCKS + 2) // 2 * 2


def clock_row(width, milliseconds):
    """One row of luma bytes that shows the clock."""
    value = milliseconds & 0xFFFFFFFF
    check = (value >> 24 ^ value >> 16 ^ value >> 8 ^ value) & 0xFF
    bits = format(0b10 << 40 | value << 8 | check, "042b")
    size = block_size(width)
    return b"".join((b"\xeb" if bit == "1" else b"\x10") * size for bit in bits)


def stamp(buffer, width, height):
    """Writes the clock into an I420 picture.

    It maps the memory, for Python's own reference keeps the buffer from counting as writable.
    """
    size = block_size(width)
    row = clock_row(width, int(time.monotonic() * 1000))
    grey = b"\x80" * (len(row) // 2)
    with buffer.peek_memory(0).map(Gst.MapFlags.WRITE) as picture:
        for y in range(size):
            picture.data[y * width : y * width + len(row)] = row
        for plane in (width * height, width * height * 5 // 4):
            for y in range(size // 2):
                start = plane + y * (width // 2)
                picture.data[start : start + len(grey)] = grey


def factory_of(launch, width, height):
    """A mount: one shared encoder, however many look."""

    def on_picture(_pad, info):
        stamp(info.get_buffer(), width, height)
        return Gst.PadProbeReturn.OK

    def on_configure(_factory, media):
        # The server's own sinks wait for the clock, and would hold each frame back for one frame's time.
        media.get_element().get_parent().set_latency(0)
        mark = media.get_element().get_by_name("mark")
        if mark:
            mark.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, on_picture)

    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(f"( {launch} )")
    factory.set_shared(True)
    factory.connect("media-configure", on_configure)
    return factory


def arguments():
    parser = argparse.ArgumentParser(description="An RTSP camera with a moving picture that shows its clock.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8554, help="0 takes a free one")
    parser.add_argument("--width", type=int, default=1280, help="pixels, a multiple of 8")
    parser.add_argument("--height", type=int, default=720, help="pixels, a multiple of 2")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--kbit", type=int, default=4000, help="bit rate of H.264 and H.265, kbit/s")
    parser.add_argument("--key-interval", type=float, default=1, help="seconds between key frames")
    parser.add_argument("--pattern", default="smpte horizontal-speed=4", help="videotestsrc's pattern, and properties behind it")
    parser.add_argument("--user", default="demo", help="of the mount /secret")
    parser.add_argument("--password", default="secret", help="of the mount /secret")
    parser.add_argument("--auth", choices=("basic", "digest"), default="basic")
    parser.add_argument("--tls", metavar="PEM", help="certificate and key in one file: serves rtsps:// instead of rtsp://")
    values = parser.parse_args()
    if values.width % 8 or values.height % 2 or block_size(values.width) < 4:
        parser.error("--width must be a multiple of 8 and at least 176, --height a multiple of 2")
    return values


def mounts(a):
    """Path → launch line. The payloaders are named as GStreamer's RTSP server asks: pay0, pay1."""
    frames = max(1, round(a.fps * a.key_interval))

    def picture(source=""):
        return (
            f"videotestsrc is-live=true {source} pattern={a.pattern} ! video/x-raw,format=I420,width={a.width},height={a.height},framerate={a.fps}/1"
            f" ! clockoverlay time-format=\"%Y-%m-%d %H:%M:%S\" halignment=center valignment=center font-desc=\"Sans 36\""
            f" ! timeoverlay halignment=center valignment=bottom font-desc=\"Sans 24\" ! identity name=mark"
        )

    h264 = f"x264enc tune=zerolatency speed-preset=ultrafast bitrate={a.kbit} key-int-max={frames} ! video/x-h264,profile=baseline"
    h265 = f"x265enc tune=zerolatency speed-preset=ultrafast bitrate={a.kbit} key-int-max={frames} log-level=error"
    sound = "audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay pt=0"
    h264_payload = f"{h264} ! rtph264pay pt=96"
    return {
        "/h264": f"{picture()} ! {h264_payload} name=pay0",
        "/h265": f"{picture()} ! {h265} ! rtph265pay name=pay0 pt=96",
        "/mjpeg": f"{picture()} ! jpegenc quality=80 ! rtpjpegpay name=pay0 pt=26",
        "/secret": f"{picture()} ! {h264_payload} name=pay0",
        # The rest is for tests: odd cameras that exist in the field.
        "/sound-first": f"{sound} name=pay0 {picture()} ! {h264_payload} name=pay1",
        "/sound-only": f"{sound} name=pay0",
        "/two-seconds": f"{picture(f'num-buffers={2 * a.fps}')} ! {h264_payload} name=pay0",
        "/unknown-codec": f"{picture()} ! rtpgstpay name=pay0 pt=96",
    }


def say(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)


def permissions_of(open_to_all):
    """Who may look: the server answers 404 where "access" is denied, and 401 where "construct" is."""
    permissions = GstRtspServer.RTSPPermissions.new()
    for role, allowed in (("owner", True), ("anyone", open_to_all)):
        permissions.add_permission_for_role(role, "media.factory.access", True)
        permissions.add_permission_for_role(role, "media.factory.construct", allowed)
    return permissions


def token_of(role):
    token = GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", role)
    return token


def authentication(a):
    auth = GstRtspServer.RTSPAuth.new()
    auth.set_default_token(token_of("anyone"))
    if a.auth == "basic":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(a.user, a.password), token_of("owner"))
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(a.user, a.password, token_of("owner"))
    if a.tls:
        from gi.repository import Gio
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(a.tls))
    return auth


def watch_viewer(_server, client):
    path = lambda context: context.uri.abspath if context.uri else None  # noqa: E731
    say("connected")
    client.connect("play-request", lambda _c, context: say("play", path=path(context)))
    client.connect("teardown-request", lambda _c, context: say("teardown", path=path(context)))
    client.connect("closed", lambda _c: say("closed"))


def main():
    a = arguments()
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address(a.host)
    server.set_service(str(a.port))
    server.set_auth(authentication(a))
    for path, launch in mounts(a).items():
        factory = factory_of(launch, a.width, a.height)
        factory.set_permissions(permissions_of(open_to_all=path != "/secret"))
        server.get_mount_points().add_factory(path, factory)
    server.connect("client-connected", watch_viewer)
    if not server.attach(None):
        sys.exit(f"camera: cannot listen on {a.host}:{a.port}")
    loop = GLib.MainLoop()
    stdin = GLib.IOChannel.unix_new(sys.stdin.fileno())
    stdin.set_flags(GLib.IOFlags.NONBLOCK)

    def on_stdin(channel, condition):
        if condition & GLib.IOCondition.IN and os.read(channel.unix_get_fd(), 4096):
            return True
        loop.quit()
        return False

    GLib.io_add_watch(stdin, GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, on_stdin)
    say("ready", port=server.get_bound_port())
    try:
        loop.run()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
