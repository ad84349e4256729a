"""Lookups for peers: from hint to holder, so many at once, and within the share of the budget."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from crawler.crawl.lookup_queue import Wanted, Why
from crawler.crawl.lookups import PeerLookups, Searcher
from crawler.dht.events import Sighting
from crawler.dht.lookup import LookupConfig
from crawler.records import PeersFound
from crawler.wire.compact import join_nodes, pack_address
from tests.crawl.stages import Stages
from tests.net.endpoints import ScriptedNode, names, scripted, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from crawler.crawl.lookups import LookupCounters
    from crawler.wire import krpc

PEERS = [pack_address(("127.99.0.1", port)) for port in range(2000, 2003)]


def infohash(number: int) -> bytes:
    """Return an infohash that tests can tell from others."""
    return number.to_bytes(20, "big")


def has(*peers: bytes, nodes: bytes = b"") -> Callable[[krpc.Query], dict[bytes, Any]]:
    """Return the script of a node that has these peers of everything, and names these nodes."""
    return lambda _query: {b"values": list(peers), b"nodes": nodes}


def sight(stages: Stages, number: int) -> None:
    """Let a stranger's query name an infohash."""
    stages.locator.sighted(Sighting(infohash(number), "get_peers", PEERS[0], None))


def join_lookups(*families: Stages) -> PeerLookups:
    """Return the lookups over the sockets of all ``families``; queue and desk are the first's."""
    first = families[0]
    searchers = [Searcher(s.endpoint, s.locator, s.sampler, s.pace) for s in families]
    return PeerLookups(first.locator.config, LookupConfig(), first.queue, first.desk, searchers)


async def run_for(
    stages: Stages, seconds: float, *nodes: ScriptedNode, lookups: PeerLookups | None = None
) -> LookupCounters:
    """Run lookups for so long; the pace stands still, and what it would allow is not asked for."""
    lookups = lookups or join_lookups(stages)
    with trio.move_on_after(seconds):
        async with stages.running(*nodes) as nursery:
            nursery.start_soon(lookups.run)
    return lookups.counters


def introduce(stages: Stages, *nodes: ScriptedNode) -> None:
    """Put nodes into the routing table."""
    for node in nodes:
        stages.endpoint.node.table.heard(node.id, node.compact, trio.current_time())


async def test_it_finds_the_holders(autojump_clock: MockClock) -> None:
    """From the table the lookup finds the nodes closest to the infohash; all their peers are one record."""
    stages = Stages.joined()
    holders = [scripted(stages.net, number, has(PEERS[number - 1])) for number in (1, 2, 3)]
    guide = scripted(stages.net, 9, names(*holders))
    introduce(stages, guide)
    sight(stages, 0)
    counters = await run_for(stages, 5, guide, *holders)

    assert {ih: sorted(peers) for ih, peers in stages.located.items()} == {infohash(0): PEERS}
    [record] = stages.records
    assert isinstance(record, PeersFound)
    assert set(record.named_by) == {holder.compact for holder in holders}
    assert (counters.lookups, counters.empty, stages.desk.counters.located) == (1, 0, 1)


async def test_hints_are_where_it_begins(autojump_clock: MockClock) -> None:
    """Nodes that a giver named are asked even when the table knows nobody; forbidden ones are not."""
    stages = Stages.joined()
    holder = scripted(stages.net, 1, has(PEERS[0]))
    bad = (b"\x00" * 20, pack_address(("224.0.0.1", 80)))
    nodes = join_nodes([bad, holder.contact])
    stages.queue.want(Wanted(infohash(0), Why.UNKNOWN, nodes, stages.endpoint.node.family))
    await run_for(stages, 5, holder)

    assert stages.located == {infohash(0): [PEERS[0]]}
    # For its peers, and because it had any for how many there are.
    assert stages.endpoint.node.counters.queries_sent == len(holder.heard) == 2


async def test_nothing_found_is_counted(autojump_clock: MockClock) -> None:
    """A lookup that finds no peers writes nothing and is counted as empty."""
    stages = Stages.joined()
    node = scripted(stages.net, 1, has())
    introduce(stages, node)
    sight(stages, 0)
    counters = await run_for(stages, 5, node)

    assert (counters.lookups, counters.empty, stages.records) == (1, 1, [])


async def test_with_nobody_to_ask_it_is_over(autojump_clock: MockClock) -> None:
    """Without any node to begin with a lookup ends empty."""
    stages = Stages.joined()
    sight(stages, 0)
    counters = await run_for(stages, 2)

    assert counters.empty == 1


async def test_so_many_run_at_once(autojump_clock: MockClock) -> None:
    """No more lookups run at a time than are set, and each one's end lets the next begin."""
    stages = Stages.joined(locate={"parallel_lookups": 2})
    node = scripted(stages.net, 1, silent)
    running: set[bytes] = set()
    over: list[bytes] = []
    most = 0

    def watch(query: krpc.Query) -> dict[bytes, Any]:
        nonlocal most
        running.add(query.args[b"info_hash"])
        most = max(most, len(running) - len(over))
        return {}

    node.script = watch
    introduce(stages, node)
    for number in range(5):
        sight(stages, number)
    lookups = join_lookups(stages)
    lookups.on_end = lambda infohash, _now: over.append(infohash)
    await run_for(stages, 20, node, lookups=lookups)

    assert most == 2
    assert sorted(over) == [infohash(number) for number in range(5)]


async def test_the_same_infohash_twice_is_no_crash(autojump_clock: MockClock) -> None:
    """However one infohash came to wait twice, both lookups run side by side."""
    stages = Stages.joined()
    node = scripted(stages.net, 1, silent)
    introduce(stages, node)
    lookups = join_lookups(stages)
    with trio.move_on_after(5):
        async with stages.running(node) as nursery:
            nursery.start_soon(lookups.run)
            sight(stages, 0)
            await trio.sleep(0.5)
            assert len(stages.queue) == 0
            sight(stages, 0)
            await trio.sleep_forever()

    assert lookups.counters.lookups == 2


async def test_a_debt_of_the_share_holds_lookups_back(autojump_clock: MockClock) -> None:
    """While peers' share is overdrawn and there is sampling to do, no lookup starts."""
    stages = Stages.joined(max_rate=10.0)
    node = scripted(stages.net, 1, has(PEERS[0]))
    introduce(stages, node)
    stages.pace.charge_peers(100, trio.current_time())
    sight(stages, 0)
    await run_for(stages, 15, node)
    assert len(stages.queue) == 1

    stages.endpoint.socket = stages.net.socket(("127.0.0.1", 6881))
    await run_for(stages, 10, node)
    assert stages.located == {infohash(0): [PEERS[0]]}


async def test_queries_are_charged_to_the_share(autojump_clock: MockClock) -> None:
    """What a lookup asks is taken from the peers' share of the budget."""
    stages = Stages.joined(max_rate=10.0)
    holders = [scripted(stages.net, number, has()) for number in range(1, 9)]
    introduce(stages, *holders)
    before = stages.pace._peers.available(trio.current_time())
    sight(stages, 0)
    await run_for(stages, 0.4, *holders)

    asked = sum(len(node.heard) for node in holders)
    assert asked >= 4
    assert before - stages.pace._peers.available(trio.current_time()) >= asked - 5 * 0.4 - 1


async def test_nodes_on_the_way_become_contacts(autojump_clock: MockClock) -> None:
    """Whom a lookup hears of may be sampled later."""
    stages = Stages.joined()
    far = (b"\xff" * 20, pack_address(("127.8.0.1", 2000)))
    node = scripted(stages.net, 1, lambda _query: {b"nodes": join_nodes([far])})
    introduce(stages, node)
    sight(stages, 0)
    await run_for(stages, 0.15, node)

    assert stages.frontier.get(far[1]) is not None


async def test_what_rumour_knows_is_tried_once(autojump_clock: MockClock) -> None:
    """An address that was asked in vain is not asked again by the next lookup that hears of it."""
    stages = Stages.joined()
    dead = scripted(stages.net, 3, silent)
    stages.sampler.learn([dead.contact])
    guide = scripted(stages.net, 9, names(dead))
    introduce(stages, guide)
    for number in range(5):
        sight(stages, number)
    counters = await run_for(stages, 30, guide, dead)

    assert len(dead.heard) == 1
    assert counters.lookups == 5


@pytest.mark.parametrize("trouble", ["uplink", "outlet"])
async def test_trouble_holds_lookups_back(autojump_clock: MockClock, trouble: str) -> None:
    """No lookup starts while the uplink is lost or the output is full."""
    stages = Stages.joined(outlet={"max_waiting": 1})
    node = scripted(stages.net, 1, has(PEERS[0]))
    introduce(stages, node)
    if trouble == "uplink":
        stages.pace.uplink_lost = True
    else:
        stages.desk.located(infohash(7), PEERS, (), 0.0)
    sight(stages, 0)
    await run_for(stages, 5, node)

    assert len(stages.queue) == 1
    assert node.heard == []
