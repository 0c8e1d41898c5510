#!/usr/bin/python3
"""Plays what stands behind a decoder, with a source that chooses its memory as a decoder does.

Its pictures may be in a device's memory or in main memory. It asks what follows, as decoders do,
and takes the device's where that is allowed. The device's memory is a name only.

On standard input it reads a JSON array of launch texts, which begin behind the decoder and have an
element named sink. For each it prints a JSON line: the caps that it chose, how many frames came,
and GStreamer's error, if any.
"""
import json
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

WIDTH, HEIGHT, FPS, PICTURES = 640, 360, 25, 10
PICTURE = f"format=NV12,width={WIDTH},height={HEIGHT},framerate={FPS}/1"
OFFERED = f"video/x-raw(memory:CUDAMemory),{PICTURE};video/x-raw,{PICTURE}"


def play(text):
    pipeline = Gst.parse_launch(f"appsrc name=decoder format=time ! {text}")
    decoder, sink = pipeline.get_by_name("decoder"), pipeline.get_by_name("sink")
    frames = []
    sink.connect("handoff", lambda *_: frames.append(1))
    pipeline.set_state(Gst.State.PAUSED)
    output = decoder.get_static_pad("src")
    allowed = output.peer_query_caps(Gst.Caps.from_string(OFFERED))
    told = {"event": "played"}
    if allowed.get_size() > 0:
        told["caps"] = allowed.get_features(0).to_string()
    # Decoders take the first that is allowed.
    decoder.set_property("caps", allowed.truncate().fixate())
    pipeline.set_state(Gst.State.PLAYING)
    for number in range(PICTURES):
        picture = Gst.Buffer.new_wrapped(bytes([128]) * (WIDTH * HEIGHT * 3 // 2))
        picture.pts = number * Gst.SECOND // FPS
        decoder.emit("push-buffer", picture)
    decoder.emit("end-of-stream")
    ends = Gst.MessageType.EOS | Gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(10 * Gst.SECOND, ends)
    if not message:
        told["error"] = "neither end nor error within 10 s"
    elif message.type == Gst.MessageType.ERROR:
        told["error"] = message.parse_error().debug
    pipeline.set_state(Gst.State.NULL)
    return {**told, "frames": len(frames)}


Gst.init(None)
for launch in json.load(sys.stdin):
    print(json.dumps(play(launch)), flush=True)
