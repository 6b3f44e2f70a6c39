"""`python -m api`: uvicorn on PORT, as the image starts it."""

import os

import uvicorn

from api.settings import Settings

uvicorn.run(
    "api.main:app",
    host="0.0.0.0",
    port=int(os.environ.get("PORT", "8080")),
    server_header=False,
    # Whose word is taken for where a request comes from: a proxy before it, by address or network.
    forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
    # No log line a request: it would cost as much as the answer. /metrics counts them.
    access_log=False,
    timeout_keep_alive=Settings().keep_alive,
    # After SIGTERM what is under way is answered; what takes longer than this (seconds) is given up.
    timeout_graceful_shutdown=4,
)
