"""A crawl through trouble: no uplink, a population of liars, no way in at first."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import itertools
import random
import shutil
import socket
from datetime import datetime
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from crawler.simnet import exchange
from crawler.wire.compact import pack_address
from tests.sim.crawl_scene import EPOCH, Scene

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from crawler.simnet.world import World
    from crawler.wire.compact import Address

SLOW_MOTION: dict[str, Any] = {
    "limits": {"max_rate": 100.0},
    "pace": {"tick": 0.05},
    "locate": {"enabled": False},
}
"""At this rate a sweep takes long enough for trouble to come in its midst."""


async def test_a_lost_uplink_costs_nothing_but_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Ten minutes without network pause the crawl; a minute later it goes on, and finds everything."""
    with Scene.of(tmp_path, 11, nodes=800, infohashes=3000) as scene:

        async def pull_the_cable() -> None:
            await trio.sleep(3)
            scene.network.connected = False
            await trio.sleep(600)
            scene.network.connected = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pull_the_cable)
            await scene.crawl(750, **SLOW_MOTION, run={"status_interval": 10})

        blind = [at for at, *_ in scene.network.sent if 20 <= at < 603]
        assert 100 < len(blind) < 5 * 583
        reports = {fields["seconds"]: fields for fields in scene.status("crawler.status")}
        assert reports[600.0]["uplink_lost"]
        assert reports[600.0]["infohashes"] < 0.7 * len(scene.reachable())
        assert not reports[660.0]["uplink_lost"]
        assert reports[660.0]["infohashes"] > reports[600.0]["infohashes"]
        reachable = scene.reachable()
        assert len(reachable & set(scene.found())) >= 0.99 * len(reachable)
        assert scene.world.statistics()["sample_repeats"] == 0


class Liars:
    """Nodes that anybody finds by asking them: each names eight more of the kind, and has no new samples.

    They are whoever lives in 127.0.0.0/8 where the world has no node.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self.asked = 0
        self.active = False
        self._honest = world.receive
        self._honest_hosts = world._population.rank_of.keys()
        self._rng = rng
        self._port = world.config.port
        self._infohash = rng.randbytes(20)
        world.receive = self.receive  # type: ignore[method-assign] # this is the liars' way in

    def receive(self, data: bytes, source: Address, destination: Address, now: float) -> bytes | None:
        """Answer for the liars; let honest nodes answer, whose neighbours are liars once these are active."""
        compact = pack_address(destination)
        if compact[:4] in self._honest_hosts:
            reply = self._honest(data, source, destination, now)
            if reply is None or not self.active or b"5:nodes208:" not in reply:
                return reply
            at = reply.index(b"5:nodes208:") + len(b"5:nodes208:")
            return reply[:at] + self._neighbour() * 4 + reply[at + 4 * 26 :]
        self.asked += 1
        request = exchange.read(data)
        assert request is not None
        nodes = b"".join(self._neighbour() for _ in range(8))
        node_id = random.Random(compact).randbytes(20)
        if request.method == b"sample_infohashes":
            body = exchange.samples_body(node_id, nodes, 60, 1, self._infohash)
        else:
            body = exchange.nodes_body(node_id, nodes)
        return exchange.reply(request.tid, pack_address(source), body)

    def _neighbour(self) -> bytes:
        host = (0x7F010000 + self._rng.randrange(0xFE0000)).to_bytes(4, "big")
        compact = host + self._port.to_bytes(2, "big")
        return random.Random(compact).randbytes(20) + compact


def longest_drought(scene: Scene, begin: float, end: float) -> float:
    """Return the longest time between two finds from ``begin`` to ``end``, in seconds of the wall clock."""
    times = [timestamp_of(record) - EPOCH for record in scene.records("infohash")]
    finds = [begin, *(at for at in times if begin <= at <= end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(finds))


def timestamp_of(record: dict[str, Any]) -> float:
    """Return when a record was made, in epoch seconds."""
    return datetime.fromisoformat(record["ts"]).timestamp()


async def test_fake_neighbours_do_not_stall_the_crawl(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """While liars name ever more liars, honest infohashes go on being found, never a minute apart."""
    with Scene.of(tmp_path, 21, nodes=1500, infohashes=6000) as scene:
        liars = Liars(scene.world, random.Random(21))

        async def lie_from_now_on() -> None:
            await trio.sleep(1)
            liars.active = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lie_from_now_on)
            await scene.crawl(70, **SLOW_MOTION)

        assert liars.asked > 2 * scene.world.config.nodes
        reachable = scene.reachable()
        assert len(reachable & set(scene.found())) >= 0.8 * len(reachable)
        assert longest_drought(scene, 1, 70) < 60


async def test_names_that_do_not_resolve_are_tried_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the name server knows nobody the daemon waits and warns; when it does, the crawl begins."""

    def look_up(host: str, port: int, **_options: int) -> list[Any]:
        assert (host, port) == ("router.example.org", 7001)
        if trio.current_time() < 120:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.64.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with Scene.of(tmp_path, 31, nodes=200, infohashes=500) as scene:
        await scene.crawl(180, **SLOW_MOTION, network={"bootstrap": ("router.example.org:7001",)})

        unresolved = scene.status("bootstrap.host_unresolved")
        assert 3 <= len(unresolved) <= 12
        assert {fields["log_level"] for fields in unresolved} == {"warning"}
        assert len(scene.found()) > 0.9 * len(scene.reachable())


async def test_a_network_that_comes_late_is_found(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Bootstrap nodes that do not answer at first are asked again, and the crawl begins within a minute."""
    with Scene.of(tmp_path, 32, nodes=200, infohashes=500) as scene:
        scene.network.connected = False

        async def plug_in() -> None:
            await trio.sleep(300)
            scene.network.connected = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(plug_in)
            await scene.crawl(380, **SLOW_MOTION)

        assert timestamp_of(scene.records("infohash")[0]) - EPOCH < 360
        assert len(scene.found()) > 0.9 * len(scene.reachable())


async def test_saved_nodes_are_a_way_in(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """With nodes from an earlier run nobody has to be named to begin with."""
    state = {"directory": str(tmp_path / "state")}
    with Scene.of(tmp_path, 33, nodes=200, infohashes=500, interval=60) as scene:
        await scene.crawl(10, **SLOW_MOTION, state=state)
        (tmp_path / "state" / "ledger.ipv4").unlink()
        shutil.rmtree(tmp_path / "state" / "seen")
        await trio.sleep(60)
        found = len(scene.found())
        await scene.crawl(60, **SLOW_MOTION, state=state, network={"bootstrap": ()})

        assert len(scene.found()) > 1.5 * found


async def test_nobody_to_ask_is_no_crash(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Without a bootstrap host and without a past the daemon waits for somebody to speak to it."""
    with Scene.of(tmp_path, 34, nodes=10, infohashes=10) as scene:
        assert await scene.crawl(100, **SLOW_MOTION, network={"bootstrap": ()}) == 0
        assert scene.network.sent == []
