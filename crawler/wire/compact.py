"""Compact addresses, nodes and peers: BEP 5 and BEP 32's packed forms, split into values and joined again.

A compact address stays the daemon's name for a socket address until it is written out: 6 bytes for IPv4, 18
for IPv6, ``ip ‖ port``, big endian. The splitters take what a stranger put into a message, of any type, and
give what can be used of it; they never raise. Text forms live in `address_text`, the martian filter in
`global_addresses`; both are re-exported here because users think of them as one thing.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING

from crawler.wire.address_text import Address, format_address, pack_address, parse_address, unpack_address
from crawler.wire.global_addresses import is_global

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Address",
    "Family",
    "format_address",
    "ip_of",
    "is_global",
    "join_nodes",
    "pack_address",
    "parse_address",
    "prefix_of",
    "split_node_addresses",
    "split_nodes",
    "split_peers",
    "split_samples",
    "unpack_address",
]

_ID_BYTES = 20
_IPV4_BYTES = 6
_IPV6_BYTES = 18
_PEER_SIZES = (_IPV4_BYTES, _IPV6_BYTES)
_CACHED_SAMPLES = 64
_CACHED_NODES = 20


class Family(enum.Enum):
    """IPv4 or IPv6: two DHTs side by side, with the sizes and keys that each uses on the wire (BEP 32)."""

    IPV4 = (_IPV4_BYTES, b"nodes", b"n4")
    IPV6 = (_IPV6_BYTES, b"nodes6", b"n6")

    def __init__(self, address_bytes: int, nodes_key: bytes, want: bytes) -> None:
        self.address_bytes = address_bytes
        """Length of a compact address, and so of a peer."""
        self.node_bytes = _ID_BYTES + address_bytes
        """Length of a compact node: id, then address."""
        self.nodes_key = nodes_key
        """The key of a response body that holds this family's nodes."""
        self.want = want
        """The string that asks for this family's nodes in a query's `want`."""
        self.iter_nodes = struct.Struct(f"{_ID_BYTES}s{address_bytes}s").iter_unpack
        """Compact nodes to (id, address) pairs, at C speed."""
        self.read_addresses = tuple(
            struct.Struct(f"{_ID_BYTES}x{address_bytes}s" * count).unpack
            for count in range(_CACHED_NODES + 1)
        )
        """For each count of compact nodes, what reads just their addresses."""

    @classmethod
    def of(cls, compact: bytes) -> Family:
        """The family of a compact address, by its length.

        Raises:
            ValueError: it is neither 6 nor 18 bytes long.
        """
        size = len(compact)
        if size == _IPV4_BYTES:
            return _IPV4
        if size == _IPV6_BYTES:
            return _IPV6
        raise ValueError(f"a compact address has 6 or 18 bytes, not {size}")


# Reading a member off its class costs more than the comparison in `of`.
_IPV4, _IPV6 = Family.IPV4, Family.IPV6

_SAMPLE_READERS = tuple(struct.Struct(f"{_ID_BYTES}s" * count).unpack for count in range(_CACHED_SAMPLES + 1))


def split_nodes(blob: object, family: Family) -> list[tuple[bytes, bytes]]:
    """The (20-byte id, compact address) pairs of `nodes` or `nodes6`; [] for anything but bytes.

    Whole entries only: a broken tail is left out (krpc.md §11 row 14).
    """
    if not isinstance(blob, bytes):
        return []
    rest = len(blob) % family.node_bytes
    return list(family.iter_nodes(blob[:-rest] if rest else blob))


def split_node_addresses(blob: bytes, family: Family) -> tuple[bytes, ...]:
    """The compact addresses alone of `nodes` or `nodes6`, for whoever mostly knows the nodes already."""
    size = family.node_bytes
    count = len(blob) // size
    if count <= _CACHED_NODES and count * size == len(blob):
        return family.read_addresses[count](blob)
    return tuple([blob[at + _ID_BYTES : at + size] for at in range(0, count * size, size)])


def join_nodes(nodes: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Compact nodes of (id, compact address) pairs of one family; the inverse of `split_nodes`."""
    return b"".join([part for node in nodes for part in node])


def split_peers(values: object, source: Family) -> list[bytes]:
    """The compact addresses in a get_peers answer's `values`; [] where nothing of it can be used.

    6- and 18-byte strings may be mixed (BEP 32); strings of other lengths are skipped. What came over IPv4
    may be old mainline's form, one string of 6·n bytes, bare or alone in its list (krpc.md §11 rows 11 and
    12).
    """
    if isinstance(values, list):
        if len(values) == 1 and source is _IPV4:
            return _split_mainline(values[0])
        return [value for value in values if isinstance(value, bytes) and len(value) in _PEER_SIZES]
    return _split_mainline(values) if source is _IPV4 else []


def split_samples(samples: object) -> tuple[bytes, ...] | None:
    """The infohashes in a `samples` string, or None where it is not 20·n bytes (krpc.md §11 row 21).

    An empty string gives an empty tuple: the node speaks BEP 51 and has nothing.
    """
    if not isinstance(samples, bytes):
        return None
    count, rest = divmod(len(samples), _ID_BYTES)
    if rest:
        return None
    if count <= _CACHED_SAMPLES:
        return _SAMPLE_READERS[count](samples)
    return tuple([samples[at : at + _ID_BYTES] for at in range(0, len(samples), _ID_BYTES)])


def ip_of(compact: bytes) -> bytes:
    """The 4 or 16 bytes of a compact address's IP."""
    return compact[:-2]


def prefix_of(compact: bytes) -> bytes:
    """The network that one owner is likely to hold: /24 (3 bytes) for IPv4, /64 (8 bytes) for IPv6."""
    return compact[:3] if len(compact) == _IPV4_BYTES else compact[:8]


def _split_mainline(value: object) -> list[bytes]:
    if not isinstance(value, bytes) or len(value) % _IPV4_BYTES:
        return []
    return [value[at : at + _IPV4_BYTES] for at in range(0, len(value), _IPV4_BYTES)]
