"""What each virtual node knows of the others: its Kademlia buckets, and the closest nodes that they yield.

A node never answers with the truth about the keyspace, only with what its own buckets hold, as in the real
network: all of its neighbourhood, and 8 nodes of each larger subtree further away, dead ones among them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from crawler.simnet.draws import Draws, choose
from crawler.simnet.population import ID_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

BUCKET_SIZE: Final = 8


class Views:
    """The buckets of every node, computed when asked for.

    Bucket *b* of a node holds nodes that share exactly *b* leading bits with it: all of them when they are at
    most 8, else 8 that the seed chose.

    Args:
        nodes: by rank, what an answer says of a node (26 bytes).
        ids: by rank, ascending, the node ids as integers.
        seed: chooses who is in which bucket.
    """

    def __init__(self, nodes: list[bytes], ids: list[int], seed: int) -> None:
        self._nodes = nodes
        self._ids = ids
        self._draws = Draws(seed, "bucket", BUCKET_SIZE)
        self._index_bits = len(ids).bit_length()
        self._index = _index(ids, self._index_bits)

    def closest(self, rank: int, target: int) -> bytes:
        """Return the 8 nodes closest to ``target`` that node ``rank`` knows, closest first, as `nodes`."""
        ids = self._ids
        level = ID_BITS - (ids[rank] ^ target).bit_length()
        known: Sequence[int] = self.bucket(rank, level) if level < ID_BITS else ()
        if len(known) < BUCKET_SIZE:
            known = self._wider(rank, level, known)
        nodes = self._nodes
        by_distance = sorted([(ids[other] ^ target, other) for other in known])
        return b"".join([nodes[other] for _, other in by_distance[:BUCKET_SIZE]])

    def bucket(self, rank: int, level: int) -> Sequence[int]:
        """Return the ranks in bucket ``level`` of node ``rank``."""
        low, high = self._subtree((self._ids[rank] >> (ID_BITS - 1 - level)) ^ 1, level + 1)
        size = high - low
        if size <= BUCKET_SIZE:
            return range(low, high)
        return [low + position for position in choose(self._draws.of(rank, level), size)]

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

    def _wider(self, rank: int, level: int, known: Sequence[int]) -> list[int]:
        """Return the bucket's nodes and those of other buckets that can be among the 8 closest.

        Any of the deeper buckets can have them; each shallower one is further away than all before it.
        """
        found = list(known)
        deepest = self._deepest(rank)
        for deeper in range(level + 1, deepest + 1):
            found.extend(self.bucket(rank, deeper))
        for shallower in range(min(level - 1, deepest), -1, -1):
            if len(found) >= BUCKET_SIZE:
                break
            found.extend(self.bucket(rank, shallower))
        return found

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
