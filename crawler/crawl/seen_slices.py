"""The memory of infohashes as a chain of Bloom filters, each of which takes its share and is then closed.

A *slice* takes new infohashes until it is full, or old enough; the next is larger, up to a twelfth of what is
to be remembered, so that memory grows with what was found. The oldest is forgotten when those after it hold
the whole `capacity`, or, with `resighting`, when its youngest infohash is older than that. A closed slice
never changes, so it is saved once.

All filters share one keyed hash, taken once per infohash. The key stays with the state, since a saved filter
is of no use without it; nobody else knows it, so nobody can choose infohashes that make others look known.
"""

from __future__ import annotations

import math
from hashlib import blake2s
from operator import index
from typing import TYPE_CHECKING, Final

import attrs
from rbloom import Bloom

from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_CAPACITY: Final = 10_000_000_000
LEAST_ERROR_RATE: Final = 1e-12
"""Beyond these a filter asks for more memory than there is, at which its library ends the process."""
KEY_BYTES: Final = 32
_DIGEST_BYTES: Final = 16
_OF_CAPACITY: Final = 12
"""The largest slice is this part of the capacity: what is kept beyond it, and what is forgotten at once."""
_RUNGS: Final = (8, 4, 2, 1)
"""Sizes of slices, as parts of the largest."""
_OF_AGE: Final = 8
"""A slice is closed at this part of `resighting`."""
_MOST_BY_SIZE: Final = _OF_CAPACITY + len(_RUNGS)
_MOST_BY_AGE: Final = _OF_AGE + 2
_HOUR: Final = 3600.0


@attrs.frozen
class SeenConfig:
    """How much is remembered, how surely, and for how long."""

    capacity: int = setting(
        100_000_000,
        unit="infohashes",
        help="So many of the latest are remembered, 4.3 bytes each as they are found; up to a twelfth more.",
        minimum=1000,
        maximum=MOST_CAPACITY,
    )
    error_rate: float = setting(
        1e-6,
        unit="",
        help="Chance that a new infohash is taken for an old one.",
        minimum=LEAST_ERROR_RATE,
        maximum=0.01,
    )
    resighting: float = setting(
        0.0,
        unit="h",
        help="Emit an infohash again when it is seen so long (to an eighth more) after its line; 0: never.",
        minimum=0,
    )
    recent: int = setting(
        500_000, unit="infohashes", help="Known at a glance as well, 121 bytes each.", minimum=1000
    )
    journal: int = setting(
        500_000,
        unit="infohashes",
        help="Saved one by one before the filter they are in is saved; read again at the start, 1 us each.",
        minimum=1000,
    )
    journal_interval: float = setting(
        2.0, unit="s", help="How often what was written since is saved, in the state directory.", above=0
    )
    max_unsaved: int = setting(
        1_000_000,
        unit="infohashes",
        help="May wait to be saved by a disk that is full; the oldest beyond are, once their filter is.",
        minimum=1000,
    )


@attrs.define(eq=False)
class Slice:
    """One filter of the chain.

    Attributes:
        number: counts up from 0, over restarts.
        capacity: infohashes that it takes.
        error_rate: what the filter is made for.
        filter: of what `hasher` makes of an infohash.
        count: infohashes taken.
        lacking: how many of them are not in the filter yet.
        opened: epoch seconds, not later than a tick after the first was taken; None: no tick since.
        closed: epoch seconds, not before the last was taken; None: it is open, or no tick since.
        unsaved: the ones taken that nobody has fetched yet to save them.
    """

    number: int
    capacity: int
    error_rate: float
    filter: Bloom
    count: int = 0
    lacking: int = attrs.field(default=0, kw_only=True)
    opened: float | None = None
    closed: float | None = None
    unsaved: list[bytes] = attrs.field(factory=list)

    @property
    def size(self) -> int:
        """Bytes of the filter."""
        return self.filter.size_in_bits // 8


def hasher(key: bytes) -> Callable[[bytes], int]:
    """Return the keyed hash (BLAKE2s) that makes infohashes whole numbers of 16 bytes, with a sign."""
    copy = blake2s(key=key, digest_size=_DIGEST_BYTES).copy
    whole = int.from_bytes

    def hashed(infohash: bytes) -> int:
        state = copy()
        state.update(infohash)
        return whole(state.digest(), "little", signed=True)

    return hashed


def new_filter(capacity: int, error_rate: float) -> Bloom:
    """Return an empty filter of what `hasher` made."""
    return Bloom(capacity, error_rate, index)


def filter_from(data: bytes) -> Bloom:
    """Return the filter whose bytes were saved.

    Raises:
        ValueError: they are no filter.
    """
    return Bloom.load_bytes(data, index)


class Slices:
    """The chain: the last slice is open, unless it is full."""

    def __init__(self, config: SeenConfig, key: bytes, *, keeps_unsaved: bool = False) -> None:
        """Remember nothing yet.

        Args:
            config: how much and how long.
            key: `KEY_BYTES` that nobody can guess.
            keeps_unsaved: somebody fetches what is to be saved (`Slice.unsaved`).
        """
        self.forgotten = 0
        self.slices_forgotten = 0
        self.key = key
        self._config = config
        self._hash = hasher(key)
        self._keeps_unsaved = keeps_unsaved
        self._live: list[Slice] = []
        self._filters: tuple[Bloom, ...] = ()
        self._next = 0

    @property
    def live(self) -> list[Slice]:
        """What is remembered, oldest first."""
        return list(self._live)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return not self._live

    @property
    def is_closed(self) -> bool:
        """Whether the last slice takes no more."""
        return bool(self._live) and self._live[-1].closed is not None

    @property
    def count(self) -> int:
        """Infohashes remembered."""
        return sum(each.count for each in self._live)

    @property
    def size(self) -> int:
        """Bytes of all filters."""
        return sum(each.size for each in self._live)

    @property
    def error_rate(self) -> float:
        """What a new slice is made for, so that all together keep to `SeenConfig.error_rate`."""
        return self._config.error_rate / self._most

    @property
    def _most(self) -> int:
        return _MOST_BY_SIZE + (_MOST_BY_AGE if self._config.resighting else 0)

    def __contains__(self, infohash: bytes) -> bool:
        """Whether ``infohash`` is remembered, or taken for one that is."""
        number = self._hash(infohash)
        return any(number in each for each in self._filters)

    def take(self, infohashes: Iterable[bytes]) -> list[bytes]:
        """Remember ``infohashes`` and return those that were not known, in their order."""
        hashed, filters, new = self._hash, self._filters, []
        last = self._live[-1] if self._live else None
        for infohash in infohashes:
            number = hashed(infohash)
            for each in filters:
                if number in each:
                    break
            else:
                if last is None or last.count >= last.capacity or last.closed is not None:
                    last = self._open(0 if last is None else last.count)
                    filters = self._filters
                last.filter.add(number)
                last.count += 1
                new.append(infohash)
                if self._keeps_unsaved:
                    last.unsaved.append(infohash)
        return new

    def take_exactly(self, infohashes: list[bytes]) -> bool:
        """Count ``infohashes``, all new, into the first slice, whose filter lacks them until :meth:`fill`.

        Returns False, and takes nothing, when there is no room for them.
        """
        first = self._live[0] if self._live else self._open(0)
        if first.closed is not None or first.count + len(infohashes) > first.capacity:
            return False
        first.count += len(infohashes)
        first.lacking += len(infohashes)
        if self._keeps_unsaved:
            first.unsaved += infohashes
        return True

    def fill(self, target: Slice, infohashes: Iterable[bytes]) -> None:
        """Put ``infohashes``, which a slice has taken exactly, into its filter."""
        hashes = list(map(self._hash, infohashes))
        target.filter.update(hashes)
        target.lacking -= len(hashes)

    def replay(self, number: int, infohashes: Iterable[bytes]) -> None:
        """Take what the live slice ``number`` had taken before a restart."""
        target = next(each for each in self._live if each.number == number)
        hashes = list(map(self._hash, infohashes))
        target.filter.update(hashes)
        target.count += len(hashes)

    def restore(self, slices: Iterable[Slice], now: float) -> None:
        """Remember what an earlier run saved, in the order of numbers; ``now`` is in epoch seconds.

        A slice that has a successor is closed, at the latest when that was opened.
        """
        self._live = sorted(slices, key=lambda each: each.number)
        for each, after in zip(self._live, self._live[1:], strict=False):
            if each.closed is None:
                each.closed = after.opened if after.opened is not None else now
        for each in self._live:
            # The clock may have been set back; nothing is younger than now.
            each.opened = None if each.opened is None else min(each.opened, now)
            each.closed = None if each.closed is None else min(each.closed, now)
        self._next = self._live[-1].number + 1 if self._live else 0
        self._filters = tuple(each.filter for each in reversed(self._live))
        self._forget_spare()

    def advance(self, now: float) -> None:
        """Close what is old enough and forget what is too old, at ``now`` in epoch seconds."""
        longest = self._config.resighting * _HOUR
        for each in self._live:
            if each.opened is None and each.count:
                each.opened = now
            if each.closed is None and (
                each.count >= each.capacity
                or (longest and each.opened is not None and now - each.opened >= longest / _OF_AGE)
            ):
                each.closed = now
        while longest and self._live:
            closed = self._live[0].closed
            if closed is None or now - closed < longest:
                break
            self._forget()

    def _open(self, before: int) -> Slice:
        """Begin a slice that has room for more than the last one took, and make room for it."""
        largest = math.ceil(self._config.capacity / _OF_CAPACITY)
        rungs = [math.ceil(largest / part) for part in _RUNGS]
        capacity = next((rung for rung in rungs if rung > before), largest)
        error_rate = self.error_rate
        opened = Slice(self._next, capacity, error_rate, new_filter(capacity, error_rate))
        self._next += 1
        self._live.append(opened)
        self._filters = (opened.filter, *self._filters)
        self._forget_spare()
        return opened

    def _forget_spare(self) -> None:
        """Forget slices that are beyond the capacity, or too many for the error stated."""
        while len(self._live) > self._most or (
            self._live and self.count - self._live[0].count >= self._config.capacity
        ):
            self._forget()

    def _forget(self) -> None:
        oldest = self._live.pop(0)
        self._filters = self._filters[:-1]
        self.forgotten += oldest.count
        self.slices_forgotten += 1
