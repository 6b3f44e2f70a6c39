"""`make bench`: runs every part of the bench on this machine and writes its tables into docs/performance.md."""

import argparse
import importlib.util
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

import psutil

from elt.settings import PROJECT

PARTS = {
    "night": "The night",
    "sessions": "Many objects",
    "growth": "The night's growth",
    "small_day": "A small day",
    "day": "The day",
}
ALONE = {"pages": "The pages"}
"""Modules of bench, each with `tables(quick) -> Markdown`, and their headings; the latter run only when named."""

PAGE = PROJECT / "docs" / "performance.md"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Times the night and the day on this machine. Prints the tables and writes docs/performance.md.",
        epilog="Exit status: 0 done, 1 a part failed or two programs' results differ.",
    )
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, under 2 minutes; writes no page")
    parser.add_argument("--only", choices=PARTS | ALONE, help="one part; writes no page")
    parser.add_argument(
        "--large",
        action="store_true",
        help="night: other worlds, 20 M events; growth: up to 120 days of 400,000 products, writes its table; "
        "pages: 365 days of 5,000 advertisers",
    )
    parser.add_argument("--years", action="store_true", help="growth: 7 and 1,826 days (9 GB of disk), writes no page")
    arguments = parser.parse_args()
    text = [about_this_machine()]
    for name in [arguments.only] if arguments.only else PARTS:
        if importlib.util.find_spec(f"bench.{name}") is None:
            continue
        started = time.monotonic()
        try:
            large = {"large": True} if name in ("night", "growth", "pages") and arguments.large else {}
            large |= {"years": True} if name == "growth" and arguments.years else {}
            part = importlib.import_module(f"bench.{name}").tables(arguments.quick, **large)
        except RuntimeError as error:
            print(f"bench.{name}: {error}", file=sys.stderr)
            return 1
        text.append(f"## {(PARTS | ALONE)[name]}\n\n{part}")
        print(f"{(PARTS | ALONE)[name]}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    measured = "\n\n".join(text)
    print(measured)
    if arguments.only == "growth" and arguments.large:
        write(PAGE, f"{text[0]}\n\n{part}", "python -m bench --only growth --large")
    elif not arguments.quick and not arguments.only:
        write(PAGE, measured, "make bench")
    return 0


def about_this_machine() -> str:
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), cpu)
    return (
        f"Measured on {date.today()}: {os.cpu_count()} cores ({cpu}), {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}."
    )


def write(page: Path, measured: str, command: str) -> None:
    """Puts the tables between the page's marks, those of the command; what people wrote around them stays."""
    marks = f"<!-- measured: {command} writes from here -->", "<!-- to here -->"
    before, begin, rest = page.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise SystemExit(f"{page}: the marks {' and '.join(marks)} are not there")
    page.write_text(f"{before}{begin}\n\n{measured}\n\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
