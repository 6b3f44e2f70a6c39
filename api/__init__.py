"""The HTTP API: a thin face on what is in `marts`."""
