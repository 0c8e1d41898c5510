#!/usr/bin/python3
"""camera_delay.py URL SECONDS: how much of a latency is the camera's own.

Prints one JSON object: p50 and p95 in ms of the time from the clock in a picture until a client of the
camera has that picture's last RTP packet, so what the camera takes to encode and to send. No server can
be faster. The first second does not count.
"""
import json
import sys
import time

import gi
import numpy

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

from clock import read_clock  # noqa: E402

LAUNCH = (
    "rtspsrc location={} protocols=tcp ! application/x-rtp,media=video ! identity name=packets ! rtph264depay ! h264parse"
    " ! avdec_h264 ! videoconvert ! video/x-raw,format=GRAY8 ! identity name=pictures ! fakesink sync=false"
)


def measure(url, seconds):
    """Delays in ms, in the order of the pictures."""
    arrivals, clocks = {}, {}

    def on_packet(_pad, info):
        # All packets of a picture have its time stamp, so the last one stays.
        arrivals[info.get_buffer().pts] = time.monotonic() * 1000
        return Gst.PadProbeReturn.OK

    def on_picture(pad, info):
        caps = pad.get_current_caps().get_structure(0)
        with info.get_buffer().peek_memory(0).map(Gst.MapFlags.READ) as picture:
            rows = numpy.frombuffer(picture.data, numpy.uint8).reshape(caps["height"], -1)
            clocks[info.get_buffer().pts] = read_clock(rows[:, : caps["width"]])
        return Gst.PadProbeReturn.OK

    pipeline = Gst.parse_launch(LAUNCH.format(url))
    for name, probe in (("packets", on_packet), ("pictures", on_picture)):
        pipeline.get_by_name(name).get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, probe)
    pipeline.set_state(Gst.State.PLAYING)
    time.sleep(seconds)
    pipeline.set_state(Gst.State.NULL)
    return [arrivals[pts] - clock for pts, clock in clocks.items() if clock is not None and pts in arrivals]


if __name__ == "__main__":
    Gst.init(None)
    delays = sorted(measure(sys.argv[1], float(sys.argv[2]) + 1)[30:])
    print(json.dumps({"p50": delays[len(delays) // 2], "p95": delays[len(delays) * 95 // 100], "pictures": len(delays)}))
