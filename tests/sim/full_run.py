"""A run that has every part, for tests of what it tells of itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from crawler.daemon import building
from crawler.monitoring import serving
from tests.sim.crawl_scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crawler.daemon.run import Run
    from crawler.net.http import HttpServer

SEED = 711
Made = TypeVar("Made")


def kept(make: Callable[..., Made], made: list[Made]) -> Callable[..., Made]:
    """Return ``make`` such that what it makes is in ``made`` too."""

    def make_and_keep(*arguments: Any) -> Made:
        made.append(make(*arguments))
        return made[-1]

    return make_and_keep


async def full_run(directory: Path) -> tuple[Run, HttpServer]:
    """Crawl 20 virtual seconds with metadata, a TCP door, HTTP, a tracker, two outputs; return what it was.

    Every counter by reason has been given one of a reason ``tested``.
    """
    made: list[Run] = []
    doors: list[HttpServer | None] = []
    with pytest.MonkeyPatch.context() as patch, Scene.of(directory, SEED, nodes=300, infohashes=600) as scene:
        patch.setattr(building, "assemble", kept(building.assemble, made))
        patch.setattr(serving, "build", kept(serving.build, doors))
        await scene.crawl(
            20,
            # A TCP port of its own: others may run this test at the same time.
            network={"listen": (f"127.0.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 2}:6881",)},
            output={"path": (str(scene.out), str(directory / "second.jsonl"))},
            limits={"max_rate": 200.0},
            fetch={"enabled": True},
            serve={"enabled": True},
            http={"listen": "127.0.0.1:0"},
            # Nobody is there: what is told of trackers is there all the same.
            trackers={"urls": ("udp://127.0.0.1:9",)},
        )
    run, door = made[0], doors[0]
    assert run.fetching is not None
    assert run.trackers is not None
    assert door is not None
    for station in run.stations:
        station.node.counters.dropped["tested"] += 1
        station.sampler.counters.dropped["tested"] += 1
        station.endpoint.socket.errors["tested"] += 1
    run.fetching.fetcher.jobs.counters.gave_up["tested"] += 1
    run.fetching.fetcher.jobs.counters.dropped["tested"] += 1
    run.fetching.client.counters.failures["tested"] += 1
    run.trackers.client.counters.failures["tested"] += 1
    run.fetching.listeners[0].counters.ended["tested"] += 1
    run.shared.budget.held_back["tested"] += 1
    door.counters.ended["tested"] += 1
    door.counters.answers[200] += 1
    return run, door
