"""One UDP socket and all that works on it: the node, its endpoint and the stages of the crawl.

A run has one of these per socket; what they share is made by `building`.
"""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING

import attrs

from crawler.crawl.bootstrap import Bootstrap, Seeds
from crawler.crawl.explore import Explorer
from crawler.crawl.locate import Locator
from crawler.crawl.lookup_queue import Wanted, Why
from crawler.crawl.lookups import Searcher
from crawler.crawl.pace import Pace
from crawler.crawl.refresh import Refresh
from crawler.crawl.sample import Sampler
from crawler.dht.identity import ExternalAddress
from crawler.dht.node import Node
from crawler.dht.reply_budget import ReplyBudget
from crawler.dht.responder import Responder
from crawler.dht.routing import RoutingTable
from crawler.dht.transactions import Transactions
from crawler.net.dht import Endpoint
from crawler.records import InfohashesFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    import trio

    from crawler.config import Config
    from crawler.crawl.credit import Credit
    from crawler.crawl.frontier import Frontier
    from crawler.crawl.lookup_queue import LookupQueue
    from crawler.crawl.outlet import Outlet
    from crawler.crawl.rumours import RumourGuard
    from crawler.crawl.seen import Seen
    from crawler.crawl.sightings import Sightings
    from crawler.crawl.swarm_report import PeersDesk
    from crawler.dht.events import Sighting
    from crawler.dht.peers import PeerStore
    from crawler.dht.tokens import Tokens
    from crawler.net.dht import DatagramSocket
    from crawler.net.limits import QueryBudget
    from crawler.state.ledger_keeper import LedgerKeeper
    from crawler.wire.compact import Family


@attrs.define(eq=False)
class FamilyParts:
    """What all sockets of one address family share."""

    family: Family
    frontier: Frontier
    rumours: RumourGuard
    saved_nodes: Sequence[bytes] = ()
    keeper: LedgerKeeper | None = None


def _tell_no_one(_infohashes: Sequence[bytes]) -> None:
    """Stand in until a stage wants to be told of new infohashes."""


@attrs.define(eq=False)
class Shared:
    """What all sockets of a run share."""

    config: Config
    budget: QueryBudget
    seen: Seen
    credit: Credit
    sightings: Sightings
    outlet: Outlet
    desk: PeersDesk
    lookup_queue: LookupQueue
    store: PeerStore
    tokens: Tokens
    rng: Random
    secure_rng: Random
    on_event: Callable[..., None]
    on_new: Callable[[Sequence[bytes]], None] = attrs.field(default=_tell_no_one)
    tables: dict[Family, RoutingTable] = attrs.field(factory=dict)
    samplers: dict[Family, Sampler] = attrs.field(factory=dict)


class Station:
    """A node on a socket with its stages. Its endpoint runs first; :meth:`start_asking` starts the rest."""

    def __init__(
        self, shared: Shared, parts: FamilyParts, listen: str, socket: DatagramSocket, node_id: bytes
    ) -> None:
        """Build everything; nothing is sent yet. ``listen`` is the address that the socket was asked for."""
        config = shared.config
        self.listen, self.shared, self.parts = listen, shared, parts
        self.node = _build_node(shared, parts.family, node_id)
        self.endpoint = Endpoint(
            self.node,
            socket,
            shared.budget,
            allow_private=config.network.allow_private,
            house_full=lambda: shared.outlet.overfull,
            on_sighting=self._sighted,
        )
        self.locator = self._build_locator()
        self.sampler = Sampler(
            config.sample,
            self.endpoint,
            frontier=parts.frontier,
            rumours=parts.rumours,
            credit=shared.credit,
            seen=shared.seen,
            locator=self.locator,
            outlet=shared.outlet,
            rng=shared.rng,
        )
        shared.samplers.setdefault(parts.family, self.sampler)
        self.explorer = Explorer(config.explore, self.endpoint, self.sampler, shared.rng)
        self.sampler.on_answer = self.explorer.met
        self.pace = Pace(
            config.pace,
            self.endpoint,
            sampler=self.sampler,
            explorer=self.explorer,
            locator=self.locator,
            outlet=shared.outlet,
            max_rate=config.limits.max_rate,
        )
        self.bootstrap = Bootstrap(
            config.bootstrap,
            self.endpoint,
            seeds=Seeds(config.network.bootstrap, parts.saved_nodes),
            sampler=self.sampler,
            pace=self.pace,
            lookup=config.lookup,
            others=shared.samplers,
            rng=shared.rng,
            on_event=shared.on_event,
        )

    def _build_locator(self) -> Locator | None:
        shared, config = self.shared, self.shared.config.locate
        if not config.enabled:
            return None
        return Locator(config, self.endpoint, shared.desk, shared.lookup_queue, shared.credit)

    @property
    def searcher(self) -> Searcher | None:
        """This socket's part in the lookups; None when no peers are sought."""
        if self.locator is None:
            return None
        return Searcher(self.endpoint, self.locator, self.sampler, self.pace)

    def start_asking(self, nursery: trio.Nursery) -> None:
        """Start the stages that ask."""
        shared = self.shared
        refresh = Refresh(
            shared.config.refresh,
            self.endpoint,
            sampler=self.sampler,
            lookup=shared.config.lookup,
            store=shared.store,
            rng=shared.rng,
            on_event=shared.on_event,
        )
        nursery.start_soon(self.bootstrap.run, name="bootstrap")
        nursery.start_soon(refresh.run, name="refresh")
        nursery.start_soon(self.pace.run, name="sample")

    def _sighted(self, sighting: Sighting, now: float) -> None:
        """Another node's query named an infohash."""
        shared, infohash, peer = self.shared, sighting.infohash, sighting.peer
        believed = peer is not None or shared.sightings.believed(infohash, sighting.node)
        if believed and shared.seen.sift((infohash,)):
            at = shared.outlet.wall_clock(now)
            shared.outlet.put(InfohashesFound(at, sighting.source, sighting.node, (infohash,)))
            shared.on_new((infohash,))
            if self.locator is not None and peer is None:
                self.locator.sighted(sighting)
            elif self.locator is not None:
                shared.lookup_queue.want(Wanted(infohash, Why.ONE_NODE))
        if peer is not None and self.endpoint.may_contact(peer):
            shared.desk.announced(infohash, peer, sighting.node, now)


def _build_node(shared: Shared, family: Family, node_id: bytes) -> Node:
    config = shared.config
    private = config.network.allow_private
    table = RoutingTable(node_id, config.routing, rng=shared.rng, exempt_ip_limits=private)
    shared.tables.setdefault(family, table)
    # Our own table for our family; for the other one, whichever its first socket has.
    tables = ChainMap({family: table}, shared.tables)
    responder = Responder(
        node_id, tables, shared.store, shared.tokens, config.responder, allow_private=private
    )
    return Node(
        family,
        table=table,
        transactions=Transactions(config.transactions, shared.secure_rng),
        responder=responder,
        reply_budget=ReplyBudget(config.reply_budget),
        external=ExternalAddress(config.identity),
        allow_private=private,
    )
