"""The floor: uvicorn and an ASGI application that sends the same bytes to whoever asks. BODY names a file of them."""

import json
import os
from pathlib import Path

SENT = json.loads(Path(os.environ["BODY"]).read_text())
BODY = SENT["body"].encode()
HEADERS = [(name.encode(), value.encode()) for name, value in SENT["headers"].items() if name not in ("date", "server")]


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
