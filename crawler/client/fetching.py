"""Metadata for whoever waits for it: several peers at once, the next one dialled before a slow one fails."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crawler.net.peers import FetchError
from crawler.swarm.pex import PexInbox
from crawler.wire import metainfo
from crawler.wire.torrent_file import torrent_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.client.search import Peer, Search
    from crawler.net.peers import PeerClient
    from crawler.wire.magnet import Magnet

_PARALLEL: Final = 30
_HEDGE: Final = 0.25
_PEER_SECONDS: Final = 30.0
_MAX_PEERS: Final = 5000
"""Peers of one torrent that are remembered; later ones are dropped. Each is dialled at most once."""


class MetadataNotFoundError(Exception):
    """No peer gave the metadata.

    Attributes:
        tried: how many were dialled.
        failures: why not: a short token to how often.
    """

    def __init__(self, tried: int, failures: Counter[str]) -> None:
        super().__init__(f"no peer gave the metadata; {tried} tried")
        self.tried = tried
        self.failures = failures


@attrs.frozen
class FoundMetadata:
    """An info dict whose hash is right.

    Attributes:
        info: its exact bytes.
        peer: who gave it.
        trackers: announce URLs of the magnet link that it was asked for with.
    """

    info: bytes
    peer: Peer
    trackers: tuple[str, ...] = ()

    def parse(self) -> metainfo.Metainfo:
        """Return what the info dict says; all text in it is hostile.

        Raises:
            MetainfoError: no program could load it; its author made it so.
        """
        return metainfo.parse(self.info)

    def torrent_file(self, *, created_by: str | None = None) -> bytes:
        """Return the bytes of a .torrent file, with the info dict as it is and the link's trackers.

        Raises:
            MetainfoError: it is no dict at all.
        """
        return torrent_file(self.info, trackers=self.trackers, created_by=created_by)


class MetadataHunt:
    """Asks the peers that it is given until one gives the metadata.

    Args:
        client: dials them.
        magnet: what is wanted.
        may_contact: whether a compact address may be dialled at all.
        on_event: is told ``on_event(name, **fields)`` what peers did.

    Attributes:
        tried: peers dialled.
        in_flight: those of them that have not failed yet.
        failures: why the others did.
        dropped: peers that were not taken, because there were enough.
    """

    def __init__(
        self,
        client: PeerClient,
        magnet: Magnet,
        may_contact: Callable[[bytes], bool],
        on_event: Callable[..., None],
    ) -> None:
        self.tried = self.in_flight = self.dropped = 0
        self.failures: Counter[str] = Counter()
        self.found: FoundMetadata | None = None
        self._client = client
        self._magnet = magnet
        self._may_contact = may_contact
        self._on_event = on_event
        self._waiting: deque[Peer] = deque()
        self._known: set[bytes] = set()
        self._no_more = False
        self._next_dial = float("-inf")
        self._news = trio.Event()

    def offer(self, peer: Peer) -> None:
        """Take a peer to ask; one that is known already is left out."""
        if peer.address in self._known:
            return
        if len(self._known) >= _MAX_PEERS:
            self.dropped += 1
            return
        self._known.add(peer.address)
        self._waiting.append(peer)
        self._tell()

    def expect_no_more(self) -> None:
        """Say that no peer will be offered any more, so that running out of them is the end."""
        self._no_more = True
        self._tell()

    async def run(self) -> FoundMetadata:
        """Ask peers until one has given the metadata.

        Raises:
            MetadataNotFoundError: everybody was asked in vain.
        """
        async with trio.open_nursery() as nursery:
            while self.found is None and not self._exhausted:
                if self._may_dial_at() <= trio.current_time():
                    self._next_dial = trio.current_time() + _HEDGE
                    self.tried += 1
                    self.in_flight += 1
                    nursery.start_soon(self._try, self._waiting.popleft())
                    continue
                with trio.CancelScope(deadline=self._may_dial_at()):
                    await self._news.wait()
            nursery.cancel_scope.cancel()
        if self.found is None:
            raise MetadataNotFoundError(self.tried, self.failures)
        return self.found

    @property
    def _exhausted(self) -> bool:
        return self._no_more and not self._waiting and not self.in_flight

    def _may_dial_at(self) -> float:
        return self._next_dial if self._waiting and self.in_flight < _PARALLEL else float("inf")

    async def _try(self, peer: Peer) -> None:
        inbox = PexInbox(self._may_contact)
        reason = "too_slow"
        try:
            with trio.move_on_after(_PEER_SECONDS):
                reason = await self._fetch(peer, inbox)
        finally:
            self.in_flight -= 1
        if not reason:
            return
        self.failures[reason] += 1
        self._on_event("peer failed", peer=str(peer), problem=reason)
        for address in inbox.peers:
            self.offer(attrs.evolve(peer, address=address, source="pex"))
        # Somebody's place is free: there is no reason to wait for the hedge.
        self._next_dial = float("-inf")
        self._tell()

    async def _fetch(self, peer: Peer, inbox: PexInbox) -> str:
        """Ask one peer; returns why it failed, or ``""``."""
        magnet = self._magnet
        names = [name for name in (magnet.infohash, magnet.infohash_v2) if name]
        other = [target for target in magnet.targets if target != peer.infohash]
        try:
            verified = await self._client.fetch_metadata(
                peer.address,
                peer.infohash,
                infohashes=names,
                switch_to=other[0] if other else None,
                pex=inbox,
            )
        except FetchError as error:
            return error.reason
        if self.found is None:
            self.found = FoundMetadata(verified.info, peer, magnet.trackers)
            self._on_event("peer gave metadata", peer=str(peer), bytes=len(verified.info))
            self._tell()
        return ""

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


class MetadataSearch:
    """A search for peers and a hunt among them at the same time; to be run once."""

    def __init__(self, search: Search, hunt: MetadataHunt) -> None:
        """Join the two; ``search`` must offer what it finds to the ``hunt``."""
        self.search = search
        self.hunt = hunt

    async def run(self) -> FoundMetadata:
        """Search and ask until somebody has given the metadata.

        Raises:
            MetadataNotFoundError: everybody was found and asked in vain.
        """
        found: FoundMetadata | None = None
        missing: MetadataNotFoundError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._find_peers)
            try:
                found = await self.hunt.run()
            except MetadataNotFoundError as error:
                missing = error
            nursery.cancel_scope.cancel()
        if found is None:
            raise missing or MetadataNotFoundError(0, Counter())
        return found

    async def _find_peers(self) -> None:
        await self.search.run()
        self.hunt.expect_no_more()
