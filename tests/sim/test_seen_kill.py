"""SIGKILL in the midst of a crawl: nothing is remembered that was not written, little is written twice."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.torture.kill_daemon import kill_daemon

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(sys.platform != "linux", reason="the simulated network needs Linux")
@pytest.mark.timeout(240)
def test_a_killed_daemon_remembers_what_it_wrote(tmp_path: Path) -> None:
    """After three kills all seen has its line, repeats are of the last minute, and few are asked too soon."""
    toll = kill_daemon(tmp_path, kills=3, seed=1, shortest=1.5, longest=3.0)

    assert (toll.kills, toll.lost, toll.damaged) == (3, 0, 0), toll
    assert toll.oldest_repeated <= 60, toll
    assert toll.filters >= 1, toll
    assert toll.remembered > 5000, toll
    assert toll.repeated < toll.written / 2, toll
    assert toll.too_soon < toll.written / 20, toll
