"""The pace: how the budget is split, and what a lost uplink or a full output does to it."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio

from crawler.crawl.frontier import Standing
from crawler.wire import krpc
from crawler.wire.compact import Address, pack_address
from tests.crawl.stages import Stages
from tests.net.endpoints import ScriptedNode, scripted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

NEVER = 10**9


def strangers(count: int, *, network: int = 100) -> list[tuple[bytes, bytes]]:
    """Return nodes at addresses where nobody lives, each in a /24 of its own."""
    return [
        (bytes([number % 256]) * 20, pack_address((f"127.{network + number // 250}.{number % 250}.1", 2000)))
        for number in range(count)
    ]


def owe(stages: Stages, count: int, *, each: int = 1) -> None:
    """Let so many nodes have given ``each`` infohashes whose peers are still to be sought."""
    numbers = itertools.count(1)
    for _, address in strangers(count, network=150):
        stages.locator.sampled(address, [next(numbers).to_bytes(20, "big") for _ in range(each)])


class Tap:
    """Stands in for the socket, and writes down what the pace sends, when, and in which batches."""

    def __init__(self, local: Address) -> None:
        self.local = local
        self.errors: Counter[str] = Counter()
        self.batches: list[tuple[float, Counter[bytes]]] = []

    def send_batch(self, datagrams: Sequence[tuple[bytes, Address]]) -> int:
        """Write down one batch."""
        queries = [krpc.decode(data) for data, _ in datagrams]
        methods = Counter(query.method for query in queries if isinstance(query, krpc.Query))
        self.batches.append((trio.current_time(), methods))
        return len(datagrams)

    async def receive_batch(self) -> list[tuple[bytes, Address]]:
        """Never receive anything."""
        await trio.sleep_forever()
        raise AssertionError

    def close(self) -> None:
        """Do nothing."""

    def between(self, begin: float, end: float) -> Counter[bytes]:
        """Return the queries sent from ``begin`` to ``end``, by method."""
        return sum((sent for at, sent in self.batches if begin <= at < end), Counter())


def tapped(**options: Any) -> tuple[Stages, Tap]:
    """Return stages whose queries nobody answers, with the uplink trusted all the same."""
    stages = Stages.joined(**{"pace": {"uplink_lost_after": NEVER}, **options})
    tap = Tap(stages.endpoint.socket.local)
    stages.endpoint.socket.close()
    stages.endpoint.socket = tap
    return stages, tap


async def run_for(stages: Stages, seconds: float, *nodes: ScriptedNode) -> None:
    """Let the pace run for so long."""
    with trio.move_on_after(seconds):
        async with stages.running(*nodes) as nursery:
            nursery.start_soon(stages.pace.run)


async def test_the_rate_is_kept_and_used(autojump_clock: MockClock) -> None:
    """With enough to ask, the queries of every second are as many as allowed, after one burst."""
    stages, tap = tapped(max_rate=100.0)
    stages.know(strangers(2000))
    await run_for(stages, 10)

    assert tap.between(0, 10).total() == pytest.approx(100 * 10 + 25, abs=5)
    for begin in (0, 0.5, 1, 3.3, 7.7):
        assert tap.between(begin, begin + 1).total() <= 100 * 1.25 + 1


async def test_batches_are_small(autojump_clock: MockClock) -> None:
    """No batch is larger than is set, so that answers do not come in floods."""
    stages, tap = tapped(max_rate=10_000.0, pace={"largest_batch": 50, "uplink_lost_after": NEVER})
    stages.know(strangers(5000))
    await run_for(stages, 1)

    assert max(sent.total() for _, sent in tap.batches) == 50
    assert tap.between(0, 1).total() == pytest.approx(5000, abs=100)


async def test_peers_get_their_share(autojump_clock: MockClock) -> None:
    """While there is enough of both, the budget is split as set."""
    stages, tap = tapped(max_rate=100.0, locate={"share": 0.3})
    stages.know(strangers(2000))
    owe(stages, 2000)
    await run_for(stages, 10)

    sent = tap.between(1, 10)
    assert sent[b"get_peers"] == pytest.approx(0.3 * 900, abs=15)
    assert sent[b"sample_infohashes"] == pytest.approx(0.7 * 900, abs=15)


async def test_sampling_takes_what_peers_leave(autojump_clock: MockClock) -> None:
    """Without anything to locate, sampling has the whole budget."""
    stages, tap = tapped(max_rate=100.0)
    stages.know(strangers(2000))
    await run_for(stages, 10)

    assert tap.between(1, 10)[b"sample_infohashes"] == pytest.approx(900, abs=10)


async def test_peers_take_what_sampling_leaves(autojump_clock: MockClock) -> None:
    """With nobody to sample, the whole budget goes to peers."""
    stages, tap = tapped(max_rate=100.0, locate={"share": 0.1})
    owe(stages, 2000)
    await run_for(stages, 10)

    assert tap.between(1, 10)[b"get_peers"] == pytest.approx(900, abs=10)


async def test_no_share_is_no_questions(autojump_clock: MockClock) -> None:
    """With a share of 0 no first question is asked, whatever is left of the budget."""
    stages, tap = tapped(max_rate=100.0, locate={"share": 0.0})
    owe(stages, 100)
    await run_for(stages, 5)

    assert tap.batches == []


async def test_exploring_gets_the_rest(autojump_clock: MockClock) -> None:
    """With nobody to sample and nothing to locate, those who answered are asked for other nodes."""
    stages, tap = tapped(max_rate=100.0, explore={"rest": 0.5})
    for node_id, address in strangers(500):
        stages.explorer.met(node_id, address, 0.0)
    await run_for(stages, 5)

    sent = tap.between(0, 5)
    assert sent.keys() == {b"find_node"}
    assert sent.total() > 100


async def test_who_waits_for_the_budget_goes_first(autojump_clock: MockClock) -> None:
    """A coroutine that asks is not starved by a crawl that could use every query."""
    stages = Stages.joined(max_rate=20.0, pace={"uplink_lost_after": NEVER})
    stages.know(strangers(2000))
    node = scripted(stages.net, 1)
    answered: list[float] = []

    async def ask() -> None:
        await trio.sleep(5)
        for _ in range(4):
            await stages.endpoint.ping(node.compact)
            answered.append(trio.current_time())

    with trio.move_on_after(8):
        async with stages.running(node) as nursery:
            nursery.start_soon(stages.pace.run)
            nursery.start_soon(ask)

    assert len(answered) == 4
    assert answered[-1] < 6.5


async def test_who_waits_for_room_in_flight_goes_first(autojump_clock: MockClock) -> None:
    """When as much is in flight as may be, the next place goes to the coroutine that waits for one."""
    stages = Stages.joined(max_rate=1000.0, pace={"uplink_lost_after": NEVER})
    stages.endpoint.node.transactions._capacity = 50
    stages.know(strangers(2000))
    node = scripted(stages.net, 1)
    answered: list[float] = []

    async def ask() -> None:
        await trio.sleep(5.03)
        for _ in range(3):
            await stages.endpoint.ping(node.compact)
            answered.append(trio.current_time())

    with trio.move_on_after(40):
        async with trio.open_nursery() as nursery:
            await nursery.start(stages.endpoint.run)
            nursery.start_soon(node.run)
            nursery.start_soon(stages.pace.run)
            nursery.start_soon(ask)

    # A place is free ten seconds after it was taken, since so late an answer is still an answer.
    assert len(answered) == 3
    assert answered[-1] < 16


async def test_a_full_table_of_transactions_pauses_asking(autojump_clock: MockClock) -> None:
    """No more is asked than may be in flight."""
    stages, tap = tapped(max_rate=1000.0)
    stages.endpoint.node.transactions._capacity = 50
    stages.know(strangers(500))
    await run_for(stages, 3)

    assert tap.between(0, 3).total() == 50


async def test_a_full_output_pauses_asking(autojump_clock: MockClock) -> None:
    """While the output is full nothing is asked, and what waits is offered to it again and again."""
    stages, tap = tapped(max_rate=100.0, outlet={"max_waiting": 10})
    sender, receiver = trio.open_memory_channel[Any](0)
    stages.outlet._channel = sender
    written = 0
    stages.outlet._written = lambda: written
    stages.know(strangers(2000))
    for number in range(10):
        stages.desk.located(bytes([number]) * 20, [b"\x7f\x63\x00\x01\x17\x70"], (), 0.0)

    async def drain() -> None:
        nonlocal written
        await trio.sleep(5)
        written = len(await receiver.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await run_for(stages, 10)

    assert tap.between(0, 5).total() == 0
    assert tap.between(5.1, 10).total() > 400


async def test_an_idle_pace_sleeps(autojump_clock: MockClock) -> None:
    """With nobody to ask the pace looks around some times a second, not with every tick."""
    stages, _ = tapped(max_rate=100.0, pace={"tick": 0.01})
    looks = 0
    look = stages.pace._next_batch

    def count(now: float) -> list[Any]:
        nonlocal looks
        looks += 1
        return look(now)

    stages.pace._next_batch = count  # type: ignore[method-assign] # to count how often it is called
    await run_for(stages, 10)

    assert 10 < looks <= 250


async def answer_now_and_then(stages: Stages, begin: float, end: float) -> None:
    """Let somebody answer twice a second, except from ``begin`` to ``end``."""
    while True:
        await trio.sleep(0.5)
        if not begin <= trio.current_time() < end:
            stages.endpoint.last_answer = trio.current_time()


async def test_a_lost_uplink_stops_asking(autojump_clock: MockClock) -> None:
    """When nothing has been answered for a while the pace stops, and begins again with the first answer."""
    stages, tap = tapped(max_rate=100.0, pace={"uplink_lost_after": 5.0})
    stages.know(strangers(5000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_now_and_then, stages, 10, 60)
        await run_for(stages, 70)
        nursery.cancel_scope.cancel()

    assert tap.between(0, 10)[b"sample_infohashes"] > 900
    assert tap.between(10, 16)[b"sample_infohashes"] > 400
    assert tap.between(16, 60)[b"sample_infohashes"] == 0
    assert tap.between(61, 70)[b"sample_infohashes"] > 800


async def test_a_lost_uplink_makes_nobody_silent(autojump_clock: MockClock) -> None:
    """Whoever was asked while the uplink was away is asked again when it is back."""
    stages, _tap = tapped(max_rate=100.0, pace={"uplink_lost_after": 5.0})
    stages.know(strangers(800))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_now_and_then, stages, 0, 60)
        await run_for(stages, 60.9)
        nursery.cancel_scope.cancel()

    silent = sum(contact.standing is Standing.SILENT for contact in stages.frontier)
    assert stages.sampler.counters.silent > 400
    assert silent == 0


async def test_a_row_of_dead_nodes_keeps_its_blame(autojump_clock: MockClock) -> None:
    """When the very next probe is answered nobody is pardoned: the nodes were dead, not the uplink."""
    stages, _tap = tapped(max_rate=100.0, pace={"uplink_lost_after": 5.0})
    stages.know(strangers(400))
    pardons: list[float] = []
    stages.sampler.pardon = lambda: pardons.append(trio.current_time())  # type: ignore[method-assign] # to see it

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_now_and_then, stages, 0, 7)
        await run_for(stages, 20)
        nursery.cancel_scope.cancel()

    assert not stages.pace.uplink_lost
    assert pardons == []


async def test_good_nodes_are_pinged_before_the_uplink_is_blamed(autojump_clock: MockClock) -> None:
    """When the uplink is suspected, nodes that were good a moment ago are wanted for a ping."""
    stages, _tap = tapped(max_rate=100.0, pace={"uplink_lost_after": 5.0})
    for node_id, address in strangers(20, network=200):
        stages.endpoint.node.table.heard(node_id, address, trio.current_time())
    stages.know(strangers(400))
    await run_for(stages, 7)

    assert stages.pace.uplink_lost
    assert len(stages.endpoint.want_pings) == 8


async def test_few_unanswered_queries_prove_nothing(autojump_clock: MockClock) -> None:
    """A handful of dead nodes is no lost uplink, however long it lasts."""
    stages, _tap = tapped(max_rate=100.0, pace={"uplink_lost_after": 5.0})
    stages.know(strangers(15))
    await run_for(stages, 60)

    assert not stages.pace.uplink_lost


async def test_silence_of_our_own_is_no_lost_uplink(autojump_clock: MockClock) -> None:
    """A crawl with nobody to ask for ten minutes does not doubt its uplink."""
    stages, _tap = tapped(max_rate=100.0, pace={"uplink_lost_after": 5.0, "tick": 1.0})
    await run_for(stages, 600)

    assert not stages.pace.uplink_lost


async def test_when_lookups_may_start(autojump_clock: MockClock) -> None:
    """Lookups start while peers' share is not deep in debt, or sampling has nothing to do anyway."""
    await trio.lowlevel.checkpoint()
    stages, _tap = tapped(max_rate=100.0, locate={"share": 0.5})
    stages.know(strangers(1000))
    stages.pace._next_batch(0.0)
    assert stages.pace.may_look_up()
    stages.pace.charge_peers(1000, 0.0)
    assert not stages.pace.may_look_up()

    idle, _tap = tapped(max_rate=100.0, locate={"share": 0.5})
    idle.pace.charge_peers(1000, 0.0)
    assert not idle.pace.may_look_up()
    idle.pace._next_batch(0.0)
    assert idle.pace.may_look_up()
