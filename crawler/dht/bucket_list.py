"""The buckets of a routing table in order of distance from our own id, and the geometry of the keyspace.

Number i holds the nodes whose ids share exactly i leading bits with ours; the last one, which our own id lies
in, holds all that share at least as many. Only that one ever splits, so the tree of the Kademlia paper is a
list here. Nothing below knows what a good node is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawler.dht.bucket import Bucket, RoutingNode
from crawler.wire.ids import ID_BITS, ID_BYTES, random_id_near

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random


class BucketList:
    """At least one bucket; together they cover the keyspace."""

    def __init__(self, own_id: bytes, now: float) -> None:
        """Start with one bucket for everything, unchanged since ``now``."""
        self.own_id = own_id
        self.own_key = int.from_bytes(own_id, "big")
        self.buckets = [Bucket(changed=now)]
        self.by_length = self.buckets * (ID_BITS + 1)
        """Which bucket a node is in, by the bit length of its distance from us: 160 is the far half of the
        keyspace, 0 is our own id. A list, because this is asked for every answer of a crawl."""

    def __len__(self) -> int:
        return len(self.buckets)

    def __iter__(self) -> Iterator[Bucket]:
        """Iterate over the buckets, farthest first."""
        return iter(self.buckets)

    @property
    def nearest(self) -> Bucket:
        """The bucket that our own id lies in, the only one that may split."""
        return self.buckets[-1]

    def members(self) -> Iterator[RoutingNode]:
        """Iterate over the members of all buckets, farthest bucket first."""
        for bucket in self.buckets:
            yield from bucket.nodes

    def of(self, key: int) -> Bucket:
        """Return the bucket whose range ``key`` lies in."""
        return self.by_length[(self.own_key ^ key).bit_length()]

    def split(self) -> None:
        """Divide the last bucket: who shares one more bit with us moves into a new one.

        It has no spares, since they wait only where nothing can split.
        """
        far = self.nearest
        near = Bucket(changed=far.changed, refreshed=far.refreshed)
        self.buckets.append(near)
        for length in range(ID_BITS + 2 - len(self.buckets)):
            self.by_length[length] = near
        for node in [node for node in far.nodes if self.of(node.key) is near]:
            far.remove(node)
            near.add(node)

    def groups_by_distance(self, key: int) -> Iterator[list[RoutingNode]]:
        """Yield the members in groups, every node of one closer to ``key`` than all of the next.

        With ``key`` in the range of bucket i: that bucket; then all deeper ones together, which differ from
        ``key`` first at bit i; then bucket i - 1, which differs at bit i - 1, and so on outwards.
        """
        last = len(self.buckets) - 1
        depth = min(ID_BITS - (self.own_key ^ key).bit_length(), last)
        yield self.buckets[depth].nodes
        if depth < last:
            yield [node for bucket in self.buckets[depth + 1 :] for node in bucket.nodes]
        for outer in range(depth - 1, -1, -1):
            yield self.buckets[outer].nodes

    def random_id_in(self, depth: int, rng: Random) -> bytes:
        """Return a random id in the range of bucket number ``depth``."""
        if depth == len(self.buckets) - 1:
            return random_id_near(self.own_id, depth, rng)
        sibling = (self.own_key ^ 1 << (ID_BITS - 1 - depth)).to_bytes(ID_BYTES, "big")
        return random_id_near(sibling, depth + 1, rng)
