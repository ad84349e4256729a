"""What was found out about the peers of infohashes: written as records, and handed to the fetch.

The peers of one infohash come from many answers, on both families. A `SwarmReport` gathers them: peers
without repeats, the nodes that named any, and the union of the nodes' Bloom filters, which count a peer that
several nodes know once (BEP 33).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from crawler.crawl.fetch_job import Origin
from crawler.dht.scrape_filter import FILTER_BYTES, estimate, union
from crawler.records import PeersFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from crawler.crawl.locate import LocateConfig
    from crawler.crawl.outlet import Outlet
    from crawler.wire.tracker import ScrapeCounts

_SEED_KEYS: Final = (b"BFsd", b"BFse")
_PEER_KEYS: Final = (b"BFpe",)


@attrs.define(eq=False)
class SwarmReport:
    """All that answers said about the peers of one infohash.

    Attributes:
        infohash: 20 bytes.
        peers: compact addresses, in the order they came in.
        named_by: compact addresses of the nodes that named peers.
    """

    infohash: bytes
    peers: dict[bytes, None] = attrs.field(factory=dict)
    named_by: dict[bytes, None] = attrs.field(factory=dict)
    _seeds: bytes | None = None
    _leechers: bytes | None = None

    @property
    def seeds(self) -> int | None:
        """About how many have everything; None when nobody told."""
        return None if self._seeds is None else round(estimate(self._seeds))

    @property
    def leechers(self) -> int | None:
        """About how many have not; None when nobody told."""
        return None if self._leechers is None else round(estimate(self._leechers))

    def take_peers(self, peers: Iterable[bytes], node: bytes) -> None:
        """The node at compact ``node`` named ``peers``, of which at least one is fit to be written."""
        self.peers.update(dict.fromkeys(peers))
        self.named_by[node] = None

    def take_filters(self, body: Mapping[bytes, Any]) -> None:
        """Take the filters of a response's ``body``, if it has any."""
        self._seeds = _united(self._seeds, body, _SEED_KEYS)
        self._leechers = _united(self._leechers, body, _PEER_KEYS)


def _united(before: bytes | None, body: Mapping[bytes, Any], keys: Sequence[bytes]) -> bytes | None:
    filters = [
        value for key in keys if isinstance(value := body.get(key), bytes) and len(value) == FILTER_BYTES
    ]
    if before is not None:
        filters.append(before)
    return union(filters) if filters else None


@attrs.define
class PeersCounters:
    """What was reported."""

    located: int = 0
    peers: int = 0
    over_limit: int = 0
    with_scrape: int = 0


class PeersDesk:
    """Takes the reports of a run.

    Attributes:
        on_peers: is told of every infohash, its peers, their origin and the time: the fetch, if there is one.
        counters: what was reported.
    """

    def __init__(self, config: LocateConfig, outlet: Outlet) -> None:
        self.on_peers: Callable[[bytes, Sequence[bytes], Origin, float], None] = _tell_nobody
        self.counters = PeersCounters()
        self._config = config
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
        self._write(report.infohash, tuple(report.peers), named_by, now, report.seeds, report.leechers)

    def tracked(
        self, infohash: bytes, peers: Sequence[bytes], tracker: str, counts: ScrapeCounts, now: float
    ) -> None:
        """A tracker told how large the swarm is, and maybe some of its peers."""
        kept = tuple(peers[: self._config.max_peers])
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
        counters, limit = self.counters, self._config.max_peers
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
