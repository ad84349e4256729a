"""The Bloom filter of BEP 33: how many peers a swarm has, mergeable over nodes, naming none of them.

2048 bits, two bits per address, taken from the SHA-1 of the IP address without its port. The hash is part of
the protocol; nothing here is secret.
"""

from __future__ import annotations

import math
from hashlib import sha1
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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
