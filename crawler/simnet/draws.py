"""Chance that depends on the seed and on what it is asked for, and on nothing else.

The simulated network is far too large to store every random choice it makes (which nodes fill a bucket, which
infohashes a sample holds), so a choice is computed again each time from the seed and its name. The same world
therefore gives the same answers in whatever order it is asked, on every machine and Python version.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DRAW_BYTES = 4
_DRAWS_PER_HASH = 16
_NAME = struct.Struct("<II").pack


class Draws:
    """Sequences of 32-bit draws, one sequence for each pair of numbers below 2**32.

    Args:
        seed: what makes this world different from another.
        purpose: keeps the draws of different uses independent of each other.
        count: how many draws a sequence has.
    """

    def __init__(self, seed: int, purpose: str, count: int) -> None:
        self._hashes = [
            hashlib.blake2b(
                f"{seed}/{purpose}/{start}/".encode(),
                digest_size=_DRAW_BYTES * min(count - start, _DRAWS_PER_HASH),
            )
            for start in range(0, count, _DRAWS_PER_HASH)
        ]
        self._unpack = struct.Struct(f"<{count}I").unpack

    def of(self, first: int, second: int = 0) -> tuple[int, ...]:
        """Return the draws that belong to ``(first, second)``."""
        name = _NAME(first, second)
        digests = []
        for prepared in self._hashes:
            state = prepared.copy()
            state.update(name)
            digests.append(state.digest())
        return self._unpack(b"".join(digests))


def choose(draws: Sequence[int], size: int) -> list[int]:
    """Return as many distinct positions below ``size`` as there are draws; ``size`` must not be smaller.

    A position that is taken already gives way to the next free one, around the end, so that every position is
    equally likely.
    """
    chosen = {draw * size >> 32 for draw in draws}
    if len(chosen) < len(draws):
        chosen = set()
        for draw in draws:
            position = draw * size >> 32
            while position in chosen:
                position = (position + 1) % size
            chosen.add(position)
    return list(chosen)
