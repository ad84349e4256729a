"""The records that cross stages, and their JSON form: one line each, `type` first.

A record says what was claimed and by whom, nothing more. Addresses and infohashes stay bytes until a line is
written, and the hot one holds a whole answer's infohashes, so that a record costs one object per answer and
not one per infohash. config/records.schema.json describes the lines.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import attrs

from crawler.wire.compact import format_address


@attrs.frozen
class InfohashesFound:
    """Infohashes seen for the first time, all in one message of one node.

    Attributes:
        at: seconds since 1970.
        source: ``"sample"``, ``"announce"`` or ``"get_peers"``.
        node: compact address of the node that named them.
        infohashes: 20 bytes each.
    """

    at: float
    source: str
    node: bytes
    infohashes: tuple[bytes, ...]

    def __len__(self) -> int:
        """Return how many lines this makes."""
        return len(self.infohashes)

    def lines(self) -> bytes:
        """Return the JSON lines, each with its newline; all is our own ASCII, nothing needs escaping."""
        head = f'{{"type":"infohash","ts":"{timestamp(self.at)}","infohash":"'
        tail = f'","source":"{self.source}","node":"{format_address(self.node)}"}}\n'
        return "".join([f"{head}{infohash.hex()}{tail}" for infohash in self.infohashes]).encode()


@attrs.frozen
class PeersFound:
    """Peers of one infohash, as one node or one lookup claimed them.

    Attributes:
        at: seconds since 1970.
        infohash: 20 bytes.
        source: ``"get_peers"`` or ``"announce"``.
        peers: compact addresses, without repeats.
    """

    at: float
    infohash: bytes
    source: str
    peers: tuple[bytes, ...]

    def __len__(self) -> int:
        """Return how many lines this makes."""
        return 1

    def lines(self) -> bytes:
        """Return the JSON line with its newline."""
        peers = ",".join(f'"{format_address(peer)}"' for peer in self.peers)
        return (
            f'{{"type":"peers","ts":"{timestamp(self.at)}","infohash":"{self.infohash.hex()}",'
            f'"source":"{self.source}","peers":[{peers}]}}\n'
        ).encode()


Record = InfohashesFound | PeersFound


@lru_cache(maxsize=64)
def timestamp(at: float) -> str:
    """Return ``at`` (seconds since 1970) as ``2026-01-02T03:04:05.678Z``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:23] + "Z"
