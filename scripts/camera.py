#!/usr/bin/python3
"""A real RTSP camera for the demo, the tests and the benchmark, made of GStreamer's own RTSP server.

Its picture moves, shows the time for people, and carries the camera's clock for programs: a row of
black and white blocks along the top left edge. Every block is BLOCK(width) pixels wide and high:
white, black, then 32 bits (the monotonic clock in milliseconds, most significant bit first), then
8 bits (the exclusive or of the clock's four bytes). White is 1.

On standard output it prints one JSON object a line: first {"event":"ready","port":…}, then what its
viewers do: connected, play, teardown, closed. The mount /jpeg with fault=gap adds a line for each image that
it spoils: spoilt. It ends when its standard input does, so it never
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


def drop_key_frame_request(_pad, info):
    structure = info.get_event().get_structure()
    return Gst.PadProbeReturn.DROP if structure and structure.get_name() == "GstForceKeyUnit" else Gst.PadProbeReturn.OK


def factory_of(launch, width, height, deaf):
    """A mount: one shared encoder, however many look. A deaf one makes key frames at its own intervals only."""

    def on_picture(_pad, info):
        stamp(info.get_buffer(), width, height)
        return Gst.PadProbeReturn.OK

    def on_configure(_factory, media):
        # The server's own sinks wait for the clock, and would hold each frame back for one frame's time.
        media.get_element().get_parent().set_latency(0)
        mark = media.get_element().get_by_name("mark")
        if mark:
            mark.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, on_picture)
        if deaf:
            media.get_element().get_by_name("pay0").get_static_pad("sink").add_probe(Gst.PadProbeType.EVENT_UPSTREAM, drop_key_frame_request)

    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(f"( {launch} )")
    factory.set_shared(True)
    factory.connect("media-configure", on_configure)
    return factory


class JpegPacketizer:
    """Makes RTP packets (RFC 2435) of JPEG images as odd cameras do; GStreamer's payloader can do none of this.

    q: below 100 it implies the tables, 255 has them in each image, and 128 in every tenth, which RFC 2435 allows.
    fault: "gap" loses a packet of every third image, by turns the first, one in the middle and the last;
    "no-eoi" leaves the last marker out, as RFC 2435 allows; "padded" has four bytes behind it.
    """

    PAYLOAD = 1380

    def __init__(self, q, fault):
        self.q, self.fault = q, fault
        self.number = self.images = 0

    @staticmethod
    def segments(jpeg):
        """Marker and content of each segment up to the scan, then the scan itself, with the final marker."""
        at = 2
        while True:
            marker, end = jpeg[at + 1], at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
            yield marker, jpeg[at + 4 : end]
            at = end
            if marker == 0xDA:
                yield None, jpeg[at:]
                return

    def packets(self, strips, pts):
        """The packets of one image. Several strips, each as high as one block, become one image with restart markers."""
        quantizers, restart, scan = {}, 0, b""
        for index, strip in enumerate(strips):
            for marker, content in self.segments(strip):
                if marker == 0xDB:
                    quantizers.update((content[i], content[i + 1 : i + 65]) for i in range(0, len(content), 65))
                elif marker == 0xDD:
                    restart = int.from_bytes(content, "big")
                elif marker == 0xC0:
                    height, width = (int.from_bytes(content[i : i + 2], "big") for i in (1, 3))
                    kind, tables = content[7] == 0x22, [quantizers[content[8 + 3 * i]] for i in range(2)]
                elif marker is None:
                    last = index == len(strips) - 1
                    scan += content if last else content[:-2] + bytes((0xFF, 0xD0 + index % 8))
        height *= len(strips)
        if len(strips) > 1:
            restart = (width + 15) // 16
        scan = {"no-eoi": scan[:-2], "padded": scan + bytes(4)}.get(self.fault, scan)
        large = width > 2040 or height > 2040
        size = bytes(2) if large else bytes(((width + 7) // 8, (height + 7) // 8))
        restarts = restart.to_bytes(2, "big") + b"\xff\xff" if restart else b""
        quantization = b""
        if self.q > 127:
            sent = b"".join(tables) if self.q == 255 or self.images % 10 == 0 else b""
            quantization = len(sent).to_bytes(4, "big") + sent
        self.images += 1
        fragments = []
        offset = 0
        while offset < len(scan):
            head = offset.to_bytes(4, "big") + bytes((kind + (64 if restart else 0), self.q)) + size + restarts + (b"" if offset else quantization)
            part = scan[offset : offset + self.PAYLOAD - len(head)]
            offset += len(part)
            fragments.append(head + part)
        lost = (0, len(fragments) // 2, len(fragments) - 1)[self.images // 3 % 3] if self.fault == "gap" and self.images % 3 == 0 else None
        if lost is not None:
            say("spoilt", image=self.images)
        for index, fragment in enumerate(fragments):
            self.number = (self.number + 1) & 0xFFFF
            if index == lost:
                continue
            ends = index == len(fragments) - 1
            yield bytes((0x80, 26 | ends << 7)) + self.number.to_bytes(2, "big") + (pts * 9 // 100_000 & 0xFFFFFFFF).to_bytes(4, "big") + b"odd!" + fragment


class OddJpegFactory(GstRtspServer.RTSPMediaFactory):
    """The mount /jpeg: RTP that GStreamer's payloader cannot make. A query chooses, as /jpeg?chroma=422&q=50&restart=1&fault=gap.

    width and height may be any; dimensions=none keeps large ones a secret. The picture is --pattern alone, so a test
    knows every pixel.
    """

    def __init__(self, a):
        super().__init__()
        self.a = a
        self.set_shared(True)

    def do_create_element(self, url):
        a = self.a
        query = dict(pair.split("=") for pair in (url.query or "").split("&") if pair)
        q = int(query.get("q", "255"))
        chroma, restart = query.get("chroma", "420"), "restart" in query
        quality = q if q < 100 else int(query.get("quality", "80"))
        width, height = (int(query.get(name, getattr(a, name))) for name in ("width", "height"))
        source = f"videotestsrc is-live=true pattern={a.pattern} ! video/x-raw,width={width},height={height},framerate={a.fps}/1,format="
        strips = 1
        if restart and chroma == "422":
            # No encoder here makes 4:2:2 with restart markers. Strips that are encoded one by one make an image
            # with a marker behind each strip.
            strips = height // 8
            encoder = f"YUY2 ! rawvideoparse width={width} height=8 format=yuy2 framerate={a.fps * strips}/1 ! jpegenc quality={quality}"
        elif restart:
            # Its tables are its own: not for a q below 100.
            encoder = "I420 ! avenc_mjpeg huffman=default slices=4 bitrate=20000000"
        else:
            encoder = f"{'I420' if chroma == '420' else 'Y42B'} ! jpegenc quality={quality}"
        dimensions = f',x-dimensions=(string)\"{width}\\,{height}\"' if max(width, height) > 2040 and query.get("dimensions") != "none" else ""
        media = Gst.parse_launch_full(
            f"{source}{encoder} ! appsink name=images async=false sync=false emit-signals=true"
            f" appsrc name=pay0 is-live=true format=time caps=application/x-rtp,media=video,payload=26,clock-rate=90000,encoding-name=JPEG{dimensions}",
            None, Gst.ParseFlags.PLACE_IN_BIN,
        )
        packetizer = JpegPacketizer(q, query.get("fault"))
        payloader, waiting = media.get_by_name("pay0"), []

        def on_image(sink):
            sample = sink.emit("pull-sample")
            buffer = sample.get_buffer()
            # avenc_mjpeg's own time starts at a thousand hours.
            pts = sample.get_segment().to_running_time(Gst.Format.TIME, buffer.pts)
            waiting.append(buffer.extract_dup(0, buffer.get_size()))
            if len(waiting) == strips:
                for packet in packetizer.packets(waiting, pts):
                    out = Gst.Buffer.new_wrapped(packet)
                    out.pts = pts
                    payloader.emit("push-buffer", out)
                waiting.clear()
            return Gst.FlowReturn.OK

        media.get_by_name("images").connect("new-sample", on_image)
        return media


def arguments():
    parser = argparse.ArgumentParser(description="An RTSP camera with a moving picture that shows its clock.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8554, help="0 takes a free one")
    parser.add_argument("--width", type=int, default=1280, help="pixels, a multiple of 8")
    parser.add_argument("--height", type=int, default=720, help="pixels, a multiple of 2")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--kbit", type=int, default=4000, help="bit rate of H.264 and H.265, kbit/s")
    parser.add_argument("--key-interval", type=float, default=1, help="seconds between key frames")
    parser.add_argument("--deaf", action="store_true", help="make no key frame when a viewer asks for one, RTCP's PLI and FIR")
    parser.add_argument("--pattern", default="smpte horizontal-speed=4", help="videotestsrc's pattern, and properties behind it")
    parser.add_argument("--full-range", action="store_true", help="black is 0 and white 255, as many cameras have it; 16 and 235 else")
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

    # videotestsrc makes the limited range only, 16 to 235, whatever its caps say.
    stretch = "videobalance brightness=-0.0627 contrast=1.1644 saturation=1.1384"
    full = f" ! {stretch} ! capssetter caps=video/x-raw,colorimetry=1:3:5:1" if a.full_range else ""

    def picture(source=""):
        return (
            f"videotestsrc is-live=true {source} pattern={a.pattern} ! video/x-raw,format=I420,width={a.width},height={a.height},framerate={a.fps}/1"
            f" ! clockoverlay time-format=\"%Y-%m-%d %H:%M:%S\" halignment=center valignment=center font-desc=\"Sans 36\""
            f" ! timeoverlay halignment=center valignment=bottom font-desc=\"Sans 24\" ! identity name=mark{full}"
        )

    h264 = f"x264enc tune=zerolatency speed-preset=ultrafast bitrate={a.kbit} key-int-max={frames} ! video/x-h264,profile=baseline"
    h265 = f"x265enc tune=zerolatency speed-preset=ultrafast bitrate={a.kbit} key-int-max={frames} log-level=error"
    sound = "audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay pt=0"
    h264_payload = f"{h264} ! rtph264pay pt=96"
    return {
        "/h264": f"{picture()} ! {h264_payload} name=pay0",
        "/h265": f"{picture()} ! {h265} ! rtph265pay name=pay0 pt=96",
        "/mjpeg": f"{picture()}{'' if a.full_range else f' ! {stretch}'} ! jpegenc quality=80 ! rtpjpegpay name=pay0 pt=26",
        "/secret": f"{picture()} ! {h264_payload} name=pay0",
        # The rest is for tests: odd cameras that exist in the field.
        "/sound-first": f"{sound} name=pay0 {picture()} ! {h264_payload} name=pay1",
        "/sound-only": f"{sound} name=pay0",
        "/two-seconds": f"{picture(f'num-buffers={2 * a.fps}')} ! {h264_payload} name=pay0",
        # Coded out of order: their encoders hold pictures back, so these two are late by some frames.
        "/b-frames": f"{picture()} ! x264enc bframes=2 b-adapt=false rc-lookahead=4 speed-preset=ultrafast bitrate={a.kbit} key-int-max={frames} ! video/x-h264,profile=main ! rtph264pay name=pay0 pt=96",
        "/h265-b-frames": f"{picture()} ! x265enc speed-preset=ultrafast bitrate={a.kbit} key-int-max={frames} log-level=error option-string=bframes=2:rc-lookahead=4 ! rtph265pay name=pay0 pt=96",
        # Says nothing of its frame rate, as many cameras: their pictures come when they come.
        "/no-rate": f"{picture()} ! openh264enc bitrate={a.kbit * 1000} gop-size={frames} ! rtph264pay config-interval=-1 name=pay0 pt=96",
        "/unknown-codec": f"{picture()} ! rtpgstpay name=pay0 pt=96",
    }


def say(event, **facts):
    """One write a line, for several threads say things, and print() writes the line's end by itself."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


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
        factory = factory_of(launch, a.width, a.height, a.deaf)
        factory.set_permissions(permissions_of(open_to_all=path != "/secret"))
        server.get_mount_points().add_factory(path, factory)
    odd_jpeg = OddJpegFactory(a)
    odd_jpeg.set_permissions(permissions_of(open_to_all=True))
    server.get_mount_points().add_factory("/jpeg", odd_jpeg)
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
