"""What each virtual node knows of the others: its Kademlia buckets, and the closest nodes that they yield.

A node never answers with the truth about the keyspace, only with what its own buckets hold, as in the real
network: all of its neighbourhood, and 8 nodes of each larger subtree further away, dead ones among them.
Buckets are not stored, they are windows on tables in which every subtree's nodes stand in random order; so
an answer costs a few slices.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from crawler.simnet.draws import Draws
from crawler.simnet.population import ID_BITS, NODE_BYTES

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

BUCKET_SIZE: Final = 8
_BUCKET_BYTES: Final = BUCKET_SIZE * NODE_BYTES
_KEY_BITS: Final = 64
"""So many leading bits tell any two random ids of a network apart."""
_KEYS: Final = struct.Struct(f">Q{NODE_BYTES - _KEY_BITS // 8}x").iter_unpack
_NODES: Final = struct.Struct(f"{NODE_BYTES}s").iter_unpack


class Views:
    """The buckets of every node, computed when asked for.

    Bucket *b* of a node holds nodes that share exactly *b* leading bits with it: all of them when they are
    at most 8, else 8 that chance chose.

    Args:
        nodes: by rank, what an answer says of a node (26 bytes: id, address, port), ascending.
        ids: by rank, the node ids as integers.
        seed: chooses, with ``rng``, who is in which bucket.
        rng: puts the tables in order.
    """

    def __init__(self, nodes: Sequence[bytes], ids: Sequence[int], seed: int, rng: random.Random) -> None:
        self._ids = ids
        self._draws = Draws(seed, "bucket")
        self._index_bits = len(ids).bit_length()
        self._index = _index(ids, self._index_bits)
        self._ranked = b"".join(nodes)
        self._tables = _tables(nodes, ids, rng)

    def closest(self, rank: int, target: int) -> bytes:
        """Return the 8 nodes closest to ``target`` that node ``rank`` knows, closest first, as `nodes`."""
        level = ID_BITS - (self._ids[rank] ^ target).bit_length()
        known = self.bucket(rank, level) if level < ID_BITS else b""
        if len(known) < _BUCKET_BYTES:
            known = self._wider(rank, level, known)
        key = target >> (ID_BITS - _KEY_BITS)
        by_distance = sorted(zip([other ^ key for (other,) in _KEYS(known)], _NODES(known), strict=True))
        return b"".join([node for _, (node,) in by_distance[:BUCKET_SIZE]])

    def bucket(self, rank: int, level: int) -> bytes:
        """Return the nodes in bucket ``level`` of node ``rank``, in no order."""
        low, high = self._subtree((self._ids[rank] >> (ID_BITS - 1 - level)) ^ 1, level + 1)
        size = high - low
        if size <= BUCKET_SIZE:
            return self._ranked[low * NODE_BYTES : high * NODE_BYTES]
        # Deep down, where there is no table, the nodes of a subtree are few and all neighbours: rank order
        # will do.
        table = self._tables[level] if level < len(self._tables) else self._ranked
        start = self._draws.of(rank, level) % size
        window = table[(low + start) * NODE_BYTES : min(low + start + BUCKET_SIZE, high) * NODE_BYTES]
        if len(window) < _BUCKET_BYTES:
            window += table[low * NODE_BYTES : low * NODE_BYTES + _BUCKET_BYTES - len(window)]
        return window

    def _subtree(self, prefix: int, bits: int) -> tuple[int, int]:
        """Return from and to of the ranks whose ids begin with the ``bits`` bits of ``prefix``."""
        index, spare = self._index, self._index_bits - bits
        if spare >= 0:
            return index[prefix << spare], index[(prefix + 1) << spare]
        slot = prefix >> -spare
        low, high = index[slot], index[slot + 1]
        first = prefix << (ID_BITS - bits)
        low = bisect_left(self._ids, first, low, high)
        return low, bisect_left(self._ids, first + (1 << (ID_BITS - bits)), low, high)

    def _wider(self, rank: int, level: int, known: bytes) -> bytes:
        """Return the bucket's nodes and those of other buckets that can be among the 8 closest.

        Any of the deeper buckets can have them; each shallower one is further away than all before it.
        """
        deepest = self._deepest(rank)
        for deeper in range(level + 1, deepest + 1):
            known += self.bucket(rank, deeper)
        for shallower in range(min(level - 1, deepest), -1, -1):
            if len(known) >= _BUCKET_BYTES:
                break
            known += self.bucket(rank, shallower)
        return known

    def _deepest(self, rank: int) -> int:
        """Return the last bucket of a node that is not empty, -1 when it is alone."""
        ids = self._ids
        neighbours = [ids[other] for other in (rank - 1, rank + 1) if 0 <= other < len(ids)]
        return max((ID_BITS - (ids[rank] ^ other).bit_length() for other in neighbours), default=-1)


def _index(ids: Sequence[int], bits: int) -> array[int]:
    """Return for each prefix of ``bits`` bits, and one past the last, the first rank not below it."""
    index = array("I", bytes(4 * ((1 << bits) + 1)))
    slot = 0
    for rank, number in enumerate(ids):
        prefix = number >> (ID_BITS - bits)
        while slot <= prefix:
            index[slot] = rank
            slot += 1
    for rest in range(slot, len(index)):
        index[rest] = len(ids)
    return index


def _tables(nodes: Sequence[bytes], ids: Sequence[int], rng: random.Random) -> list[bytes]:
    """Return a table of all nodes for each level: subtree after subtree, in random order inside each.

    The table at place *l* is that of the subtrees whose nodes share *l* + 1 leading bits. There are as many
    as it takes until subtrees have the size of a bucket.
    """
    order = list(range(len(nodes)))
    rng.shuffle(order)
    tables = []
    for bits in range(1, (len(nodes) // BUCKET_SIZE).bit_length() + 1):
        prefixes = [number >> (ID_BITS - bits) for number in ids]
        order.sort(key=prefixes.__getitem__)
        tables.append(b"".join([nodes[rank] for rank in order]))
    return tables
