"""What the reference programs of the night need of S3 and of the clock: whole objects to and from files."""

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig

WHOLE = TransferConfig(multipart_threshold=1 << 40, use_threads=False)
"""One request an object: the embedded S3 server reads the whole object for every range asked of it."""

DAY = "2024-11-20"


def source(log: str) -> str:
    """The URI of a raw log: `advertiser_ids`, `product_views` or `ads_views`."""
    return os.environ["ADVERTISERS_URI" if log == "advertiser_ids" else f"{log.upper()}_URI"]


def download(s3: Any, log: str, folder: Path) -> Path:
    """The raw log as a file in the folder."""
    bucket, key = source(log).removeprefix("s3://").split("/", 1)
    s3.download_file(bucket, key, str(folder / log), Config=WHOLE)
    return folder / log


def upload(s3: Any, file: Path) -> None:
    """Puts a result, `<name>.csv.gz`, where the pipeline would."""
    bucket, prefix = os.environ["INTERMEDIATE_URI"].removeprefix("s3://").split("/", 1)
    s3.upload_file(str(file), bucket, f"{prefix}/date={DAY}/{file.name}")


def run(program: Callable[[Any, Path], None]) -> int:
    """Runs a program in a scratch folder and prints `seconds megabytes cpu-seconds`: wall, peak resident, own CPU."""
    begun = time.perf_counter()
    with TemporaryDirectory() as folder:
        program(boto3.client("s3"), Path(folder))
    report(time.perf_counter() - begun)
    return 0


def report(seconds: float) -> None:
    """The line that the bench reads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(seconds, peak_megabytes(), used.ru_utime + used.ru_stime, file=sys.stdout, flush=True)


def peak_megabytes() -> float:
    """Peak resident memory of this program. Not `ru_maxrss`, which begins with its parent's when it was started."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak) / 1024
