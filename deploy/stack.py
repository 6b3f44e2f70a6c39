"""The stack, from a person's machine."""

import subprocess
import tarfile
from pathlib import Path

RELEASE = Path(__file__).resolve().parent.parent


def pack(target: Path, ca: Path) -> None:
    """Writes the release of the Airflow machine: the project's tracked files, and RDS's certificate authorities."""
    listed = subprocess.run(["git", "-C", RELEASE, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    with tarfile.open(target, "w:gz") as archive:
        for name in filter(None, listed.split("\0")):
            archive.add(RELEASE / name, name)
        archive.add(ca, "deploy/ca/rds.pem")
