"""One k-bucket and the nodes in it: who is good, questionable or bad, and who waits for a place.

Values and small rules only. Which bucket a node belongs to, who is admitted at all and when a bucket splits
is the routing table's business.
"""

from __future__ import annotations

import math
from operator import attrgetter

import attrs


@attrs.define(eq=False)
class RoutingNode:
    """A node that has answered us.

    Attributes:
        id: its 20-byte id.
        address: its compact address.
        key: the id as an integer.
        last_answer: when it last answered a query of ours, in seconds.
        last_query: when it last queried us, in seconds.
        failures: queries of ours in a row that it did not answer.
        last_ping: when the table last named it as one to ping, in seconds.
        spare: whether it only waits for a place in its bucket.
        bucket: the bucket that it is in.
    """

    id: bytes
    address: bytes
    key: int
    last_answer: float
    bucket: Bucket
    last_query: float = -math.inf
    failures: int = 0
    last_ping: float = -math.inf
    spare: bool = False

    @property
    def compact(self) -> bytes:
        """The node as KRPC lists it: id and compact address, 26 or 38 bytes (BEP 5, BEP 32)."""
        return self.id + self.address

    @property
    def last_seen(self) -> float:
        """When it last answered or queried, in seconds."""
        # Not max(): this is asked of every node that closest() looks at.
        return self.last_answer if self.last_answer >= self.last_query else self.last_query  # noqa: FURB136


@attrs.frozen
class Liveness:
    """BEP 5's three states of a node, which are exclusive: good, questionable, bad.

    Attributes:
        good_for: seconds after an answer, or a query once it has answered, during which a node is good.
        max_failures: failures in a row that make any node bad.
    """

    good_for: float
    max_failures: int

    def is_good(self, node: RoutingNode, now: float) -> bool:
        """Whether the node was seen lately and does not fail: the only ones to hand out."""
        return node.failures < self.max_failures and now - node.last_seen < self.good_for

    def is_bad(self, node: RoutingNode, now: float) -> bool:
        """Whether the node may be replaced: it failed often, or is questionable and failed its two pings."""
        return node.failures >= self.max_failures or (
            node.failures >= _QUESTIONABLE_TRIES and now - node.last_seen >= self.good_for
        )

    def is_questionable(self, node: RoutingNode, now: float) -> bool:
        """Whether a ping has to tell: neither good nor bad."""
        return not self.is_good(node, now) and not self.is_bad(node, now)


_QUESTIONABLE_TRIES = 2
"""BEP 5: a questionable node that does not answer gets one more try, then it is replaced."""


@attrs.define(eq=False)
class Bucket:
    """At most k nodes of one range of the keyspace, and the spares that would take their place.

    Attributes:
        changed: when a member last answered, was added or was replaced (BEP 5's "last changed"), in seconds.
        nodes: the members.
        spares: proven nodes that found no place; the one heard of last stands last.
        refreshed: when a refresh was last due, in seconds.
        settled_until: until then no newcomer can change anything here, so none needs a closer look.
    """

    changed: float
    nodes: list[RoutingNode] = attrs.field(factory=list)
    spares: list[RoutingNode] = attrs.field(factory=list)
    refreshed: float = -math.inf
    settled_until: float = -math.inf

    def add(self, node: RoutingNode) -> None:
        """Make ``node`` a member."""
        node.bucket, node.spare = self, False
        self.nodes.append(node)

    def add_spare(self, node: RoutingNode) -> None:
        """Let ``node`` wait for a place, ahead of the others."""
        node.bucket, node.spare = self, True
        self.spares.append(node)

    def remove(self, node: RoutingNode) -> None:
        """Take ``node`` out, member or spare; a newcomer is worth a look again."""
        (self.spares if node.spare else self.nodes).remove(node)
        self.settled_until = -math.inf

    def least_recently_seen(self) -> RoutingNode:
        """Return the member that was silent longest; the bucket must not be empty."""
        return min(self.nodes, key=attrgetter("last_seen"))
