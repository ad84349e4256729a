"""Which addresses the public Internet can reach: the door that a rumour must pass before we send to it.

Everything but globally routable unicast is refused: the IANA special-purpose registries for IPv4 and IPv6
(RFC 6890 and its updates), and the forms that smuggle an IPv4 address inside an IPv6 one. Sent to such an
address, a datagram would hit somebody's inner network or nobody at all.
"""

from __future__ import annotations

_IPV4_COMPACT_BYTES, _IPV6_COMPACT_BYTES = 6, 18
_NEVER, _ALWAYS, _LOOK_CLOSER = 0, 1, 2

# (first and last value of the leading 16 bits); 240/4 holds the broadcast address too.
_RESERVED_IPV4 = (
    (0x0000, 0x00FF),  # 0/8: this network, RFC 791
    (0x0A00, 0x0AFF),  # 10/8: private, RFC 1918
    (0x6440, 0x647F),  # 100.64/10: carrier-grade NAT, RFC 6598
    (0x7F00, 0x7FFF),  # 127/8: loopback, RFC 1122
    (0xA9FE, 0xA9FE),  # 169.254/16: link-local, RFC 3927
    (0xAC10, 0xAC1F),  # 172.16/12: private, RFC 1918
    (0xC0A8, 0xC0A8),  # 192.168/16: private, RFC 1918
    (0xC612, 0xC613),  # 198.18/15: benchmarking, RFC 2544
    (0xE000, 0xFFFF),  # 224/3: multicast, RFC 5771, and reserved, RFC 1112
)
_RESERVED_IPV4_24 = frozenset(
    (
        bytes((192, 0, 0)),  # protocol assignments, RFC 6890
        bytes((192, 0, 2)),  # documentation, RFC 5737
        bytes((192, 88, 99)),  # 6to4 relays, RFC 7526
        bytes((198, 51, 100)),  # documentation, RFC 5737
        bytes((203, 0, 113)),  # documentation, RFC 5737
    )
)
# (first and last value of the leading 32 bits), within 2000::/3, all that is handed out for global unicast.
_RESERVED_IPV6 = (
    (0x2001_0000, 0x2001_01FF),  # 2001::/23: Teredo, benchmarking, ORCHID and their like, RFC 2928
    (0x2001_0DB8, 0x2001_0DB8),  # 2001:db8::/32: documentation, RFC 3849
    (0x2002_0000, 0x2002_FFFF),  # 2002::/16: 6to4, an IPv4 address inside, RFC 3056
    (0x3FFE_0000, 0x3FFE_FFFF),  # 3ffe::/16: the former 6bone, RFC 3701
    (0x3FFF_0000, 0x3FFF_0FFF),  # 3fff::/20: documentation, RFC 9637
)


def _verdicts() -> bytes:
    """For each value of an IPv4 address's first two bytes: never global, always, or look at the third."""
    table = bytearray([_ALWAYS]) * 0x10000
    for low, high in _RESERVED_IPV4:
        table[low : high + 1] = bytes([_NEVER]) * (high + 1 - low)
    for prefix in _RESERVED_IPV4_24:
        table[prefix[0] << 8 | prefix[1]] = _LOOK_CLOSER
    return bytes(table)


_VERDICT = _verdicts()


def is_global(compact: bytes) -> bool:
    """Whether a compact address (6 or 18 bytes) may be sent to.

    False for ports 0 and 1 (nothing listens on 0; 1 comes from a bug of old clients, krpc.md §11 row 16)
    and for everything but globally routable unicast: private, loopback, link-local, multicast,
    documentation, carrier-grade NAT, 6to4, Teredo, NAT64, v4-mapped and more.
    """
    if len(compact) == _IPV4_COMPACT_BYTES:
        verdict = _VERDICT[compact[0] << 8 | compact[1]]
        if verdict == _NEVER or (verdict == _LOOK_CLOSER and compact[:3] in _RESERVED_IPV4_24):
            return False
        return compact[4] > 0 or compact[5] > 1
    if len(compact) != _IPV6_COMPACT_BYTES or compact[0] >> 5 != 1:
        return False
    head = int.from_bytes(compact[:4], "big")
    for low, high in _RESERVED_IPV6:
        if low <= head <= high:
            return False
    return compact[16] > 0 or compact[17] > 1
