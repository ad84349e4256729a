"""The explorer: asks those who answered for other nodes, as long as that brings any."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import trio

from crawler.wire.compact import join_nodes, pack_address
from crawler.wire.ids import common_prefix_bits
from tests.crawl.stages import Stages
from tests.net.endpoints import ScriptedNode, scripted, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock

    from crawler.wire import krpc

RATE = 100.0


def fresh_nodes() -> Iterator[tuple[bytes, bytes]]:
    """Yield nodes that nobody knows, each at an address of its own where nobody lives."""
    for number in itertools.count():
        node_id = number.to_bytes(2, "big") * 10
        yield (
            node_id,
            pack_address((f"127.{100 + number // 60000}.{number // 250 % 240}.{number % 250 + 1}", 2000)),
        )


def names_fresh(source: Iterator[tuple[bytes, bytes]]) -> Callable[[krpc.Query], dict[bytes, Any]]:
    """Return the script of a node that names new nodes every time."""
    return lambda _query: {b"nodes": join_nodes(itertools.islice(source, 8))}


def meet(stages: Stages, *nodes: ScriptedNode) -> None:
    """Let the explorer know nodes as if they had just answered."""
    for node in nodes:
        stages.explorer.met(node.id, node.compact, trio.current_time())


async def explore_for(stages: Stages, seconds: float, *nodes: ScriptedNode) -> None:
    """Explore with all the budget there is, for so long."""
    with trio.move_on_after(seconds):
        async with stages.running(*nodes):
            while True:
                stages.send(stages.explorer.next_queries(1000, RATE, trio.current_time()))
                await trio.sleep(0.1)


async def test_a_node_is_asked_after_its_rest(autojump_clock: MockClock) -> None:
    """Who has just answered is left alone for a while, then asked find_node, again and again a rest apart."""
    stages = Stages.joined(explore={"rest": 60.0})
    node = scripted(stages.net, 1)
    meet(stages, node)
    await explore_for(stages, 200, node)

    assert [round(at) for at, _ in node.heard] == [60, 120, 180]
    assert set(node.methods) == {b"find_node"}


async def test_answering_often_is_no_reason_to_be_asked_often(autojump_clock: MockClock) -> None:
    """However often a node answered other questions meanwhile, exploring asks it once in a rest."""
    stages = Stages.joined(explore={"rest": 60.0})
    node = scripted(stages.net, 1)
    for _ in range(50):
        meet(stages, node)
    await explore_for(stages, 200, node)

    assert len(node.heard) == 3


async def test_targets_are_all_over_its_table(autojump_clock: MockClock) -> None:
    """Each question aims at another of the node's buckets, so that each can bring something new."""
    stages = Stages.joined(explore={"rest": 1.0})
    fresh = fresh_nodes()
    stages.know(list(itertools.islice(fresh, 1000)))
    node = scripted(stages.net, 1, names_fresh(fresh))
    meet(stages, node)
    await explore_for(stages, 100, node)

    shared = [common_prefix_bits(query.args[b"target"], node.id) for _, query in node.heard]
    assert len(shared) > 80
    assert {bits for bits in shared if bits <= 8} == set(range(9))
    assert len({query.args[b"target"] for _, query in node.heard}) == len(shared)


async def test_what_it_finds_becomes_contacts(autojump_clock: MockClock) -> None:
    """Nodes that nobody had named are taken into the ledger and counted; those known are not."""
    stages = Stages.joined(explore={"rest": 1.0})
    fresh = fresh_nodes()
    known = list(itertools.islice(fresh, 4))
    new = list(itertools.islice(fresh, 4))
    stages.sampler.learn(known)
    node = scripted(stages.net, 1, lambda _query: {b"nodes": join_nodes(known + new)})
    meet(stages, node)
    await explore_for(stages, 1.5, node)

    assert len(stages.frontier) == 8
    assert (stages.explorer.asked, stages.explorer.found) == (1, 4)


async def test_who_falls_silent_is_left_alone(autojump_clock: MockClock) -> None:
    """A node that does not answer is not explored again."""
    stages = Stages.joined(explore={"rest": 1.0})
    node = scripted(stages.net, 1, silent)
    meet(stages, node)
    await explore_for(stages, 60, node)

    assert len(node.heard) == 1


async def test_effort_follows_what_it_brings(autojump_clock: MockClock) -> None:
    """While answers name new nodes exploring takes all the rate; once all are known, next to nothing."""
    stages = Stages.joined(explore={"rest": 1.0, "least_rate": 1.0})
    fresh = fresh_nodes()
    nodes = [scripted(stages.net, number, names_fresh(fresh)) for number in range(1, 201)]
    meet(stages, *nodes)

    async def run_dry() -> None:
        await trio.sleep(10)
        for node in nodes:
            node.script = lambda _query: {}

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_dry)
        await explore_for(stages, 100, *nodes)

    times = [at for node in nodes for at, _ in node.heard]
    assert sum(2 <= at < 10 for at in times) > 0.8 * RATE * 8
    assert sum(90 <= at < 100 for at in times) < 0.05 * RATE * 10
    assert sum(90 <= at < 100 for at in times) >= 9


def test_no_more_is_asked_than_there_is_room_for() -> None:
    """The batch is bounded by what is left of the budget, and nobody to ask is an empty batch."""
    stages = Stages.joined(explore={"rest": 1.0})
    assert stages.explorer.next_queries(10, RATE, 0.0) == []
    for node_id, address in itertools.islice(fresh_nodes(), 20):
        stages.explorer.met(node_id, address, 0.0)

    assert [len(stages.explorer.next_queries(8, RATE, at)) for at in (1.0, 2.0, 3.0, 4.0)] == [8, 8, 4, 0]


def test_memory_is_bounded() -> None:
    """Of more nodes than are remembered the oldest is forgotten, and may be met again."""
    stages = Stages.joined(explore={"rest": 1.0, "max_known": 10})
    nodes = list(itertools.islice(fresh_nodes(), 25))
    for node_id, address in nodes:
        stages.explorer.met(node_id, address, 0.0)
    stages.explorer.met(*nodes[0], 0.5)

    sent = stages.explorer.next_queries(100, RATE, 5.0)
    assert {pack_address(address) for _, address in sent} == {
        address for _, address in [*nodes[16:], nodes[0]]
    }


async def test_the_limit_of_an_address_is_kept(autojump_clock: MockClock) -> None:
    """A node that must not be asked yet is asked a rest later."""
    stages = Stages.joined(explore={"rest": 10.0}, limits={"ip_burst": 1.0, "ip_rate": 0.05})
    node = scripted(stages.net, 1)
    meet(stages, node)
    stages.endpoint.budget.hold(node.compact, 0.0)
    await explore_for(stages, 35, node)

    assert [round(at) for at, _ in node.heard] == [20]
