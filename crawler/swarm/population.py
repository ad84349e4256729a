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

    __slots__ = ("_at", "_ids", "_marks", "_packed", "_size", "_swept", "seeds")

    def __init__(self, size: int, slot: int, *, ids: bool = True) -> None:
        """Start empty in time slot ``slot``; addresses will have ``size`` bytes; ``ids``: keep peer ids."""
        self.seeds = 0
        self._size = size
        self._swept = slot
        self._at: dict[bytes, int] = {}
        self._packed = bytearray()
        self._marks = bytearray()
        self._ids = bytearray() if ids else None

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, address: bytes) -> bool:
        return address in self._at

    def is_seed(self, address: bytes) -> bool:
        """Whether ``address`` is here as a seed."""
        at = self._at.get(address)
        return at is not None and bool(self._marks[at] & 1)

    def id_of(self, address: bytes) -> bytes | None:
        """The peer id that ``address`` gave last; None if it is not here, or ids are not kept."""
        at = self._at.get(address)
        return None if at is None or self._ids is None else bytes(self._ids[at * _ID : at * _ID + _ID])

    def put(self, address: bytes, peer_id: bytes, *, seed: bool, slot: int, rng: Random) -> bool:
        """Take in ``address``, or refresh it; True if it is new. ``peer_id`` has 20 bytes."""
        mark = slot % _SLOT_VALUES << 1 | seed
        at = self._at.get(address)
        if at is not None:
            self.seeds += seed - (self._marks[at] & 1)
            self._marks[at] = mark
            if self._ids is not None:
                self._ids[at * _ID : at * _ID + _ID] = peer_id
            return False
        self.seeds += seed
        count, size = len(self._marks), self._size
        at = int(rng.random() * (count + 1))
        self._packed += address
        self._marks.append(mark)
        if self._ids is not None:
            self._ids += peer_id
        if at != count:
            begin = at * size
            moved = bytes(self._packed[begin : begin + size])
            self._copy(at, count)
            self._at[moved] = count
            self._packed[begin : begin + size] = address
            self._marks[at] = mark
            if self._ids is not None:
                self._ids[at * _ID : at * _ID + _ID] = peer_id
        self._at[address] = at
        return True

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
        if slot == self._swept:
            return 0
        before = len(self._marks)
        oldest, self._swept = self._swept - LIFETIME_SLOTS, slot
        if slot - LIFETIME_SLOTS > oldest + LIFETIME_SLOTS:
            # Nobody was heard of since the last sweep.
            self.__init__(self._size, slot, ids=self._ids is not None)  # type: ignore[misc] # all is forgotten
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
