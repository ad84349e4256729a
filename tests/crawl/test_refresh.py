"""Refresh: pings whom a ping would tell about, refreshes buckets, follows our external address."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import trio

from crawler.crawl.refresh import Refresh, RefreshConfig
from crawler.dht.events import PingWanted
from crawler.dht.identity import is_secure
from crawler.dht.lookup import LookupConfig
from crawler.dht.peers import PeerStore, PeerStoreConfig
from crawler.wire.compact import join_nodes, pack_address
from tests.crawl.stages import Stages
from tests.net.endpoints import ScriptedNode, scripted, silent

if TYPE_CHECKING:
    from trio.testing import MockClock

OUR_IP = bytes([45, 10, 0, 1])


def peer_store() -> PeerStore:
    """Return an empty store."""
    return PeerStore(PeerStoreConfig(), random.Random(1))


async def run_for(
    stages: Stages, seconds: float, *nodes: ScriptedNode, store: PeerStore | None = None, **config: Any
) -> None:
    """Look after the table for so long."""
    refresh = Refresh(
        RefreshConfig(**config),
        stages.endpoint,
        sampler=stages.sampler,
        lookup=LookupConfig(),
        store=store or peer_store(),
        rng=random.Random(5),
        on_event=stages.on_event,
    )
    with trio.move_on_after(seconds):
        async with stages.running(*nodes) as nursery:
            nursery.start_soon(refresh.run)


def want_ping(stages: Stages, *nodes: ScriptedNode) -> None:
    """Let nodes have queried us."""
    for node in nodes:
        stages.endpoint.want_pings[node.compact] = PingWanted(node.id, node.compact)


async def test_who_queried_us_is_pinged_once(autojump_clock: MockClock) -> None:
    """A node that queried us proves itself by a pong: then it is in the table, and may be sampled."""
    stages = Stages.joined()
    node, dead = scripted(stages.net, 1), scripted(stages.net, 2, silent)
    want_ping(stages, node, dead)
    await run_for(stages, 30, node, dead)

    assert (node.methods, dead.methods) == ([b"ping"], [b"ping"])
    assert [member.id for member in stages.endpoint.node.table] == [node.id]
    assert [contact.address for contact in stages.frontier] == [node.compact]


async def test_pings_are_few_at_a_time(autojump_clock: MockClock) -> None:
    """In one look no more pings are sent than are set, whatever made them wanted; the rest follow."""
    stages = Stages.joined()
    queried = [scripted(stages.net, number) for number in range(1, 31)]
    questionable = [scripted(stages.net, number) for number in range(101, 141)]
    want_ping(stages, *queried)
    table = stages.endpoint.node.table
    for node in questionable:
        table.heard(node.id, node.compact, trio.current_time() - 1000)
    members = len(table)
    assert members >= 16
    await run_for(stages, 30.5, *queried, *questionable, pings_per_tick=4, tick=1.0)

    times = [at for node in queried + questionable for at, query in node.heard if query.method == b"ping"]
    per_second = [sum(second <= at - 0.02 < second + 1 for at in times) for second in range(30)]
    assert max(per_second) <= 4
    assert len(times) == len(queried) + members


async def test_questionable_nodes_are_pinged(autojump_clock: MockClock) -> None:
    """A member that was not heard of for 15 minutes is pinged, and is good again when it answers."""
    stages = Stages.joined()
    node = scripted(stages.net, 1)
    table = stages.endpoint.node.table
    table.heard(node.id, node.compact, trio.current_time() - 1000)
    assert not table.good_nodes(trio.current_time())
    await run_for(stages, 5, node)

    assert b"ping" in node.methods
    assert [member.id for member in table.good_nodes(trio.current_time())] == [node.id]


async def test_stale_buckets_are_refreshed(autojump_clock: MockClock) -> None:
    """A bucket unchanged for 15 minutes is refreshed by a lookup in it, and finds are passed on."""
    stages = Stages.joined()
    far = (b"\xee" * 20, pack_address(("127.8.0.1", 2000)))
    node = scripted(stages.net, 1, lambda _query: {b"nodes": join_nodes([far])})
    stages.endpoint.node.table.heard(node.id, node.compact, trio.current_time())
    await run_for(stages, 1000, node, tick=10.0)

    assert b"find_node" in node.methods
    assert stages.frontier.get(far[1]) is not None


async def test_forbidden_addresses_are_not_pinged(autojump_clock: MockClock) -> None:
    """A query with a forged source cannot make us ping what we never contact."""
    stages = Stages.joined()
    bad = pack_address(("224.0.0.1", 80))
    stages.endpoint.want_pings[bad] = PingWanted(b"b" * 20, bad)
    await run_for(stages, 5)

    assert stages.endpoint.node.counters.queries_sent == 0


async def test_our_id_follows_our_address(autojump_clock: MockClock) -> None:
    """Once enough networks agree on our address our id becomes one that is allowed there, and is told."""
    stages = Stages.joined()
    before = stages.endpoint.node.id
    assert not is_secure(before, OUR_IP)
    for number in range(1, 30):
        voter = pack_address((f"8.8.{number}.8", 6881))
        stages.endpoint.node.external.vote(OUR_IP, voter, trio.current_time())
    await run_for(stages, 5)

    after = stages.endpoint.node.id
    assert is_secure(after, OUR_IP)
    assert stages.events == [
        ("node.id_changed", {"node_id": after.hex(), "reason": "external address learned"})
    ]


async def test_an_id_that_fits_stays(autojump_clock: MockClock) -> None:
    """While nothing is known of our address, or our id is allowed there, it stays as it is."""
    stages = Stages.joined()
    before = stages.endpoint.node.id
    await run_for(stages, 5)

    assert stages.endpoint.node.id == before
    assert stages.events == []


async def test_expired_peers_are_dropped(autojump_clock: MockClock) -> None:
    """Peers that announced to us are forgotten when their time is over, without anybody asking for them."""
    stages = Stages.joined()
    store = PeerStore(PeerStoreConfig(lifetime=100.0), random.Random(1))
    store.announce(b"h" * 20, b"\x01\x02\x03\x04\x1a\xe1", 0.0)
    await run_for(stages, 50, store=store)
    assert store.statistics().infohashes == 1
    stages.endpoint.socket = stages.net.socket(("127.0.0.1", 6881))
    await run_for(stages, 150, store=store)

    assert store.statistics().infohashes == 0


async def test_a_lookup_does_not_delay_pings_for_ever(autojump_clock: MockClock) -> None:
    """While buckets are refreshed among nodes that fell silent, pings are still sent soon."""
    stages = Stages.joined()
    dead = [scripted(stages.net, number, silent) for number in range(1, 9)]
    for node in dead:
        stages.endpoint.node.table.heard(node.id, node.compact, trio.current_time())
    node = scripted(stages.net, 50)

    async def query_us() -> None:
        await trio.sleep(901)
        want_ping(stages, node)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(query_us)
        await run_for(stages, 960, node, *dead)

    assert node.heard
    assert node.heard[0][0] < 901 + 30
