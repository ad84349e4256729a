"""The fetch against real sockets of which most belong to dead, slow or lying peers."""

from __future__ import annotations

import json
import random
import sys

import pytest
import trio

from crawler.crawl.failures import FailuresConfig
from crawler.crawl.fetch import Fetcher, FetchSections
from crawler.crawl.fetch_job import FetchConfig, Origin
from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.net.peers import PeerClient, PeersConfig
from crawler.records import Record
from crawler.swarm.connection import ConnectionConfig
from crawler.swarm.metadata import MetadataConfig
from tests.interop import loopback
from tests.sim.hard_client import TimedCalls, memory, open_files, until
from tests.sim.hard_peers import WAYS, HardWorld, make_world

DEADLINE = 6.0
PORT = 6881


def impatient_client() -> PeerClient:
    """Return a client whose patience is a fifth of the usual."""
    return PeerClient(
        b"-DC0100-hard-world-0",
        allow_private=True,
        peers=PeersConfig(dial_timeout=1.0),
        connection=ConnectionConfig(handshake_timeout=2.0),
        metadata=MetadataConfig(extensions_timeout=2.0, stall_window=2.0),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127/8 on loopback")
async def test_every_infohash_with_one_honest_peer_is_fetched() -> None:
    """60 % of the peers are dead in nine ways: everything is fetched in time, and nothing is left behind."""
    world = make_world(80, 5, loopback.own_network(), PORT, random.Random(3))
    everybody = [peer for peers in world for peer in peers]
    dead = sum(peer.way != "honest" for peer in everybody)
    assert 0.55 <= dead / len(everybody) <= 0.65
    sender, receiver = trio.open_memory_channel[list[Record]](1000)
    outlet = Outlet(OutletConfig(), sender, lambda now: now, lambda: 0)
    client = impatient_client()
    calls = TimedCalls(client)
    fetcher = Fetcher(
        FetchSections(FetchConfig(deadline=DEADLINE, hedge_after=0.2), FailuresConfig()),
        calls,
        outlet,
        seek=lambda infohash: fetcher.sought(infohash, trio.current_time()),
        admit=lambda _address: True,
        spread=False,
    )
    files_before = open_files()
    async with trio.open_nursery() as nursery:
        hard = HardWorld(everybody)
        await nursery.start(hard.run)
        memory_before = memory()
        async with trio.open_nursery() as fetching:
            fetching.start_soon(fetcher.run)
            for peers in world:
                addresses = [peer.address for peer in peers]
                fetcher.offer(peers[0].torrent.infohash, addresses, Origin.NAMED, trio.current_time())
            with trio.move_on_after(15):
                await until(
                    lambda: fetcher.jobs.counters.fetched == len(world) and not fetcher.jobs.in_flight
                )
            assert memory() - memory_before < 80 << 20
            fetching.cancel_scope.cancel()
        outlet.flush()
        found = [json.loads(line) for r in receiver.receive_nowait() for line in r.lines().splitlines()]
        nursery.cancel_scope.cancel()

    counters = fetcher.jobs.counters
    assert (counters.fetched, fetcher.jobs.held) == (len(world), 0), (counters, client.counters.failures)
    assert {line["infohash"] for line in found} == {peers[0].torrent.infohash.hex() for peers in world}
    honest = {tuple(peer.address[:4]) for peer in everybody if peer.way == "honest"}
    assert {tuple(map(int, line["peer"].split(":")[0].split("."))) for line in found} <= honest
    assert max(end - begin for begin, end in calls.times.values()) <= DEADLINE + 0.5
    assert set(hard.visits) == {"honest", *WAYS} - {"refuse"}
    assert (client.counters.open, client.budget.used, open_files()) == (0, 0, files_before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127/8 on loopback")
async def test_infohashes_without_an_honest_peer_end_too() -> None:
    """Jobs whose peers are all dead give up within the deadline, rest, and leave nothing open."""
    world = make_world(9, 6, loopback.own_network(), PORT, random.Random(4))
    everybody = [peer for peers in world for peer in peers if peer.way != "honest"]
    sender, _receiver = trio.open_memory_channel[list[Record]](1000)
    client = impatient_client()
    calls = TimedCalls(client)
    fetcher = Fetcher(
        FetchSections(FetchConfig(deadline=3.0, hedge_after=0.1), FailuresConfig()),
        calls,
        Outlet(OutletConfig(), sender, lambda now: now, lambda: 0),
        seek=lambda infohash: fetcher.sought(infohash, trio.current_time()),
        admit=lambda _address: True,
        spread=False,
    )
    async with trio.open_nursery() as nursery:
        hard = HardWorld(everybody)
        await nursery.start(hard.run)
        files_before = open_files()
        nursery.start_soon(fetcher.run)
        for peers in world:
            addresses = [peer.address for peer in peers if peer.way != "honest"]
            fetcher.offer(peers[0].torrent.infohash, addresses, Origin.NAMED, trio.current_time())
        with trio.move_on_after(8):
            await until(lambda: fetcher.jobs.resting == len(world))
        jobs = fetcher.jobs
        assert (jobs.counters.fetched, jobs.resting, jobs.held, jobs.in_flight) == (
            0,
            len(world),
            len(world),
            0,
        )
        with trio.move_on_after(2):
            await until(lambda: not hard.connected)
        # The one that all links are waited for by.
        assert open_files() == files_before + 1
        nursery.cancel_scope.cancel()
    assert max(end - begin for begin, end in calls.times.values()) <= 3.5
