"""Fetching metadata from one peer (BEP 9), as a state machine on top of its connection.

Handshake, extension handshake, size, a few requests in flight, pieces, hash: any step may fail, and then the
peer is dropped with a reason, because another peer is always cheaper than patience. One peer gives the
whole info dict: were pieces of several mixed, one liar among them could spoil it and nobody could tell which.
Only bytes whose hash is right ever leave here.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import attrs

from crawler.settings import setting
from crawler.swarm.assembly import MemoryBudget, MetadataAssembly, verify_any
from crawler.swarm.connection import (
    ExtendedReceived,
    ExtensionsKnown,
    HandshakeDone,
    MessageReceived,
    PeerFault,
)
from crawler.wire import extensions
from crawler.wire.extensions import UT_METADATA, MetadataData, MetadataReject, MetadataRequest
from crawler.wire.peer import Port, WireError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawler.swarm.connection import Event, PeerConnection
    from crawler.swarm.pex import PexInbox
    from crawler.wire.extensions import ExtensionHandshake
    from crawler.wire.peer import Handshake

_SETS_THE_BIT_ONLY: Final = b"-SD0100-"
"""Xunlei: offers the extension protocol and does not speak it."""


@attrs.frozen
class MetadataConfig:
    """Patience with a peer that is to give us metadata."""

    max_size: int = setting(
        10 << 20,
        unit="bytes",
        help="Peers that claim larger metadata are dropped.",
        minimum=1,
        maximum=10 << 20,
    )
    requests_in_flight: int = setting(
        4, unit="requests", help="Pieces of 16 KiB asked for at once from one peer.", minimum=1, maximum=16
    )
    extensions_timeout: float = setting(
        10.0, unit="s", help="How long the extension handshake may follow the handshake.", above=0
    )
    stall_window: float = setting(
        10.0, unit="s", help="In every such time, metadata must come at the least rate.", above=0
    )
    least_rate: float = setting(
        1024.0, unit="bytes/s", help="A peer that gives metadata more slowly is dropped.", minimum=0
    )


@attrs.define(unsafe_hash=True)
class VerifiedMetadata:
    """An info dict whose hash is right.

    Attributes:
        infohash: the 20 bytes it was asked for by.
        info: the exact bytes.
        sha1: their SHA-1, where it was worked out.
    """

    infohash: bytes
    info: bytes
    sha1: bytes | None = attrs.field(default=None, eq=False, repr=False)


class MetadataFetch:
    """One peer, one info dict.

    Args:
        connection: to the peer, fresh.
        budget: memory that all fetches share.
        infohashes: what the info dict may be named by; by default what the connection asks for. Give a hybrid
            torrent's both, or the 32 bytes of a v2 hash that is known in full.
        pex: where peers go that this one tells of; by default nobody wants them.
        config: patience.

    Attributes:
        result: the verified metadata, once it is there.
        unrequested: pieces that came without being asked for, or twice.
        dht_port: the UDP port of the peer's DHT node, if it told (BEP 5).
        client: what the peer calls itself, if it told: hostile text.
    """

    def __init__(
        self,
        connection: PeerConnection,
        budget: MemoryBudget | None = None,
        *,
        infohashes: Sequence[bytes] = (),
        pex: PexInbox | None = None,
        config: MetadataConfig | None = None,
    ) -> None:
        assert connection.infohash is not None, "a fetch begins with a question"  # noqa: S101 - our own fault
        self._connection = connection
        self._infohash = connection.infohash
        self._infohashes = infohashes or (connection.infohash,)
        self._budget = budget or MemoryBudget()
        self._pex = pex
        self._config = config or MetadataConfig()
        self._assembly: MetadataAssembly | None = None
        self._requested: set[int] = set()
        self._next_piece = 0
        self._deadline: float | None = None
        self._progress = 0
        self.result: VerifiedMetadata | None = None
        self.unrequested = 0
        self.dht_port: int | None = None
        self.client: bytes | None = None

    @property
    def finished(self) -> bool:
        """Whether the verified metadata is there."""
        return self.result is not None

    @property
    def established(self) -> bool:
        """Whether both handshakes are complete."""
        return self._connection.established

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes that arrived, and go as far as they allow; then see ``result`` and ``data_to_send``.

        Raises:
            PeerFault: this peer will not give us the metadata.
            OverBudgetError: there is no memory for it now.
        """
        self._connection.receive_data(data, now)
        while self.result is None:
            event = self._connection.next_event()
            if event is None:
                return
            self._on_event(event, now)

    def data_to_send(self, now: float) -> bytes:
        """Return what is to be written now; empty when there is nothing."""
        return self._connection.data_to_send(now)

    def next_timer(self) -> float:
        """Return when ``handle_timer`` is due."""
        due = self._connection.next_timer()
        return due if self._deadline is None else min(due, self._deadline)

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``; too early is no harm.

        Raises:
            PeerFault: the peer is too slow.
        """
        self._connection.handle_timer(now)
        if self._deadline is None or now < self._deadline:
            return
        if self._assembly is None:
            raise PeerFault("extensions_timeout")
        progress = self._assembly.received + self._connection.partial
        if progress - self._progress < self._config.least_rate * self._config.stall_window:
            raise PeerFault("too_slow")
        self._progress = progress
        self._deadline = now + self._config.stall_window

    def close(self) -> None:
        """Give back the memory; to be called at the end, whatever it was. May be called again."""
        if self._assembly is not None:
            self._assembly.release()

    def _on_event(self, event: Event, now: float) -> None:
        if isinstance(event, ExtendedReceived):
            self._on_extended(event, now)
        elif isinstance(event, ExtensionsKnown):
            self._on_extensions(event.handshake, now)
        elif isinstance(event, HandshakeDone):
            self._on_handshake(event.handshake, now)
        elif isinstance(event, MessageReceived) and isinstance(event.message, Port):
            self.dht_port = event.message.port or None

    def _on_handshake(self, handshake: Handshake, now: float) -> None:
        if not handshake.extensions or handshake.peer_id.startswith(_SETS_THE_BIT_ONLY):
            raise PeerFault("no_extension_protocol")
        self._deadline = now + self._config.extensions_timeout

    def _on_extensions(self, handshake: ExtensionHandshake, now: float) -> None:
        self.client = handshake.client or self.client
        if self._assembly is not None:
            return
        if not self._connection.speaks(UT_METADATA):
            raise PeerFault("no_metadata_extension")
        if handshake.metadata_size is None:
            raise PeerFault("no_metadata")
        if handshake.metadata_size > self._config.max_size:
            raise PeerFault("metadata_too_large")
        self._assembly = MetadataAssembly(handshake.metadata_size, self._budget)
        self._deadline = now + self._config.stall_window
        self._ask()

    def _ask(self) -> None:
        assembly = self._assembly
        while (
            assembly is not None
            and self._next_piece < assembly.count
            and len(self._requested) < self._config.requests_in_flight
        ):
            self._send(MetadataRequest(self._next_piece))
            self._requested.add(self._next_piece)
            self._next_piece += 1

    def _send(self, message: MetadataRequest | MetadataReject) -> None:
        self._connection.send_extended(UT_METADATA, extensions.encode_metadata(message))

    def _on_extended(self, event: ExtendedReceived, now: float) -> None:
        if event.name != UT_METADATA:
            if self._pex is not None:
                self._pex.receive(event.payload, now)
            else:
                self._connection.note_waste(len(event.payload))
            return
        try:
            message = extensions.decode_metadata(event.payload)
        except WireError as error:
            raise PeerFault(error.reason) from None
        if isinstance(message, MetadataData):
            self._on_data(message)
            return
        self._connection.note_waste(len(event.payload))
        if isinstance(message, MetadataReject) and message.piece in self._requested:
            raise PeerFault("rejected")
        if isinstance(message, MetadataRequest):
            self._send(MetadataReject(message.piece))

    def _on_data(self, message: MetadataData) -> None:
        assembly = self._assembly
        if assembly is None or message.piece not in self._requested:
            self.unrequested += 1
            self._connection.note_waste(len(message.data))
            return
        if message.total_size is not None and message.total_size != assembly.size:
            raise PeerFault("size_mismatch")
        if len(message.data) != assembly.piece_size(message.piece):
            raise PeerFault("bad_piece_size")
        assembly.add(message.piece, message.data)
        self._requested.remove(message.piece)
        if assembly.complete:
            self._finish(assembly)
        else:
            self._ask()

    def _finish(self, assembly: MetadataAssembly) -> None:
        info = assembly.join()
        assembly.release()
        sha1 = hashlib.sha1(info).digest()  # noqa: S324 - BEP 3's choice
        if sha1 not in self._infohashes and not verify_any(self._infohashes, info):
            raise PeerFault("wrong_hash")
        self.result = VerifiedMetadata(self._infohash, info, sha1)
