"""A node for a while: `open_node` binds its sockets and joins, `Node` is what one asks of it.

It is read-only (BEP 43): it says so in its queries and answers nobody's, because a node that is gone in a
minute is no use in other nodes' tables.
"""

from __future__ import annotations

import contextlib
import errno
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from crawler import __version__
from crawler.client.announcing import Announce, AnnounceResult
from crawler.client.fetching import FoundMetadata, MetadataHunt, MetadataSearch
from crawler.client.magnet_trackers import PATIENCE, MagnetTrackers
from crawler.client.search import LookupResult, Peer, Search
from crawler.client.seeds import Seeds
from crawler.client.target import Target, as_magnet
from crawler.dht.identity import ExternalAddress, IdentityConfig
from crawler.dht.node import Node as Core
from crawler.dht.peers import PeerStore, PeerStoreConfig
from crawler.dht.reply_budget import ReplyBudget, ReplyBudgetConfig
from crawler.dht.responder import Answer, Responder, ResponderConfig
from crawler.dht.routing import RoutingConfig, RoutingTable
from crawler.dht.tokens import TokenConfig, Tokens
from crawler.dht.transactions import Transactions, TransactionsConfig
from crawler.net.background import background
from crawler.net.dht import Endpoint
from crawler.net.limits import LimitsConfig, QueryBudget
from crawler.net.peers import PeerClient
from crawler.net.resolve import split_host_port
from crawler.net.tracker_config import TrackerClientConfig
from crawler.net.trackers import TrackerClient
from crawler.net.udp import NetworkConfig, open_socket
from crawler.wire.ids import random_id, random_peer_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from crawler.net.udp import UdpSocket
    from crawler.wire import krpc
    from crawler.wire.compact import Family
    from crawler.wire.magnet import Magnet

DEFAULT_BOOTSTRAP: Final = NetworkConfig().bootstrap
ANY_PORT: Final = ("0.0.0.0:0", "[::]:0")
_NO_SUCH_FAMILY: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_LIMITS: Final = LimitsConfig()
_PRIVATE_LIMITS: Final = attrs.evolve(_LIMITS, ip_rate=100, ip_burst=100, prefix_rate=100, prefix_burst=100)
"""A private network may well have all its nodes on one machine."""
_CLIENT_NAME: Final = f"dht-crawler/{__version__}".encode()
_WAITING_PEERS: Final = 10_000


class ListenError(ValueError):
    """No socket can be bound as asked; the message is one line for a person."""


class _ReadOnly(Responder):
    """A responder that keeps silent (BEP 43)."""

    def answer(self, query: krpc.Query, source: bytes, now: float) -> Answer:  # noqa: ARG002 - Responder's
        return Answer()


def _ignore(_event: str, **_fields: Any) -> None:
    """Do nothing with an event."""


def _ignore_peer(_peer: Peer) -> None:
    """Do nothing with a peer."""


class Node:
    """A read-only node of the DHT; :func:`open_node` makes one.

    Every method takes its target as text (40 hex or 32 base32 characters, 64 hex of a v2 hash, or a magnet
    link), as 20 or 32 bytes, or as a parsed `Magnet`, and raises ValueError for anything else.

    Attributes:
        endpoints: the sockets, at most one per family.
        seeds: the way in; ``seeds.problems`` says why hosts did not help.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        seeds: Seeds,
        nursery: trio.Nursery,
        on_event: Callable[..., None],
        tracker_timeout: float = PATIENCE,
    ) -> None:
        self.endpoints = tuple(endpoints)
        self.seeds = seeds
        self._nursery = nursery
        self._on_event = on_event
        self._tracker_timeout = tracker_timeout
        self._trackers: TrackerClient | None = None
        self._opening = trio.Lock()
        self._client = PeerClient(
            partial(random_peer_id, random.SystemRandom()),
            client=_CLIENT_NAME,
            allow_private=endpoints[0].allow_private,
        )

    async def lookup(
        self, target: Target, *, on_peer: Callable[[Peer], None] = _ignore_peer, trackers: bool = True
    ) -> LookupResult:
        """Look up who has a torrent, at the true closest nodes and at a magnet link's trackers.

        Args:
            target: what to look up.
            trackers: ask those trackers, too.
            on_peer: is called with each new peer as soon as it is known.

        Returns:
            What was found. Nobody having answered is ``nodes_answered == 0``, not an error.
        """
        search = self.search(target, on_peer=on_peer, trackers=trackers)
        await search.run()
        return search.result()

    @contextlib.asynccontextmanager
    async def get_peers(self, target: Target) -> AsyncIterator[trio.MemoryReceiveChannel[Peer]]:
        """Look up who has a torrent, as a channel of peers that ends with the lookup.

        Leaving the block, or closing the channel, ends the lookup.

        async with node.get_peers(infohash) as peers:
            async for peer in peers:
                ...
        """
        sender, receiver = trio.open_memory_channel[Peer](_WAITING_PEERS)
        looking = trio.CancelScope()

        def tell(peer: Peer) -> None:
            try:
                sender.send_nowait(peer)
            except trio.BrokenResourceError:
                looking.cancel()

        search = self.search(target, on_peer=tell, scrape=False)

        async def look_up() -> None:
            with sender, looking:
                await search.run()

        async with background() as nursery:
            nursery.start_soon(look_up)
            yield receiver

    async def announce(
        self, target: Target, port: int, *, implied_port: bool = False, seed: bool | None = None
    ) -> AnnounceResult:
        """Announce us as a peer to the closest nodes that give a token (BEP 5).

        Args:
            target: what we have, or are about to.
            port: the TCP port where peers reach us.
            implied_port: the nodes take the UDP port that they see us send from instead of ``port``.
            seed: whether we have all of it (BEP 33).

        Raises:
            ValueError: a port that is none.
        """
        announce = self.announcement(target, port, implied_port=implied_port, seed=seed)
        await announce.run()
        return announce.result()

    async def find_metadata(self, target: Target) -> FoundMetadata:
        """Look up peers and ask several at once for the metadata, until one has given it.

        Raises:
            MetadataNotFoundError: no peer gave it.
        """
        return await self.metadata_search(target).run()

    def search(
        self,
        target: Target,
        *,
        on_peer: Callable[[Peer], None] = _ignore_peer,
        scrape: bool = True,
        trackers: bool = True,
    ) -> Search:
        """Return the search behind :meth:`lookup`, for whoever wants to watch it.

        Without ``scrape`` no node is asked how many peers there are, without ``trackers`` no tracker is.
        """
        magnet = as_magnet(target)
        if self.seeds.failed:
            self.seeds.reopen()
            self._nursery.start_soon(self.seeds.ask_all)
        search = Search(
            magnet.targets,
            self.endpoints,
            self.seeds,
            on_peer=on_peer,
            on_event=self._on_event,
            scrape=scrape,
            trackers=partial(self._ask_trackers, magnet) if trackers and magnet.trackers else None,
        )
        search.give([Peer(address, magnet.targets[0], "magnet") for address in magnet.peers])
        return search

    def announcement(
        self, target: Target, port: int, *, implied_port: bool = False, seed: bool | None = None
    ) -> Announce:
        """Return what is behind :meth:`announce`, for whoever wants to watch it."""
        search = self.search(target, scrape=False, trackers=False)
        return Announce(search, port, implied_port=implied_port, seed=seed, on_event=self._on_event)

    def metadata_search(self, target: Target, *, trackers: bool = True) -> MetadataSearch:
        """Return what is behind :meth:`find_metadata`, for whoever wants to watch it."""
        magnet = as_magnet(target)
        hunt = MetadataHunt(self._client, magnet, self.endpoints[0].may_contact, self._on_event)
        search = self.search(magnet, on_peer=hunt.offer, scrape=False, trackers=trackers)
        return MetadataSearch(search, hunt)

    def _ask_trackers(self, magnet: Magnet, search: Search) -> MagnetTrackers:
        return MagnetTrackers(
            magnet,
            patience=self._tracker_timeout,
            client=self._tracker_client,
            on_peer=lambda address, infohash: search.give([Peer(address, infohash, "tracker")]),
            on_event=self._on_event,
        )

    async def _tracker_client(self) -> TrackerClient:
        """Return what asks trackers, which runs from the first time on that somebody wants it."""
        async with self._opening:
            if self._trackers is None:
                client = TrackerClient(
                    TrackerClientConfig(),
                    random.SystemRandom(),
                    allow_private=self.endpoints[0].allow_private,
                    sources={e.node.family: e.socket.local[0] for e in self.endpoints},
                )
                await self._nursery.start(client.run)
                self._trackers = client
            return self._trackers


@contextlib.asynccontextmanager
async def open_node(
    *,
    bootstrap: Sequence[str] = DEFAULT_BOOTSTRAP,
    listen: Sequence[str] = ANY_PORT,
    allow_private: bool = False,
    tracker_timeout: float = PATIENCE,
    on_event: Callable[..., None] = _ignore,
) -> AsyncIterator[Node]:
    """Join the DHT for the length of an ``async with`` block.

    Joining goes on in the background: what is asked of the node meanwhile begins when the first host has
    answered.

    Args:
        bootstrap: ``HOST:PORT`` of nodes to ask for the way in.
        listen: ``ADDR:PORT`` to bind, one per family; a family that this machine lacks is left out.
        allow_private: send to private, loopback and other addresses that are not public, too.
        tracker_timeout: seconds that a lookup waits for the trackers of a magnet link.
        on_event: is told ``on_event(name, **fields)`` of every node and peer that was asked.

    Raises:
        ListenError: no socket can be bound as asked.
        ValueError: a host is not of the form ``HOST:PORT``.
    """
    for host in bootstrap:
        split_host_port(host)
    sockets = _open_sockets(listen)
    rng = random.SystemRandom()
    budget = QueryBudget(_PRIVATE_LIMITS if allow_private else _LIMITS)
    endpoints = [
        Endpoint(_build_core(socket.family, rng, allow_private), socket, budget, allow_private=allow_private)
        for socket in sockets
    ]
    seeds = Seeds(bootstrap, endpoints, rng, on_event)
    async with background() as nursery:
        for endpoint in endpoints:
            await nursery.start(endpoint.run)
        nursery.start_soon(seeds.ask_all)
        yield Node(endpoints, seeds, nursery, on_event, tracker_timeout)


def _open_sockets(listen: Sequence[str]) -> list[UdpSocket]:
    """Bind all that can be bound, or nothing."""
    opened: dict[Family, UdpSocket] = {}
    missing: list[str] = []
    with contextlib.ExitStack() as undo:
        for text in listen:
            try:
                socket = _open_one(text)
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise ListenError(f"cannot listen on {text}: {error.strerror}") from error
                missing.append(text)
                continue
            undo.callback(socket.close)
            if opened.setdefault(socket.family, socket) is not socket:
                raise ListenError(f"cannot listen on {text} too: one address per family is enough")
        if not opened:
            raise ListenError(f"cannot listen on {' or '.join(missing) or 'no address'}: not available here")
        undo.pop_all()
    return list(opened.values())


def _open_one(listen: str) -> UdpSocket:
    try:
        return open_socket(listen, NetworkConfig())
    except ValueError as error:
        raise ListenError(f"cannot listen: {error}") from None


def _build_core(family: Family, rng: random.Random, allow_private: bool) -> Core:
    own_id = random_id(rng)
    table = RoutingTable(own_id, RoutingConfig(), rng=rng, exempt_ip_limits=allow_private)
    store, tokens = PeerStore(PeerStoreConfig(), rng), Tokens(rng, TokenConfig())
    return Core(
        family,
        table=table,
        transactions=Transactions(TransactionsConfig(), rng),
        responder=_ReadOnly(own_id, {family: table}, store, tokens, ResponderConfig()),
        reply_budget=ReplyBudget(ReplyBudgetConfig()),
        external=ExternalAddress(IdentityConfig()),
        allow_private=allow_private,
    )
