"""The way takes time: what waits for its moment, and how long each node's way is."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    import random

T = TypeVar("T")

RESOLUTION: Final = 0.001
"""Seconds; things due within the same millisecond leave together."""


class DelayQueue(Generic[T]):
    """A timer wheel of one slot a millisecond: adding and taking cost the same however much waits."""

    def __init__(self) -> None:
        self._slots: dict[int, list[T]] = {}
        self._order: list[int] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, due: float, item: T) -> None:
        """Keep ``item`` until ``due`` (seconds)."""
        slot = int(due / RESOLUTION)
        waiting = self._slots.get(slot)
        if waiting is None:
            self._slots[slot] = [item]
            heapq.heappush(self._order, slot)
        else:
            waiting.append(item)
        self._length += 1

    def take(self, now: float) -> list[T]:
        """Remove and return what is due, in the order of time and then of arrival."""
        due: list[T] = []
        while self.next_due <= now:
            due += self._slots.pop(heapq.heappop(self._order))
        self._length -= len(due)
        return due

    @property
    def next_due(self) -> float:
        """When there will be something to take; infinite when nothing waits."""
        return (self._order[0] + 1) * RESOLUTION if self._order else float("inf")


class Journeys:
    """Round-trip times: each round trip takes the mean, more or less by up to ``jitter`` of it.

    Args:
        mean: seconds.
        jitter: share of the mean, 0 to 1.
        rng: where the differences come from.
    """

    def __init__(self, mean: float, jitter: float, rng: random.Random) -> None:
        self._shortest = mean * (1 - jitter)
        self._spread = 2 * mean * jitter
        self._chance = rng.random

    def duration(self) -> float:
        """Return how many seconds the next round trip takes."""
        return self._shortest + self._spread * self._chance()
