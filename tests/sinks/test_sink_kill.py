"""SIGKILL in the midst of writing: what was acknowledged is there, and the next start is quick and clean."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.torture.kill import SLOWEST_RESTART, kill, longest_restart

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_kill_nine(tmp_path: Path) -> None:
    """Ten kills at random moments lose no acknowledged line; `make torture` does it 200 times."""
    toll = kill(tmp_path / "out.jsonl", kills=10, seed=1, longest=0.2)

    assert (toll.kills, toll.lost, toll.still_torn) == (10, 0, 0), toll
    assert toll.acknowledged > 300
    assert toll.slowest_restart < SLOWEST_RESTART or toll.slowest_restart < longest_restart(tmp_path)
