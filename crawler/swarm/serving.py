"""The other half of BEP 9: giving verified metadata to peers that dial us.

A cache of bounded size holds what we are willing to give. A peer learns our answer only as fast as it reads:
no more than a few pieces wait to be written, whatever it asks for, so a question of 27 bytes cannot pile up
16 KiB each in our memory.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

import attrs

from crawler.settings import setting
from crawler.swarm.connection import ExtendedReceived, HashOffered, PeerConnection, PeerFault
from crawler.wire import extensions
from crawler.wire.extensions import METADATA_PIECE, UT_METADATA, MetadataData, MetadataReject, MetadataRequest
from crawler.wire.peer import WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.swarm.pex import PexInbox


@attrs.frozen
class ServingConfig:
    """How much metadata is kept for others, and how much of it one peer may ask for."""

    enabled: bool = setting(
        False,
        unit="",
        help="Let peers dial us, on the TCP port of the same number, for metadata (--serve-metadata).",
    )
    max_bytes: int = setting(
        32 << 20,
        unit="bytes",
        help="Verified metadata kept for others; the least recently wanted goes.",
        minimum=0,
    )
    max_waiting: int = setting(
        64, unit="requests", help="Requests of one peer that wait; more are rejected.", minimum=1
    )
    max_outgoing: int = setting(
        64 << 10, unit="bytes", help="Bytes for one peer that wait to be written.", minimum=METADATA_PIECE
    )
    max_pieces: int = setting(
        1280,
        unit="pieces",
        help="Pieces that one connection may have; twice the largest metadata.",
        minimum=1,
    )


class MetadataCache:
    """Verified info dicts by infohash, the least recently wanted dropped first.

    Attributes:
        size: bytes held.
        dropped: info dicts that had to go.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._infos: OrderedDict[bytes, bytes] = OrderedDict()
        self.size = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._infos)

    def add(self, infohash: bytes, info: bytes, *, private: bool = False) -> bool:
        """Keep verified ``info`` under a 20-byte name; False if it is private (BEP 27) or too large."""
        if private or len(info) > self._max_bytes:
            return False
        self.size += len(info) - len(self._infos.pop(infohash, b""))
        self._infos[infohash] = info
        while self.size > self._max_bytes:
            _, old = self._infos.popitem(last=False)
            self.size -= len(old)
            self.dropped += 1
        return True

    def get(self, infohash: bytes) -> bytes | None:
        """Return the info dict, and remember that it was wanted."""
        info = self._infos.get(infohash)
        if info is not None:
            self._infos.move_to_end(infohash)
        return info


class ServedPeer:
    """A peer that dialled us.

    Args:
        connection: as an acceptor, fresh.
        cache: what may be given.
        takes_part: whether we want to be known as a peer of an infohash whose metadata we cannot give.
        pex: where peers go that this one tells of.
        config: limits.

    Attributes:
        served: pieces given.
        rejected: requests turned down.
    """

    def __init__(
        self,
        connection: PeerConnection,
        cache: MetadataCache,
        *,
        takes_part: Callable[[bytes], bool] = lambda _infohash: False,
        pex: PexInbox | None = None,
        config: ServingConfig | None = None,
    ) -> None:
        self._connection = connection
        self._cache = cache
        self._takes_part = takes_part
        self._pex = pex
        self._config = config or ServingConfig()
        self._info: bytes | None = None
        self._waiting: deque[int] = deque()
        self.served = 0
        self.rejected = 0

    @property
    def established(self) -> bool:
        """Whether both handshakes are complete."""
        return self._connection.established

    @property
    def finished(self) -> bool:
        """Never: the peer decides when it has enough, or a fault of its own does."""
        return False

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes that arrived, and answer what they ask.

        Raises:
            PeerFault: the peer is to be dropped; ``unknown_infohash`` without having heard a word of ours.
        """
        self._connection.receive_data(data, now)
        while (event := self._connection.next_event()) is not None:
            if isinstance(event, HashOffered):
                self._admit(event.infohash)
            elif isinstance(event, ExtendedReceived):
                self._on_extended(event, now)

    def data_to_send(self, now: float) -> bytes:
        """Return what is to be written now; ask again once it is written, for more may have waited."""
        self._give()
        return self._connection.data_to_send(now)

    def next_timer(self) -> float:
        """Return when ``handle_timer`` is due."""
        return self._connection.next_timer()

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``.

        Raises:
            PeerFault: the peer took too long.
        """
        self._connection.handle_timer(now)

    def _admit(self, infohash: bytes) -> None:
        self._info = self._cache.get(infohash)
        if self._info is None and not self._takes_part(infohash):
            raise PeerFault("unknown_infohash")
        self._connection.accept(None if self._info is None else len(self._info))

    def _on_extended(self, event: ExtendedReceived, now: float) -> None:
        if event.name != UT_METADATA:
            if self._pex is not None:
                self._pex.receive(event.payload, now)
            else:
                self._connection.note_waste(len(event.payload))
            return
        self._connection.note_waste(len(event.payload))
        try:
            message = extensions.decode_metadata(event.payload)
        except WireError as error:
            raise PeerFault(error.reason) from None
        if isinstance(message, MetadataRequest):
            self._on_request(message.piece)

    def _on_request(self, piece: int) -> None:
        known = self._info is not None and piece * METADATA_PIECE < len(self._info)
        asked = self.served + len(self._waiting)
        if known and len(self._waiting) < self._config.max_waiting and asked < self._config.max_pieces:
            self._waiting.append(piece)
            return
        self.rejected += 1
        self._send(MetadataReject(piece))

    def _give(self) -> None:
        while (
            self._waiting and self._info is not None and self._connection.outgoing < self._config.max_outgoing
        ):
            piece = self._waiting.popleft()
            begin = piece * METADATA_PIECE
            data = self._info[begin : begin + METADATA_PIECE]
            self._send(MetadataData(piece, len(self._info), data))
            self.served += 1

    def _send(self, message: MetadataData | MetadataReject) -> None:
        self._connection.send_extended(UT_METADATA, extensions.encode_metadata(message))
