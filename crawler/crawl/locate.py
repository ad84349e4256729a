"""Who has it: peers of each new infohash, cheapest question first.

The node that gave a sample stores peers for it, so one get_peers to that node comes first. One node may be
asked once a second, so its infohashes wait in a queue of its own and nodes take turns. Infohashes that this
did not settle, and those that no sample named, wait for an iterative lookup (`crawl.lookups`).

Both queues are bounded: what finds no room is dropped and counted, never silently. For infohashes,
in = settled + dropped + held.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from crawler.crawl.rings import Wheel
from crawler.dht.events import Answered, TimedOut
from crawler.records import PeersFound
from crawler.settings import setting
from crawler.wire.compact import split_peers, unpack_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawler.crawl.outlet import Outlet
    from crawler.dht.events import Outcome, Sighting
    from crawler.net.dht import Endpoint
    from crawler.wire.compact import Address

_METHOD = b"get_peers"


@attrs.frozen
class LocateConfig:
    """How peers are sought."""

    enabled: bool = setting(True, unit="", help="Seek peers of the infohashes found (--no-peers: false).")
    share: float = setting(
        0.5,
        unit="",
        help="Share of the query budget for peers; what either side leaves unused, the other takes.",
        minimum=0,
        maximum=1,
    )
    max_waiting: int = setting(
        200_000, unit="infohashes", help="That wait for their first question; more are dropped.", minimum=1
    )
    max_lookups_waiting: int = setting(
        10_000, unit="infohashes", help="That wait for an iterative lookup; the oldest is dropped.", minimum=1
    )
    parallel_lookups: int = setting(
        32, unit="lookups", help="Iterative lookups at once, per socket.", minimum=1
    )
    max_peers: int = setting(200, unit="peers", help="Peers written per record; more are dropped.", minimum=1)


@attrs.define
class LocateCounters:
    """What became of the infohashes that came in; and of the peers that were claimed."""

    infohashes_in: int = 0
    asked: int = 0
    located: int = 0
    peers: int = 0
    dropped_waiting: int = 0
    dropped_lookups: int = 0
    lookups: int = 0
    lookups_empty: int = 0
    peers_refused: int = 0
    peers_over_limit: int = 0


@attrs.define(eq=False)
class _Giver:
    """A node that gave samples, and those of them that it was not asked about yet."""

    address: bytes
    infohashes: deque[bytes] = attrs.field(factory=deque)


@attrs.frozen
class Wanted:
    """An infohash that waits for a lookup; ``nodes`` are compact nodes (26 or 38 B each) to start from."""

    infohash: bytes
    nodes: bytes


class Locator:
    """Seeks peers over one endpoint."""

    def __init__(self, config: LocateConfig, endpoint: Endpoint, outlet: Outlet) -> None:
        """Start with nothing to seek."""
        self.config = config
        self.counters = LocateCounters()
        self._endpoint = endpoint
        self._family = endpoint.node.family
        self._outlet = outlet
        self._givers: dict[bytes, _Giver] = {}
        self._turn: deque[_Giver] = deque()
        self._resting: Wheel[_Giver] = Wheel()
        self._waiting = 0
        self._wanted: dict[bytes, Wanted] = {}

    @property
    def waiting(self) -> int:
        """Infohashes that wait for their first question."""
        return self._waiting

    @property
    def lookups_waiting(self) -> int:
        """Infohashes that wait for a lookup."""
        return len(self._wanted)

    def sampled(self, giver: bytes, infohashes: Iterable[bytes]) -> None:
        """The node at ``giver`` gave ``infohashes``, new to us: ask it for their peers when there is room."""
        owner = self._givers.get(giver)
        for infohash in infohashes:
            self.counters.infohashes_in += 1
            if self._waiting >= self.config.max_waiting:
                self.counters.dropped_waiting += 1
                continue
            if owner is None:
                owner = self._givers[giver] = _Giver(giver)
                self._turn.append(owner)
            owner.infohashes.append(infohash)
            self._waiting += 1

    def sighted(self, sighting: Sighting) -> None:
        """A query named an infohash that is new to us: only a lookup can tell its peers."""
        self.counters.infohashes_in += 1
        self._want(Wanted(sighting.infohash, b""))

    def next_queries(self, count: int, now: float) -> list[tuple[bytes, Address]]:
        """Return up to ``count`` first questions to send now."""
        node, hold = self._endpoint.node, self._endpoint.budget.hold
        fill = self._endpoint.template(_METHOD).fill
        self._turn.extend(self._resting.turn(now))
        queries: list[tuple[bytes, Address]] = []
        while self._turn and len(queries) < count:
            giver = self._turn.popleft()
            if not giver.infohashes:
                del self._givers[giver.address]
                continue
            wait = hold(giver.address, now)
            if wait:
                self._resting.put(now + wait, giver)
                continue
            infohash = giver.infohashes.popleft()
            self._waiting -= 1
            where = unpack_address(giver.address)
            tid = node.open_query(where, giver.address, _METHOD, self, infohash, now)
            queries.append((fill(infohash, tid), where))
            self._turn.append(giver)
        self.counters.asked += len(queries)
        return queries

    def settle(self, outcome: Outcome, now: float) -> None:
        """Take the outcome of a first question."""
        infohash: bytes = outcome.transaction.context
        late = outcome.transaction.late and type(outcome) is not TimedOut
        if late and self._wanted.pop(infohash, None) is None:
            return  # since the timeout a lookup has taken over
        nodes = b""
        if type(outcome) is Answered:
            body = outcome.response.body
            peers = self.fit_peers(body.get(b"values"))
            if peers:
                self.found(infohash, peers, now)
                return
            claimed = body.get(self._family.nodes_key)
            nodes = claimed if isinstance(claimed, bytes) else b""
        self._want(Wanted(infohash, nodes[: 8 * self._family.node_bytes]))

    def fit_peers(self, values: object) -> list[bytes]:
        """Return the compact peers of a `values` list that may be written: contactable, without repeats."""
        if values is None:
            return []
        claimed = dict.fromkeys(split_peers(values, self._family))
        fit = [peer for peer in claimed if self._endpoint.may_contact(peer)]
        self.counters.peers_refused += len(claimed) - len(fit)
        return fit

    def found(self, infohash: bytes, peers: list[bytes], now: float) -> None:
        """Write the peers of ``infohash``: it is settled."""
        limit = self.config.max_peers
        self.counters.peers_over_limit += max(len(peers) - limit, 0)
        self.counters.located += 1
        self.counters.peers += len(peers[:limit])
        outlet = self._outlet
        outlet.put(PeersFound(outlet.wall_clock(now), infohash, "get_peers", tuple(peers[:limit])))

    def next_wanted(self) -> Wanted | None:
        """Take the newest infohash that waits for a lookup: its peers are the likeliest to be still there."""
        return self._wanted.popitem()[1] if self._wanted else None

    def _want(self, wanted: Wanted) -> None:
        waiting = self._wanted
        if wanted.infohash in waiting or len(waiting) >= self.config.max_lookups_waiting:
            del waiting[wanted.infohash if wanted.infohash in waiting else next(iter(waiting))]
            self.counters.dropped_lookups += 1
        waiting[wanted.infohash] = wanted
