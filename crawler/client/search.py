"""An iterative get_peers to the true closest nodes, in every family and for every hash of a torrent (BEP 5).

Peers are told of as they come, each once. How many there are is asked of the nodes that named some (BEP 33):
nodes that are asked that way name no peers, so it takes a question of its own, sent while the search goes on.
Their Bloom filters are united, and so tell more than any one node knows.
"""

from __future__ import annotations

import contextlib
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crawler.dht.lookup import Lookup, LookupConfig
from crawler.dht.scrape_filter import SwarmSize
from crawler.net.dht import QueryFailedError
from crawler.net.lookup import run_lookup
from crawler.wire import krpc
from crawler.wire.compact import format_address, split_peers
from crawler.wire.ids import distance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from crawler.client.magnet_trackers import MagnetTrackers
    from crawler.client.seeds import Seeds
    from crawler.client.tracking import TrackerReport
    from crawler.dht.events import Answered
    from crawler.net.dht import Endpoint

LOOKUP: Final = LookupConfig(parallel=8, max_queries=128)
"""Somebody is waiting: twice as wide as the crawl's own lookups."""

_MAX_PEERS: Final = 10_000
_TABLE_SEEDS: Final = 16
_SCRAPED_AT_ONCE: Final = 16
_SCRAPE_SECONDS: Final = 1.0
"""How long answers to that question are waited for after the search itself."""


@attrs.frozen
class Peer:
    """Somebody who is said to have a torrent; ``str()`` of it is ``ip:port``.

    Attributes:
        address: compact, 6 or 18 bytes.
        infohash: the 20 bytes that it was named for.
        source: ``"dht"``, ``"magnet"`` (the link named it), ``"tracker"`` or ``"pex"`` (another peer did).
    """

    address: bytes
    infohash: bytes
    source: str

    def __str__(self) -> str:
        return format_address(self.address)


@attrs.frozen
class LookupResult:
    """What a lookup found; after a lookup that was cut short, what it had found by then.

    Attributes:
        infohashes: what was looked up, 20 bytes each; two for a hybrid torrent.
        peers: each once, in the order in which they were found.
        seeds: about how many of the swarm have everything, None when no node told (BEP 33).
        leechers: about how many are still downloading, None when no node told.
        nodes_asked: nodes that were asked for peers.
        nodes_answered: those of them that answered.
        hops: the longest chain of nodes, each named by the one before, that led to an answer.
        seconds: how long it took.
        complete: whether the lookup came to its own end.
        peers_dropped: named, but not public addresses, or beyond 10,000.
        trackers: what the trackers of a magnet link said, one for each of them and each infohash.
        trackers_asked: how many trackers were asked.
    """

    infohashes: tuple[bytes, ...]
    peers: tuple[Peer, ...]
    seeds: int | None
    leechers: int | None
    nodes_asked: int
    nodes_answered: int
    hops: int
    seconds: float
    complete: bool
    peers_dropped: int = 0
    trackers: tuple[TrackerReport, ...] = ()
    trackers_asked: int = 0


@attrs.frozen
class Holder:
    """A node that answered, and could hold us as a peer.

    Attributes:
        endpoint: over which it was asked.
        infohash: for which.
        address: compact.
        token: what it demands of whoever announces; empty when it lets nobody.
    """

    endpoint: Endpoint
    infohash: bytes
    address: bytes
    token: bytes


class Search:
    """One search, to be run once.

    Args:
        infohashes: 20 bytes each.
        endpoints: over which to search.
        seeds: the nodes to begin with.
        on_peer: is told of every new peer at once.
        on_event: is told ``on_event(name, **fields)`` of every node asked.
        scrape: ask how many peers there are, too.
        trackers: makes what asks the trackers of a link, which then find peers for this search as well.
    """

    def __init__(
        self,
        infohashes: Sequence[bytes],
        endpoints: Sequence[Endpoint],
        seeds: Seeds,
        *,
        on_peer: Callable[[Peer], None],
        on_event: Callable[..., None],
        scrape: bool = True,
        trackers: Callable[[Search], MagnetTrackers] | None = None,
    ) -> None:
        self._infohashes = tuple(infohashes)
        self._endpoints = endpoints
        self._seeds = seeds
        self._on_peer = on_peer
        self._on_event = on_event
        self._scrape = scrape
        self._lookups: list[Lookup] = []
        self._peers: dict[bytes, Peer] = {}
        self._dropped = 0
        self._answered = 0
        self._holders: dict[tuple[Endpoint, bytes], list[tuple[int, Holder]]] = {}
        self._size = SwarmSize()
        self._began: float | None = None
        self._ended: float | None = None
        self._complete = False
        self._trackers = None if trackers is None else trackers(self)

    async def run(self) -> None:
        """Search to the end; `result` tells what was found, even when this is cancelled half-way."""
        self._began = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                if self._trackers is not None:
                    nursery.start_soon(self._trackers.run)
                for infohash in self._infohashes:
                    for endpoint in self._endpoints:
                        nursery.start_soon(self._look_up, endpoint, infohash)
            self._complete = True
        finally:
            self._ended = trio.current_time()

    def give(self, peers: Sequence[Peer]) -> None:
        """Add peers that are known from elsewhere, as far as they may be contacted."""
        for peer in peers:
            self._found(peer)

    def result(self) -> LookupResult:
        """Return what has been found so far."""
        began = self._began
        ended = self._ended if self._ended is not None else began and trio.current_time()
        return LookupResult(
            infohashes=self._infohashes,
            peers=tuple(self._peers.values()),
            seeds=self._size.seeds,
            leechers=self._size.leechers,
            nodes_asked=sum(lookup.queries for lookup in self._lookups),
            nodes_answered=self._answered,
            hops=max((lookup.hops for lookup in self._lookups), default=0),
            seconds=0.0 if began is None or ended is None else ended - began,
            complete=self._complete,
            peers_dropped=self._dropped,
            trackers=() if self._trackers is None else tuple(self._trackers.reports),
            trackers_asked=0 if self._trackers is None else self._trackers.asked,
        )

    def holders(self, count: int = 8) -> Iterator[Holder]:
        """Yield, of each family and infohash, the ``count`` closest nodes that gave a token."""
        for found in self._holders.values():
            willing = [(rank, holder) for rank, holder in found if holder.token]
            for _, holder in sorted(willing, key=itemgetter(0))[:count]:
                yield holder

    async def _look_up(self, endpoint: Endpoint, infohash: bytes) -> None:
        """Search one family for one infohash, again with more seeds if the first ones led nowhere."""
        lookup = Lookup(infohash, LOOKUP, spread=not endpoint.allow_private)
        self._lookups.append(lookup)
        table, now = endpoint.node.table, trio.current_time()
        met = table.closest(infohash, _TABLE_SEEDS, now=now, questionable=True)
        lookup.learn([(node.id, node.address) for node in met])

        async def ask(address: bytes) -> Answered:
            return await self._ask(endpoint, infohash, address)

        async with trio.open_nursery() as scraping:
            known = 0
            while len(lookup.closest()) < LOOKUP.closest:
                seeds = await self._seeds.beyond(endpoint.node.family, known)
                if not seeds and known:
                    break
                known += len(seeds)
                lookup.learn(seeds)
                await run_lookup(endpoint, lookup, ask, partial(self._learn, endpoint, infohash, scraping))
                if not seeds:
                    break
            scraping.cancel_scope.deadline = trio.current_time() + _SCRAPE_SECONDS

    async def _ask(
        self, endpoint: Endpoint, infohash: bytes, address: bytes, *, scrape: bool = False
    ) -> Answered:
        def build(tid: bytes, own_id: bytes) -> bytes:
            return krpc.get_peers(tid, own_id, infohash, scrape=scrape, read_only=True)

        try:
            return await endpoint.query(address, b"get_peers", build)
        except QueryFailedError as error:
            self._on_event("failed", node=format_address(address), problem=str(error) or "no answer")
            raise

    async def _ask_size(self, holder: Holder) -> None:
        """Ask a node that named peers how many there are."""
        with contextlib.suppress(QueryFailedError):
            answer = await self._ask(holder.endpoint, holder.infohash, holder.address, scrape=True)
            self._size.take(answer.response.body)

    def _learn(self, endpoint: Endpoint, infohash: bytes, scraping: trio.Nursery, answer: Answered) -> None:
        """Take from one answer: peers, and whether its node would hold us as one."""
        body, address = answer.response.body, answer.transaction.compact
        peers = split_peers(body.get(b"values"), endpoint.node.family)
        self._answered += 1
        self._on_event(
            "answered", node=format_address(address), peers=len(peers), seconds=round(answer.rtt, 3)
        )
        for peer in peers:
            self._found(Peer(peer, infohash, "dht"))
        token = body.get(b"token")
        holder = Holder(endpoint, infohash, address, token if isinstance(token, bytes) else b"")
        rank = distance(answer.response.id, infohash)
        self._holders.setdefault((endpoint, infohash), []).append((rank, holder))
        self._size.take(body)
        if self._scrape and peers and len(scraping.child_tasks) < _SCRAPED_AT_ONCE:
            scraping.start_soon(self._ask_size, holder)

    def _found(self, peer: Peer) -> None:
        if peer.address in self._peers:
            return
        if len(self._peers) >= _MAX_PEERS or not self._endpoints[0].may_contact(peer.address):
            self._dropped += 1
            return
        self._peers[peer.address] = peer
        self._on_peer(peer)
