"""The locator: the giver is asked first, the rest waits for a lookup, and the books balance."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from crawler.crawl.lookup_queue import Why
from crawler.dht.events import Sighting
from crawler.records import PeersFound
from crawler.wire import krpc
from crawler.wire.compact import Family, join_nodes, pack_address
from tests.crawl.stages import Stages
from tests.net.endpoints import HERE, ScriptedNode, refuse, scripted, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

PEER, OTHER_PEER = pack_address(("127.99.0.1", 6000)), pack_address(("127.99.0.2", 6000))


def infohash(number: int) -> bytes:
    """Return an infohash that tests can tell from others."""
    return number.to_bytes(20, "big")


def has(*peers: object) -> Callable[[krpc.Query], dict[bytes, Any]]:
    """Return the script of a node that has these peers of everything."""
    return lambda _query: {b"values": list(peers), b"token": b"t", b"nodes": b""}


async def run_for(stages: Stages, seconds: float, *nodes: ScriptedNode) -> None:
    """Ask the first questions as they fall due, for so long."""
    with trio.move_on_after(seconds):
        async with stages.running(*nodes):
            while True:
                stages.locate()
                await trio.sleep(0.05)


def check_books(stages: Stages) -> None:
    """Every infohash that came in is settled, dropped or held; what is settled waits for a lookup."""
    locator = stages.locator
    counters = locator.counters
    in_flight = len(stages.endpoint.node.transactions)
    assert counters.infohashes_in == counters.settled + counters.dropped_waiting + locator.waiting + in_flight
    assert counters.settled == len(stages.queue) + stages.queue.dropped
    assert len(stages.queue._queues[Why.ONE_NODE]) == stages.desk.counters.located


async def test_the_giver_is_asked_first(autojump_clock: MockClock) -> None:
    """The node that gave an infohash is asked for its peers, and what it says is one record."""
    stages = Stages.joined()
    giver = scripted(stages.net, 1, has(PEER, OTHER_PEER, PEER))
    stages.locator.sampled(giver.compact, [infohash(1)])
    await run_for(stages, 1, giver)

    [(_, query)] = giver.heard
    assert (query.method, query.args[b"info_hash"]) == (b"get_peers", infohash(1))
    assert stages.records == [
        PeersFound(
            pytest.approx(0.1, abs=0.02),  # type: ignore[arg-type] # compares as a float
            infohash(1),
            "get_peers",
            (PEER, OTHER_PEER),
            (giver.compact,),
        )
    ]
    check_books(stages)


async def test_a_giver_is_asked_at_its_pace(autojump_clock: MockClock) -> None:
    """The infohashes of one node are asked a second apart after a burst of five; others need not wait."""
    stages = Stages.joined()
    giver, other = scripted(stages.net, 1, has(PEER)), scripted(stages.net, 2, has(PEER))
    stages.locator.sampled(giver.compact, [infohash(number) for number in range(20)])
    stages.locator.sampled(other.compact, [infohash(100)])
    await run_for(stages, 40, giver, other)

    times = [at for at, _ in giver.heard]
    assert len(times) == 20
    assert times[4] < 0.2
    assert all(count <= 5 + at for count, at in enumerate(times, 1))
    assert times[-1] < 35
    assert other.heard[0][0] < 0.2
    assert len(stages.located) == 21
    check_books(stages)


@pytest.mark.parametrize("script", [silent, refuse(201), lambda _query: {b"nodes": b""}, has()])
@pytest.mark.parametrize("right_before", [True, False])
async def test_what_the_giver_does_not_settle_waits_for_a_lookup(
    autojump_clock: MockClock, script: Callable[[krpc.Query], Any], right_before: bool
) -> None:
    """Silence, an error, or no peers: the infohash waits for a lookup, for better days if it is in doubt."""
    stages = Stages.joined()
    giver = scripted(stages.net, 1, script)
    if right_before:
        stages.credit.named_peers(giver.compact, infohash(9))
    stages.locator.sampled(giver.compact, [infohash(1)])
    await run_for(stages, 4, giver)

    assert stages.located == {}
    assert len(stages.queue) == 1
    assert right_before or stages.queue.take(idle=False) is None
    wanted = stages.queue.take(idle=True)
    assert wanted is not None
    assert (wanted.infohash, wanted.why) == (infohash(1), Why.UNKNOWN if right_before else Why.DOUBTED)


async def test_what_the_giver_settled_is_looked_up_when_there_is_time(autojump_clock: MockClock) -> None:
    """One node knows only some of the peers: when there is nothing else to do the others are asked."""
    stages = Stages.joined()
    giver = scripted(stages.net, 1, has(PEER))
    stages.locator.sampled(giver.compact, [infohash(1)])
    await run_for(stages, 1, giver)

    assert stages.queue.take(idle=False) is None
    wanted = stages.queue.take(idle=True)
    assert wanted is not None
    assert (wanted.infohash, wanted.why) == (infohash(1), Why.ONE_NODE)


async def test_the_givers_neighbours_start_the_lookup(autojump_clock: MockClock) -> None:
    """The nodes that a giver names in place of peers are where the lookup begins, at most eight."""
    stages = Stages.joined()
    nodes = [(bytes([number]) * 20, pack_address(("127.8.0.1", 1000 + number))) for number in range(10)]
    giver = scripted(stages.net, 1, lambda _query: {b"nodes": join_nodes(nodes)})
    stages.locator.sampled(giver.compact, [infohash(1)])
    await run_for(stages, 1, giver)

    wanted = stages.queue.take(idle=True)
    assert wanted is not None
    assert (wanted.nodes, wanted.family) == (join_nodes(nodes[:8]), Family.IPV4)


@pytest.mark.parametrize("values", [7, b"x" * 5, [1, 2], [b"x"], {b"a": b"b"}, [[PEER]]])
async def test_odd_values_are_no_peers(autojump_clock: MockClock, values: object) -> None:
    """Whatever stands in place of peers, the infohash goes on to a lookup."""
    stages = Stages.joined()
    giver = scripted(stages.net, 1, lambda _query: {b"values": values})
    stages.locator.sampled(giver.compact, [infohash(1)])
    await run_for(stages, 1, giver)

    assert stages.located == {}
    assert len(stages.queue) == 1


async def test_forbidden_peers_are_not_written(autojump_clock: MockClock) -> None:
    """Peers at port 0, at multicast addresses or at our own are refused and counted."""
    stages = Stages.joined()
    bad = [pack_address(address) for address in [HERE, ("127.8.0.1", 0), ("239.0.0.1", 80)]]
    giver = scripted(stages.net, 1, has(*bad, PEER))
    stages.locator.sampled(giver.compact, [infohash(1)])
    await run_for(stages, 1, giver)

    assert stages.located == {infohash(1): [PEER]}
    assert stages.locator.counters.peers_refused == 3


async def test_a_flood_of_peers_is_cut(autojump_clock: MockClock) -> None:
    """A record has at most as many peers as are set; the rest is counted."""
    stages = Stages.joined(locate={"max_peers": 3})
    giver = scripted(stages.net, 1, has(*(pack_address(("127.99.0.1", port)) for port in range(2000, 2010))))
    stages.locator.sampled(giver.compact, [infohash(1)])
    await run_for(stages, 1, giver)

    assert len(stages.located[infohash(1)]) == 3
    counters = stages.desk.counters
    assert (counters.peers, counters.over_limit, counters.located) == (3, 7, 1)


def test_both_queues_are_bounded() -> None:
    """Infohashes that find no room are dropped, the newest there, the oldest here, and each is counted."""
    stages = Stages.joined(locate={"max_waiting": 10, "max_lookups_waiting": 4})
    locator = stages.locator
    for number in range(6):
        locator.sampled(
            pack_address((f"127.8.{number}.1", 2000)), [infohash(3 * number + n) for n in range(3)]
        )
    assert (locator.waiting, locator.counters.dropped_waiting) == (10, 8)

    for number in range(100, 106):
        locator.sighted(Sighting(infohash(number), "get_peers", PEER, None))
    assert (len(stages.queue), stages.queue.dropped) == (4, 2)
    check_books(stages)
    wanted = [stages.queue.take(idle=True) for _ in range(5)]
    assert [w and w.infohash for w in wanted] == [infohash(n) for n in (105, 104, 103, 102)] + [None]


def test_givers_without_room_are_not_remembered() -> None:
    """When the queue is full, givers whose infohashes are dropped take no memory either."""
    stages = Stages.joined(locate={"max_waiting": 1})
    for number in range(1000):
        stages.locator.sampled(
            pack_address((f"127.8.{number // 250}.{number % 250}", 2000)), [infohash(number)]
        )

    assert stages.locator.counters.dropped_waiting == 999
    assert len(stages.locator._givers) == 1
    assert len(stages.locator._turn) == 1


async def test_a_giver_that_is_done_is_forgotten(autojump_clock: MockClock) -> None:
    """A node whose infohashes were all asked takes no memory, and may give more later."""
    stages = Stages.joined()
    giver = scripted(stages.net, 1, has(PEER))
    stages.locator.sampled(giver.compact, [infohash(1)])
    await run_for(stages, 1, giver)
    assert not stages.locator._givers

    stages.endpoint.socket = stages.net.socket(HERE)
    stages.locator.sampled(giver.compact, [infohash(2)])
    await run_for(stages, 1, giver)
    assert stages.located.keys() == {infohash(1), infohash(2)}


@pytest.mark.parametrize("late", [refuse(202), has(), has(PEER)])
async def test_a_late_answer_counts_once(
    autojump_clock: MockClock, late: Callable[[krpc.Query], Any]
) -> None:
    """An answer after the timeout settles the infohash or leaves it waiting, but never twice over."""
    stages = Stages.joined()
    giver = scripted(stages.net, 1, silent)
    stages.credit.named_peers(giver.compact, infohash(9))
    stages.locator.sampled(giver.compact, [infohash(1)])
    with trio.move_on_after(8):
        async with stages.running(giver):
            stages.locate()
            await trio.sleep(5)
            assert len(stages.queue) == 1
            [(_, query)] = giver.heard
            answer = late(query)
            if isinstance(answer, dict):
                answer = krpc.response(query.tid, {b"id": giver.id, **answer})
            giver.socket.send_batch([(answer, HERE)])
            await trio.sleep_forever()

    check_books(stages)
    assert (stages.queue.take(idle=False) is None) == (infohash(1) in stages.located)


def test_no_more_is_asked_than_is_allowed() -> None:
    """A batch has at most as many questions as there is budget for; the others keep their turn."""
    stages = Stages.joined()
    for number in range(10):
        stages.locator.sampled(pack_address((f"127.8.{number}.1", 2000)), [infohash(number)])

    assert [len(stages.locator.next_queries(4, 0.0)) for _ in range(4)] == [4, 4, 2, 0]
    assert stages.locator.counters.asked == 10


def test_our_newest_id_is_used() -> None:
    """Questions carry the id that we have when they are asked."""
    stages = Stages.joined()
    stages.locator.sampled(PEER, [infohash(1), infohash(2)])
    sent = stages.locator.next_queries(1, 0.0)
    stages.endpoint.node.change_id(b"n" * 20, 0.0)
    sent += stages.locator.next_queries(1, 0.0)

    queries = [krpc.decode(data) for data, _ in sent]
    assert [query.id for query in queries if isinstance(query, krpc.Query)] == [b"o" * 20, b"n" * 20]


def test_what_waits_survives_a_restart() -> None:
    """Each giver is asked for what it gave before a restart; what is no piece of ours is refused."""
    one, other = pack_address(("127.0.1.1", 6881)), pack_address(("127.0.1.2", 6881))
    first, again = Stages.joined(), Stages.joined()
    first.locator.sampled(one, [infohash(1), infohash(2)])
    first.locator.sampled(other, [infohash(3)])
    pieces = list(first.locator.to_pieces())
    assert all(again.locator.restore(piece) for piece in pieces)

    assert list(again.locator.to_pieces()) == pieces
    assert again.locator.waiting == 3
    for piece in ([one, bytes(19)], [bytes(18), bytes(20)], [one], [1, bytes(20)], [bytes(6), bytes(20)]):
        assert not again.locator.restore(piece)
    assert again.locator.waiting == 3
    check_books(again)


async def test_of_a_giver_without_credit_hardly_anything_waits(autojump_clock: MockClock) -> None:
    """When a giver has lost its credit, what it gave is dropped down to an answer's worth, and counted."""
    stages = Stages.joined(credit={"min_verdicts": 3})
    giver = scripted(stages.net, 1, has())
    stages.locator.sampled(giver.compact, [infohash(number) for number in range(100)])
    await run_for(stages, 20, giver)

    counters = stages.locator.counters
    assert not stages.credit.trusts(giver.compact)
    assert counters.dropped_discredited >= 70
    assert counters.infohashes_in == 100
    assert counters.infohashes_in == counters.settled + counters.dropped_discredited + stages.locator.waiting
