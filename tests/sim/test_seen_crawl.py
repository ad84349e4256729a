"""Whole crawls in virtual time: each infohash once across clean restarts, and again when that is wanted."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.sim.crawl_scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

FAST: dict[str, Any] = {"limits": {"max_rate": 300.0}, "locate": {"enabled": False}}
TIMEOUT = 60


async def test_clean_restarts_repeat_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Three runs over one state write each infohash once, although the last two ask the same nodes anew."""
    state = tmp_path / "state"
    with Scene.of(tmp_path, 51, nodes=600, infohashes=3000) as scene:
        for _ in range(3):
            await scene.crawl(40, **FAST, state={"directory": str(state)})
            (state / "ledger.ipv4").unlink()

        assert len(set(scene.found())) == len(scene.found()) > 2000
        reports = scene.status()
        assert sum(report["infohashes"] for report in reports) == len(scene.found())
        assert reports[-1]["samples"] > 1000
        assert reports[-1]["seen"]["remembered"] == len(scene.found())
        assert reports[-1]["seen"]["unsaved"] == 0
        assert [fields["infohashes"] for fields in scene.status("seen.restored")] == [
            reports[0]["infohashes"],
            reports[0]["infohashes"] + reports[1]["infohashes"],
        ]


@pytest.mark.timeout(TIMEOUT)
async def test_a_full_state_disk_stops_no_crawl(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the state can't be written the crawl goes on, says so once, and writes every line."""

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crawler.state.slice_files.SliceFiles.append", full)
    with Scene.of(tmp_path, 52, nodes=400, infohashes=1000) as scene:
        await scene.crawl(60, **FAST, state={"directory": str(tmp_path / "state")})

        [stopped] = scene.status()
        assert len(scene.status("seen.not_saved")) == 1
        assert stopped["seen"]["failures"] > 10
        assert stopped["seen"]["unsaved"] == stopped["infohashes"] == len(scene.found()) > 500


@pytest.mark.timeout(TIMEOUT)
async def test_resighting_writes_again_in_its_time(tmp_path: Path, autojump_clock: MockClock) -> None:
    """With --resighting what is still there is written again, never sooner, also across a restart."""
    wanted = 0.1 * 3600
    with Scene.of(tmp_path, 53, nodes=30, infohashes=100, interval=30) as scene:
        for _ in range(2):
            await scene.crawl(
                600, **FAST, state={"directory": str(tmp_path / "state")}, seen={"resighting": 0.1}
            )
            await trio.sleep(5)

        written = defaultdict(list)
        for record in scene.records("infohash"):
            written[record["infohash"]].append(datetime.fromisoformat(record["ts"]).timestamp())
        pauses = [later - before for at in written.values() for before, later in itertools.pairwise(at)]
        assert len(pauses) > len(written)
        assert min(pauses) >= wanted
        assert sorted(pauses)[len(pauses) // 2] < wanted * 9 / 8 + 120
