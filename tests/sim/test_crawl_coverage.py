"""What a whole crawl of a simulated network finds, and that it asks nobody before its time."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.sim.crawl_scene import Scene

if TYPE_CHECKING:
    from pathlib import Path


WORLD: dict[str, Any] = {"nodes": 1500, "infohashes": 6000, "dead": 0.3, "bep51": 0.7, "loss": 0.02}
FAST: dict[str, Any] = {"limits": {"max_rate": 500.0}, "pace": {"tick": 0.05}}


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_sweep_finds_what_is_there(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    """One sweep finds 99 % of the reachable infohashes, each once, with true peers, and invents nothing."""
    with Scene.of(tmp_path, seed, **WORLD) as scene:
        assert await scene.crawl(90, **FAST) == 0
        found, reachable, truth = scene.found(), scene.reachable(), scene.true_peers()

        assert len(found) == len(set(found))
        assert set(found) <= truth.keys()
        assert len(reachable & set(found)) >= 0.99 * len(reachable)
        for record in scene.records("peers"):
            assert set(record["peers"]) <= truth[record["infohash"]]
        located = {record["infohash"] for record in scene.records("peers")}
        assert len(located) >= 0.95 * len(found)
        conduct = scene.world.statistics()
        assert (conduct["sample_repeats"], conduct["over_rate"], conduct["visitors_untracked"]) == (0, 0, 0)
        assert scene.status()[-1]["dropped"] == {}


async def test_without_peers_only_infohashes_are_sought(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """With --no-peers nobody is asked for peers and none are written."""
    with Scene.of(tmp_path, 5, nodes=200, infohashes=500) as scene:
        await scene.crawl(20, **FAST, locate={"enabled": False})

        assert scene.found()
        assert not scene.records("peers")
        assert scene.world.statistics()["queries"]["get_peers"] == 0


async def test_after_the_interval_nodes_are_asked_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """When its interval is over every willing node is asked for its next sample, and none sooner."""
    with Scene.of(tmp_path, 6, nodes=300, infohashes=6000, interval=120) as scene:
        asked: list[float] = []
        whole = scene.world.answer

        def answer(data: bytes, source: bytes, host: bytes, now: float) -> bytes | None:
            if b"sample_infohashes" in data:
                asked.append(now)
            return whole(data, source, host, now)

        scene.world.answer = answer  # type: ignore[method-assign] # to see the world's visitors
        await scene.crawl(230, **FAST, locate={"enabled": False})

        assert scene.world.statistics()["sample_repeats"] == 0
        willing = scene.world.statistics()["unique_sampled"]
        first, second = (sum(begin < at < begin + 110 for at in asked) for begin in (0, 119))
        assert first >= willing
        assert 0.95 * willing <= second <= 1.2 * willing
        assert len(scene.found()) > 1.2 * len(scene.reachable())


async def test_a_restart_keeps_to_the_intervals(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """With its state the daemon comes back as the same node and still leaves those alone that told it to."""
    state = {"directory": str(tmp_path / "state")}
    with Scene.of(tmp_path, 7, nodes=300, infohashes=1000, interval=600) as scene:
        await scene.crawl(30, **FAST, state=state)
        before = scene.world.statistics()["queries"]["sample_infohashes"]
        await trio.sleep(60)
        await scene.crawl(30, **FAST, state=state)
        after = scene.world.statistics()

        assert after["sample_repeats"] == 0
        assert after["queries"]["sample_infohashes"] - before < 0.2 * before
        first, second = (fields["node_id"] for fields in scene.status("crawler.listening"))
        assert first == second

        await trio.sleep(600)
        await scene.crawl(60, **FAST, state=state)
        last = scene.world.statistics()
        assert last["sample_repeats"] == 0
        again = last["queries"]["sample_infohashes"] - after["queries"]["sample_infohashes"]
        assert again >= 0.95 * last["unique_sampled"]


async def test_damaged_state_is_set_aside(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Whatever a state file holds, the daemon starts, says what it sets aside, and crawls."""
    directory = tmp_path / "state"
    with Scene.of(tmp_path, 8, nodes=200, infohashes=500) as scene:
        await scene.crawl(5, **FAST, state={"directory": str(directory)})
        names = {"ids", "nodes.ipv4", "ledger.ipv4"}
        for name in names:
            data = bytearray((directory / name).read_bytes())
            data[len(data) // 2] ^= 1
            (directory / name).write_bytes(data)
        found = len(scene.found())
        assert await scene.crawl(10, **FAST, state={"directory": str(directory)}) == 0

        damaged = scene.status("state.damaged")
        assert {fields["file"] for fields in damaged} == {str(directory / name) for name in names}
        assert {fields["log_level"] for fields in damaged} == {"warning"}
        assert all((directory / f"{name}.damaged").exists() for name in names)
        assert len(scene.found()) > found
