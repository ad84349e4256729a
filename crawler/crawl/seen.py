"""Which infohashes were seen before: exact for the recent ones, a Bloom filter for the rest.

Most of what a crawl is given it was given minutes ago, so a plain set answers that first. What the set forgot
is looked up in two generations of a filter: when the younger has taken `capacity` infohashes it becomes the
elder and the elder is forgotten. Memory is therefore fixed by the settings, in bytes about

    121 * recent + 2 * capacity * 1.44 * log2(2 / error_rate) / 8

and a new infohash is taken for an old one with a probability of at most `error_rate`. An infohash forgotten
with its generation is emitted again when it is next seen; one that keeps being seen is never forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from rbloom import Bloom

from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Iterable


@attrs.frozen
class SeenConfig:
    """How much is remembered, and how surely."""

    capacity: int = setting(
        10_000_000,
        unit="infohashes",
        help="Remembered for certain in each of two generations, 3.8 MB per million each.",
        minimum=1000,
    )
    error_rate: float = setting(
        1e-6, unit="", help="Chance that a new infohash is taken for an old one.", above=0, maximum=0.01
    )
    recent: int = setting(
        250_000, unit="infohashes", help="Remembered exactly as well, 121 bytes each.", minimum=1000
    )


class Seen:
    """The memory of infohashes."""

    def __init__(self, config: SeenConfig) -> None:
        """Remember nothing yet."""
        self._config = config
        self._young_recent: set[bytes] = set()
        self._old_recent: set[bytes] = set()
        self._young = self._filter()
        self._old: Bloom | None = None
        self._in_young = 0
        self.total = 0
        self.generations_forgotten = 0

    def sift(self, infohashes: Iterable[bytes]) -> list[bytes]:
        """Remember ``infohashes`` (20 bytes each) and return those that were not known, in their order."""
        young, old = self._young_recent, self._old_recent
        unsure = [infohash for infohash in infohashes if infohash not in young and infohash not in old]
        return [infohash for infohash in unsure if self._is_new(infohash)] if unsure else unsure

    def _is_new(self, infohash: bytes) -> bool:
        if infohash in self._young_recent:
            return False
        self._remember_exactly(infohash)
        if infohash in self._young:
            return False
        known = self._old is not None and infohash in self._old
        self._remember(infohash)
        if not known:
            self.total += 1
        return not known

    def _remember_exactly(self, infohash: bytes) -> None:
        if len(self._young_recent) >= self._config.recent // 2:
            self._old_recent, self._young_recent = self._young_recent, set()
        self._young_recent.add(infohash)

    def _remember(self, infohash: bytes) -> None:
        if self._in_young >= self._config.capacity:
            self.generations_forgotten += self._old is not None
            self._old, self._young, self._in_young = self._young, self._filter(), 0
        self._young.add(infohash)
        self._in_young += 1

    def _filter(self) -> Bloom:
        return Bloom(self._config.capacity, self._config.error_rate / 2)
