"""Running a lookup over an endpoint: every answer reaches the state machine, silence never stops it."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.dht.lookup import Lookup, LookupConfig
from crawler.net.dht import NoAnswerError
from crawler.net.lookup import run_lookup
from crawler.wire.compact import join_nodes, pack_address
from tests.net.endpoints import ScriptedNode, make_endpoint, names, network, refuse, scripted, silent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trio.testing import MockClock

    from crawler.dht.events import Answered
    from crawler.net.dht import Endpoint
    from crawler.simnet.memory import MemoryNetwork
    from crawler.wire import krpc

TARGET = bytes(20)


@attrs.define
class Bench:
    """A running endpoint, its network, and what its lookups were told."""

    net: MemoryNetwork
    endpoint: Endpoint
    nursery: trio.Nursery
    answers: list[Answered] = attrs.field(factory=list)

    def node(self, number: int, script: Callable[[krpc.Query], Any] = names()) -> ScriptedNode:  # noqa: B008 - it has no state
        """Start a scripted node; the lower its number, the closer it is to the target."""
        node = scripted(self.net, number, script)
        self.nursery.start_soon(node.run)
        return node

    async def look_up(self, *start: tuple[bytes, bytes], **config: Any) -> Lookup:
        """Look the target up from some contacts; returns the finished lookup."""
        lookup = Lookup(TARGET, LookupConfig(**config), spread=False)
        lookup.learn(start)

        async def ask(address: bytes) -> Answered:
            return await self.endpoint.find_node(address, TARGET)

        await run_lookup(self.endpoint, lookup, ask, self.answers.append)
        return lookup


@pytest.fixture
async def bench(nursery: trio.Nursery) -> AsyncIterator[Bench]:
    """An endpoint that runs until the end of the test, which has to take the clock itself."""
    net = network()
    endpoint = make_endpoint(net)
    await nursery.start(endpoint.run)
    yield Bench(net, endpoint, nursery)
    nursery.cancel_scope.cancel()


async def test_it_walks_to_the_closest(bench: Bench, autojump_clock: MockClock) -> None:
    """From one far node the lookup goes from hint to hint to the closest, and tells of every answer."""
    chain = [bench.node(1)]
    for number in range(2, 20):
        chain.append(bench.node(number, names(chain[-1])))

    lookup = await bench.look_up(chain[-1].contact)

    assert [candidate.id for candidate in lookup.closest()] == [node.id for node in chain[:8]]
    assert len(bench.answers) == 19
    assert all(len(node.heard) == 1 for node in chain)


async def test_nobody_to_ask_is_the_end(bench: Bench, autojump_clock: MockClock) -> None:
    """A lookup without candidates is over at once."""
    lookup = await bench.look_up()

    assert lookup.closest() == []
    assert trio.current_time() < 0.1


async def test_silent_and_refusing_nodes_do_not_stop_it(bench: Bench, autojump_clock: MockClock) -> None:
    """Dead ends cost time and nothing else."""
    goal = bench.node(5)
    guide = bench.node(9, names(goal))
    dead = [bench.node(number, silent) for number in range(1, 4)]
    sour = bench.node(4, refuse(203))

    lookup = await bench.look_up(*(node.contact for node in [*dead, sour, guide]))

    assert {candidate.id for candidate in lookup.closest()} == {goal.id, guide.id}
    assert trio.current_time() < 5
    assert all(len(node.heard) == 1 for node in dead)


async def test_slow_nodes_do_not_hold_up_the_others(bench: Bench, autojump_clock: MockClock) -> None:
    """When every slot waits for a silent node, the next candidates are asked after the short timeout."""
    dead = [bench.node(number, silent) for number in range(1, 5)]
    lively = bench.node(9)

    await bench.look_up(*(node.contact for node in [*dead, lively]), short_timeout=0.5, parallel=4)

    assert 0.5 <= lively.heard[0][0] < 0.7


@pytest.mark.parametrize("start", [0.0, 0.1, 0.3, 5.1, 9.7])
async def test_the_timer_never_spins(bench: Bench, autojump_clock: MockClock, start: float) -> None:
    """Whatever the clock shows, a silent node's short timeout passes, however its sum is rounded.

    With a clock that stands still while anybody runs, waiting for a time that never quite comes would hang.
    """
    for step in range(30):
        await trio.sleep(start + step / 7)
        dead = ScriptedNode(bytes(20), bench.net.socket((f"127.9.{step}.1", 6881)), silent)
        with trio.fail_after(60):
            await bench.look_up(dead.contact)


async def test_forbidden_addresses_are_not_followed(bench: Bench, autojump_clock: MockClock) -> None:
    """What a liar names, our own address among it, is asked only if it may be contacted."""
    own = pack_address(bench.endpoint.socket.local)
    lies = [(b"\x00" * 19 + b"\x01", own), (b"\x00" * 19 + b"\x02", b"\xe0\x00\x00\x01\x1a\xe1")]
    liar = bench.node(3, lambda _query: {b"nodes": join_nodes(lies)})

    lookup = await bench.look_up(liar.contact)

    assert [candidate.id for candidate in lookup.closest()] == [liar.id]
    assert lookup.queries == 1


@pytest.mark.parametrize("nodes", [None, 7, [b"x" * 26], b"x" * 25, b""])
async def test_odd_answers_lead_nowhere(bench: Bench, autojump_clock: MockClock, nodes: object) -> None:
    """An answer whose `nodes` are missing or of no use still counts as an answer."""
    odd = bench.node(3, lambda _query: {} if nodes is None else {b"nodes": nodes})

    lookup = await bench.look_up(odd.contact)

    assert [candidate.id for candidate in lookup.closest()] == [odd.id]


async def test_an_endless_network_ends(bench: Bench, autojump_clock: MockClock) -> None:
    """Nodes that name ever closer nodes get the most queries that a lookup may spend, and no more."""
    count = 0

    def next_closer(_query: krpc.Query) -> dict[bytes, Any]:
        nonlocal count
        count += 1
        node_id = (1 << (150 - count)).to_bytes(20, "big")
        address = (f"127.5.{count}.1", 6881)
        node = ScriptedNode(node_id, bench.net.socket(address), next_closer)
        bench.nursery.start_soon(node.run)
        return {b"nodes": join_nodes([node.contact])}

    lookup = await bench.look_up(bench.node(200, next_closer).contact, max_queries=30)

    assert lookup.queries == 30
    assert count == 30


async def test_waiting_ends_with_the_lookup(bench: Bench, autojump_clock: MockClock) -> None:
    """When the closest have answered, nobody waits for the farther ones any more."""
    close = [bench.node(number) for number in range(1, 9)]
    far = bench.node(200, silent)

    await bench.look_up(far.contact)
    began = trio.current_time()
    await bench.look_up(*(node.contact for node in close), far.contact, closest=8, parallel=16)

    assert trio.current_time() - began < 0.5
    assert bench.endpoint.waiting == 0


async def test_who_asks_may_decline(bench: Bench, autojump_clock: MockClock) -> None:
    """An ask that refuses to send counts as no answer."""
    node = bench.node(3)
    lookup = Lookup(TARGET, LookupConfig(), spread=False)
    lookup.learn([node.contact])

    async def ask(_address: bytes) -> Answered:
        await trio.lowlevel.checkpoint()
        raise NoAnswerError

    await run_lookup(bench.endpoint, lookup, ask, bench.answers.append)

    assert lookup.closest() == []
    assert node.heard == []
