"""Everybody in a routing table by IP, by id and by network, and the addresses that must stay outside.

These indices are what makes an operator with one network, or one machine with many ids, a small part of the
table. They count members and spares alike, so a spare is always free to take a place.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from crawler.wire.compact import ip_of, prefix_of

if TYPE_CHECKING:
    from crawler.dht.bucket import Bucket, RoutingNode


class NodeIndex:
    """The nodes of one table; neither an IP nor an id is in it twice."""

    def __init__(self) -> None:
        """Start empty."""
        self.by_ip: dict[bytes, RoutingNode] = {}
        self.by_id: dict[bytes, RoutingNode] = {}
        self._networks: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self.by_ip)

    def add(self, node: RoutingNode) -> None:
        """Take ``node`` in; its IP and id must be new."""
        self.by_ip[ip_of(node.address)] = self.by_id[node.id] = node
        self._networks[prefix_of(node.address)] += 1

    def remove(self, node: RoutingNode) -> None:
        """Take ``node`` out again."""
        del self.by_ip[ip_of(node.address)], self.by_id[node.id]
        network = prefix_of(node.address)
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]

    def clear(self) -> None:
        """Take everybody out."""
        self.by_ip.clear()
        self.by_id.clear()
        self._networks.clear()

    def network_has_room(self, address: bytes, bucket: Bucket, per_bucket: int, per_table: int) -> bool:
        """Tell whether the /24 (IPv6 /64) of ``address`` may have one node more, here and at all."""
        network = prefix_of(address)
        held = self._networks[network]
        if held >= per_table:
            return False
        if held < per_bucket:
            return True
        here = sum(prefix_of(node.address) == network for node in bucket.nodes + bucket.spares)
        return here < per_bucket


class Bans:
    """IPs that stay outside for a while; when too many are, the one banned first is forgotten."""

    def __init__(self, capacity: int, duration: float) -> None:
        """Remember at most ``capacity`` IPs, each for ``duration`` seconds."""
        self._capacity = capacity
        self._duration = duration
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def ban(self, ip: bytes, now: float) -> None:
        """Keep ``ip`` outside from now on."""
        self._until[ip] = now + self._duration
        self._until.move_to_end(ip)
        if len(self._until) > self._capacity:
            self._until.popitem(last=False)

    def holds(self, ip: bytes, now: float) -> bool:
        """Tell whether ``ip`` must stay outside."""
        until = self._until.get(ip)
        if until is None:
            return False
        if now >= until:
            del self._until[ip]
            return False
        return True
