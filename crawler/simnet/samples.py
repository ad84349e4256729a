"""What a node gives of its storage to sample_infohashes (BEP 51): a choice, frozen for an interval."""

from __future__ import annotations

import math
from array import array
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Final

from crawler.simnet.draws import Draws

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SAMPLE_SIZE: Final = 20
"""Infohashes in a sample, at most; as many as libtorrent gives."""
_PATTERNS: Final = 64
"""For each size of storage there are so many random choices of 20 positions, from which all nodes draw."""


class Samples:
    """The samples of every node.

    A node's first sample is ready from the start. It stays the same until ``interval`` seconds after
    somebody asked for it; the first query after that gets the next one.

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
        self._seed = seed
        self._draws = Draws(seed, "sample")
        self._patterns: dict[tuple[int, int], Callable[[Sequence[int]], Sequence[int]]] = {}
        self._until = array("d", [-math.inf]) * len(storage)
        self._number = array("I", [0]) * len(storage)
        self._current = [self._choose(rank, 1) for rank in range(len(storage))]

    def take(self, rank: int, now: float) -> bytes:
        """Return node ``rank``'s sample, 20 bytes for each infohash."""
        if now >= self._until[rank]:
            self._until[rank] = now + self._interval
            self._number[rank] += 1
            if self._number[rank] > 1:
                self._current[rank] = self._choose(rank, self._number[rank])
        return self._current[rank]

    def total(self, rank: int) -> int:
        """Return how many infohashes node ``rank`` stores."""
        return len(self._storage[rank])

    def places(self, rank: int, number: int) -> Sequence[int]:
        """Return which infohashes are in a node's sample number 1, 2, ..."""
        stored = self._storage[rank]
        if len(stored) <= SAMPLE_SIZE:
            return stored
        name = len(stored), self._draws.of(rank, number) % _PATTERNS
        pattern = self._patterns.get(name) or self._pattern(name)
        return pattern(stored)

    def _choose(self, rank: int, number: int) -> bytes:
        return b"".join(map(self._infohashes.__getitem__, self.places(rank, number)))

    def _pattern(self, name: tuple[int, int]) -> Callable[[Sequence[int]], Sequence[int]]:
        """Return a choice of 20 positions, made on first use and then kept."""
        size, variant = name
        positions = Random(f"{self._seed}/{size}/{variant}").sample(range(size), SAMPLE_SIZE)
        pattern = self._patterns[name] = itemgetter(*positions)
        return pattern
