"""Connect, announce and scrape over UDP (BEP 15, 41), both ways: datagrams and the values of `tracker`.

A server that answers tens of thousands a second reads an announce with `read_announce`, which is one call
into C; `decode_request` makes values of it for everybody else. Whose turn it is, whether a connection id is
good and whether an address may be contacted is not known here.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from crawler.wire.ids import ID_BYTES
from crawler.wire.tracker import (
    MAX_COUNT,
    MAX_TEXT,
    AnnounceAnswer,
    AnnounceRequest,
    Event,
    ScrapeCounts,
    TrackerFailure,
    TrackerReplyError,
    TrackerRequestError,
    hostile_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from crawler.wire.compact import Family

PROTOCOL_ID: Final = (0x41727101980).to_bytes(8, "big")
"""What stands where the connection id would in a connect request."""
CONNECT, ANNOUNCE, SCRAPE, ERROR = range(4)
"""The actions, the same in requests and replies."""
CONNECTION_ID_BYTES: Final = 8
HEAD_BYTES: Final = 16
"""Connection id, action and transaction: no request is shorter, and a connect request is no longer."""
ANNOUNCE_BYTES: Final = 98
"""An announce without options."""
MAX_HASHES: Final = 74
"""Infohashes of a scrape, so that request and reply fit a datagram of 1500 bytes."""
MAX_PEERS: Final = 2000
"""Peers that are read of one answer."""
MAX_URL_DATA: Final = 2048
"""Bytes of a URL's path and query that are sent or read."""

_REQUEST_HEAD: Final = Struct(">8sII")
_ANNOUNCE: Final = Struct(">8sII20s20sQQQIIIiH")
_REPLY_HEAD: Final = Struct(">II")
_CONNECT_REPLY: Final = Struct(">II8s")
_ANNOUNCE_REPLY: Final = Struct(">IIIII")
_COUNTS: Final = Struct(">III")
_EVENTS: Final = tuple(Event)
_END_OF_OPTIONS, _NO_OPERATION, _URL_DATA = range(3)
_LONGEST_OPTION: Final = 255

read_head = _REQUEST_HEAD.unpack_from
"""The (connection id, action, transaction) of a request of at least `HEAD_BYTES`."""


class AnnounceFields(NamedTuple):
    """An announce as it lies in its datagram, in that order; the numbers are unsigned but for `numwant`."""

    connection_id: bytes
    action: int
    transaction: int
    infohash: bytes
    peer_id: bytes
    downloaded: int
    left: int
    uploaded: int
    event: int
    ip: int
    key: int
    numwant: int
    port: int


read_announce = _ANNOUNCE.unpack_from
"""The fields of an announce of at least `ANNOUNCE_BYTES`, as a plain tuple in `AnnounceFields`' order."""


@attrs.frozen
class ConnectRequest:
    """A client asks for a connection id."""

    transaction: int


@attrs.frozen
class UdpAnnounce:
    """An announce, and what belongs to its carrier.

    Attributes:
        connection_id: 8 bytes.
        transaction: 32 bits that the reply must repeat.
        request: what the client says.
        url_data: path and query of the URL that it was given (BEP 41); b"" if it sent none.
    """

    connection_id: bytes
    transaction: int
    request: AnnounceRequest
    url_data: bytes = b""


@attrs.frozen
class UdpScrape:
    """A scrape, and what belongs to its carrier; ``infohashes`` are 1 to `MAX_HASHES`, repeats and all."""

    connection_id: bytes
    transaction: int
    infohashes: tuple[bytes, ...]


# A client's requests.


def encode_connect(transaction: int) -> bytes:
    """The 16 bytes that ask for a connection id."""
    return _REQUEST_HEAD.pack(PROTOCOL_ID, CONNECT, transaction)


def encode_announce(
    request: AnnounceRequest, connection_id: bytes, transaction: int, *, url_data: bytes = b""
) -> bytes:
    """The datagram of an announce; the IP in it is always 0, so that the tracker takes the one it sees.

    Args:
        request: what to say; a key that is None is sent as 0, a numwant that is None as -1.
        connection_id: 8 bytes, as the tracker gave them.
        transaction: 32 bits.
        url_data: path and query of the tracker's URL, for BEP 41's options; b"" leaves them out.
    """
    fields = AnnounceFields(
        connection_id,
        ANNOUNCE,
        transaction,
        request.infohash,
        request.peer_id,
        request.downloaded,
        request.left,
        request.uploaded,
        request.event,
        ip=0,
        key=request.key or 0,
        numwant=-1 if request.numwant is None else min(request.numwant, MAX_COUNT),
        port=request.port,
    )
    return _ANNOUNCE.pack(*fields) + encode_url_data(url_data)


def encode_url_data(url_data: bytes) -> bytes:
    """BEP 41's options for the path and query of a URL, cut to `MAX_URL_DATA`; b"" for none."""
    kept = url_data[:MAX_URL_DATA]
    parts = [kept[at : at + _LONGEST_OPTION] for at in range(0, len(kept), _LONGEST_OPTION)]
    return b"".join([bytes((_URL_DATA, len(part))) + part for part in parts])


def encode_scrape(infohashes: Sequence[bytes], connection_id: bytes, transaction: int) -> bytes:
    """The datagram that asks for the counts of ``infohashes``.

    Raises:
        ValueError: there are none, or more than `MAX_HASHES`.
    """
    if not 1 <= len(infohashes) <= MAX_HASHES:
        raise ValueError(f"a scrape has 1 to {MAX_HASHES} infohashes, not {len(infohashes)}")
    return _REQUEST_HEAD.pack(connection_id, SCRAPE, transaction) + b"".join(infohashes)


def decode_request(data: bytes) -> ConnectRequest | UdpAnnounce | UdpScrape:
    """What a client says in ``data``. Connection ids are not judged here.

    An event beyond BEP 15's counts as none, a negative numwant as unsaid; what follows the whole infohashes
    of a scrape is not read, and options end where they make no sense.

    Raises:
        TrackerRequestError: too short, a connect without the protocol's id, another action, or a scrape of
            no infohash or too many.
    """
    if len(data) < HEAD_BYTES:
        raise TrackerRequestError(f"a request has at least {HEAD_BYTES} bytes")
    connection_id, action, transaction = read_head(data)
    if action == CONNECT:
        if connection_id != PROTOCOL_ID:
            raise TrackerRequestError("connect without the protocol id")
        return ConnectRequest(transaction)
    if action == ANNOUNCE:
        return _decode_announce(data)
    if action == SCRAPE:
        return UdpScrape(connection_id, transaction, scraped_infohashes(data))
    raise TrackerRequestError("unknown action")


def _decode_announce(data: bytes) -> UdpAnnounce:
    if len(data) < ANNOUNCE_BYTES:
        raise TrackerRequestError(f"an announce has at least {ANNOUNCE_BYTES} bytes")
    fields = AnnounceFields._make(read_announce(data))
    request = AnnounceRequest(
        fields.infohash,
        fields.peer_id,
        fields.port,
        uploaded=fields.uploaded,
        downloaded=fields.downloaded,
        left=fields.left,
        event=_EVENTS[fields.event] if fields.event < len(_EVENTS) else Event.NONE,
        key=fields.key,
        numwant=fields.numwant if fields.numwant >= 0 else None,
    )
    return UdpAnnounce(
        fields.connection_id, fields.transaction, request, decode_url_data(data[ANNOUNCE_BYTES:])
    )


def decode_url_data(options: bytes) -> bytes:
    """The path and query in BEP 41's ``options``, cut to `MAX_URL_DATA`; unknown options are skipped."""
    parts = []
    at, size = 0, 0
    while at < len(options) and options[at] != _END_OF_OPTIONS and size < MAX_URL_DATA:
        if options[at] == _NO_OPERATION:
            at += 1
            continue
        if at + 1 >= len(options) or at + 2 + options[at + 1] > len(options):
            break
        end = at + 2 + options[at + 1]
        if options[at] == _URL_DATA:
            parts.append(options[at + 2 : end])
            size += end - at - 2
        at = end
    return b"".join(parts)[:MAX_URL_DATA]


def scraped_infohashes(data: bytes) -> tuple[bytes, ...]:
    """The infohashes of a scrape request, in order, repeats and all.

    Raises:
        TrackerRequestError: none or too many.
    """
    count = (len(data) - HEAD_BYTES) // ID_BYTES
    if not 1 <= count <= MAX_HASHES:
        raise TrackerRequestError(f"a scrape has 1 to {MAX_HASHES} infohashes")
    return tuple(
        [data[at : at + ID_BYTES] for at in range(HEAD_BYTES, HEAD_BYTES + count * ID_BYTES, ID_BYTES)]
    )


# A tracker's replies.


def encode_connect_reply(transaction: int, connection_id: bytes) -> bytes:
    """The 16 bytes that hand out a connection id."""
    return _CONNECT_REPLY.pack(CONNECT, transaction, connection_id)


def encode_announce_reply(
    transaction: int, interval: int, leechers: int, seeders: int, peers: bytes
) -> bytes:
    """The reply to an announce; ``peers`` are compact addresses of the family that it came over, joined."""
    return _ANNOUNCE_REPLY.pack(ANNOUNCE, transaction, interval, leechers, seeders) + peers


def encode_scrape_reply(transaction: int, counts: Iterable[ScrapeCounts]) -> bytes:
    """The reply to a scrape, a count that is None as 0."""
    parts = [_COUNTS.pack(said.seeders or 0, said.completed or 0, said.leechers or 0) for said in counts]
    return _REPLY_HEAD.pack(SCRAPE, transaction) + b"".join(parts)


def encode_error(transaction: int, text: str, *, longest: int = MAX_TEXT) -> bytes:
    """A refusal, in UTF-8 cut to ``longest`` bytes; without NUL at its end, as BEP 15 has it."""
    return _REPLY_HEAD.pack(ERROR, transaction) + text.encode()[:longest]


def transaction_of(data: bytes) -> int | None:
    """The transaction of a reply, to find out which request it may belong to; None if it is too short."""
    return _REPLY_HEAD.unpack_from(data)[1] if len(data) >= _REPLY_HEAD.size else None


def decode_connect_reply(data: bytes, transaction: int) -> bytes | TrackerFailure:
    """The 8 bytes of the connection id that a tracker hands out, or its refusal.

    Raises:
        TrackerReplyError: ``too_short``, ``other_transaction`` or ``other_action``: not our reply, wait on.
    """
    failure = _check(data, transaction, CONNECT, _CONNECT_REPLY.size)
    return failure or data[_REPLY_HEAD.size : _CONNECT_REPLY.size]


def decode_announce_reply(
    data: bytes, transaction: int, family: Family, *, max_peers: int = MAX_PEERS
) -> AnnounceAnswer | TrackerFailure:
    """What a tracker answers to an announce that was sent over ``family``, which its peers are of.

    Raises:
        TrackerReplyError: as `decode_connect_reply`.
    """
    failure = _check(data, transaction, ANNOUNCE, _ANNOUNCE_REPLY.size)
    if failure is not None:
        return failure
    _, _, interval, leechers, seeders = _ANNOUNCE_REPLY.unpack_from(data)
    size = family.address_bytes
    whole, torn = divmod(len(data) - _ANNOUNCE_REPLY.size, size)
    begin = _ANNOUNCE_REPLY.size
    named = [data[at : at + size] for at in range(begin, begin + min(whole, max_peers) * size, size)]
    return AnnounceAnswer(
        interval=_count(interval),
        seeders=_count(seeders),
        leechers=_count(leechers),
        peers=tuple(dict.fromkeys(named)),
        unusable=whole - len(named) + bool(torn),
    )


def decode_scrape_reply(
    data: bytes, transaction: int, asked: int
) -> tuple[ScrapeCounts, ...] | TrackerFailure:
    """The counts of the ``asked`` infohashes in their order; those that a tracker left out are unknown.

    Raises:
        TrackerReplyError: as `decode_connect_reply`.
    """
    failure = _check(data, transaction, SCRAPE, _REPLY_HEAD.size)
    if failure is not None:
        return failure
    whole = min((len(data) - _REPLY_HEAD.size) // _COUNTS.size, asked)
    body = data[_REPLY_HEAD.size : _REPLY_HEAD.size + whole * _COUNTS.size]
    counts = [ScrapeCounts(*map(_count, said)) for said in _COUNTS.iter_unpack(body)]
    return (*counts, *[ScrapeCounts()] * (asked - whole))


def _check(data: bytes, transaction: int, action: int, shortest: int) -> TrackerFailure | None:
    """Return the refusal in ``data``, or None if it is the reply that was waited for."""
    if len(data) < _REPLY_HEAD.size:
        raise TrackerReplyError("too_short")
    said, number = _REPLY_HEAD.unpack_from(data)
    if number != transaction:
        raise TrackerReplyError("other_transaction")
    if said == ERROR:
        return TrackerFailure(hostile_text(data[_REPLY_HEAD.size :]))
    if said != action:
        raise TrackerReplyError("other_action")
    if len(data) < shortest:
        raise TrackerReplyError("too_short")
    return None


def _count(value: int) -> int | None:
    return value if value <= MAX_COUNT else None
