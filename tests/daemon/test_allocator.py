"""Memory that was freed goes back to the system, so that a process stays as small as what it holds."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

MEASURE = """
import json, sys
from pathlib import Path
from crawler.daemon.allocator import give_back_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "fixed":
    give_back_large_blocks()
before = resident()
del (whole := [bytes(24 << 20)])[0]
blocks, pins = [], []
for _ in range(60):
    blocks.append(b"x" * (1 << 20))
    pins.append(b"x" * 100_000)
del blocks
print(json.dumps(resident() - before - sum(map(len, pins))))
"""


def left_after(how: str) -> int:
    """Return the resident bytes that are left over in a process after it freed its large blocks."""
    done = subprocess.run([sys.executable, "-c", MEASURE, how], capture_output=True, check=True, timeout=60)
    left: int = json.loads(done.stdout)
    return left


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do not hoard")
def test_large_blocks_go_back_to_the_system() -> None:
    """Of 60 MiB freed between small blocks next to nothing stays; glibc left alone keeps them all."""
    assert left_after("fixed") < 4 << 20
    assert left_after("as it is") > 40 << 20
