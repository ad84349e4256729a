"""The Bloom filter of BEP 33: how many peers a swarm has, mergeable over nodes, naming none of them.

2048 bits, two bits per address, taken from the SHA-1 of the IP address without its port. The hash is part of
the protocol; nothing here is secret.
"""

from __future__ import annotations

import math
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FILTER_BITS = 2048
FILTER_BYTES = FILTER_BITS // 8

CAPACITY = 6000
"""Beyond this many addresses a filter says nothing more (BEP 33), so no swarm may hold more."""


def filter_of(ips: Iterable[bytes]) -> bytes:
    """Return the 256-byte filter that holds ``ips`` (4 or 16 bytes each, the families may mix)."""
    bits = 0
    for ip in ips:
        # Bit i is bit i % 8 (lowest first) of byte i // 8: exactly a little-endian integer.
        digest = sha1(ip, usedforsecurity=False).digest()
        first = (digest[0] | digest[1] << 8) % FILTER_BITS
        second = (digest[2] | digest[3] << 8) % FILTER_BITS
        bits |= 1 << first | 1 << second
    return bits.to_bytes(FILTER_BYTES, "little")


def union(filters: Iterable[bytes]) -> bytes:
    """Return the filter of everything that is in any of ``filters`` (256 bytes each)."""
    bits = 0
    for each in filters:
        bits |= int.from_bytes(each, "little")
    return bits.to_bytes(FILTER_BYTES, "little")


def estimate(scrape_filter: bytes) -> float:
    """Return about how many addresses ``scrape_filter`` (256 bytes) holds (BEP 33's formula)."""
    zeros = FILTER_BITS - int.from_bytes(scrape_filter, "little").bit_count()
    zeros = max(1, min(FILTER_BITS - 1, zeros))
    return math.log(zeros / FILTER_BITS) / (2 * math.log(1 - 1 / FILTER_BITS))


_SEED_KEYS: Final = (b"BFsd", b"BFse")
"""The second is what mldht sends for the first."""
_PEER_KEYS: Final = (b"BFpe",)


@attrs.define
class SwarmSize:
    """What several nodes' filters say of one swarm, united, so that a peer that two know counts once.

    Attributes:
        refused: filters left out: of another size, or with more bits than BEP 33 lets a swarm set, which are
            made up and would spoil the rest.
    """

    refused: int = 0
    _seeds: bytes | None = None
    _leechers: bytes | None = None

    @property
    def seeds(self) -> int | None:
        """About how many have everything; None when nobody told."""
        return None if self._seeds is None else round(estimate(self._seeds))

    @property
    def leechers(self) -> int | None:
        """About how many have not; None when nobody told."""
        return None if self._leechers is None else round(estimate(self._leechers))

    def take(self, body: Mapping[bytes, Any]) -> None:
        """Take the filters of a get_peers response's ``body``, if it has any."""
        self._seeds = self._united(self._seeds, body, _SEED_KEYS)
        self._leechers = self._united(self._leechers, body, _PEER_KEYS)

    def _united(self, held: bytes | None, body: Mapping[bytes, Any], keys: Sequence[bytes]) -> bytes | None:
        for key in keys:
            given = body.get(key)
            if given is None:
                continue
            if isinstance(given, bytes) and len(given) == FILTER_BYTES and estimate(given) <= CAPACITY:
                held = given if held is None else union((held, given))
            else:
                self.refused += 1
        return held
