"""Metadata on its way: pieces kept as they come, within a budget that all fetches share, then checked.

What a peer claims as the size is only a bound; memory is taken for what has really arrived. A small allowance
belongs to every fetch, so that a few peers who send megabytes of nothing cannot starve the many honest
fetches of a few kilobytes; what goes beyond it comes out of one pool.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import attrs

from crawler.settings import setting
from crawler.wire.extensions import METADATA_PIECE

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHA1_BYTES: Final = 20
_SHA256_BYTES: Final = 32


class OverBudgetError(Exception):
    """There is no memory for more metadata right now: our own limit, and nobody's fault."""


@attrs.frozen
class MemoryConfig:
    """How much unverified metadata may be held at once."""

    allowance: int = setting(
        64 << 10,
        unit="bytes",
        help="Metadata that every fetch may hold whatever the others hold.",
        minimum=16384,
    )
    shared: int = setting(
        32 << 20,
        unit="bytes",
        help="Metadata that all fetches together may hold beyond their allowance.",
        minimum=0,
    )


class MemoryBudget:
    """The memory that all fetches share.

    Attributes:
        used: bytes of the shared pool that are taken.
        peak: most that ever was.
        refused: how often there was not enough.
    """

    def __init__(self, config: MemoryConfig | None = None) -> None:
        self.config = config or MemoryConfig()
        self.used = 0
        self.peak = 0
        self.refused = 0

    def take(self, size: int) -> None:
        """Take ``size`` bytes of the pool.

        Raises:
            OverBudgetError: there are not so many left.
        """
        if self.used + size > self.config.shared:
            self.refused += 1
            raise OverBudgetError
        self.used += size
        self.peak = max(self.peak, self.used)

    def give_back(self, size: int) -> None:
        """Return ``size`` bytes that were taken."""
        self.used -= size


class MetadataAssembly:
    """The pieces of one info dict, from one peer.

    Args:
        size: bytes of the whole, as the peer claims.
        budget: where memory beyond the allowance comes from.

    Attributes:
        size: as given.
        received: bytes that have arrived.
    """

    def __init__(self, size: int, budget: MemoryBudget) -> None:
        self.size = size
        self.received = 0
        self._budget = budget
        self._taken = 0
        self._pieces: dict[int, bytes] = {}

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return -(-self.size // METADATA_PIECE)

    @property
    def complete(self) -> bool:
        """Whether every byte is there."""
        return self.received == self.size

    def piece_size(self, piece: int) -> int:
        """Return how many bytes piece number ``piece`` must have."""
        return min(METADATA_PIECE, self.size - piece * METADATA_PIECE)

    def add(self, piece: int, data: bytes) -> None:
        """Keep a piece of the right number and size that is not there yet.

        Raises:
            OverBudgetError: there is no memory for it.
        """
        beyond = self.received + len(data) - self._budget.config.allowance - self._taken
        if beyond > 0:
            self._budget.take(beyond)
            self._taken += beyond
        self._pieces[piece] = data
        self.received += len(data)

    def join(self) -> bytes:
        """Return the whole; only when ``complete``."""
        return b"".join([self._pieces[piece] for piece in range(self.count)])

    def release(self) -> None:
        """Let go of the pieces and their memory; may be called again."""
        self._pieces.clear()
        self._budget.give_back(self._taken)
        self._taken = 0


def verify(infohash: bytes, info: bytes) -> bool:
    """Whether ``info`` is the info dict that ``infohash`` names.

    Args:
        infohash: 20 bytes: the SHA-1 (v1), or the head of the SHA-256 (v2, BEP 52), nobody can tell which;
            or 32 bytes: the whole SHA-256.
        info: the exact bytes.
    """
    if len(infohash) == _SHA1_BYTES and infohash == hashlib.sha1(info).digest():  # noqa: S324 - BEP 3's choice
        return True
    return len(infohash) in (_SHA1_BYTES, _SHA256_BYTES) and hashlib.sha256(info).digest().startswith(
        infohash
    )


def verify_any(infohashes: Iterable[bytes], info: bytes) -> bool:
    """Whether ``info`` is named by at least one of ``infohashes``."""
    return any(verify(infohash, info) for infohash in infohashes)
