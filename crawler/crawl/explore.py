"""Looks for nodes that nobody has named yet, with what the budget leaves over.

A node may be asked for samples once per interval, and each answer shows one bucket of its table. When nobody
is left to sample, nodes that answered are asked find_node for one of their other buckets: another question,
not the same one again. How much of the spare budget this gets follows what it brings: nearly all of it while
every answer names new nodes, next to nothing once the network is known.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from crawler.dht.events import Answered
from crawler.settings import setting
from crawler.wire.compact import split_nodes, unpack_address
from crawler.wire.ids import random_id_near

if TYPE_CHECKING:
    from random import Random

    from crawler.crawl.sample import Sampler
    from crawler.dht.events import Outcome
    from crawler.net.dht import Endpoint
    from crawler.wire.compact import Address

_METHOD = b"find_node"
_LEARNING = 0.02


@attrs.frozen
class ExploreConfig:
    """How eagerly unknown nodes are looked for."""

    rest: float = setting(
        15.0, unit="s", help="How long a node asked for other nodes is left alone by exploring.", above=0
    )
    least_rate: float = setting(
        1.0, unit="queries/s", help="Exploring goes on at this rate even when it brings nothing.", minimum=0
    )
    max_known: int = setting(
        100_000,
        unit="nodes",
        help="Answering nodes remembered for exploring; the oldest is dropped.",
        minimum=8,
    )


class Explorer:
    """Explores over one endpoint."""

    def __init__(self, config: ExploreConfig, endpoint: Endpoint, sampler: Sampler, rng: Random) -> None:
        """Start knowing nobody; :meth:`met` tells of nodes that answered."""
        self.asked = 0
        self.found = 0
        self._config = config
        self._endpoint = endpoint
        self._sampler = sampler
        self._rng = rng
        self._known: deque[tuple[float, bytes, bytes]] = deque()
        self._queued: set[bytes] = set()
        self._worth = 1.0
        self._allowance = 0.0
        self._refilled = 0.0

    def met(self, node_id: bytes, address: bytes, now: float) -> None:
        """The node at compact ``address`` has just answered; it is queued once, however often it answers."""
        if address in self._queued:
            return
        if len(self._known) >= self._config.max_known:
            self._queued.remove(self._known.popleft()[2])
        self._queued.add(address)
        self._known.append((now + self._config.rest, node_id, address))

    def next_queries(self, count: int, rate: float, now: float) -> list[tuple[bytes, Address]]:
        """Return up to ``count`` queries, as many as exploring is worth at an overall ``rate`` per second."""
        self._refill(rate, now)
        node, budget = self._endpoint.node, self._endpoint.budget
        fill = self._endpoint.template(_METHOD).fill
        queries: list[tuple[bytes, Address]] = []
        for _ in range(min(count, int(self._allowance))):
            if not self._known or self._known[0][0] > now:
                break
            _, node_id, address = self._known.popleft()
            self._queued.remove(address)
            if budget.hold(address, now):
                self.met(node_id, address, now)
                continue
            where = unpack_address(address)
            tid = node.open_query(where, address, _METHOD, self, None, now)
            queries.append((fill(self._target(node_id), tid), where))
        self._allowance -= len(queries)
        self.asked += len(queries)
        return queries

    def settle(self, outcome: Outcome, now: float) -> None:
        """Take the outcome of one query: a node that fell silent is explored no more."""
        new = 0
        if type(outcome) is Answered:
            family = self._endpoint.node.family
            nodes = split_nodes(outcome.response.body.get(family.nodes_key), family)
            new = self._sampler.learn(nodes, namer=outcome.transaction.compact, now=now)
            self.found += new
            self.met(outcome.response.id, outcome.transaction.compact, now)
        self._worth += _LEARNING * (min(new, 1) - self._worth)

    def _refill(self, rate: float, now: float) -> None:
        pace = max(rate * self._worth, self._config.least_rate)
        self._allowance = min(self._allowance + pace * (now - self._refilled), max(pace, 1.0))
        self._refilled = now

    def _target(self, node_id: bytes) -> bytes:
        depth = len(self._sampler.frontier).bit_length()
        return random_id_near(node_id, int(self._rng.random() * depth), self._rng)
