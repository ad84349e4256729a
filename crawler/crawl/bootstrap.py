"""The way in, and back in: finds the first nodes, and new ones whenever the crawl has run dry.

At the start the nodes saved by the last run are asked, and the bootstrap hosts. Later this task only watches.
It seeds again when the table has no good node, when the uplink seems lost, when there is nobody to ask, or
when what is asked answers and yet nothing new has come for a while (fake neighbours): from the saved nodes,
from nodes all around the key space that gave samples before, and from the bootstrap hosts. That costs a few
dozen queries, so it may be wrong about a network that simply has been swept; but each time it brings nothing
it waits longer, up to a limit, until the crawl finds something new again.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.crawl.courtesy import ask_once
from crawler.crawl.frontier import Standing
from crawler.dht.lookup import Lookup, LookupConfig
from crawler.net.dht import QueryFailedError
from crawler.net.lookup import run_lookup
from crawler.net.resolve import ResolveError, resolve
from crawler.settings import setting
from crawler.wire.compact import split_nodes
from crawler.wire.ids import random_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from random import Random

    from crawler.crawl.frontier import Frontier
    from crawler.crawl.pace import Pace
    from crawler.crawl.sample import Sampler
    from crawler.dht.events import Answered
    from crawler.net.dht import Endpoint
    from crawler.wire.compact import Family


_TRIES = 2
"""A seed was configured or answered before, so a lost datagram is more likely than a dead node."""


@attrs.frozen
class BootstrapConfig:
    """When and how the way in is sought again."""

    check: float = setting(1.0, unit="s", help="How often the health of the crawl is looked at.", above=0)
    barren_after: float = setting(
        20.0,
        unit="s",
        help="Queries that bring no new infohash for so long lead to seeding again.",
        above=0,
    )
    barren_queries: int = setting(
        20, unit="queries", help="Fewer queries than this in that time prove nothing.", minimum=1
    )
    first_pause: float = setting(
        5.0, unit="s", help="Pause after seeding that brought nothing; doubles each time.", above=0
    )
    longest_pause: float = setting(
        600.0, unit="s", help="The longest pause between seedings of a crawl that finds nothing new.", above=0
    )
    blind_pause: float = setting(
        30.0, unit="s", help="The longest pause while nobody answers or the table is empty.", above=0
    )
    resolve_timeout: float = setting(10.0, unit="s", help="How long a host name is waited for.", above=0)
    seeds: int = setting(32, unit="nodes", help="Saved and earlier nodes asked in one seeding.", minimum=1)


@attrs.frozen
class Seeds:
    """Whom to ask first: ``hosts`` as ``HOST:PORT``, and compact addresses ``saved`` by an earlier run."""

    hosts: Sequence[str]
    saved: Sequence[bytes]


@attrs.define
class BootstrapCounters:
    """How often which reason led to seeding, and what came of it."""

    seedings: int = 0
    reasons: dict[str, int] = attrs.field(factory=dict)
    hosts_unresolved: int = 0
    seeds_answered: int = 0


class Bootstrap:
    """Seeds one endpoint."""

    def __init__(  # noqa: PLR0913 - it looks at the whole crawl
        self,
        config: BootstrapConfig,
        endpoint: Endpoint,
        *,
        seeds: Seeds,
        sampler: Sampler,
        pace: Pace,
        lookup: LookupConfig,
        others: Mapping[Family, Sampler],
        rng: Random,
        on_event: Callable[..., None],
    ) -> None:
        """Join the parts.

        ``others`` are told of nodes of their family that our seeds name; ``on_event(name, **fields)`` is
        told what happens, for the log.
        """
        self.counters = BootstrapCounters()
        self._config = config
        self._endpoint = endpoint
        self._hosts = seeds.hosts
        self._saved = seeds.saved
        self._sampler = sampler
        self._pace = pace
        self._lookup = lookup
        self._others = others
        self._rng = rng
        self._on_event = on_event
        self._window = (0.0, 0, 0)

    async def run(self) -> None:
        """Seed at once, then whenever it is needed, until cancelled."""
        config, counters = self._config, self._sampler.counters
        seeded, pause, new_then = float("-inf"), 0.0, 0
        while True:
            if counters.new > new_then:
                # What was found since ends the drought for which we have been waiting longer and longer.
                new_then, pause = counters.new, min(pause, config.blind_pause)
            reason = self._reason(trio.current_time())
            longest = config.longest_pause if reason == "barren" else config.blind_pause
            if reason is not None and trio.current_time() >= seeded + min(pause, longest):
                await self._seed(reason)
                self._restart_window()
                seeded = trio.current_time()
                pause = min(pause * 2 or config.first_pause, config.longest_pause)
            await trio.sleep(config.check)

    def _reason(self, now: float) -> str | None:
        """Why seeding is needed now, or None."""
        if not self._endpoint.node.table.good_nodes(now):
            return "no_good_node"
        if self._pace.uplink_lost:
            return "no_answers"
        began, asked, new = self._window
        counters = self._sampler.counters
        if counters.new > new:
            self._restart_window()
        elif now - began >= self._config.barren_after:
            if counters.asked - asked >= self._config.barren_queries:
                return "barren"
            if not self._sampler.frontier.ready and len(self._sampler.frontier) < self._config.seeds:
                return "nobody_to_ask"
            self._restart_window()
        return None

    def _restart_window(self) -> None:
        counters = self._sampler.counters
        self._window = (trio.current_time(), counters.asked, counters.new)

    async def _seed(self, reason: str) -> None:
        counters = self.counters
        counters.seedings += 1
        counters.reasons[reason] = counters.reasons.get(reason, 0) + 1
        answered_before = counters.seeds_answered
        asked: set[bytes] = set()
        async with trio.open_nursery() as nursery:

            def ask(addresses: Iterable[bytes]) -> None:
                for address in addresses:
                    if address not in asked:
                        asked.add(address)
                        nursery.start_soon(self._ask, address)

            ask(self._earlier_nodes())
            for host in self._hosts:
                nursery.start_soon(self._ask_host, host, ask)
        answered = counters.seeds_answered - answered_before
        if asked:
            self._on_event(
                "bootstrap.seeded",
                family=self._endpoint.node.family.name,
                reason=reason,
                asked=len(asked),
                answered=answered,
            )
        if answered:
            await self._look_around()

    def _earlier_nodes(self) -> list[bytes]:
        """Saved nodes, and nodes all around the key space that gave samples in this run."""
        count = self._config.seeds
        givers = [contact.address for contact in self._sampler.frontier if contact.standing is Standing.GIVES]
        table = [node.address for node in self._endpoint.node.table]
        pools = [self._saved, givers, table]
        return [address for pool in pools for address in self._rng.sample(pool, min(count, len(pool)))]

    async def _ask_host(self, host: str, ask: Callable[[Iterable[bytes]], None]) -> None:
        """Let ``ask`` have the addresses of ``host`` that may be contacted."""
        try:
            found = await resolve(host, self._endpoint.node.family, timeout=self._config.resolve_timeout)
        except ResolveError as error:
            self.counters.hosts_unresolved += 1
            self._on_event("bootstrap.host_unresolved", host=host, problem=str(error))
            return
        fit = [address for address in found if self._endpoint.may_contact(address)]
        if found and not fit:
            self._on_event("bootstrap.host_not_global", host=host)
        ask(fit)

    async def _ask(self, address: bytes) -> None:
        for _ in range(_TRIES):
            with contextlib.suppress(QueryFailedError):
                answer = await self._endpoint.find_node(address, random_id(self._rng), both_families=True)
                break
        else:
            return
        self.counters.seeds_answered += 1
        self._sampler.met(answer)
        self._learn(answer)

    async def _look_around(self) -> None:
        """Look up our own neighbourhood (BEP 5) and one random place."""
        for target in (self._endpoint.node.id, random_id(self._rng)):
            await look_up_node(self._endpoint, self._sampler.frontier, target, self._lookup, self._learn)

    def _learn(self, answer: Answered) -> None:
        body = answer.response.body
        for family, sampler in {**self._others, self._endpoint.node.family: self._sampler}.items():
            sampler.learn(split_nodes(body.get(family.nodes_key), family), vouched=True)


async def look_up_node(
    endpoint: Endpoint,
    frontier: Frontier,
    target: bytes,
    config: LookupConfig,
    on_answer: Callable[[Answered], None],
) -> Lookup:
    """Look up the nodes closest to ``target`` from our table; returns the finished lookup."""
    lookup = Lookup(target, config, spread=not endpoint.allow_private)
    now = trio.current_time()
    closest = endpoint.node.table.closest(target, 16, now=now, questionable=True)
    lookup.learn([(node.id, node.address) for node in closest])

    def ask(address: bytes) -> Awaitable[Answered]:
        return endpoint.find_node(address, target)

    await run_lookup(endpoint, lookup, partial(ask_once, frontier, ask=ask), on_answer)
    return lookup
