#!/usr/bin/python3
"""Watches a camera through the video server.

    client.py ws://HOST:PORT RTSP_URL [PICTURES]

Prints a JSON line for each message, and one for the end. Exit code: 0 when so many pictures have
come (10 if none is given), 1 when the server could not open the stream, 2 when something else went
wrong.
"""
import asyncio
import json
import sys
import urllib.parse
import urllib.request

import websockets

STATUS = b'{"status":"ok","message":"Video Streaming Server is running."}'


def say(**facts):
    print(json.dumps(facts, ensure_ascii=False), flush=True)


async def watch(server, rtsp_url, pictures):
    """The exit code."""
    received, code = 0, 2
    camera = urllib.parse.quote(rtsp_url, safe="")
    async with websockets.connect(f"{server}/ws/stream?rtsp_url={camera}") as socket:
        try:
            async for message in socket:
                if isinstance(message, str):
                    code = 1
                    say(error=json.loads(message)["error"])
                    continue
                complete = message[:2] == b"\xff\xd8" and message[-2:] == b"\xff\xd9"
                received += 1
                say(picture=received, bytes=len(message), complete=complete)
                if not complete:
                    return 2
                if received == pictures:
                    return 0
            say(closed=socket.close_code)
        except websockets.ConnectionClosedError as closed:
            say(closed=closed.code, raised="ConnectionClosedError")
    return code


def main(server, rtsp_url, pictures="10"):
    with urllib.request.urlopen(f"http{server.removeprefix('ws')}/") as answer:
        if answer.read() != STATUS:
            return 2
    say(status="ok")
    return asyncio.run(watch(server, rtsp_url, int(pictures)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
