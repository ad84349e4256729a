"""The routing table of one address family (BEP 5, "Routing Table"; Kademlia §2.4).

Its laws, which the tests state:

- Only a node that answered a query of ours enters; one that merely queries us is at most kept alive by it.
- A newcomer takes a free place, or that of a bad node; it never displaces a good one. Where the bucket is
  full it becomes a spare, and the least recently seen questionable node is named to be pinged.
- Only the bucket of our own id splits, down to a stated depth.
- A bad node stays until there is somebody to take its place, so that losing our uplink does not cost us the
  table; it is never handed out.
- An IP address has one node, a /24 (IPv6 /64) at most two in a bucket and four in the table, spares included.
- A socket address that answers under another id is evicted at once and stays out for a while.
- Our own id is nobody's.

A crawl calls :meth:`RoutingTable.heard` for every answer, so its two common outcomes (a member answered
again; a stranger met a full, healthy bucket) cost two look-ups. `Bucket.settled_until` is what makes the
second one cheap: it is a promise about time, withdrawn by every event that could break it.
"""

from __future__ import annotations

import math
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

import attrs

from crawler.dht.bucket import Bucket, Liveness, RoutingNode
from crawler.dht.bucket_list import BucketList
from crawler.dht.node_index import Bans, NodeIndex
from crawler.settings import setting
from crawler.wire.compact import ip_of
from crawler.wire.ids import ID_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random


@attrs.frozen
class RoutingConfig:
    """The shape of a routing table and the patience with its nodes."""

    bucket_size: int = setting(8, unit="nodes", help="Nodes in one bucket (k).", minimum=1)
    spares: int = setting(
        8,
        unit="nodes",
        help="Proven nodes that wait for a place in one bucket; the oldest is dropped.",
        minimum=0,
    )
    max_buckets: int = setting(
        50, unit="buckets", help="Depth at which our own bucket stops splitting.", minimum=1, maximum=ID_BITS
    )
    good_for: float = setting(
        900.0, unit="s", help="A node not heard of for this long is questionable.", above=0
    )
    max_failures: int = setting(
        3, unit="queries", help="Queries in a row without answer that make a node bad.", minimum=1
    )
    refresh_after: float = setting(
        900.0, unit="s", help="A bucket unchanged for this long is refreshed.", above=0
    )
    ping_pause: float = setting(
        15.0, unit="s", help="A questionable node is named for a ping at most this often.", above=0
    )
    spare_pause: float = setting(
        60.0, unit="s", help="How often a full, healthy bucket takes a fresh spare.", above=0
    )
    max_per_network_bucket: int = setting(
        2, unit="nodes", help="Nodes of one /24 (IPv6 /64) in one bucket.", minimum=1
    )
    max_per_network: int = setting(
        4, unit="nodes", help="Nodes of one /24 (IPv6 /64) in the whole table.", minimum=1
    )
    id_change_ban: float = setting(
        2400.0, unit="s", help="How long an address that changed its id stays out of the table.", minimum=0
    )
    max_banned: int = setting(
        1024, unit="addresses", help="Banned addresses remembered; the oldest is forgotten.", minimum=1
    )


@attrs.frozen
class RoutingStatistics:
    """A routing table at one moment, and what has happened to it since it was made.

    ``nodes`` = ``good`` + ``questionable`` + ``bad`` = ``added`` - ``removed``. Strangers' answers that did
    not lead to a place at once are told apart by ``spared`` (became spares), ``dropped_full`` (met a settled
    bucket), ``refused_id`` (our own, or another node's), ``refused_ip``, ``refused_network`` and
    ``refused_banned``. ``dropped_spares`` made room for fresher ones; ``id_changes`` are evictions.
    """

    nodes: int
    good: int
    questionable: int
    bad: int
    spares: int
    buckets: int
    added: int
    removed: int
    spared: int
    dropped_full: int
    dropped_spares: int
    id_changes: int
    refused_id: int
    refused_ip: int
    refused_network: int
    refused_banned: int


class RoutingTable:
    """The nodes that we know to be alive, more of them the closer to us."""

    def __init__(
        self, own_id: bytes, config: RoutingConfig, *, rng: Random, exempt_ip_limits: bool = False
    ) -> None:
        """Start empty.

        Args:
            own_id: our id, 20 bytes.
            config: shape and patience.
            rng: draws the targets of refreshes.
            exempt_ip_limits: no limit per /24 or /64, for private networks; an IP still has one node.
        """
        self._config = config
        self._rng = rng
        self._limit_networks = not exempt_ip_limits
        self._liveness = Liveness(config.good_for, config.max_failures)
        self._index = NodeIndex()
        self._by_ip = self._index.by_ip
        self._bans = Bans(config.max_banned, config.id_change_ban)
        self._events: Counter[str] = Counter()
        self._dropped_full = 0
        self._buckets = BucketList(own_id, -math.inf)

    def __len__(self) -> int:
        return sum(len(bucket.nodes) for bucket in self._buckets)

    def __iter__(self) -> Iterator[RoutingNode]:
        """Iterate over the members, farthest bucket first."""
        return self._buckets.members()

    @property
    def own_id(self) -> bytes:
        """Our own id, 20 bytes."""
        return self._buckets.own_id

    # What happened

    def heard(self, id: bytes, address: bytes, now: float) -> RoutingNode | None:  # noqa: A002 - KRPC's word
        """Take note that ``address`` answered a query of ours as ``id``.

        Returns:
            A questionable node that should be pinged to find out whether it must make room, or None.
        """
        node = self._by_ip.get(address[:-2])
        if node is None:
            buckets = self._buckets
            bucket = buckets.by_length[(buckets.own_key ^ int.from_bytes(id, "big")).bit_length()]
            if now < bucket.settled_until:
                self._dropped_full += 1
                return None
            return self._meet(id, address, now)
        if node.address == address and node.id == id and not node.spare:
            node.last_answer = node.bucket.changed = now
            node.failures = 0
            return None
        return self._meet_again(node, id, address, now)

    def queried_by(self, id: bytes, address: bytes, now: float) -> bool:  # noqa: A002 - KRPC's word
        """Take note that a query came, perhaps with a forged source: it can keep a node good, never add one.

        Returns:
            Whether the node is in the table; if not, a ping could prove it.
        """
        node = self._by_ip.get(address[:-2])
        if node is None or node.address != address or node.id != id:
            return False
        node.last_query = now
        return True

    def failed(self, id: bytes | None, address: bytes, now: float) -> None:  # noqa: A002 - KRPC's word
        """Take note that a query of ours to ``address`` got no answer.

        Args:
            id: the id that we expected there, None if unknown; under another id than the table's, the
                failure says nothing about our node.
            address: compact address.
            now: seconds.
        """
        node = self._by_ip.get(address[:-2])
        if node is None or node.address != address or (id is not None and node.id != id):
            return
        node.failures += 1
        if node.spare:
            self._forget(node)
        elif self._liveness.is_bad(node, now):
            node.bucket.settled_until = -math.inf
            self._replace_bad(node.bucket, now)

    def rebuild(self, own_id: bytes, now: float) -> None:
        """Sort everybody anew around ``own_id``, as after our external address became known (BEP 42).

        Members come before spares; one that finds no place any more becomes a spare.
        """
        members = list(self)
        spares = [node for bucket in self._buckets for node in bucket.spares]
        self._index.clear()
        self._events["removed"] += len(members)
        self._buckets = BucketList(own_id, now)
        for node in members + spares:
            if self._admits(node.id, node.address):
                self._place(node, now)

    # What to do

    def closest(
        self, target: bytes, count: int = 8, *, now: float, questionable: bool = False
    ) -> list[RoutingNode]:
        """Return the ``count`` members closest to ``target``, nearest first.

        Args:
            target: 20 bytes.
            count: how many at most.
            now: seconds.
            questionable: include questionable nodes. Never hand those out to others (BEP 5); they are better
                than nothing to start a lookup from.
        """
        key = int.from_bytes(target, "big")
        is_fit = self._is_not_bad if questionable else self._liveness.is_good
        found: list[RoutingNode] = []
        for group in self._buckets.groups_by_distance(key):
            fit = [node for node in group if is_fit(node, now)]
            fit.sort(key=lambda node: node.key ^ key)
            found += fit
            if len(found) >= count:
                break
        return found[:count]

    def good_nodes(self, now: float) -> list[RoutingNode]:
        """Return all good members."""
        return [node for node in self if self._liveness.is_good(node, now)]

    def questionable(self, now: float) -> list[RoutingNode]:
        """Return the questionable members that are due for a ping, longest silent first, and note it."""
        for bucket in self._buckets:
            self._replace_bad(bucket, now)
        pause = self._config.ping_pause
        due = [
            node
            for node in self
            if now - node.last_ping >= pause and self._liveness.is_questionable(node, now)
        ]
        for node in due:
            node.last_ping = now
        return sorted(due, key=attrgetter("last_seen"))

    def due_refresh(self, now: float) -> list[bytes]:
        """Return a random target in the range of each bucket that needs a lookup; each is named once."""
        targets = []
        for depth, bucket in enumerate(self._buckets):
            if now - max(bucket.changed, bucket.refreshed) >= self._config.refresh_after:
                bucket.refreshed = now
                targets.append(self._buckets.random_id_in(depth, self._rng))
        return targets

    def statistics(self, now: float) -> RoutingStatistics:
        """Return the table's figures at ``now``."""
        members = list(self)
        good = sum(self._liveness.is_good(node, now) for node in members)
        bad = sum(self._liveness.is_bad(node, now) for node in members)
        events = self._events
        return RoutingStatistics(
            nodes=len(members),
            good=good,
            questionable=len(members) - good - bad,
            bad=bad,
            spares=len(self._index) - len(members),
            buckets=len(self._buckets),
            added=events["added"],
            removed=events["removed"],
            spared=events["spared"],
            dropped_full=self._dropped_full,
            dropped_spares=events["dropped_spares"],
            id_changes=events["id_changes"],
            refused_id=events["refused_id"],
            refused_ip=events["refused_ip"],
            refused_network=events["refused_network"],
            refused_banned=events["refused_banned"],
        )

    # Who is admitted

    def _meet(self, node_id: bytes, address: bytes, now: float) -> RoutingNode | None:
        """A node answered whose IP is not in the table."""
        if self._bans.holds(ip_of(address), now):
            self._events["refused_banned"] += 1
            return None
        twin = self._index.by_id.get(node_id)
        if twin is not None and (twin.spare or self._liveness.is_bad(twin, now)):
            self._evict(twin, now)
        if not self._admits(node_id, address):
            return None
        key = int.from_bytes(node_id, "big")
        return self._place(RoutingNode(node_id, address, key, now, self._buckets.of(key)), now)

    def _meet_again(
        self, node: RoutingNode, node_id: bytes, address: bytes, now: float
    ) -> RoutingNode | None:
        """An IP that is in the table answered, but not as the member that we know."""
        if node.address == address and node.id != node_id:
            self._bans.ban(ip_of(address), now)
            self._evict(node, now)
            self._events["id_changes"] += 1
            return None
        if node.id == node_id:
            # It moved to another port, or it is a spare and may find a place by now.
            node.address, node.last_answer, node.failures = address, now, 0
            if not node.spare:
                node.bucket.changed = now
                return None
            self._forget(node)
            return self._place(node, now)
        if node.spare or self._liveness.is_bad(node, now):
            self._evict(node, now)
            return self._meet(node_id, address, now)
        self._events["refused_ip"] += 1
        return None

    def _admits(self, node_id: bytes, address: bytes) -> bool:
        if node_id == self.own_id or node_id in self._index.by_id:
            self._events["refused_id"] += 1
            return False
        bucket = self._buckets.of(int.from_bytes(node_id, "big"))
        per_bucket, per_table = self._config.max_per_network_bucket, self._config.max_per_network
        if self._limit_networks and not self._index.network_has_room(address, bucket, per_bucket, per_table):
            self._events["refused_network"] += 1
            return False
        return True

    # Where it goes

    def _place(self, node: RoutingNode, now: float) -> RoutingNode | None:
        """Find an admitted node its place; returns whom to ping to learn whether there is one."""
        while True:
            bucket = self._buckets.of(node.key)
            if len(bucket.nodes) < self._config.bucket_size:
                self._join(bucket, node, now)
                return None
            bad = next((each for each in bucket.nodes if self._liveness.is_bad(each, now)), None)
            if bad is not None:
                self._forget(bad)
                self._join(bucket, node, now)
                return None
            if bucket is not self._buckets.nearest or len(self._buckets) >= self._config.max_buckets:
                return self._wait(bucket, node, now)
            self._buckets.split()

    def _wait(self, bucket: Bucket, node: RoutingNode, now: float) -> RoutingNode | None:
        """Keep ``node`` as a spare of a full bucket; returns the member whose silence may make room."""
        self._index.add(node)
        bucket.add_spare(node)
        self._events["spared"] += 1
        if len(bucket.spares) > self._config.spares:
            self._forget(bucket.spares[0])
            self._events["dropped_spares"] += 1
        oldest = bucket.least_recently_seen()
        until = oldest.last_seen + self._config.good_for
        to_ping = None
        if until <= now:
            if now - oldest.last_ping >= self._config.ping_pause:
                oldest.last_ping, to_ping = now, oldest
            until = oldest.last_ping + self._config.ping_pause
        if len(bucket.spares) >= self._config.spares:
            bucket.settled_until = min(until, now + self._config.spare_pause)
        return to_ping

    def _join(self, bucket: Bucket, node: RoutingNode, now: float) -> None:
        self._index.add(node)
        bucket.add(node)
        bucket.changed = now
        self._events["added"] += 1

    def _promote(self, bucket: Bucket, now: float) -> None:
        """Give the freshest spares the places that are free."""
        while bucket.spares and len(bucket.nodes) < self._config.bucket_size:
            node = bucket.spares[-1]
            self._forget(node)
            self._join(bucket, node, now)

    def _replace_bad(self, bucket: Bucket, now: float) -> None:
        """Give bad members' places to spares, as far as there are spares."""
        if bucket.spares:
            bad = [node for node in bucket.nodes if self._liveness.is_bad(node, now)]
            for node in bad[: len(bucket.spares)]:
                self._forget(node)
            self._promote(bucket, now)

    def _evict(self, node: RoutingNode, now: float) -> None:
        """Remove ``node``; a spare may take its place."""
        self._forget(node)
        self._promote(node.bucket, now)

    def _forget(self, node: RoutingNode) -> None:
        """Remove ``node`` and leave its place free."""
        node.bucket.remove(node)
        self._index.remove(node)
        if not node.spare:
            self._events["removed"] += 1

    def _is_not_bad(self, node: RoutingNode, now: float) -> bool:
        return not self._liveness.is_bad(node, now)
