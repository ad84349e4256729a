"""Payloads of the extension protocol: its handshake (BEP 10), ut_metadata (BEP 9) and ut_pex (BEP 11).

Decoders take what strangers send: a field of the wrong type or out of range counts as absent, an unknown one
is skipped, and only a payload that is no bencoded dict at all is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from crawler.wire import bencode
from crawler.wire.bencode_document import decode_dict
from crawler.wire.bencode_reader import BencodeReader, BencodeReadError
from crawler.wire.compact import Family
from crawler.wire.peer import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

HANDSHAKE_ID: Final = 0
"""The extended message id that is everybody's handshake."""
UT_METADATA: Final = b"ut_metadata"
UT_PEX: Final = b"ut_pex"
METADATA_PIECE: Final = 16384
"""Bytes of a metadata piece; only the last one may be shorter (BEP 9)."""
MAX_CLAIMED_SIZE: Final = 2**31 - 1
"""A larger ``metadata_size`` is nonsense rather than big."""

_REQUEST, _DATA, _REJECT = range(3)
_USUAL_METADATA: Final = re.compile(
    rb"d8:msg_typei([0-2])e5:piecei([0-9]{1,6})e(?:10:total_sizei([0-9]{1,10})e)?e"
).match
_MAX_DEPTH: Final = 8
_MAX_TOKENS: Final = 1000
_MAX_EXTENSIONS: Final = 64
_MAX_ID: Final = 0xFF
_MAX_CLIENT_BYTES: Final = 64
_MAX_PORT: Final = 0xFFFF
_IPV4_BYTES: Final = 4
_IPV6_BYTES: Final = 16


@attrs.define(unsafe_hash=True)
class ExtensionHandshake:
    """What a peer says about itself (BEP 10); None where it said nothing usable.

    Attributes:
        ids: extension name to the id under which *the sender* wants to receive it; 0 switches it off.
        metadata_size: bytes of the info dict (BEP 9), a claim: 1 to 2³¹-1.
        port: the TCP port where the sender listens.
        client: name and version, at most 64 bytes of hostile text.
        your_ip: our address as the sender sees it, 4 or 16 bytes.
        ipv4: the sender's own other address, 4 bytes.
        ipv6: the same, 16 bytes.
        request_queue: requests that the sender keeps waiting without dropping any.
        upload_only: whether the sender wants no pieces (BEP 21).
    """

    ids: Mapping[bytes, int]
    metadata_size: int | None = None
    port: int | None = None
    client: bytes | None = None
    your_ip: bytes | None = None
    ipv4: bytes | None = None
    ipv6: bytes | None = None
    request_queue: int | None = None
    upload_only: bool = False


@attrs.define(unsafe_hash=True)
class MetadataRequest:
    """Ask for one piece of the metadata (BEP 9, message type 0)."""

    piece: int


@attrs.define(unsafe_hash=True)
class MetadataData:
    """One piece of the metadata (type 1); ``total_size`` is None where the sender left it out."""

    piece: int
    total_size: int | None
    data: bytes


@attrs.frozen
class MetadataReject:
    """The piece will not be sent (type 2)."""

    piece: int


@attrs.frozen
class PexPeer:
    """A peer that somebody else claims to be connected to (BEP 11)."""

    address: bytes
    flags: int = 0


@attrs.frozen
class PexMessage:
    """Changes in the set of peers that the sender is connected to; addresses are compact."""

    added: tuple[PexPeer, ...] = ()
    dropped: tuple[bytes, ...] = ()


def encode_handshake(handshake: ExtensionHandshake) -> bytes:
    """Return the payload of the extension handshake; what is None stays out."""
    fields: dict[bytes, object | None] = {
        b"m": dict(handshake.ids),
        b"metadata_size": handshake.metadata_size,
        b"p": handshake.port,
        b"v": handshake.client,
        b"yourip": handshake.your_ip,
        b"ipv4": handshake.ipv4,
        b"ipv6": handshake.ipv6,
        b"reqq": handshake.request_queue,
        b"upload_only": 1 if handshake.upload_only else None,
    }
    return bencode.encode({key: value for key, value in fields.items() if value is not None})


def decode_handshake(payload: bytes) -> ExtensionHandshake:
    """Return what the extension handshake in ``payload`` says.

    Raises:
        WireError: ``bad_extension_handshake``.
    """
    try:
        fields = decode_dict(payload)
    except BencodeReadError:
        raise WireError("bad_extension_handshake") from None
    get = fields.get
    return ExtensionHandshake(
        _ids(get(b"m")),
        _within(get(b"metadata_size"), MAX_CLAIMED_SIZE),
        port=_within(get(b"p"), _MAX_PORT),
        client=_string(get(b"v"))[:_MAX_CLIENT_BYTES] or None,
        your_ip=_sized(get(b"yourip"), _IPV4_BYTES, _IPV6_BYTES),
        ipv4=_sized(get(b"ipv4"), _IPV4_BYTES),
        ipv6=_sized(get(b"ipv6"), _IPV6_BYTES),
        request_queue=_within(get(b"reqq"), MAX_CLAIMED_SIZE),
        upload_only=get(b"upload_only") == 1,
    )


def _ids(value: object) -> dict[bytes, int]:
    names = list(value.items())[:_MAX_EXTENSIONS] if isinstance(value, dict) else []
    return {name: number for name, number in names if type(number) is int and 0 <= number <= _MAX_ID}


def _string(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _within(value: object, most: int) -> int | None:
    return value if isinstance(value, int) and 1 <= value <= most else None


def _sized(value: object, *sizes: int) -> bytes | None:
    return value if isinstance(value, bytes) and len(value) in sizes else None


def encode_metadata(message: MetadataRequest | MetadataData | MetadataReject) -> bytes:
    """Return the ut_metadata payload of ``message``, the data right behind its dict."""
    if isinstance(message, MetadataRequest):
        return b"d8:msg_typei0e5:piecei%dee" % message.piece
    if isinstance(message, MetadataReject):
        return b"d8:msg_typei2e5:piecei%dee" % message.piece
    size = b"" if message.total_size is None else b"10:total_sizei%de" % message.total_size
    return b"d8:msg_typei1e5:piecei%de%se%s" % (message.piece, size, message.data)


def decode_metadata(payload: bytes) -> MetadataRequest | MetadataData | MetadataReject | None:
    """Return the ut_metadata message in ``payload``; None for a type that is unknown, to be ignored.

    Raises:
        WireError: ``bad_metadata_message``: no dict, or no usable type or piece.
    """
    match = _USUAL_METADATA(payload)
    if match is not None:
        kind, piece, end = int(match[1]), int(match[2]), match.end()
        total = None if match[3] is None else int(match[3])
    else:
        kind, piece, total, end = _read_metadata(payload)
    if kind == _DATA:
        return MetadataData(piece, total, payload[end:])
    if kind == _REQUEST:
        return MetadataRequest(piece)
    return MetadataReject(piece) if kind == _REJECT else None


def _read_metadata(payload: bytes) -> tuple[int, int, int | None, int]:
    """Return type, piece, total size and the dict's end, with keys in any order and others between them."""
    reader = BencodeReader(payload, max_depth=_MAX_DEPTH, max_tokens=_MAX_TOKENS)
    try:
        fields = reader.value(_MAX_TOKENS)
    except BencodeReadError:
        fields = None
    if isinstance(fields, dict):
        kind, piece, total = (fields.get(key) for key in (b"msg_type", b"piece", b"total_size"))
        if isinstance(kind, int) and isinstance(piece, int) and 0 <= piece <= MAX_CLAIMED_SIZE:
            return kind, piece, total if isinstance(total, int) else None, reader.position
    raise WireError("bad_metadata_message")


def encode_pex(message: PexMessage) -> bytes:
    """Return the ut_pex payload of ``message``."""
    fields: dict[bytes, bytes] = {b"added": b""}
    for family, suffix in ((Family.IPV4, b""), (Family.IPV6, b"6")):
        added = [peer for peer in message.added if Family.of(peer.address) is family]
        dropped = [address for address in message.dropped if Family.of(address) is family]
        if added:
            fields[b"added" + suffix] = b"".join([peer.address for peer in added])
            fields[b"added" + suffix + b".f"] = bytes([peer.flags for peer in added])
        if dropped:
            fields[b"dropped" + suffix] = b"".join(dropped)
    return bencode.encode(fields)


def decode_pex(payload: bytes, *, max_peers: int = 50) -> PexMessage:
    """Return the peers in a ut_pex ``payload``: no address twice, none both added and dropped.

    They are rumours: whether an address may be dialled at all is for the caller to check.

    Args:
        payload: the message.
        max_peers: how many added and how many dropped peers are read; the rest is left out. BEP 11 allows 50
            of each, both families together.

    Raises:
        WireError: ``bad_pex``: no bencoded dict.
    """
    try:
        fields = {key: _string(value) for key, value in decode_dict(payload).items()}
    except BencodeReadError:
        raise WireError("bad_pex") from None
    added: dict[bytes, int] = {}
    dropped: set[bytes] = set()
    for family, suffix in ((Family.IPV4, b""), (Family.IPV6, b"6")):
        addresses = _split(fields.get(b"added" + suffix, b""), family, max_peers)
        flags = fields.get(b"added" + suffix + b".f", b"").ljust(len(addresses), b"\0")
        added.update(zip(addresses, flags, strict=False))
        dropped.update(_split(fields.get(b"dropped" + suffix, b""), family, max_peers))
    kept = [PexPeer(address, flag) for address, flag in added.items() if address not in dropped]
    return PexMessage(tuple(kept[:max_peers]), tuple(sorted(dropped - added.keys())[:max_peers]))


def _split(blob: bytes, family: Family, most: int) -> list[bytes]:
    size = family.address_bytes
    whole = min(len(blob) // size, most)
    return [blob[at : at + size] for at in range(0, whole * size, size)]
