"""The floor: uvicorn and an ASGI application that sends the same bytes to whoever asks. BODY is a file."""

import os
from pathlib import Path

BODY = Path(os.environ["BODY"]).read_bytes()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
