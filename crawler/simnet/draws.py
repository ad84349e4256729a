"""Chance that depends on the seed and on what it is asked for, and on nothing else.

The simulated network is far too large to store every random choice it makes (which nodes fill a bucket, which
infohashes a sample holds), so a choice is computed again each time from the seed and its name. The same world
therefore gives the same answers in whatever order it is asked, on every machine and Python version.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

DRAW_BITS: Final = 64
_NAME: Final = struct.Struct("<II").pack


class Draws:
    """A random number for each pair of numbers below 2**32.

    Args:
        seed: what makes this world different from another.
        purpose: keeps the draws of different uses independent of each other.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._hash = hashlib.blake2b(f"{seed}/{purpose}/".encode(), digest_size=DRAW_BITS // 8)

    def of(self, first: int, second: int) -> int:
        """Return the number below 2**64 that belongs to ``(first, second)``."""
        state = self._hash.copy()
        state.update(_NAME(first, second))
        return int.from_bytes(state.digest(), "little")
