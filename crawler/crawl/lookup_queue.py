"""Infohashes that wait for an iterative lookup, whoever wants it; a lookup costs twenty queries and more.

Four kinds, each with a queue of its own: those that nothing is known of yet, those whose peers were all dead
(`crawl/fetch`), those that may well be invented (`crawl/credit`), and those that have peers already but from
one node only. The last two are looked up when there is nothing else to ask. The first two take turns, so that
neither a flood of infohashes nor one of dead peers keeps the other out. The newest goes first, because its
peers are the likeliest to be still there; when a queue is full the oldest is dropped.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import attrs

from crawler.wire.compact import split_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crawler.wire.compact import Family


class Why(enum.IntEnum):
    """Why an infohash is to be looked up."""

    UNKNOWN = 0
    ALL_DEAD = 1
    DOUBTED = 2
    ONE_NODE = 3


@attrs.define(eq=False)
class Wanted:
    """An infohash that waits for a lookup; ``nodes`` (compact, of ``family``) may be near it."""

    infohash: bytes
    why: Why
    nodes: bytes = b""
    family: Family | None = None


class LookupQueue:
    """The queues.

    Args:
        limit: infohashes of each kind.

    Attributes:
        on_drop: is told of infohashes that will not be looked up; not of those that have peers already.
        dropped: how many those were.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queues: dict[Why, dict[bytes, Wanted]] = {why: {} for why in Why}
        self._turn = Why.UNKNOWN
        self.on_drop: Callable[[bytes], None] = _tell_nobody
        self.dropped = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def want(self, wanted: Wanted) -> None:
        """Let ``wanted`` wait, unless it waits already for a better reason."""
        infohash = wanted.infohash
        for why, queue in self._queues.items():
            if infohash in queue:
                if why <= wanted.why:
                    return
                del queue[infohash]
        queue = self._queues[wanted.why]
        queue[infohash] = wanted
        if len(queue) > self._limit:
            oldest = next(iter(queue))
            del queue[oldest]
            if wanted.why is not Why.ONE_NODE:
                self.dropped += 1
                self.on_drop(oldest)

    def to_pieces(self) -> Iterator[list[Any]]:
        """Return what waits, a piece per kind: the kind, and its infohashes joined, oldest first."""
        for why, queue in self._queues.items():
            yield [int(why), b"".join(queue)]

    def restore(self, piece: object) -> bool:
        """Take back a piece that an earlier run's `to_pieces` returned; False when it is none."""
        match piece:
            case [int(why), bytes(joined)] if why in set(Why):
                infohashes = split_samples(joined)
            case _:
                return False
        for infohash in infohashes or ():
            self.want(Wanted(infohash, Why(why)))
        return infohashes is not None

    def withdraw(self, infohash: bytes) -> bool:
        """Let ``infohash`` wait no longer; returns whether it did, as one that nothing is known of yet."""
        unknown = (self._queues[why].pop(infohash, None) for why in (Why.UNKNOWN, Why.DOUBTED))
        return any(wanted is not None for wanted in unknown)

    def take(self, *, idle: bool) -> Wanted | None:
        """Return the next to look up; those in doubt or of one node only when there is nothing else to do."""
        self._turn = Why.UNKNOWN if self._turn is Why.ALL_DEAD else Why.ALL_DEAD
        other = Why.UNKNOWN if self._turn is Why.ALL_DEAD else Why.ALL_DEAD
        for why in (self._turn, other, Why.DOUBTED, Why.ONE_NODE) if idle else (self._turn, other):
            if self._queues[why]:
                return self._queues[why].popitem()[1]
        return None


def _tell_nobody(_infohash: bytes) -> None:
    pass
