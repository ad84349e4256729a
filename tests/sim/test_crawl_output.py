"""A whole crawl whose output is slow, full or gone: it waits, loses nothing, and ends in good order."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.sim.crawl_scene import Scene
from tests.sinks.flaky_disk import FlakyDisk

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FAST: dict[str, Any] = {"limits": {"max_rate": 300.0}, "locate": {"enabled": False}}


def check_nothing_is_lost(scene: Scene) -> None:
    """Every line that a run took is in the file, once and whole."""
    stopped = scene.status()[-1]
    lines = len(scene.records("infohash")) + len(scene.records("peers"))
    assert lines == stopped["lines_written"]
    assert stopped["lines_held"] == 0
    assert stopped["infohashes"] == len(scene.found()) == len(set(scene.found()))


async def test_a_slow_sink_pauses_the_crawl(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the sink can't keep up asking pauses, what was taken is kept, and the crawl goes on after."""
    with Scene.of(tmp_path, 41, nodes=800, infohashes=3000) as scene:
        disk = FlakyDisk(seconds=30).install(monkeypatch)

        async def speed_up() -> None:
            await trio.sleep(100)
            disk.seconds = 0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speed_up)
            settings = {"outlet": {"max_waiting": 1000}, "run": {"status_interval": 5}}
            await scene.crawl(200, **FAST, **settings)

        asked = sorted(at for at, *_ in scene.network.sent)
        pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
        assert max(pauses) > 15
        assert all(report["lines_held"] < 2 * 1000 for report in scene.status("crawler.status"))
        assert not any(report["uplink_lost"] for report in scene.status("crawler.status"))
        assert scene.status()[-1]["timeouts"] < 0.5 * scene.status()[-1]["queries_sent"]
        assert "shed_output_full" not in scene.status()[-1]["dropped"]
        check_nothing_is_lost(scene)
        assert len(scene.found()) >= 0.98 * len(scene.reachable())


async def test_a_full_disk_loses_no_line(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full the crawl waits and warns; with room again it goes on, every line once."""
    with Scene.of(tmp_path, 42, nodes=800, infohashes=3000) as scene:
        disk = FlakyDisk(most=1000).install(monkeypatch)

        async def fill_and_clean() -> None:
            await trio.sleep(2)
            disk.error = errno.ENOSPC
            await trio.sleep(120)
            disk.error = 0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill_and_clean)
            await scene.crawl(220, **FAST, outlet={"max_waiting": 500})

        warnings = scene.status("sink.write_failed")
        assert [fields["retry_in"] for fields in warnings] == [1, 2, 4, 8, 16, 32, 60]
        assert {fields["log_level"] for fields in warnings} == {"warning"}
        check_nothing_is_lost(scene)
        assert len(scene.found()) >= 0.98 * len(scene.reachable())


async def test_a_reader_that_goes_ends_the_run(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nobody reads the output any more, the run ends at once and in good order, its state saved."""
    with Scene.of(tmp_path, 43, nodes=800, infohashes=3000) as scene:
        disk = FlakyDisk().install(monkeypatch)

        async def leave() -> None:
            await trio.sleep(3)
            disk.error = errno.EPIPE

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            code = await scene.crawl(100, **FAST, state={"directory": str(tmp_path / "state")})

        assert code == 0
        [stopped] = scene.status()
        assert stopped["reason"] == "reader gone"
        assert stopped["seconds"] < 3 + 5
        assert stopped["lines_held"] > 0
        assert stopped["infohashes"] == stopped["lines_written"] + stopped["lines_held"]
        assert (tmp_path / "state" / "ledger.ipv4").exists()


async def test_an_end_on_a_full_disk_is_in_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes nothing does not hold up the end, and exit code and log tell of the lines lost."""
    with Scene.of(tmp_path, 44, nodes=200, infohashes=500) as scene:
        FlakyDisk(error=errno.ENOSPC).install(monkeypatch)
        code = await scene.crawl(10, **FAST, state={"directory": str(tmp_path / "state")})

        assert code == 1
        [stopped] = scene.status()
        assert stopped["seconds"] <= 10 + 5
        assert stopped["lines_held"] == stopped["infohashes"] > 0
        [lost] = scene.status("crawler.lines_not_written")
        assert (lost["lines"], lost["log_level"]) == (stopped["lines_held"], "warning")
        assert (tmp_path / "state" / "ledger.ipv4").exists()


async def test_state_that_cannot_be_saved_is_no_crash(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """When the state directory is lost during the run, that is a warning, at exit too."""
    with Scene.of(tmp_path, 45, nodes=200, infohashes=500) as scene:
        directory = tmp_path / "state"

        async def lose_it() -> None:
            await trio.sleep(3)
            directory.rename(tmp_path / "gone")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose_it)
            state = {"directory": str(directory), "save_interval": 4.0}
            code = await scene.crawl(10, **FAST, state=state)

        assert code == 0
        assert len(scene.status("state.not_saved")) == 3
        check_nothing_is_lost(scene)
