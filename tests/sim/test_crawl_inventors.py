"""Nodes that name other nodes which are not there: what they may put into the ledger, and what it costs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock

from crawler.simnet import exchange
from crawler.simnet.population import SAMPLES
from crawler.wire.compact import pack_address
from tests.sim.crawl_scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

NODES, INFOHASHES = 400, 4000
INVENTORS = 5
NAMED = 32
SECONDS = 60.0


def let_some_invent(scene: Scene, rng: random.Random) -> None:
    """Have some nodes name new ones in every answer, at addresses where nobody is, and that they ask for."""
    answers, population = scene.world._answers, scene.world._population
    first = population.rank_of[pack_address(scene.world.bootstrap)[:-2]]
    able = [rank for rank, kind in enumerate(population.kinds) if kind == SAMPLES and rank != first]
    inventors = set(rng.sample(able, INVENTORS))
    truly = answers.methods[b"sample_infohashes"]

    def sample(rank: int, request: exchange.Request, source: bytes, now: float) -> Any:
        if rank not in inventors:
            return truly(rank, request, source, now)
        nodes = b"".join([rng.randbytes(20) + b"\x2d" + rng.randbytes(3) + b"\x1a\xe1" for _ in range(NAMED)])
        return exchange.samples_body(answers._id(rank), nodes, 0, 100_000, rng.randbytes(400))

    answers.methods[b"sample_infohashes"] = sample


def crawl(directory: Path, named_per_prefix: int) -> tuple[int, dict[str, Any]]:
    """Return how many true infohashes a crawl among inventors found, and its last status."""
    with Scene.of(directory, 9, nodes=NODES, infohashes=INFOHASHES, dead=0.0, bep51=1.0, interval=2) as scene:
        let_some_invent(scene, random.Random(9))

        async def run() -> None:
            await scene.crawl(
                SECONDS,
                locate={"enabled": False},
                limits={"max_rate": 50.0},
                frontier={"shortest_interval": 2.0},
                rumours={"named_per_prefix": named_per_prefix},
            )

        trio.run(run, clock=MockClock(autojump_threshold=0))
        truths = {truth.infohash.hex() for truth in scene.world.truth()}
        [status] = scene.status()
        return len(truths & set(scene.found())), status


def test_who_invents_nodes_fills_no_ledger(tmp_path: Path) -> None:
    """Inventors get no more than their share into the ledger and are told of; all that is true is found.

    Without the limit they cost several times as many queries to nobody, and go on as long as they are asked.
    """
    outcomes = []
    for limit in (50, 65_535):
        place = tmp_path / str(limit)
        place.mkdir()
        outcomes.append(crawl(place, limit))
    (found, bounded), (_, unbounded) = outcomes

    assert found >= 0.99 * INFOHASHES
    assert bounded["nodes_known"] <= NODES + INVENTORS * 50
    assert bounded["dropped"]["names_refused"] >= 100
    assert unbounded["nodes_known"] > NODES + 2 * INVENTORS * 50
    assert unbounded["timeouts"] > 2 * bounded["timeouts"]
