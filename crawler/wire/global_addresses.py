"""Which addresses the public Internet can reach: the door that a rumour must pass before we send to it.

Everything that is not globally routable unicast is refused: the IANA special-purpose registries for IPv4 and
IPv6 (RFC 6890 and its updates), and the forms that smuggle an IPv4 address inside an IPv6 one. Sent to such an
address, a datagram would hit somebody's inner network or nobody at all.
"""

from __future__ import annotations

_IPV4_COMPACT_BYTES, _IPV6_COMPACT_BYTES = 6, 18
_NEVER, _ALWAYS, _LOOK_CLOSER = 0, 1, 2

_NEVER_GLOBAL_FIRST_OCTETS = (0, 10, 127, *range(224, 256))
# (prefix, significant bits); only blocks longer than one octet.
_RESERVED_IPV4 = (
    ((100, 64), 10),  # shared address space of carrier-grade NAT, RFC 6598
    ((169, 254), 16),  # link-local, RFC 3927
    ((172, 16), 12),  # private, RFC 1918
    ((192, 0, 0), 24),  # protocol assignments, RFC 6890
    ((192, 0, 2), 24),  # documentation, RFC 5737
    ((192, 88, 99), 24),  # 6to4 relays, RFC 7526
    ((192, 168), 16),  # private, RFC 1918
    ((198, 18), 15),  # benchmarking, RFC 2544
    ((198, 51, 100), 24),  # documentation, RFC 5737
    ((203, 0, 113), 24),  # documentation, RFC 5737
)
# Within 2000::/3, the only block that IANA hands out for global unicast.
_RESERVED_IPV6 = (
    ((0x20, 0x01, 0x00, 0x00), 23),  # protocol assignments: Teredo, ORCHID, benchmarking …, RFC 2928
    ((0x20, 0x01, 0x0D, 0xB8), 32),  # documentation, RFC 3849
    ((0x20, 0x02), 16),  # 6to4: an IPv4 address inside, RFC 3056
    ((0x3F, 0xFE), 16),  # the former 6bone, RFC 3701
    ((0x3F, 0xFF, 0x00), 20),  # documentation, RFC 9637
)


def _spans(blocks: tuple[tuple[tuple[int, ...], int], ...], size: int) -> list[tuple[int, int]]:
    """Each block as the first and last value of an address's leading `size` bytes."""
    spans = []
    for prefix, bits in blocks:
        low = int.from_bytes(bytes(prefix).ljust(size, b"\0"), "big")
        spans.append((low, low | (1 << (8 * size - bits)) - 1))
    return spans


_IPV4_SPANS = _spans(_RESERVED_IPV4, 4)
_IPV6_SPANS = _spans(_RESERVED_IPV6, 4)


def _verdicts() -> bytes:
    """For each first octet of an IPv4 address: never global, always, or to be looked at closer."""
    table = bytearray([_ALWAYS]) * 256
    for prefix, _bits in _RESERVED_IPV4:
        table[prefix[0]] = _LOOK_CLOSER
    for octet in _NEVER_GLOBAL_FIRST_OCTETS:
        table[octet] = _NEVER
    return bytes(table)


_VERDICT = _verdicts()


def is_global(compact: bytes) -> bool:
    """Whether a compact address (6 or 18 bytes) may be sent to.

    False for ports 0 and 1 (nothing listens on 0; 1 is a well-known bug of old clients, krpc.md §11 row 16) and
    for everything but globally routable unicast: private, loopback, link-local, multicast, documentation,
    carrier-grade NAT, 6to4, Teredo, NAT64, v4-mapped …
    """
    if len(compact) == _IPV4_COMPACT_BYTES:
        verdict = _VERDICT[compact[0]]
        if verdict == _LOOK_CLOSER:
            verdict = _outside(_IPV4_SPANS, compact)
        return bool(verdict) and (compact[5] > 1 or compact[4] > 0)
    return (
        len(compact) == _IPV6_COMPACT_BYTES
        and compact[0] >> 5 == 1
        and (compact[17] > 1 or compact[16] > 0)
        and _outside(_IPV6_SPANS, compact)
    )


def _outside(spans: list[tuple[int, int]], compact: bytes) -> bool:
    head = int.from_bytes(compact[:4], "big")
    return not any(low <= head <= high for low, high in spans)
