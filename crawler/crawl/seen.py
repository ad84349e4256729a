"""Which infohashes were seen before: a plain set for the recent ones, before the chain of filters.

Most of what a crawl is given it was given minutes ago, so a set answers that first. Until it is full for the
first time it is all there is: nothing is hashed, and a short crawl loses nothing to chance. From then on what
it holds is in the filters as well (`seen_slices`), and it can be dropped at any time. Memory is, in bytes and
at most,

    121 * min(n, recent) + b * m,   b = 1.4427 * log2(slices / error_rate) / 8 = 4.3

for n infohashes found, where `slices` is 16 (26 with `resighting`: b = 4.4) and m the room of the filters
that are there: at most a twelfth of `capacity` more than n, and 13/12 of `capacity` in all (468 MB). While
one is being saved it is there twice (36 MB), and what was found in the last seconds waits in 73 bytes each.

What holds: an infohash is emitted once, and again only when it is seen after `capacity` others were emitted,
or `resighting` after its line (between that and an eighth more). A new one is taken for an old one with a
probability of at most `error_rate`, whatever the senders choose.
"""

from __future__ import annotations

from itertools import filterfalse
from typing import TYPE_CHECKING, Final

from crawler.crawl.seen_slices import SeenConfig, Slices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawler.crawl.seen_slices import Slice

__all__ = ["Seen", "SeenConfig"]

_LEAVE_AT_ONCE: Final = 64


class Seen:
    """The memory of infohashes."""

    def __init__(self, config: SeenConfig, key: bytes, *, keeps_unsaved: bool = False) -> None:
        """Remember nothing yet; see `Slices` for the arguments."""
        self.total = 0
        self.slices = Slices(config, key, keeps_unsaved=keeps_unsaved)
        self._limit = config.recent
        self._recent: set[bytes] = set()
        self._leaving: set[bytes] = set()
        self._begins = True
        self._filling: Slice | None = None

    def __contains__(self, infohash: bytes) -> bool:
        """Whether ``infohash`` was given to :meth:`sift` before."""
        return infohash in self._recent or infohash in self._leaving or infohash in self.slices

    def sift(self, infohashes: Iterable[bytes]) -> list[bytes]:
        """Remember ``infohashes`` (20 bytes each) and return those that were not known, in their order."""
        recent = self._recent
        # Without a bytecode between two look-ups the processor waits for several of them at once.
        unsure = list(filterfalse(recent.__contains__, infohashes))
        if not unsure:
            return unsure
        before = len(recent)
        recent.update(unsure)
        if len(recent) - before != len(unsure):
            unsure = list(dict.fromkeys(unsure))
        if self._begins:
            if self._take_exactly(unsure):
                self.total += len(unsure)
                return unsure
            recent = self._recent
        if self._leaving:
            # Twice as many leave as came in, so that the last has left before the set is full again.
            leave = max(_LEAVE_AT_ONCE, 2 * len(unsure))
            unsure = [infohash for infohash in unsure if infohash not in self._leaving]
            self._let_go(leave)
        forgotten = self.slices.slices_forgotten
        new = self.slices.take(unsure)
        if self.slices.slices_forgotten != forgotten:
            self._doubt()
        elif len(recent) >= self._limit:
            self._let_go(len(self._leaving))
            self._leaving, self._recent = recent, set()
        self.total += len(new)
        return new

    def advance(self, now: float) -> None:
        """Forget what is too old at ``now``, in epoch seconds; to be called about once a second."""
        forgotten = self.slices.slices_forgotten
        self.slices.advance(now)
        if self.slices.slices_forgotten != forgotten:
            self._doubt()
        elif self._begins and self.slices.is_closed:
            self._end_beginning(set())

    def restore(self, slices: Iterable[Slice], now: float) -> None:
        """Remember what an earlier run saved; see `Slices.restore`."""
        self.slices.restore(slices, now)
        self._begins = self.slices.is_empty

    def _take_exactly(self, new: list[bytes]) -> bool:
        """Take what is new while the set holds all there is; False: that is over, and nothing was taken."""
        if len(self._recent) < self._limit and self.slices.take_exactly(new):
            return True
        self._end_beginning(set(new))
        return False

    def _end_beginning(self, new: set[bytes]) -> None:
        """Let the set pass into the filter of its slice, little by little; ``new`` stays behind."""
        self._begins = False
        self._recent -= new
        self._leaving, self._recent = self._recent, new
        self._filling = self.slices.live[-1] if self._leaving else None

    def _let_go(self, count: int) -> None:
        """Drop some of the set that is leaving; all at once would stop the crawl for a moment."""
        leaving = self._leaving
        gone = [leaving.pop() for _ in range(min(count, len(leaving)))]
        if self._filling is not None:
            self.slices.fill(self._filling, gone)
        if not leaving:
            self._leaving = set()  # an empty set keeps the table that it had
            self._filling = None

    def _doubt(self) -> None:
        """Ask the filters about everything again: what they have forgotten must not be known here."""
        self._recent, self._leaving, self._filling = set(), set(), None
        self._begins = False
