"""What clients and trackers say to each other, over HTTP (`tracker_http`) or UDP (`tracker_udp`).

Both carriers are read into these values and written from them, so that neither a client's policy nor a
server's registry knows which one it was. Text from a tracker is hostile: cut here, and escaped by whoever
shows it.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

MAX_TEXT: Final = 1024
"""Bytes that are kept of a failure reason, a warning or a name."""
MAX_COUNT: Final = 2**31 - 1
"""A larger count or interval is nonsense rather than big."""
NEVER: Final = float("inf")
"""`retry in` of a tracker that does not want to be asked again (BEP 31)."""
KEY_BITS: Final = 32
"""Of the key by which a tracker knows a client again behind another address (BEP 7)."""
SOME_LEFT: Final = 16 * 1024
"""What we lack of a torrent whose size is not known: not nothing, or we would be listed as a seed."""


class TrackerReplyError(ValueError):
    """What came is no reply to what was asked; ``reason`` is a short token to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TrackerRequestError(ValueError):
    """What came is no request that a tracker can answer; the message is a line to tell the client."""


class Event(enum.IntEnum):
    """Why a client announces itself; the numbers are BEP 15's."""

    NONE = 0
    COMPLETED = 1
    STARTED = 2
    STOPPED = 3


@attrs.frozen
class AnnounceRequest:
    """A client's word to a tracker.

    Attributes:
        infohash: 20 bytes.
        peer_id: 20 bytes.
        port: where the client listens; 0 when it listens nowhere.
        uploaded: bytes since it started.
        downloaded: bytes since it started.
        left: bytes that it lacks; 0 for a seed.
        event: why it announces itself.
        key: 32 bits that show the tracker the same client behind another address (BEP 7).
        numwant: how many peers it would like; None leaves that to the tracker.
        compact: whether it can take compact peers (BEP 23); None when it did not say.
        no_peer_id: whether peers may come without their ids.
        paused: whether it is a partial seed (BEP 21); over HTTP only.
        tracker_id: what the tracker asked to be told again; over HTTP only.
    """

    infohash: bytes
    peer_id: bytes
    port: int
    uploaded: int = 0
    downloaded: int = 0
    left: int = 0
    event: Event = Event.NONE
    key: int | None = None
    numwant: int | None = None
    compact: bool | None = True
    no_peer_id: bool = False
    paused: bool = False
    tracker_id: bytes | None = None


@attrs.frozen
class AnnounceAnswer:
    """A tracker's answer to an announce; None where it said nothing usable.

    Attributes:
        interval: seconds that it wants to be left alone for, as it said it: not yet within any limits.
        min_interval: seconds within which it must not be asked again.
        seeders: peers that have all of it.
        leechers: peers that have not.
        completed: how often it was downloaded.
        downloaders: leechers that still want more (BEP 21).
        peers: compact addresses, of both families, without repeats; rumours, not yet fit to be dialled.
        unusable: peers that were left out: host names, nonsense, or more than were wanted.
        warning: text for a person, hostile.
        tracker_id: what to send back with the next announce.
        external_ip: our own address as the tracker sees it, 4 or 16 bytes (BEP 24).
    """

    interval: int | None = None
    min_interval: int | None = None
    seeders: int | None = None
    leechers: int | None = None
    completed: int | None = None
    downloaders: int | None = None
    peers: tuple[bytes, ...] = ()
    unusable: int = 0
    warning: str | None = None
    tracker_id: bytes | None = None
    external_ip: bytes | None = None


@attrs.frozen
class ScrapeCounts:
    """The size of one swarm, as a tracker knows it; None where it did not say, or nonsense."""

    seeders: int | None = None
    completed: int | None = None
    leechers: int | None = None


@attrs.frozen
class TrackerFailure:
    """A tracker's refusal.

    Attributes:
        reason: text for a person, hostile.
        retry_in: seconds after which it may be asked again (BEP 31); `NEVER`, or None when it did not say.
    """

    reason: str
    retry_in: float | None = None


def hostile_text(value: object) -> str:
    """The text in a string of a tracker's, cut to `MAX_TEXT` bytes; "" for what is no string.

    Nothing is escaped here: control characters are still in it.
    """
    return value[:MAX_TEXT].decode(errors="replace").rstrip("\0") if isinstance(value, bytes) else ""
