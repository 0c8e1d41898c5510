#!/usr/bin/python3
"""The server that people write first: FastAPI, and an OpenCV capture for each viewer.

It is a baseline, so it is written the way such servers usually are, and fairly: reading and encoding
run in a thread, so that one viewer does not hold up another, and nothing slows it down on purpose.
"""
import asyncio
import json
import socket
import sys

import cv2
import uvicorn
from fastapi import FastAPI, WebSocket
from websockets.exceptions import ConnectionClosed

QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 80]

app = FastAPI()


def next_image(capture):
    """The next picture as the bytes of a JPEG, or None when the camera gives no more."""
    ok, picture = capture.read()
    if not ok:
        return None
    ok, image = cv2.imencode(".jpg", picture, QUALITY)
    return image.tobytes() if ok else None


@app.get("/")
async def status():
    return {"status": "ok", "message": "Video Streaming Server is running."}


@app.websocket("/ws/stream")
async def stream(websocket: WebSocket, rtsp_url: str):
    await websocket.accept()
    capture = await asyncio.to_thread(cv2.VideoCapture, rtsp_url)
    try:
        if not capture.isOpened():
            await websocket.send_json({"error": f"无法打开RTSP流: {rtsp_url}"})
            await websocket.close()
            return
        while (image := await asyncio.to_thread(next_image, capture)) is not None:
            await websocket.send_bytes(image)
        await websocket.close()
    except ConnectionClosed:
        pass  # The viewer has left.
    finally:
        capture.release()


if __name__ == "__main__":
    # Connections wait in the socket until the server takes them, so nobody has to ask whether it is there yet.
    with socket.create_server((sys.argv[1], 0), backlog=128) as listener:
        print(json.dumps({"event": "listening", "port": listener.getsockname()[1]}), flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
