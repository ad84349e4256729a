"""What a node gives of its storage to sample_infohashes (BEP 51): a choice, frozen for an interval."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Final

from crawler.simnet.draws import Draws, choose

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE_SIZE: Final = 20
"""Infohashes in a sample, at most; as many as libtorrent gives."""


class Samples:
    """The samples of every node.

    A sample is drawn when it is first asked for, stays the same for ``interval`` seconds, and is drawn anew
    by the first query after that.

    Args:
        infohashes: all there are.
        storage: by rank, the places in ``infohashes`` of what the node stores.
        interval: in seconds.
        seed: chooses what is in each sample.
    """

    def __init__(
        self, infohashes: Sequence[bytes], storage: Sequence[Sequence[int]], interval: float, seed: int
    ) -> None:
        self._infohashes = infohashes
        self._storage = storage
        self._interval = interval
        self._draws = Draws(seed, "sample", SAMPLE_SIZE)
        self._until = array("d", [-math.inf]) * len(storage)
        self._rounds = array("I", [0]) * len(storage)

    def take(self, rank: int, now: float) -> bytes:
        """Return node ``rank``'s sample, 20 bytes for each infohash."""
        if now >= self._until[rank]:
            self._until[rank] = now + self._interval
            self._rounds[rank] += 1
        infohashes = self._infohashes
        return b"".join([infohashes[place] for place in self.places(rank, self._rounds[rank])])

    def total(self, rank: int) -> int:
        """Return how many infohashes node ``rank`` stores."""
        return len(self._storage[rank])

    def places(self, rank: int, number: int) -> Sequence[int]:
        """Return which infohashes are in a node's sample number 1, 2, ..."""
        stored = self._storage[rank]
        if len(stored) <= SAMPLE_SIZE:
            return stored
        return [stored[position] for position in choose(self._draws.of(rank, number), len(stored))]
