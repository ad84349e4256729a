"""Which infohashes were seen before: exact for the recent ones, a Bloom filter for the rest.

Most of what a crawl is given it was given minutes ago, so a plain set answers that first. When it is full,
its content passes little by little into a filter, of which there are two generations: when the younger
has taken `capacity` infohashes it becomes the elder and the elder is forgotten. Memory is therefore fixed by
the settings, in bytes about

    121 * recent + 2 * capacity * 1.44 * log2(2 / error_rate) / 8

and a new infohash is taken for an old one with a probability of at most `error_rate`. An infohash forgotten
with its generation is emitted again when it is next seen; one that is seen again before is kept. What was
among the latest `capacity` less `recent` infohashes seen is known for certain.
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
        500_000, unit="infohashes", help="Remembered exactly as well, 121 bytes each.", minimum=1000
    )

    def __attrs_post_init__(self) -> None:
        if self.recent > self.capacity:
            raise ValueError(f"recent = {self.recent}: allowed is at most capacity, {self.capacity}")


_HANDED_OVER_AT_ONCE = 64


class Seen:
    """The memory of infohashes."""

    def __init__(self, config: SeenConfig) -> None:
        """Remember nothing yet."""
        self._config = config
        self._recent: set[bytes] = set()
        self._leaving: set[bytes] = set()
        self._young: Bloom | None = None
        self._old: Bloom | None = None
        self._in_young = 0
        self.total = 0
        self.generations_forgotten = 0

    def __contains__(self, infohash: bytes) -> bool:
        """Whether ``infohash`` was given to :meth:`sift` before."""
        return infohash in self._recent or self._knew(infohash)

    def sift(self, infohashes: Iterable[bytes]) -> list[bytes]:
        """Remember ``infohashes`` (20 bytes each) and return those that were not known, in their order."""
        recent = self._recent
        unsure = [infohash for infohash in infohashes if infohash not in recent]
        if not unsure:
            return unsure
        before = len(recent)
        recent.update(unsure)
        if len(recent) - before != len(unsure):
            unsure = list(dict.fromkeys(unsure))
        if self._leaving or self._young is not None:
            # Twice as many leave as came in, so that the last has left before the set is full again.
            leave = max(_HANDED_OVER_AT_ONCE, 2 * len(unsure))
            unsure = [infohash for infohash in unsure if not self._knew(infohash)]
            self._hand_over(leave)
        if len(recent) >= self._config.recent:
            self._hand_over(len(self._leaving))
            self._leaving, self._recent = recent, set()
        self.total += len(unsure)
        return unsure

    def _knew(self, infohash: bytes) -> bool:
        """Whether the filter, or what is on its way there, holds ``infohash``."""
        if infohash in self._leaving:
            return True
        if self._young is not None and infohash in self._young:
            return True
        return self._old is not None and infohash in self._old

    def _hand_over(self, count: int) -> None:
        """Let up to ``count`` infohashes pass from the set that is leaving into the filter."""
        leaving = self._leaving
        for _ in range(min(count, len(leaving))):
            infohash = leaving.pop()
            if self._young is None or self._in_young >= self._config.capacity:
                self.generations_forgotten += self._old is not None
                self._old, self._young, self._in_young = self._young, self._filter(), 0
            if infohash not in self._young:
                self._young.add(infohash)
                self._in_young += 1

    def _filter(self) -> Bloom:
        return Bloom(self._config.capacity, self._config.error_rate / 2)
