"""Announce and scrape over HTTP (BEP 3, 7, 21, 23, 24, 31, 48), both ways: query strings and bencoded bodies.

What a client sends and what a tracker answers is written in one form and read in all those that are seen in
the wild (tracker.md §4): unsorted keys, trailing bytes, dictionaries although compact peers were asked for,
broken tails, counts below zero. Only what is no bencoded dict at all is refused.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

import attrs

from crawler.wire import bencode
from crawler.wire.bencode_document import decode_strict
from crawler.wire.bencode_reader import BencodeReader, BencodeReadError
from crawler.wire.compact import Family, pack_address, unpack_address
from crawler.wire.ids import ID_BYTES
from crawler.wire.tracker import (
    MAX_COUNT,
    MAX_TEXT,
    NEVER,
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
    from collections.abc import Collection, Iterable, Iterator, Mapping

MAX_PEERS: Final = 2000
"""Peers that are read of one answer; trackers give 200 at most when they are asked for them."""
MAX_HASHES: Final = 1000
"""Infohashes that are read of one scrape."""

_EVENTS: Final = {
    Event.STARTED: b"started",
    Event.COMPLETED: b"completed",
    Event.STOPPED: b"stopped",
}
_EVENTS_BY_NAME: Final = {name: event for event, name in _EVENTS.items()}
_PAUSED: Final = b"paused"
_UNSURE_LEFT: Final = 1
_MAX_PORT: Final = 0xFFFF
_MAX_INT64: Final = 2**63 - 1
_KEY_BITS: Final = 0xFFFFFFFF
_HEX_KEY: Final = re.compile(rb"[0-9A-Fa-f]{1,8}")
_NUMBER: Final = re.compile(rb"-?[0-9]{1,19}")
_ANNOUNCE_PATH: Final = re.compile(r"^(.*/)announce([^/]*)$", re.DOTALL)
_MAPPED: Final = bytes(10) + b"\xff\xff"
_SECONDS_A_MINUTE: Final = 60
_STRICT_BYTES: Final = 64 * 1024
_MAX_DEPTH: Final = 8
_MAX_TOKENS: Final = 30_000
_EXTERNAL_IP_SIZES: Final = (4, 16)


@attrs.frozen
class ScrapeAnswer:
    """A tracker's answer to a scrape.

    Attributes:
        files: infohash to counts.
        min_interval: seconds within which it does not want to be asked again; None when it did not say.
    """

    files: Mapping[bytes, ScrapeCounts]
    min_interval: int | None = None


# A client's requests.


def announce_query(request: AnnounceRequest) -> str:
    """The query string of an announce, without a question mark; our address is never in it."""
    fields: list[tuple[str, bytes | int | None]] = [
        ("info_hash", request.infohash),
        ("peer_id", request.peer_id),
        ("port", request.port),
        ("uploaded", request.uploaded),
        ("downloaded", request.downloaded),
        ("left", request.left),
        ("event", _PAUSED if request.paused else _EVENTS.get(request.event)),
        ("compact", None if request.compact is None else int(request.compact)),
        ("no_peer_id", 1 if request.no_peer_id else None),
        ("numwant", request.numwant),
        ("key", None if request.key is None else b"%08X" % request.key),
        ("trackerid", request.tracker_id),
    ]
    return "&".join(f"{name}={_quoted(value)}" for name, value in fields if value is not None)


def scrape_query(infohashes: Iterable[bytes]) -> str:
    """The query string of a scrape, without a question mark."""
    return "&".join(f"info_hash={_quoted(infohash)}" for infohash in infohashes)


def scrape_path(path: str) -> str | None:
    """The path to scrape at, of a tracker announced to at ``path``; None if there is none (BEP 48)."""
    match = _ANNOUNCE_PATH.match(path)
    return None if match is None else f"{match[1]}scrape{match[2]}"


def _quoted(value: bytes | int) -> str:
    return str(value) if isinstance(value, int) else quote_from_bytes(value, safe="")


def parse_announce(query: bytes) -> AnnounceRequest:
    """What a client says in the query string ``query`` (without its question mark).

    Of a repeated parameter the first counts; numbers that make no sense count as absent. A client that does
    not tell what it lacks is taken for no seed. What it says of its own IP address is not read (BEP 7).

    Raises:
        TrackerRequestError: no infohash, peer id or port that can be used.
    """
    fields: dict[bytes, bytes] = {}
    for name, value in _parameters(query):
        fields.setdefault(name, value)
    event = fields.get(b"event", b"")
    port = _number(fields.get(b"port"))
    if port is None or port > _MAX_PORT:
        raise TrackerRequestError("port must be a number from 0 to 65535")
    left = _number(fields.get(b"left"))
    compact = fields.get(b"compact")
    return AnnounceRequest(
        _id_in(fields, b"info_hash"),
        _id_in(fields, b"peer_id"),
        port,
        uploaded=_number(fields.get(b"uploaded")) or 0,
        downloaded=_number(fields.get(b"downloaded")) or 0,
        left=_UNSURE_LEFT if left is None else left,
        event=_EVENTS_BY_NAME.get(event, Event.NONE),
        key=_key(fields.get(b"key")),
        numwant=_number(fields.get(b"numwant")),
        compact=None if compact is None else compact == b"1",
        no_peer_id=fields.get(b"no_peer_id") == b"1",
        paused=event == _PAUSED,
        tracker_id=fields.get(b"trackerid"),
    )


def parse_scrape(query: bytes, *, max_hashes: int = MAX_HASHES) -> tuple[bytes, ...]:
    """The infohashes that ``query`` asks about, without repeats; () when it names none and so asks about all.

    Raises:
        TrackerRequestError: one is no infohash, or there are too many.
    """
    asked = [value for name, value in _parameters(query) if name == b"info_hash"]
    if any(len(infohash) != ID_BYTES for infohash in asked):
        raise TrackerRequestError("info_hash must be 20 bytes")
    if len(asked) > max_hashes:
        raise TrackerRequestError(f"too many infohashes: {max_hashes} are allowed")
    return tuple(dict.fromkeys(asked))


def _parameters(query: bytes) -> Iterator[tuple[bytes, bytes]]:
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        yield name, unquote_to_bytes(value)


def _id_in(fields: Mapping[bytes, bytes], name: bytes) -> bytes:
    value = fields.get(name, b"")
    if len(value) != ID_BYTES:
        raise TrackerRequestError(f"{name.decode()} must be 20 bytes")
    return value


def _number(text: bytes | None) -> int | None:
    """The number that a parameter says; None for none, for one below zero and for one beyond 64 bits."""
    if text is None or _NUMBER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if 0 <= number <= _MAX_INT64 else None


def _key(text: bytes | None) -> int | None:
    """The 32 bits of a key: those that its hex digits say, else a checksum of whatever it is."""
    if not text:
        return None
    return int(text, 16) if _HEX_KEY.fullmatch(text) else zlib.crc32(text) & _KEY_BITS


# A tracker's answers.


def encode_announce(
    answer: AnnounceAnswer, *, compact: bool = True, peer_ids: Mapping[bytes, bytes] | None = None
) -> bytes:
    """The body that says ``answer``.

    Args:
        answer: what to say.
        compact: peers as strings of addresses (BEP 23 and 7), not as a list of dicts (BEP 3).
        peer_ids: compact address to peer id, for the list; without one it is left out.
    """
    fields: dict[bytes, object] = {
        b"interval": answer.interval,
        b"min interval": answer.min_interval,
        b"complete": answer.seeders,
        b"incomplete": answer.leechers,
        b"downloaded": answer.completed,
        b"downloaders": answer.downloaders,
        b"warning message": None if answer.warning is None else answer.warning.encode(),
        b"tracker id": answer.tracker_id,
        b"external ip": answer.external_ip,
    }
    if compact:
        fields[b"peers"] = b"".join([peer for peer in answer.peers if Family.of(peer) is Family.IPV4])
        fields[b"peers6"] = b"".join([p for p in answer.peers if Family.of(p) is Family.IPV6]) or None
    else:
        ids = peer_ids or {}
        fields[b"peers"] = [_peer_dict(peer, ids.get(peer)) for peer in answer.peers]
    return bencode.encode({key: value for key, value in fields.items() if value is not None})


def _peer_dict(peer: bytes, peer_id: bytes | None) -> dict[bytes, object]:
    host, port = unpack_address(peer)
    said: dict[bytes, object] = {b"ip": host.encode(), b"port": port}
    if peer_id is not None:
        said[b"peer id"] = peer_id
    return said


def encode_scrape(files: Mapping[bytes, ScrapeCounts]) -> bytes:
    """The body that tells the counts of ``files`` by infohash; an unknown count is left out."""
    return bencode.encode({b"files": {infohash: _counts_dict(counts) for infohash, counts in files.items()}})


def _counts_dict(counts: ScrapeCounts) -> dict[bytes, int]:
    said = {b"complete": counts.seeders, b"downloaded": counts.completed, b"incomplete": counts.leechers}
    return {key: value for key, value in said.items() if value is not None}


def encode_failure(failure: TrackerFailure) -> bytes:
    """The body of a refusal; `retry in` in whole minutes, rounded up, or ``never`` (BEP 31)."""
    fields: dict[bytes, object] = {b"failure reason": failure.reason.encode()[:MAX_TEXT]}
    if failure.retry_in == NEVER:
        fields[b"retry in"] = b"never"
    elif failure.retry_in is not None:
        fields[b"retry in"] = -int(-failure.retry_in // _SECONDS_A_MINUTE)
    return bencode.encode(fields)


def decode_announce(body: bytes, *, max_peers: int = MAX_PEERS) -> AnnounceAnswer | TrackerFailure:
    """What a tracker's answer to an announce says; a failure wins over whatever comes with it.

    Raises:
        TrackerReplyError: ``not_bencode``: HTML, nothing at all, or anything else that is no dict.
    """
    fields = _dict_in(body)
    failure = _failure(fields)
    if failure is not None:
        return failure
    peers, unusable = _peers(fields, max_peers)
    tracker_id, external_ip = fields.get(b"tracker id"), fields.get(b"external ip")
    return AnnounceAnswer(
        interval=_count(fields.get(b"interval")),
        min_interval=_count(fields.get(b"min interval")),
        seeders=_count(fields.get(b"complete")),
        leechers=_count(fields.get(b"incomplete")),
        completed=_count(fields.get(b"downloaded")),
        downloaders=_count(fields.get(b"downloaders")),
        peers=peers,
        unusable=unusable,
        warning=hostile_text(fields.get(b"warning message")) or None,
        tracker_id=tracker_id if isinstance(tracker_id, bytes) and len(tracker_id) <= MAX_TEXT else None,
        external_ip=external_ip
        if isinstance(external_ip, bytes) and len(external_ip) in _EXTERNAL_IP_SIZES
        else None,
    )


def decode_scrape(body: bytes, wanted: Collection[bytes] | None = None) -> ScrapeAnswer | TrackerFailure:
    """What a tracker's answer to a scrape says about ``wanted`` infohashes (None: about any).

    Raises:
        TrackerReplyError: ``not_bencode``: no dict; ``no_files``: neither counts nor a failure in it.
    """
    fields = _dict_in(body)
    failure = _failure(fields)
    if failure is not None:
        return failure
    files, flags = fields.get(b"files"), fields.get(b"flags")
    if not isinstance(files, dict):
        raise TrackerReplyError("no_files")
    found = {
        infohash: ScrapeCounts(
            _count(said.get(b"complete")), _count(said.get(b"downloaded")), _count(said.get(b"incomplete"))
        )
        for key, said in files.items()
        if (infohash := _infohash(key)) and isinstance(said, dict) and (wanted is None or infohash in wanted)
    }
    rest = _count(flags.get(b"min_request_interval")) if isinstance(flags, dict) else None
    return ScrapeAnswer(found, rest)


def _infohash(key: bytes) -> bytes:
    """The infohash that a key of `files` is, or b"".

    npm's bittorrent-tracker (11.2) writes each byte as the character of that number, in UTF-8.
    """
    if len(key) == ID_BYTES:
        return key
    try:
        known = key.decode().encode("latin-1")
    except UnicodeError:
        return b""
    return known if len(known) == ID_BYTES else b""


def _dict_in(body: bytes) -> dict[bytes, Any]:
    found = decode_strict(body, _MAX_DEPTH) if len(body) <= _STRICT_BYTES else None
    if found is None:
        try:
            found = BencodeReader(body, max_depth=_MAX_DEPTH, max_tokens=_MAX_TOKENS).value(_MAX_TOKENS)
        except BencodeReadError:
            found = None
    if not isinstance(found, dict):
        raise TrackerReplyError("not_bencode")
    return found


def _failure(fields: Mapping[bytes, Any]) -> TrackerFailure | None:
    if b"failure reason" not in fields:
        return None
    return TrackerFailure(hostile_text(fields[b"failure reason"]), _retry_in(fields.get(b"retry in")))


def _retry_in(value: object) -> float | None:
    """Seconds of a `retry in`, which says minutes as an integer or as text, or ``never``."""
    if value == b"never":
        return NEVER
    minutes = _number(value) if isinstance(value, bytes) else _count(value)
    return float(min(minutes, MAX_COUNT) * _SECONDS_A_MINUTE) if minutes else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= MAX_COUNT else None


def _peers(fields: Mapping[bytes, Any], most: int) -> tuple[tuple[bytes, ...], int]:
    """The peers of an answer, and how many entries were of no use."""
    found: dict[bytes, None] = {}
    unusable = 0
    for key, family in ((b"peers", Family.IPV4), (b"peers6", Family.IPV6)):
        for peer in _entries(fields.get(key), family):
            if peer is None or (len(found) >= most and peer not in found):
                unusable += 1
            else:
                found[peer] = None
    return tuple(found), unusable


def _entries(value: object, family: Family) -> Iterator[bytes | None]:
    """The entries of a peer list in either form, as compact addresses; None for what is none."""
    if isinstance(value, bytes):
        size = family.address_bytes
        yield from (value[at : at + size] for at in range(0, len(value) - len(value) % size, size))
        if len(value) % size:
            yield None
    elif isinstance(value, list):
        yield from map(_entry, value)


def _entry(value: object) -> bytes | None:
    if not isinstance(value, dict):
        return None
    ip, port = value.get(b"ip"), value.get(b"port")
    if not isinstance(ip, bytes) or not isinstance(port, int):
        return None
    try:
        peer = pack_address((ip.decode("ascii"), port))
    except ValueError:
        return None
    return (
        peer[len(_MAPPED) :] if len(peer) == Family.IPV6.address_bytes and peer.startswith(_MAPPED) else peer
    )
