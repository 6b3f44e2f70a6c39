"""`python -m api`: uvicorn on PORT, as the image starts it."""

import os

import uvicorn

# No log line a request: it would cost as much as the answer. /metrics counts them.
uvicorn.run(
    "api.main:app", host="0.0.0.0", port=int(os.environ.get("PORT", "8080")), server_header=False, access_log=False
)
