#!/usr/bin/python3
"""Reads the camera's clock back from JPEG pictures; scripts/camera.py says how it is drawn.

clock.py FILE   prints a JSON array with one entry for each picture in FILE: the clock in ms, or null
                where it cannot be read. FILE is records of a 32-bit little-endian length and a JPEG.
clock.py --now  prints time.monotonic() in ms, so that a caller can check that its own clock is the
                camera's.
"""
import json
import struct
import sys
import time

BITS = 2 + 32 + 8
# Luma nearer to the middle than this is no clean black or white, so the block counts as unreadable.
DOUBT = 24
# More than a block of the widest picture that anybody measures.
CLOCK_ROWS = 64


def read_clock(grey):
    """The clock of a grey picture in ms, or None: never a guess, for the checksum must fit too."""
    size = grey.shape[1] // (BITS + 2) // 2 * 2
    value = 0
    for index in range(BITS):
        # The middle half of the block keeps clear of what JPEG does to its edges.
        left = index * size + size // 4
        luma = grey[size // 4 : size * 3 // 4, left : left + size // 2].mean()
        if abs(luma - 128) < DOUBT:
            return None
        value = value << 1 | (luma > 128)
    start, clock, check = value >> 40, value >> 8 & 0xFFFFFFFF, value & 0xFF
    expected = (clock >> 24 ^ clock >> 16 ^ clock >> 8 ^ clock) & 0xFF
    return int(clock) if start == 0b10 and check == expected else None


def top_of(data):
    """The same JPEG as if its picture ended below the clock: decoding is most of this program's work."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xC0:
            height = struct.unpack_from(">H", data, at + 5)[0]
            return data[: at + 5] + struct.pack(">H", min(height, CLOCK_ROWS)) + data[at + 7 :]
        at += 2 + length
    return data


def clocks(path):
    import cv2
    import numpy

    with open(path, "rb") as file:
        while header := file.read(4):
            data = file.read(struct.unpack("<I", header)[0])
            grey = cv2.imdecode(numpy.frombuffer(top_of(data), numpy.uint8), cv2.IMREAD_GRAYSCALE)
            yield None if grey is None else read_clock(grey)


if __name__ == "__main__":
    if sys.argv[1] == "--now":
        print(time.monotonic() * 1000)
    else:
        print(json.dumps(list(clocks(sys.argv[1]))))
