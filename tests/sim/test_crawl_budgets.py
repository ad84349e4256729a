"""Every limit holds for the whole daemon, whatever part of it asks, at every moment of a crawl."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.sim.crawl_scene import LISTEN, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from trio.testing import MockClock

    from tests.sim.crawl_scene import Passage

WORLD: dict[str, Any] = {"nodes": 1200, "infohashes": 3000}


def fastest(times: Sequence[float], weights: Sequence[float], window: float) -> float:
    """Return the largest sum of weights within ``window`` seconds."""
    totals = [0.0]
    for weight in weights:
        totals.append(totals[-1] + weight)
    ends = [bisect_left(times, begin + window) for begin in times]
    return max(totals[end] - totals[start] for start, end in enumerate(ends))


def within_bucket(times: Iterable[float], rate: float, burst: float) -> bool:
    """Return whether times of queries fit a token bucket."""
    tokens, last = burst, 0.0
    for at in times:
        tokens = min(burst, tokens + (at - last) * rate) - 1
        last = at
        if tokens < -0.01:
            return False
    return True


def by_ip(sent: Iterable[Passage], prefix: int = 4) -> dict[str, list[float]]:
    """Return when each IPv4 address was sent something, or each of its first ``prefix`` numbers."""
    times: dict[str, list[float]] = defaultdict(list)
    for passage in sent:
        times[".".join(passage.destination[0].split(".")[:prefix])].append(passage.at)
    return times


async def test_queries_a_second(tmp_path: Path, autojump_clock: MockClock) -> None:
    """In no second more queries leave than the rate and its burst, and most of the rate is used."""
    with Scene.of(tmp_path, 61, **WORLD) as scene:
        limits = {"max_rate": 150.0, "burst": 0.2}
        await scene.crawl(20, limits=limits)

        times = [passage.at for passage in scene.network.sent]
        assert fastest(times, [1] * len(times), 1.0) <= 150 * 1.2 + 1
        assert sum(2 <= at < 15 for at in times) > 0.9 * 150 * 13


async def test_queries_to_one_address(tmp_path: Path, autojump_clock: MockClock) -> None:
    """No address hears more than one query a second with a burst of five, no /24 more than its limit."""
    with Scene.of(tmp_path, 62, nodes=60, infohashes=3000, loss=0.1) as scene:
        await scene.crawl(60, limits={"max_rate": 500.0})

        sent = scene.network.sent
        assert all(within_bucket(times, 1.0, 5.0) for times in by_ip(sent).values())
        assert all(within_bucket(times, 4.0, 20.0) for times in by_ip(sent, 3).values())
        assert max(map(len, by_ip(sent).values())) > 30


async def test_new_destinations_a_second(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Addresses that were not talked to for two minutes are as few a second as the router can bear."""
    with Scene.of(tmp_path, 63, **WORLD) as scene:
        limits = {"max_rate": 100.0, "max_new_destinations": 20.0, "burst": 0.5}
        await scene.crawl(30, limits=limits)

        known: dict[Any, float] = {}
        fresh = []
        for passage in scene.network.sent:
            if passage.at - known.get(passage.destination, -1000) > 2 * 120:
                fresh.append(passage.at)
            known[passage.destination] = passage.at
        assert fastest(fresh, [1] * len(fresh), 1.0) <= 20 * 1.5 + 1
        assert len(fresh) > 0.8 * 20 * 30


async def test_bytes_out(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Queries make no more bytes a second than are allowed."""
    with Scene.of(tmp_path, 64, **WORLD) as scene:
        await scene.crawl(20, limits={"max_rate": 500.0, "max_bytes_out": 5000.0})

        times = [passage.at for passage in scene.network.sent]
        sizes = [passage.size for passage in scene.network.sent]
        # A batch may overdraw the budget once; what follows pays for it.
        assert fastest(times, sizes, 10.0) <= 5000 * 10 + 5000 * 0.25 + 500 * 0.25 * 120
        assert sum(sizes) > 0.8 * 5000 * 20


async def test_bytes_in(tmp_path: Path, autojump_clock: MockClock) -> None:
    """When answers bring more than is allowed, asking pauses until the average is kept."""
    with Scene.of(tmp_path, 65, **WORLD) as scene:
        await scene.crawl(30, limits={"max_rate": 500.0, "max_bytes_in": 20_000.0})

        received = scene.network.received
        times, sizes = [passage.at for passage in received], [passage.size for passage in received]
        assert 0.7 * 20_000 * 30 < sum(sizes) < 1.2 * 20_000 * 30 + 125 * 800
        assert fastest(times, sizes, 10.0) < 1.5 * 20_000 * 10 + 125 * 800


async def test_both_families_share_one_budget(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Two sockets together keep to the one rate; the busy one does not starve the other's pings."""
    with Scene.of(tmp_path, 66, **WORLD) as scene:
        network = {"listen": (LISTEN, "127.0.0.2:6881")}
        await scene.crawl(20, limits={"max_rate": 100.0}, network=network)

        sent = scene.network.sent
        times = [passage.at for passage in sent]
        assert fastest(times, [1] * len(times), 1.0) <= 100 * 1.25 + 1
        by_source = {
            source: sum(p.source[0] == source for p in sent) for source in ("127.0.0.1", "127.0.0.2")
        }
        assert min(by_source.values()) > 0.25 * len(sent)
        assert len(scene.found()) == len(set(scene.found()))
        assert scene.world.statistics()["over_rate"] == 0


async def test_no_address_is_sent_to_that_must_not_be(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Without --allow-private a network of private addresses gets not a single datagram."""
    with Scene.of(tmp_path, 67, nodes=50, infohashes=50) as scene:
        await scene.crawl(30, network={"allow_private": False})

        assert scene.network.sent == []
        [refused, *_] = scene.status("bootstrap.host_not_global")
        assert refused["log_level"] == "warning"
