"""Two queues for many contacts: one that goes around the key space, one that goes around the clock.

Pure and cheap: both are touched for every query of the crawl.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

CELLS = 256


class CellRing(Generic[T]):
    """A queue per cell of the key space (the id's first byte), served in turn.

    However many items one cell holds, it gets one turn in each round.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._cells: list[deque[T]] = [deque() for _ in range(CELLS)]
        self._turn: deque[int] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, cell: int, item: T) -> None:
        """Queue ``item`` in ``cell`` (0 to 255)."""
        queue = self._cells[cell]
        if not queue:
            self._turn.append(cell)
        queue.append(item)
        self._length += 1

    def pop(self) -> T:
        """Take the oldest item of the cell whose turn it is.

        Raises:
            IndexError: when the ring is empty.
        """
        turn = self._turn
        queue = self._cells[turn[0]]
        item = queue.popleft()
        self._length -= 1
        if queue:
            turn.rotate(-1)
        else:
            turn.popleft()
        return item


class Wheel(Generic[T]):
    """Items that wait for a time, found again when it has come; to the second, never early."""

    def __init__(self) -> None:
        """Start empty; the first call of :meth:`turn` sets the hand."""
        self._slots: dict[int, list[T]] = {}
        self._hand: int | None = None

    def put(self, due: float, item: T) -> None:
        """Let ``item`` wait until ``due`` seconds."""
        second = -int(-due // 1)
        if self._hand is not None and second <= self._hand:
            second = self._hand + 1
        slot = self._slots.get(second)
        if slot is None:
            self._slots[second] = [item]
        else:
            slot.append(item)

    def turn(self, now: float) -> list[T]:
        """Return the items whose time has come, in the order of their seconds."""
        hand = int(now // 1)
        if hand == self._hand:
            return []
        due: list[T] = []
        if self._hand is None or hand - self._hand > len(self._slots):
            for second in sorted(second for second in self._slots if second <= hand):
                due += self._slots.pop(second)
        else:
            for second in range(self._hand + 1, hand + 1):
                due += self._slots.pop(second, ())
        self._hand = hand
        return due
