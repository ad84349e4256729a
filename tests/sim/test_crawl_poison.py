"""Index poisoning (samples are claims): what liars cost the daemon, and that nothing comes of lies."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from crawler.daemon import fetching
from crawler.net import peers
from tests.net.task_calls import TaskCalls
from tests.sim.crawl_scene import Scene, SceneNetwork
from tests.sim.memory_peers import MemoryPeers
from tests.sim.poisoned_world import MANNERS, PoisonedWorld

if TYPE_CHECKING:
    from pathlib import Path

LIARS = 30
SECONDS = 30.0


@attrs.frozen
class Outcome:
    """What a crawl came to: infohashes by whether they are lies, and the last status."""

    world: PoisonedWorld
    fetched: set[bytes]
    found: set[bytes]
    status: dict[str, Any]

    @property
    def honest(self) -> int:
        """How many honest infohashes got verified metadata."""
        return len(self.fetched & self.world.torrents.keys())


def crawl(directory: Path, liars: int, nodes: int, torrents: int, **sections: dict[str, Any]) -> Outcome:
    """Run the daemon with --metadata among so many liars and honest ``nodes``, which store ``torrents``."""
    world = PoisonedWorld(
        torrents=torrents, liars=liars, nodes=nodes, dead=0.0, bep51=1.0, interval=60, seed=3
    )
    scene = Scene(world, SceneNetwork(world, rng=random.Random(3)), directory / f"{liars}.jsonl", 3)
    everybody = MemoryPeers(world.answers, world.play)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(everybody.run)
            await scene.crawl(SECONDS, fetch={"enabled": True}, **sections)
            nursery.cancel_scope.cancel()

    with scene, pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "dial", everybody.dial)
        patch.setattr(fetching, "LinkCalls", lambda client: TaskCalls(client.fetch_metadata))
        trio.run(run, clock=MockClock(autojump_threshold=0))
        fetched = {bytes.fromhex(record["infohash"]) for record in scene.records("metadata")}
        found = set(map(bytes.fromhex, scene.found()))
        [status] = scene.status()
    return Outcome(world, fetched, found, status)


def test_lies_never_become_metadata_and_cost_little(tmp_path: Path) -> None:
    """With a liar to ten honest nodes no record is invented, and honest metadata keeps 80 % of its pace.

    Liars name nobody, or dead peers, or peers that give something else; their samples are new each time.
    """
    alone, among = (crawl(tmp_path, liars, nodes=300, torrents=2500) for liars in (0, LIARS))

    assert among.fetched <= among.world.torrents.keys()
    assert len(among.found & among.world.lies) > 10 * LIARS, "the liars were heard"
    assert among.status["fetch"]["failures"].keys() >= {"wrong_hash", "dial_timeout"}
    assert alone.honest > 200
    assert among.honest >= 0.8 * alone.honest, (among.honest, alone.honest)


def test_who_gives_nothing_but_lies_is_not_heard_any_more(tmp_path: Path) -> None:
    """After enough verdicts liars lose their credit and their samples are dropped; the honest are heard."""
    outcome = crawl(
        tmp_path,
        LIARS,
        nodes=100,
        torrents=800,
        credit={"min_verdicts": 8},
        frontier={"shortest_interval": 2.0},
        limits={"max_rate": 200.0},
    )

    status, world = outcome.status, outcome.world
    assert LIARS // 2 < status["credit"]["without"] <= LIARS
    assert status["dropped"]["samples_discredited"] >= 100
    assert outcome.fetched <= world.torrents.keys()
    assert outcome.honest > 200
    assert len(outcome.found & world.torrents.keys()) > 0.9 * len(world.torrents)
    assert set(MANNERS) == set(world._liars.values())
