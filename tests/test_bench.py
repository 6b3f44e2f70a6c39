"""What the bench measures is the program's own."""

import subprocess
import sys

import pytest

from elt.settings import PROJECT

pytestmark = pytest.mark.model_blind


@pytest.mark.parametrize(("own", "least", "most"), [(0, 20, 150), (300, 300, 450)])
def test_peak_memory_is_the_programs_own_not_its_parents(own: int, least: int, most: int) -> None:
    """Started by a program of 600 MB."""
    program = f"from bench.objects import peak_megabytes; held = b'x' * {own << 20}; print(peak_megabytes())"
    parent = (
        "import os, subprocess, sys; held = b'x' * (600 << 20); child = os.fork()\n"
        f"if not child: os.execv(sys.executable, [sys.executable, '-c', {program!r}])\n"
        "os.waitpid(child, 0)"
    )
    told = subprocess.run(
        [sys.executable, "-c", parent], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    assert least < float(told.stdout) < most
