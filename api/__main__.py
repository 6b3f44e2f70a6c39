"""`python -m api`: uvicorn on PORT, as the image starts it."""

import os

import uvicorn

uvicorn.run(
    "api.main:app",
    host="0.0.0.0",
    port=int(os.environ.get("PORT", "8080")),
    server_header=False,
    # After SIGTERM what is under way is answered; what takes longer than this (seconds) is given up.
    timeout_graceful_shutdown=4,
)
