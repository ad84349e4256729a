"""Metadata from peers over TCP: dial one, drive the fetch of `swarm/metadata` over the link, close it.

What to say and when to give up is `swarm/`'s business. The whole of a job has its deadline at the caller, as
a cancel scope; here every wait ends at the fetch's own next timer. Whatever ends a job is one
:class:`FetchError` with a reason to count by.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crawler.net.tcp import LinkError, converse, converse_until_late, dial
from crawler.settings import setting
from crawler.swarm.assembly import MemoryBudget, OverBudgetError
from crawler.swarm.connection import ConnectionConfig, PeerConnection, PeerFault
from crawler.swarm.metadata import MetadataConfig, MetadataFetch
from crawler.wire.compact import is_global

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crawler.net.tcp import Link
    from crawler.swarm.metadata import VerifiedMetadata
    from crawler.swarm.pex import PexInbox

_SYSTEM_PORTS: Final = 1024
_WEB_PORTS: Final = frozenset({80, 443})
"""Peers behind strict firewalls do listen on these; on other ports below 1024 it is nobody's BitTorrent."""


class FetchError(Exception):
    """This peer did not give us the metadata.

    Attributes:
        reason: a short token to count by.
        blame: whether it is the peer's doing; if not, it may well be asked again.
    """

    def __init__(self, reason: str, *, blame: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.blame = blame


@attrs.frozen
class PeersConfig:
    """Connections to peers."""

    dial_timeout: float = setting(
        5.0, unit="s", help="A TCP connection that takes longer to open is given up.", above=0
    )


@attrs.define
class PeersCounters:
    """What became of the connections that we opened."""

    dialled: int = 0
    connected: int = 0
    fetched: int = 0
    open: int = 0
    failures: Counter[str] = attrs.field(factory=Counter)


class PeerClient:
    """Opens connections to peers.

    Args:
        peer_id: our 20 bytes in the peer wire, or what draws them anew for each connection: a hybrid torrent
            is asked for by both its names at once, and peers hang up on an id that calls twice.
        budget: the memory that all fetches share.
        client: what we call ourselves.
        dht_port: the UDP port of our node, which peers may like to know.
        allow_private: dial addresses that are not global too, for tests and closed networks.
        peers: patience with dialling.
        connection: patience with a connection.
        metadata: patience with a fetch.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each section of the configuration
        self,
        peer_id: bytes | Callable[[], bytes],
        *,
        budget: MemoryBudget | None = None,
        client: bytes | None = None,
        dht_port: int | None = None,
        allow_private: bool = False,
        peers: PeersConfig | None = None,
        connection: ConnectionConfig | None = None,
        metadata: MetadataConfig | None = None,
    ) -> None:
        self.counters = PeersCounters()
        self.budget = budget or MemoryBudget()
        self._peer_id = peer_id if callable(peer_id) else lambda: peer_id
        self._client = client
        self._dht_port = dht_port
        self._allow_private = allow_private
        self.dial_timeout = (peers or PeersConfig()).dial_timeout
        self._connection = connection or ConnectionConfig()
        self._metadata = metadata or MetadataConfig()

    async def fetch_metadata(
        self,
        address: bytes,
        infohash: bytes,
        *,
        infohashes: Sequence[bytes] = (),
        switch_to: bytes | None = None,
        pex: PexInbox | None = None,
    ) -> VerifiedMetadata:
        """Ask the peer at ``address`` for the metadata of ``infohash``.

        Put it under a deadline of your own; cancelled at any point, it closes its socket and gives its memory
        back.

        Args:
            address: compact, 6 or 18 bytes.
            infohash: the 20 bytes that the peer should know the torrent by.
            infohashes: what the metadata may be named by, as for `MetadataFetch`.
            switch_to: a hybrid torrent's other 20 bytes, as for `PeerConnection`.
            pex: where peers go that this one tells of.

        Raises:
            FetchError: the peer did not give it; why is the reason.
        """
        try:
            result = await self._fetch(address, infohash, infohashes, switch_to, pex)
        except FetchError as error:
            self.counters.failures[error.reason] += 1
            raise
        self.counters.fetched += 1
        return result

    async def _fetch(
        self,
        address: bytes,
        infohash: bytes,
        infohashes: Sequence[bytes],
        switch_to: bytes | None,
        pex: PexInbox | None,
    ) -> VerifiedMetadata:
        self._check(address)
        self.counters.dialled += 1
        link: Link | None = None
        fetch: MetadataFetch | None = None
        try:
            # One scope for the dialling and what follows, since nearly all is said and done within it.
            with trio.CancelScope(deadline=trio.current_time() + self.dial_timeout) as patience:
                link = await dial(address)
                self.counters.connected += 1
                self.counters.open += 1
                now = trio.current_time()
                fetch = self.new_fetch(infohash, now, infohashes=infohashes, switch_to=switch_to, pex=pex)
                await converse_until_late(link, fetch, patience)
            if patience.cancelled_caught:
                if link is None or fetch is None:
                    raise FetchError("dial_timeout")
                fetch.handle_timer(trio.current_time())
                await converse(link, fetch)
        except (LinkError, PeerFault, OverBudgetError) as failure:
            raise fetch_error(failure, fetch) from None
        finally:
            if link is not None:
                link.close()
                self.counters.open -= 1
            if fetch is not None:
                fetch.close()
        assert fetch is not None and fetch.result is not None  # noqa: S101, PT018 - a finished fetch has it
        return fetch.result

    def check(self, address: bytes) -> None:
        """See whether a compact address may be dialled.

        Raises:
            FetchError: it may not; counted.
        """
        try:
            self._check(address)
        except FetchError as error:
            self.counters.failures[error.reason] += 1
            raise

    def new_fetch(
        self,
        infohash: bytes,
        now: float,
        *,
        infohashes: Sequence[bytes] = (),
        switch_to: bytes | None = None,
        pex: PexInbox | None = None,
    ) -> MetadataFetch:
        """Return what a new connection is to drive; arguments as for :meth:`fetch_metadata`."""
        connection = PeerConnection(
            self._peer_id(),
            infohash,
            now=now,
            switch_to=switch_to,
            client=self._client,
            dht_port=self._dht_port,
            config=self._connection,
        )
        return MetadataFetch(connection, self.budget, infohashes=infohashes, pex=pex, config=self._metadata)

    def _check(self, address: bytes) -> None:
        port = int.from_bytes(address[-2:], "big")
        known = port >= _SYSTEM_PORTS or port in _WEB_PORTS
        if not known or not (self._allow_private or is_global(address)):
            raise FetchError("forbidden_address", blame=False)


def fetch_error(failure: LinkError | PeerFault | OverBudgetError, fetch: MetadataFetch | None) -> FetchError:
    """Return the one error for what ended a talk: ``fetch`` is how far it had come, None before it began."""
    if isinstance(failure, OverBudgetError):
        return FetchError("over_budget", blame=False)
    if isinstance(failure, PeerFault):
        return FetchError(failure.reason)
    reason = failure.reason
    # One that was reset before we saw it open was reset in the handshake, too.
    early = reason == "reset" if fetch is None else not fetch.established
    in_handshake = early and reason != "deadline"
    return FetchError(reason + ("_in_handshake" if in_handshake else ""), blame=failure.blame)
