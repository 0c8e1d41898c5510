#!/usr/bin/python3
"""A link between two networks of its own: link.py ROUND_TRIP_MS LOSS_PERCENT BYTES_PER_SECOND

It makes two network namespaces with a TUN device in each, 10.99.0.1 for the server and 10.99.0.2 for the viewer,
and carries IP packets between them: each packet waits half the round trip, LOSS_PERCENT of them (in both
directions, by a fixed seed) are thrown away, and no more than BYTES_PER_SECOND go each way. What does not go at
once waits in a queue of QUEUE_SECONDS, and is thrown away when that is full, as a router does. TCP at both ends is
the kernel's own, so it sees loss as it always does: it sends again, and slows down.

It prints one JSON line, {"event": "ready", "server": PID, "viewer": PID}: processes whose networks they are. It
needs root and /dev/net/tun; both networks end with it, and it ends with its standard input.
"""
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000
PR_SET_PDEATHSIG = 1
MAX_PACKET_BYTES = 65536
QUEUE_SECONDS = 0.1

libc = ctypes.CDLL(None, use_errno=True)


def own_network(address):
    """Enters a new network with a TUN device of this address, and returns the device."""
    if libc.unshare(CLONE_NEWNET) != 0:
        sys.exit(f"link: no network of its own: {os.strerror(ctypes.get_errno())}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN_NO_PI))
    for command in ("link set lo up", f"address add {address}/30 dev tun0", "link set tun0 up mtu 1500"):
        subprocess.run(["ip", *command.split()], check=True)
    return device


def keeper():
    """A process that holds the present network open, and ends with this one."""
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        while True:
            signal.pause()
    return pid


class Way:
    """One direction."""

    def __init__(self, source, target, delay, loss, rate):
        self.source, self.target = source, target
        self.delay, self.loss, self.rate = delay, loss, rate
        self.random = random.Random(1)
        # When the line has sent all that waits before it.
        self.free_at = 0.0
        self.packets = []
        self.count = 0

    def take(self):
        while True:
            try:
                packet = os.read(self.source, MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            now = time.monotonic()
            if self.random.random() < self.loss or self.free_at - now > QUEUE_SECONDS:
                continue
            self.free_at = max(now, self.free_at) + len(packet) / self.rate
            self.count += 1
            heapq.heappush(self.packets, (self.free_at + self.delay, self.count, packet))

    def give(self, now):
        while self.packets and self.packets[0][0] <= now:
            try:
                os.write(self.target, heapq.heappop(self.packets)[2])
            except OSError:
                pass  # The kernel has no room for it, or does not want it: lost, as it would be on a wire.


def main():
    round_trip_ms, loss_percent, rate = map(float, sys.argv[1:])
    server = own_network("10.99.0.1")
    server_keeper = keeper()
    viewer = own_network("10.99.0.2")
    viewer_keeper = keeper()
    terms = (round_trip_ms / 2000, loss_percent / 100, rate)
    ways = {server: Way(server, viewer, *terms), viewer: Way(viewer, server, *terms)}
    poll = select.poll()
    for descriptor in (0, *ways):
        poll.register(descriptor, select.POLLIN)
    print(json.dumps({"event": "ready", "server": server_keeper, "viewer": viewer_keeper}), flush=True)
    while True:
        next_at = min((way.packets[0][0] for way in ways.values() if way.packets), default=None)
        # poll() waits whole milliseconds; rounded up, a packet is late by less than one.
        wait = None if next_at is None else max(0, -(-(next_at - time.monotonic()) * 1000 // 1))
        for descriptor, _event in poll.poll(wait):
            if descriptor == 0:
                if not os.read(0, 4096):
                    return
            else:
                ways[descriptor].take()
        now = time.monotonic()
        for way in ways.values():
            way.give(now)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
