"""How many networks must ask us for an infohash before we believe that there is such a torrent.

Whoever looks up a random key by get_peers, to refresh its table or to flood an index, names an infohash that
nobody has. Two askers that know nothing of each other hardly ever name the same one, so a torrent that is
sought can be told from noise by waiting for a second. What waits is bounded: the longest waiting one goes.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

from crawler.settings import setting
from crawler.wire.compact import prefix_of


@attrs.frozen
class SightingsConfig:
    """What a get_peers query to us is worth."""

    askers: int = setting(
        1,
        unit="networks",
        help="An infohash that get_peers queries name is written once so many /24 (IPv6 /64) asked for it. "
        "Some clients look up random keys; 2 leaves those out.",
        minimum=1,
        maximum=16,
    )
    max_waiting: int = setting(
        100_000, unit="infohashes", help="How many may wait for another asker.", minimum=1
    )


class Sightings:
    """Who asked for which infohash, while it has had too few askers."""

    def __init__(self, config: SightingsConfig) -> None:
        """Nobody has asked yet."""
        self.forgotten = 0
        self._config = config
        self._askers: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many infohashes wait for another asker."""
        return len(self._askers)

    def believed(self, infohash: bytes, node: bytes) -> bool:
        """Count ``node`` (a compact address) as an asker; whether there are enough now."""
        wanted = self._config.askers
        if wanted == 1:
            return True
        askers, prefix = self._askers.pop(infohash, ()), prefix_of(node)
        if prefix not in askers:
            askers += (prefix,)
        if len(askers) >= wanted:
            return True
        self._askers[infohash] = askers
        if len(self._askers) > self._config.max_waiting:
            self._askers.popitem(last=False)
            self.forgotten += 1
        return False
