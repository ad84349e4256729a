"""What was found out about the peers of infohashes: written as records, and handed to the fetch.

The peers of one infohash come from many answers, on both families. A `SwarmReport` gathers them: peers
without repeats, the nodes that named any, and the union of the nodes' Bloom filters (BEP 33).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from crawler.crawl.fetch_job import Origin
from crawler.dht.scrape_filter import SwarmSize
from crawler.records import PeersFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from crawler.crawl.outlet import Outlet
    from crawler.wire.tracker import ScrapeCounts


@attrs.define(eq=False)
class SwarmReport:
    """All that answers said about the peers of one infohash.

    Attributes:
        infohash: 20 bytes.
        peers: compact addresses, in the order they came in.
        named_by: compact addresses of the nodes that named peers.
        size: how many there are, by the nodes' filters.
    """

    infohash: bytes
    peers: dict[bytes, None] = attrs.field(factory=dict)
    named_by: dict[bytes, None] = attrs.field(factory=dict)
    size: SwarmSize = attrs.field(factory=SwarmSize)

    def take_peers(self, peers: Iterable[bytes], node: bytes) -> None:
        """The node at compact ``node`` named ``peers``, of which at least one is fit to be written."""
        self.peers.update(dict.fromkeys(peers))
        self.named_by[node] = None


@attrs.define
class PeersCounters:
    """What was reported."""

    located: int = 0
    peers: int = 0
    over_limit: int = 0
    with_scrape: int = 0


class PeersDesk:
    """Takes the reports of a run, and keeps at most ``max_peers`` peers of each.

    Attributes:
        on_peers: is told of every infohash, its peers, their origin and the time: the fetch, if there is one.
        counters: what was reported.
    """

    def __init__(self, max_peers: int, outlet: Outlet) -> None:
        self.on_peers: Callable[[bytes, Sequence[bytes], Origin, float], None] = _tell_nobody
        self.counters = PeersCounters()
        self._max_peers = max_peers
        self._outlet = outlet

    def announced(self, infohash: bytes, peer: bytes, node: bytes, now: float) -> None:
        """The node at ``node`` announced the compact address ``peer`` to us, as a peer of ``infohash``."""
        at = self._outlet.wall_clock(now)
        self._outlet.put(PeersFound(at, infohash, "announce", (peer,), (node,)))
        self.on_peers(infohash, (peer,), Origin.ANNOUNCED, now)

    def located(self, infohash: bytes, peers: Sequence[bytes], named_by: Sequence[bytes], now: float) -> None:
        """The nodes at ``named_by`` named ``peers``."""
        self._write(infohash, peers, named_by, now, None, None)

    def report(self, report: SwarmReport, now: float) -> None:
        """Take what a lookup found; it has peers."""
        named_by = tuple(report.named_by)
        self._write(
            report.infohash, tuple(report.peers), named_by, now, report.size.seeds, report.size.leechers
        )

    def tracked(
        self, infohash: bytes, peers: Sequence[bytes], tracker: str, counts: ScrapeCounts, now: float
    ) -> None:
        """A tracker told how large the swarm is, and maybe some of its peers."""
        kept = tuple(peers[: self._max_peers])
        self.counters.over_limit += len(peers) - len(kept)
        self.counters.peers += len(kept)
        at = self._outlet.wall_clock(now)
        self._outlet.put(
            PeersFound(at, infohash, "tracker", kept, (), counts.seeders, counts.leechers, tracker=tracker)
        )
        if kept:
            self.on_peers(infohash, kept, Origin.NAMED, now)

    def _write(
        self,
        infohash: bytes,
        peers: Sequence[bytes],
        named_by: Sequence[bytes],
        now: float,
        seeds: int | None,
        leechers: int | None,
    ) -> None:
        counters, limit = self.counters, self._max_peers
        kept = tuple(peers[:limit])
        counters.over_limit += len(peers) - len(kept)
        counters.located += 1
        counters.peers += len(kept)
        counters.with_scrape += seeds is not None
        at = self._outlet.wall_clock(now)
        self._outlet.put(PeersFound(at, infohash, "get_peers", kept, tuple(named_by), seeds, leechers))
        self.on_peers(infohash, kept, Origin.NAMED, now)


def _tell_nobody(_infohash: bytes, _peers: Sequence[bytes], _origin: Origin, _now: float) -> None:
    pass
