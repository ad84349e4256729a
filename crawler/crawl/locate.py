"""Who has it: peers of each new infohash, cheapest question first.

The node that gave a sample stores peers for it, so one get_peers to that node comes first. One node may be
asked once a second, so its infohashes wait in a queue of its own and nodes take turns. Infohashes that this
did not settle, and those that no sample named, wait for an iterative lookup (`crawl/lookups`); so do, behind
all others, those that it did settle, because one node knows only some of the peers.

The first question does not ask for swarm sizes (BEP 33): many nodes then answer with filters in place of
peers, and peers are what it is for. The lookups ask for both.

What the giver itself knows no peers of may be invented. What is found out is told to `crawl/credit`, and for
a giver that has not been right before, nobody else is asked while there is better to do.

The queue is bounded: what finds no room is dropped and counted, never silently. For infohashes,
in = settled + dropped + held, where settled is what went on to the desk or to the lookups.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from crawler.crawl.lookup_queue import Wanted, Why
from crawler.crawl.rings import Wheel
from crawler.dht.events import Answered, TimedOut
from crawler.settings import setting
from crawler.wire.compact import split_peers, split_samples, unpack_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from crawler.crawl.credit import Credit
    from crawler.crawl.lookup_queue import LookupQueue
    from crawler.crawl.swarm_report import PeersDesk
    from crawler.dht.events import Outcome, Sighting
    from crawler.net.dht import Endpoint
    from crawler.wire.compact import Address

_METHOD = b"get_peers"
_WITHOUT_CREDIT = 20
"""So many infohashes of one giver without credit wait: an answer's worth, by which it may earn some."""


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
        100_000, unit="infohashes", help="That wait for their first question; more are dropped.", minimum=1
    )
    max_lookups_waiting: int = setting(
        10_000,
        unit="infohashes",
        help="That wait for an iterative lookup, for each of four reasons; the oldest is dropped.",
        minimum=1,
    )
    parallel_lookups: int = setting(
        32, unit="infohashes", help="Looked up at once, each on all address families.", minimum=1
    )
    scrape_nodes: int = setting(
        8,
        unit="nodes",
        help="Asked after a lookup how many seeds and leechers there are (BEP 33); 0: nobody is.",
        minimum=0,
        maximum=32,
    )
    max_peers: int = setting(200, unit="peers", help="Peers written per record; more are dropped.", minimum=1)


@attrs.define
class LocateCounters:
    """What became of the infohashes that came in; and of the peers that were claimed."""

    infohashes_in: int = 0
    asked: int = 0
    settled: int = 0
    dropped_waiting: int = 0
    dropped_discredited: int = 0
    peers_refused: int = 0


@attrs.define(eq=False)
class _Giver:
    """A node that gave samples, and those of them that it was not asked about yet."""

    address: bytes
    infohashes: deque[bytes] = attrs.field(factory=deque)


class Locator:
    """Asks first questions over one endpoint; ``desk``, ``queue`` and ``credit`` learn what comes of them."""

    def __init__(
        self, config: LocateConfig, endpoint: Endpoint, desk: PeersDesk, queue: LookupQueue, credit: Credit
    ) -> None:
        """Start with nothing to seek."""
        self.config = config
        self.counters = LocateCounters()
        self._endpoint = endpoint
        self._family = endpoint.node.family
        self._desk = desk
        self._queue = queue
        self._credit = credit
        self._givers: dict[bytes, _Giver] = {}
        self._turn: deque[_Giver] = deque()
        self._resting: Wheel[_Giver] = Wheel()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Infohashes that wait for their first question."""
        return self._waiting

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
        self.counters.settled += 1
        self._queue.want(Wanted(sighting.infohash, Why.UNKNOWN))

    def to_pieces(self) -> Iterator[list[bytes]]:
        """Return what waits for its first question, a piece per giver: its address, its infohashes joined."""
        for giver in list(self._givers.values()):
            if giver.infohashes:
                yield [giver.address, b"".join(giver.infohashes)]

    def restore(self, piece: object) -> bool:
        """Take back a piece that an earlier run's `to_pieces` returned; False when it is none for us."""
        match piece:
            case [bytes(giver), bytes(joined)] if len(giver) == self._family.address_bytes:
                infohashes = split_samples(joined)
            case _:
                return False
        if infohashes is None or not self._endpoint.may_contact(giver):
            return False
        self.sampled(giver, infohashes)
        return True

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
            if len(giver.infohashes) > _WITHOUT_CREDIT and not self._credit.trusts(giver.address):
                self._drop_surplus(giver)
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
        if late and not self._queue.withdraw(infohash):
            return  # since the timeout a lookup has taken over
        self.counters.settled += not late
        giver = outcome.transaction.compact
        nodes, why = b"", Why.UNKNOWN if self._credit.has_hits(giver) else Why.DOUBTED
        if type(outcome) is Answered:
            body = outcome.response.body
            claimed = body.get(self._family.nodes_key)
            nodes = claimed[: 8 * self._family.node_bytes] if isinstance(claimed, bytes) else b""
            peers = self.fit_peers(body.get(b"values"))
            if peers:
                self._credit.named_peers(giver, infohash)
                self._desk.located(infohash, peers, (giver,), now)
                why = Why.ONE_NODE
            else:
                self._credit.named_nobody(giver)
        self._queue.want(Wanted(infohash, why, nodes, self._family))

    def _drop_surplus(self, giver: _Giver) -> None:
        """Of what ``giver``, who has no credit, gave, let no more wait than the latest answer held."""
        surplus = len(giver.infohashes) - _WITHOUT_CREDIT
        for _ in range(surplus):
            giver.infohashes.popleft()
        self._waiting -= surplus
        self.counters.dropped_discredited += surplus

    def fit_peers(self, values: object) -> list[bytes]:
        """Return the compact peers of a `values` list that may be written: contactable, without repeats."""
        if values is None:
            return []
        claimed = dict.fromkeys(split_peers(values, self._family))
        fit = [peer for peer in claimed if self._endpoint.may_contact(peer)]
        self.counters.peers_refused += len(claimed) - len(fit)
        return fit
