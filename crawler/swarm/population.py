"""The peers of one swarm and one family, packed: any of them found, added, dropped or drawn in constant time.

Compact addresses lie in one byte array, always in random order: a newcomer changes places with somebody
drawn by lot, and a gap is filled by the last. So a stretch that begins anywhere is a fair draw, and giving
peers out is one copy. Beside each lies one byte: whether it is a seed, and the slot of time in which it was
last heard of. Those of a slot that is over are found by searching for that byte, gigabytes a second. Peer
ids, where they are kept, lie in an array of their own, as hardly any client asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

LIFETIME_SLOTS: Final = 16
"""Slots of time for which a peer is kept after the one in which it was last heard of."""
_SLOT_VALUES: Final = 128
_ID: Final = 20


class Population:
    """A set of compact addresses of one length, each a seed or not, each with its slot.

    Attributes:
        seeds: how many of them are seeds.
    """

    __slots__ = ("_at", "_ids", "_marks", "_packed", "_size", "find", "seeds", "swept")

    def __init__(self, size: int, slot: int, *, ids: bool = True) -> None:
        """Start empty in time slot ``slot``; addresses will have ``size`` bytes; ``ids``: keep peer ids."""
        self.seeds = 0
        self.swept = slot
        self._size = size
        self._at: dict[bytes, int] = {}
        self._packed = bytearray()
        self._marks = bytearray()
        self._ids = bytearray() if ids else None
        self.find = self._at.get

    def __len__(self) -> int:
        return len(self._marks)

    def is_seed(self, at: int) -> bool:
        """Whether the one at ``at`` is a seed."""
        return bool(self._marks[at] & 1)

    def id_of(self, address: bytes) -> bytes | None:
        """The peer id that ``address`` gave last; None if it is not here, or ids are not kept."""
        at = self._at.get(address)
        return None if at is None or self._ids is None else bytes(self._ids[at * _ID : at * _ID + _ID])

    def refresh(self, at: int, peer_id: bytes, slot: int, *, seed: bool) -> None:
        """Note that the one at ``at`` is still there. ``peer_id`` has 20 bytes."""
        mark, marks = slot % _SLOT_VALUES << 1 | seed, self._marks
        if marks[at] != mark:
            self.seeds += seed - (marks[at] & 1)
            marks[at] = mark
        if self._ids is not None:
            self._ids[at * _ID : at * _ID + _ID] = peer_id

    def add(self, address: bytes, peer_id: bytes, slot: int, rng: Random, *, seed: bool) -> int:
        """Take in ``address``, which is not here yet; returns where it lies. ``peer_id`` has 20 bytes."""
        count, size = len(self._marks), self._size
        at = int(rng.random() * (count + 1))
        self._packed += address
        self._marks.append(slot % _SLOT_VALUES << 1)
        if self._ids is not None:
            self._ids += peer_id
        if at != count:
            begin = at * size
            self._at[bytes(self._packed[begin : begin + size])] = count
            self._copy(at, count)
            self._packed[begin : begin + size] = address
            self._marks[at] = slot % _SLOT_VALUES << 1
        self._at[address] = at
        self.refresh(at, peer_id, slot, seed=seed)
        return at

    def _copy(self, source: int, to: int) -> None:
        """Write what lies at ``source`` over what lies at ``to``."""
        size = self._size
        self._packed[to * size : (to + 1) * size] = self._packed[source * size : (source + 1) * size]
        self._marks[to] = self._marks[source]
        if self._ids is not None:
            self._ids[to * _ID : (to + 1) * _ID] = self._ids[source * _ID : (source + 1) * _ID]

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
            self._at[bytes(self._packed[-size:])] = at
            self._copy(last, at)
        del self._packed[-size:]
        del self._marks[last]
        if self._ids is not None:
            del self._ids[-_ID:]

    def sweep(self, slot: int) -> int:
        """Forget everybody whose time is over in ``slot`` (never an earlier one); returns how many."""
        if slot == self.swept:
            return 0
        before = len(self._marks)
        oldest, self.swept = self.swept - LIFETIME_SLOTS, slot
        if slot - LIFETIME_SLOTS > oldest + LIFETIME_SLOTS:
            # Nobody was heard of since the last sweep.
            self.__init__(self._size, slot, ids=self._ids is not None)  # type: ignore[misc] # all is forgotten
            return before
        for gone in range(oldest, slot - LIFETIME_SLOTS):
            for mark in (gone % _SLOT_VALUES << 1, gone % _SLOT_VALUES << 1 | 1):
                at = 0
                while (at := self._marks.find(mark, at)) >= 0:
                    self._drop_at(at)  # puts the last one there, which is looked at next
        return before - len(self._marks)

    def draw(self, count: int, rng: Random, own: int | None = None) -> bytes:
        """At most ``count`` addresses, drawn by lot and joined; never the one that lies at ``own``."""
        held, size = len(self._marks), self._size
        if count <= 0 or not held:
            return b""
        packed = self._packed
        if count + (own is not None) >= held:
            if own is None:
                return bytes(packed)
            return bytes(packed[: own * size] + packed[(own + 1) * size :])
        start = int(rng.random() * held)
        end = start + count
        if end < held:
            if own is None or not start <= own < end:
                return bytes(packed[start * size : end * size])
            return bytes(packed[start * size : own * size] + packed[(own + 1) * size : (end + 1) * size])
        # Around the corner, with one more in place of the one that is left out.
        drawn = packed[start * size :] + packed[: (end + 1 - held) * size]
        begin = count * size if own is None else min((own - start) % held, count) * size
        del drawn[begin : begin + size]
        return bytes(drawn)
