"""The HTTP API: a thin face on what is in `marts`."""

from pathlib import Path

VERSION = (Path(__file__).parents[1] / "VERSION").read_text().strip()
"""Of the project: the file is beside the folder of the package, in the repository as in the image."""
