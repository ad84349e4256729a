"""Runs a lookup over an endpoint: asks whom the state machine names, tells it what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from crawler.net.dht import QueryFailedError
from crawler.wire.compact import split_nodes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crawler.dht.events import Answered
    from crawler.dht.lookup import Lookup
    from crawler.net.dht import Endpoint


async def run_lookup(
    endpoint: Endpoint,
    lookup: Lookup,
    ask: Callable[[bytes], Awaitable[Answered]],
    on_answer: Callable[[Answered], None],
) -> None:
    """Ask until ``lookup`` is done.

    Args:
        endpoint: over which; its own addresses and forbidden ones are never asked.
        lookup: has been given the nodes to start from.
        ask: asks one compact address, for instance ``endpoint.find_node``.
        on_answer: is told of each answer as it comes.
    """
    family = endpoint.node.family
    news = trio.Event()

    async def ask_one(address: bytes) -> None:
        try:
            answer = await ask(address)
        except QueryFailedError:
            lookup.failed(address)
        else:
            nodes = split_nodes(answer.response.body.get(family.nodes_key), family)
            fit = [node for node in nodes if endpoint.may_contact(node[1])]
            lookup.answered(address, answer.response.id, fit)
            on_answer(answer)
        news.set()

    async with trio.open_nursery() as nursery:
        while True:
            for _, address in lookup.advance(trio.current_time()):
                nursery.start_soon(ask_one, address)
            if lookup.done:
                break
            timer = lookup.next_timer()
            with trio.CancelScope(deadline=float("inf") if timer is None else timer):
                await news.wait()
            news = trio.Event()
        nursery.cancel_scope.cancel()
