"""The peer wire of BEP 3, 6, 10 and 52: the handshake and the messages, as bytes and as values.

A codec and nothing more: what may be said when is `swarm/connection`'s business. A message is one row of a
table that is read in both directions. :class:`FrameReader` takes the stream as it comes, checks each length
as soon as it can be read, and drops the body of what its owner has no use for without ever buffering it: a
peer that announces a message of a megabyte costs us no megabyte.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final

import attrs

PROTOCOL: Final = b"\x13BitTorrent protocol"
HANDSHAKE_BYTES: Final = 68
INFO_HASH_END: Final = 48
"""The handshake up to and with the infohash; some peers send the rest only after our answer."""

MAX_MESSAGE: Final = 1 << 20
"""Longest message anybody sends (libtorrent closes above it), in bytes without the length prefix."""
MAX_KEPT: Final = 17 * 1024
"""Longest message worth buffering for metadata: a 16 KiB piece and its dict (BEP 9)."""

_PREFIX_BYTES: Final = 4
_PREFIX: Final = struct.Struct(">I")
_EXTENDED_HEAD: Final = struct.Struct(">IBB")
_HEADER_BYTES: Final = 5

_EXTENSION_PROTOCOL: Final = (5, 0x10)
_DHT: Final = (7, 0x01)
_FAST: Final = (7, 0x04)
_V2: Final = (7, 0x10)


class WireError(ValueError):
    """What the other side sent is no peer wire; ``reason`` is a short token to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.define(unsafe_hash=True)
class Handshake:
    """The 68 bytes that open a connection (BEP 3); the flags are the reserved bits we know."""

    infohash: bytes
    peer_id: bytes
    extensions: bool = True
    fast: bool = True
    dht: bool = True
    v2: bool = False


def encode_handshake(handshake: Handshake) -> bytes:
    """Return the 68 bytes of ``handshake``."""
    head = _opening(handshake.extensions, handshake.dht, handshake.fast, handshake.v2)
    return head + handshake.infohash + handshake.peer_id


@lru_cache(maxsize=16)
def _opening(*flags: bool) -> bytes:
    """Return what comes before the infohash, with these of the reserved bits set."""
    reserved = bytearray(8)
    for on, (index, bit) in zip(flags, (_EXTENSION_PROTOCOL, _DHT, _FAST, _V2), strict=True):
        if on:
            reserved[index] |= bit
    return PROTOCOL + reserved


def decode_handshake(data: bytes) -> Handshake | None:
    """Return the handshake that ``data`` starts with, as far as it has come.

    Args:
        data: what was received so far; bytes after the 68th are not looked at.

    Returns:
        None below 48 bytes; then a handshake whose ``peer_id`` is empty until all 68 bytes are there.

    Raises:
        WireError: ``not_bittorrent`` at the first byte that cannot be a handshake's.
    """
    if not data.startswith(PROTOCOL) and not PROTOCOL.startswith(data[: len(PROTOCOL)]):
        raise WireError("not_bittorrent")
    if len(data) < INFO_HASH_END:
        return None
    reserved = data[len(PROTOCOL) : len(PROTOCOL) + 8]
    extensions, dht, fast, v2 = _flags(reserved)
    peer_id = data[INFO_HASH_END:HANDSHAKE_BYTES] if len(data) >= HANDSHAKE_BYTES else b""
    return Handshake(data[INFO_HASH_END - 20 : INFO_HASH_END], peer_id, extensions, fast, dht, v2)


@lru_cache(maxsize=256)
def _flags(reserved: bytes) -> tuple[bool, bool, bool, bool]:
    """Return the bits that we know, in the order of `_opening`; peers have a few dozen values of all."""
    extensions, dht, fast, v2 = (
        bool(reserved[index] & bit) for index, bit in (_EXTENSION_PROTOCOL, _DHT, _FAST, _V2)
    )
    return extensions, dht, fast, v2


@attrs.frozen
class Choke:
    """The sender answers no more requests (BEP 3)."""


@attrs.frozen
class Unchoke:
    """The sender answers requests again (BEP 3)."""


@attrs.frozen
class Interested:
    """The sender wants something that we have (BEP 3)."""


@attrs.frozen
class NotInterested:
    """The sender wants nothing that we have (BEP 3)."""


@attrs.frozen
class Have:
    """The sender now has one more piece (BEP 3)."""

    index: int


@attrs.frozen
class Bitfield:
    """The pieces that the sender has, the highest bit of the first byte being piece 0 (BEP 3)."""

    bits: bytes


@attrs.frozen
class Request:
    """Ask for a block: piece, offset and length in bytes (BEP 3)."""

    index: int
    begin: int
    length: int


@attrs.frozen
class Piece:
    """A block of a piece (BEP 3)."""

    index: int
    begin: int
    data: bytes


@attrs.frozen
class Cancel:
    """Take a request back (BEP 3)."""

    index: int
    begin: int
    length: int


@attrs.frozen
class Port:
    """The sender's DHT node listens on this UDP port (BEP 5)."""

    port: int


@attrs.frozen
class Suggest:
    """The sender would like to send this piece (BEP 6)."""

    index: int


@attrs.frozen
class HaveAll:
    """In place of a full bitfield (BEP 6)."""


@attrs.frozen
class HaveNone:
    """In place of an empty bitfield (BEP 6)."""


@attrs.frozen
class Reject:
    """The request will not be answered (BEP 6)."""

    index: int
    begin: int
    length: int


@attrs.frozen
class AllowedFast:
    """This piece may be asked for while choked (BEP 6)."""

    index: int


@attrs.define(unsafe_hash=True)
class Extended:
    """A message of an extension; ``id`` is in the *receiver's* numbering, 0 the handshake (BEP 10).

    A value, and nobody changes it. Like the handshake it is not frozen because that doubles what it costs.
    """

    id: int
    payload: bytes


@attrs.frozen
class HashRequest:
    """Ask for hashes of a file's Merkle tree (BEP 52)."""

    pieces_root: bytes
    base_layer: int
    index: int
    length: int
    proof_layers: int


@attrs.frozen
class Hashes:
    """Hashes of a file's Merkle tree, 32 bytes each (BEP 52)."""

    pieces_root: bytes
    base_layer: int
    index: int
    length: int
    proof_layers: int
    hashes: bytes


@attrs.frozen
class HashReject:
    """The hash request will not be answered (BEP 52)."""

    pieces_root: bytes
    base_layer: int
    index: int
    length: int
    proof_layers: int


@attrs.frozen
class Skipped:
    """A message whose body was dropped unread: its id and its length on the wire without the prefix."""

    id: int
    length: int


Message = (
    Choke
    | Unchoke
    | Interested
    | NotInterested
    | Have
    | Bitfield
    | Request
    | Piece
    | Cancel
    | Port
    | Suggest
    | HaveAll
    | HaveNone
    | Reject
    | AllowedFast
    | Extended
    | HashRequest
    | Hashes
    | HashReject
)


@attrs.frozen
class _Layout:
    """One row of the table: the fixed fields, and how many bytes one unit of the open end has (0: none)."""

    kind: type[Any]
    fixed: struct.Struct
    unit: int = 0
    names: tuple[str, ...] = attrs.field(
        default=attrs.Factory(lambda self: tuple(attrs.fields_dict(self.kind)), takes_self=True)
    )


_LAYOUTS: Final[dict[int, _Layout]] = {
    0: _Layout(Choke, struct.Struct(">")),
    1: _Layout(Unchoke, struct.Struct(">")),
    2: _Layout(Interested, struct.Struct(">")),
    3: _Layout(NotInterested, struct.Struct(">")),
    4: _Layout(Have, struct.Struct(">I")),
    5: _Layout(Bitfield, struct.Struct(">"), unit=1),
    6: _Layout(Request, struct.Struct(">III")),
    7: _Layout(Piece, struct.Struct(">II"), unit=1),
    8: _Layout(Cancel, struct.Struct(">III")),
    9: _Layout(Port, struct.Struct(">H")),
    13: _Layout(Suggest, struct.Struct(">I")),
    14: _Layout(HaveAll, struct.Struct(">")),
    15: _Layout(HaveNone, struct.Struct(">")),
    16: _Layout(Reject, struct.Struct(">III")),
    17: _Layout(AllowedFast, struct.Struct(">I")),
    20: _Layout(Extended, struct.Struct(">B"), unit=1),
    21: _Layout(HashRequest, struct.Struct(">32sIIII")),
    22: _Layout(Hashes, struct.Struct(">32sIIII"), unit=32),
    23: _Layout(HashReject, struct.Struct(">32sIIII")),
}
_EXTENDED: Final = 20
_SHORTEST_EXTENDED: Final = 2
_IDS: Final = {layout.kind: number for number, layout in _LAYOUTS.items()}

FAST_KINDS: Final = (Suggest, HaveAll, HaveNone, Reject, AllowedFast)
"""What only a peer that set the fast bit may send (BEP 6; a v2 peer may reject without it)."""
PAYLOAD_IDS: Final = frozenset({5, 7, 22})
"""Bitfield, piece and hashes: bulky, and of no use to one who only wants metadata."""
KEEP_ALIVE: Final = bytes(_PREFIX_BYTES)


def encode(message: Message) -> bytes:
    """Return the whole frame of ``message``: length prefix, id, payload."""
    if type(message) is Extended:
        return encode_extended(message.id, message.payload)
    number = _IDS[type(message)]
    layout = _LAYOUTS[number]
    values = [getattr(message, name) for name in layout.names]
    tail = values.pop() if layout.unit else b""
    payload = layout.fixed.pack(*values) + tail
    return struct.pack(">IB", len(payload) + 1, number) + payload


def encode_extended(number: int, payload: bytes) -> bytes:
    """Return the whole frame of an extension's message, without a value made of it first."""
    return _EXTENDED_HEAD.pack(len(payload) + 2, _EXTENDED, number) + payload


def decode(number: int, payload: bytes) -> Message:
    """Return the message with id ``number``.

    Raises:
        WireError: ``unknown_message`` or ``bad_length``.
    """
    layout = _LAYOUTS.get(number)
    if layout is None:
        raise WireError("unknown_message")
    _check_length(layout, len(payload))
    values = layout.fixed.unpack_from(payload)
    if layout.unit:
        return layout.kind(*values, payload[layout.fixed.size :])  # type: ignore[no-any-return] # a table row
    return layout.kind(*values)  # type: ignore[no-any-return] # a table row


def _check_length(layout: _Layout, length: int) -> None:
    rest = length - layout.fixed.size
    if rest < 0 or (rest % layout.unit if layout.unit else rest):
        raise WireError("bad_length")


class FrameReader:
    """Cuts a stream into messages, keeping no more than one message of bounded size.

    Args:
        skip: ids whose body is dropped; ids that are unknown always are.
        max_kept: longest message that is kept, in bytes without the length prefix.

    Attributes:
        keep_alives: empty frames seen so far.
    """

    def __init__(self, *, skip: frozenset[int] = PAYLOAD_IDS, max_kept: int = MAX_KEPT) -> None:
        self._skip = skip
        self._max_kept = max_kept
        self._buffer = b""
        self._at = 0
        self._to_drop = 0
        self.keep_alives = 0

    @property
    def buffered(self) -> int:
        """Bytes of the unfinished message, and of what was fed and not yet read."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream; call :meth:`next_message` until it returns None."""
        if self._to_drop:
            dropped = min(self._to_drop, len(data))
            self._to_drop -= dropped
            data = data[dropped:]
        # Mostly nothing is left, and nothing has to be copied.
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def next_message(self) -> Message | Skipped | None:
        """Return the next message, or None until more bytes come.

        Raises:
            WireError: ``message_too_large`` or ``bad_length``; the stream cannot be read on after it.
        """
        buffer, at, end = self._buffer, self._at, len(self._buffer)
        length = 0
        while not length:
            if end - at < _PREFIX_BYTES:
                self._buffer, self._at = buffer[at:], 0
                return None
            length = _PREFIX.unpack_from(buffer, at)[0]
            at += _PREFIX_BYTES
            self.keep_alives += not length
        self._at = at - _PREFIX_BYTES
        if length > MAX_MESSAGE:
            raise WireError("message_too_large")
        if at == end:
            return None
        number = buffer[at]
        if number != _EXTENDED:
            return self._next_body(number, length)
        # Half of all messages, and the long ones.
        if length > self._max_kept or length < _SHORTEST_EXTENDED:
            raise WireError("message_too_large" if length > self._max_kept else "bad_length")
        if at + length > end:
            return None
        self._at = at + length
        return Extended(buffer[at + 1], buffer[at + 2 : at + length])

    def _next_body(self, number: int, length: int) -> Message | Skipped | None:
        layout = _LAYOUTS.get(number)
        if layout is not None:
            _check_length(layout, length - 1)
        if layout is None or number in self._skip:
            self._drop(_PREFIX_BYTES + length)
            return Skipped(number, length)
        if length > self._max_kept:
            raise WireError("message_too_large")
        start, end = self._at + _HEADER_BYTES, self._at + _PREFIX_BYTES + length
        if end > len(self._buffer):
            return None
        self._at = end
        return decode(number, self._buffer[start:end])

    def _drop(self, count: int) -> None:
        here = min(count, len(self._buffer) - self._at)
        self._at += here
        self._to_drop = count - here
