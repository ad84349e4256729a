"""The project's coverage figure: one crawl of 20,000 nodes for 45 s, at 5,000 queries a second.

Real processes on real sockets, as a user starts them; `test_crawl_coverage` does the same in virtual time,
on smaller networks. The crawl runs once, and each test reads its own promise off it.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.sim.sweep import Sweep, summary, sweep

if TYPE_CHECKING:
    from pathlib import Path

WORLD = {
    "nodes": 20_000,
    "infohashes": 100_000,
    "dead": 0.3,
    "bep51": 0.7,
    "loss": 0.02,
    "interval": 600,
    "rtt": 100,
    "seed": 1,
}
SECONDS = 45.0

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the simulated network needs Linux"),
    pytest.mark.timeout(240),  # the crawl runs inside the first test's setup
]


@pytest.fixture(scope="module", name="crawl")
def finished_crawl(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Return the one crawl that all tests look at."""
    directory: Path = tmp_path_factory.mktemp("coverage")
    return sweep(directory, WORLD, ["--max-rate", "5000"], SECONDS)


def test_a_crawl_finds_99_percent(crawl: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """At least 99 % of the reachable infohashes are found."""
    with capsys.disabled():
        print(f"\ncoverage: {crawl.line()}")  # noqa: T201 - the figure is for whoever watches the run

    assert crawl.coverage >= 0.99, summary(crawl)


def test_nobody_is_asked_again_before_the_interval_is_over(crawl: Sweep) -> None:
    """No node whose sample reached us is asked for samples again within its interval."""
    assert crawl.network.summary["sample_repeats"] == 0, summary(crawl)


def test_what_is_found_exists(crawl: Sweep) -> None:
    """No infohash is written that does not exist, and no peer that does not have it."""
    assert crawl.invented == set(), summary(crawl)
    assert crawl.false_peers == []


def test_each_infohash_has_one_line(crawl: Sweep) -> None:
    """No infohash line comes twice, and every peers line belongs to one."""
    lines = Counter(crawl.found)

    assert lines.most_common(1)[0][1] == 1
    assert {name for name, _ in crawl.claimed} <= lines.keys()


def test_the_run_loses_nothing_and_ends_well(crawl: Sweep) -> None:
    """Both programs exit with 0, the kernel dropped nothing, and every line is in the file."""
    assert (crawl.code, crawl.network.code) == (0, 0), summary(crawl)
    assert crawl.network.summary["kernel_drops"] == 0, summary(crawl)
    assert crawl.counters["lines_written"] == len(crawl.found) + len(crawl.claimed)
