"""The peers of one swarm and one family, packed: any of them found, added, dropped or drawn in constant time.

Compact addresses lie in one byte array, always in random order: a newcomer changes places with somebody
drawn by lot, and a gap is filled by the last. So a stretch that begins anywhere is a fair draw, and giving
peers out is one copy. Beside each lies one byte: whether it is a seed, and the slot of time in which it was
last heard of. Those of a slot that is over are found by searching for that byte, gigabytes a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

LIFETIME_SLOTS: Final = 16
"""Slots of time for which a peer is kept after the one in which it was last heard of."""
_SLOT_VALUES: Final = 128


class Population:
    """A set of compact addresses of one length, each a seed or not, each with its slot.

    Attributes:
        seeds: how many of them are seeds.
    """

    __slots__ = ("_at", "_marks", "_packed", "_size", "_swept", "seeds")

    def __init__(self, size: int, slot: int) -> None:
        """Start empty in time slot ``slot``; addresses will have ``size`` bytes."""
        self.seeds = 0
        self._size = size
        self._swept = slot
        self._at: dict[bytes, int] = {}
        self._packed = bytearray()
        self._marks = bytearray()

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, address: bytes) -> bool:
        return address in self._at

    def is_seed(self, address: bytes) -> bool:
        """Whether ``address`` is here as a seed."""
        at = self._at.get(address)
        return at is not None and bool(self._marks[at] & 1)

    def put(self, address: bytes, *, seed: bool, slot: int, rng: Random) -> bool:
        """Take in ``address``, or refresh it; True if it is new."""
        mark = slot % _SLOT_VALUES << 1 | seed
        at = self._at.get(address)
        if at is not None:
            self.seeds += seed - (self._marks[at] & 1)
            self._marks[at] = mark
            return False
        self.seeds += seed
        count = len(self._marks)
        at = int(rng.random() * (count + 1))
        if at == count:
            self._packed += address
            self._marks.append(mark)
        else:
            begin = at * self._size
            end = begin + self._size
            moved = bytes(self._packed[begin:end])
            self._packed += moved
            self._marks.append(self._marks[at])
            self._at[moved] = count
            self._packed[begin:end] = address
            self._marks[at] = mark
        self._at[address] = at
        return True

    def drop(self, address: bytes) -> bool:
        """Forget ``address``; True if it was there."""
        at = self._at.get(address)
        if at is None:
            return False
        self._drop_at(at)
        return True

    def drop_any(self, rng: Random) -> None:
        """Forget one that is drawn by lot; there must be one."""
        self._drop_at(int(rng.random() * len(self._marks)))

    def _drop_at(self, at: int) -> None:
        size = self._size
        begin, last = at * size, len(self._marks) - 1
        del self._at[bytes(self._packed[begin : begin + size])]
        self.seeds -= self._marks[at] & 1
        if at != last:
            moved = bytes(self._packed[-size:])
            self._packed[begin : begin + size] = moved
            self._marks[at] = self._marks[last]
            self._at[moved] = at
        del self._packed[-size:]
        del self._marks[last]

    def sweep(self, slot: int) -> int:
        """Forget everybody whose time is over in ``slot`` (never an earlier one); returns how many."""
        if slot == self._swept:
            return 0
        before = len(self._marks)
        oldest, self._swept = self._swept - LIFETIME_SLOTS, slot
        if slot - LIFETIME_SLOTS > oldest + LIFETIME_SLOTS:
            self.__init__(self._size, slot)  # type: ignore[misc] # nobody was heard of since the last sweep
            return before
        for gone in range(oldest, slot - LIFETIME_SLOTS):
            for mark in (gone % _SLOT_VALUES << 1, gone % _SLOT_VALUES << 1 | 1):
                while (at := self._marks.find(mark)) >= 0:
                    self._drop_at(at)
        return before - len(self._marks)

    def draw(self, count: int, rng: Random, *, without: bytes = b"") -> bytes:
        """At most ``count`` addresses, drawn by lot and joined; never ``without``."""
        held, size = len(self._marks), self._size
        if count <= 0 or not held:
            return b""
        own = self._at.get(without)
        wanted = count + (own is not None)
        if wanted >= held:
            if own is None:
                return bytes(self._packed)
            return bytes(self._packed[: own * size] + self._packed[(own + 1) * size :])
        start = int(rng.random() * held)
        drawn = self._packed[start * size : (start + wanted) * size]
        if start + wanted > held:
            drawn += self._packed[: (start + wanted - held) * size]
        if own is not None:
            behind = (own - start) % held
            at = min(behind, count) * size
            del drawn[at : at + size]
        return bytes(drawn)
