"""Iterative get_peers lookups, on every address family that is on, for the infohashes that need one (BEP 5).

Plain coroutines: a lookup is some twenty queries and rare beside the sampling. What the lookups send is
charged to the peers' share of the budget; a new one starts only when that share is not overdrawn. The
families are two DHTs (BEP 32), so each is searched by itself, at the same time, and what both found is one
report.

When the closest nodes are known, those that named peers are asked once more, for their Bloom filters
(BEP 33). Not in one question, since libtorrent's nodes, which are most of the DHT, answer with either.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.crawl.courtesy import ask_once
from crawler.crawl.swarm_report import SwarmReport
from crawler.dht.lookup import Lookup, LookupConfig
from crawler.net.dht import QueryFailedError
from crawler.net.lookup import run_lookup
from crawler.wire.compact import split_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crawler.crawl.locate import LocateConfig, Locator
    from crawler.crawl.lookup_queue import LookupQueue, Wanted
    from crawler.crawl.pace import Pace
    from crawler.crawl.sample import Sampler
    from crawler.crawl.swarm_report import PeersDesk
    from crawler.dht.events import Answered
    from crawler.net.dht import Endpoint
    from crawler.wire.compact import Family

_IDLE = 0.25
_SEEDS = 16


@attrs.define
class LookupCounters:
    """What the lookups came to."""

    lookups: int = 0
    empty: int = 0
    scrapes: int = 0
    filters_refused: int = 0


@attrs.define(eq=False)
class Searcher:
    """One socket's part in the lookups; nodes that it comes across are passed on to its ``sampler``."""

    endpoint: Endpoint
    locator: Locator
    sampler: Sampler
    pace: Pace

    @property
    def family(self) -> Family:
        """The family of the socket."""
        return self.endpoint.node.family

    async def search(self, wanted: Wanted, report: SwarmReport, config: LookupConfig) -> None:
        """Ask the nodes closest to ``wanted`` for its peers."""
        endpoint = self.endpoint
        lookup = Lookup(wanted.infohash, config, spread=not endpoint.allow_private)
        now = trio.current_time()
        if wanted.family is self.family:
            hints = split_nodes(wanted.nodes, self.family)
            lookup.learn([node for node in hints if endpoint.may_contact(node[1])])
        closest = endpoint.node.table.closest(wanted.infohash, _SEEDS, now=now, questionable=True)
        lookup.learn([(node.id, node.address) for node in closest])
        ask = partial(ask_once, self.sampler.frontier, ask=partial(self._ask, wanted.infohash))
        await run_lookup(endpoint, lookup, ask, partial(self._learn, report))

    async def scrape(self, address: bytes, report: SwarmReport) -> None:
        """Ask the node at ``address`` how many peers there are."""
        self.pace.charge_peers(1, trio.current_time())
        try:
            answer = await self.endpoint.get_peers(address, report.infohash, scrape=True)
        except QueryFailedError:
            return
        report.size.take(answer.response.body)
        self._learn(report, answer)

    async def _ask(self, infohash: bytes, address: bytes) -> Answered:
        self.pace.charge_peers(1, trio.current_time())
        return await self.endpoint.get_peers(address, infohash)

    def _learn(self, report: SwarmReport, answer: Answered) -> None:
        body = answer.response.body
        peers = self.locator.fit_peers(body.get(b"values"))
        if peers:
            report.take_peers(peers, answer.transaction.compact)
        nodes = split_nodes(body.get(self.family.nodes_key), self.family)
        self.sampler.learn(nodes, namer=answer.transaction.compact, now=trio.current_time())


class PeerLookups:
    """Runs the lookups of all sockets, so many at a time.

    Args:
        config: how peers are sought.
        lookup: how wide and how patient a lookup is.
        queue: what waits for one.
        desk: takes what they found.
        searchers: one for each socket; those of one family take turns.

    Attributes:
        on_end: is told of each infohash when its lookup is over, after the desk was.
        counters: what they came to.
    """

    def __init__(
        self,
        config: LocateConfig,
        lookup: LookupConfig,
        queue: LookupQueue,
        desk: PeersDesk,
        searchers: Sequence[Searcher],
    ) -> None:
        self.on_end: Callable[[bytes, float], None] = _tell_nobody
        self.counters = LookupCounters()
        self._config = config
        self._lookup = lookup
        self._queue = queue
        self._desk = desk
        self._searchers = list(searchers)

    async def run(self) -> None:
        """Run lookups as infohashes and budget allow, until cancelled."""
        room = trio.Semaphore(self._config.parallel_lookups)
        async with trio.open_nursery() as nursery:
            while True:
                wanted = self._next()
                if wanted is None:
                    await trio.sleep(_IDLE)
                    continue
                await room.acquire()
                nursery.start_soon(self._run_one, wanted, room, name="lookup")

    def _next(self) -> Wanted | None:
        paces = [pace for searcher in self._searchers if not (pace := searcher.pace).uplink_lost]
        if not paces or not all(pace.may_look_up() for pace in paces):
            return None
        return self._queue.take(idle=all(pace.idle for pace in paces))

    def _one_of_each_family(self) -> list[Searcher]:
        """Return those with a network whose turn it is; they go to the end of the row."""
        chosen = {s.family: s for s in reversed(self._searchers) if not s.pace.uplink_lost}
        self._searchers.sort(key=lambda searcher: searcher in chosen.values())
        return list(chosen.values())

    async def _run_one(self, wanted: Wanted, room: trio.Semaphore) -> None:
        try:
            await self._look_up(wanted)
        finally:
            room.release()

    async def _look_up(self, wanted: Wanted) -> None:
        report = SwarmReport(wanted.infohash)
        async with trio.open_nursery() as nursery:
            for searcher in self._one_of_each_family():
                nursery.start_soon(self._search, searcher, wanted, report)
        now = trio.current_time()
        self.counters.lookups += 1
        self.counters.filters_refused += report.size.refused
        if report.peers:
            self._desk.report(report, now)
        else:
            self.counters.empty += 1
        self.on_end(wanted.infohash, now)

    async def _search(self, searcher: Searcher, wanted: Wanted, report: SwarmReport) -> None:
        await searcher.search(wanted, report, self._lookup)
        size = searcher.family.address_bytes
        named_by = [address for address in report.named_by if len(address) == size]
        async with trio.open_nursery() as nursery:
            # The last to name peers were the closest, and so have the most.
            for address in islice(reversed(named_by), self._config.scrape_nodes):
                self.counters.scrapes += 1
                nursery.start_soon(searcher.scrape, address, report)


def _tell_nobody(_infohash: bytes, _now: float) -> None:
    pass
