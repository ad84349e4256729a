"""Spends the query budget of one endpoint: so much on sampling, so much on peers, the rest on exploring.

One task, one batch a tick. Coroutines that await the budget (lookups, pings) go first; they are few, and the
lookups among them are charged to the peers' share. What either side cannot use the other takes.

The pace also guards against a lost uplink: when everything asked of late stayed unanswered, it stops asking,
so that an hour without network does not turn the whole ledger silent, and takes back the blame it gave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from crawler.dht.events import PingWanted
from crawler.net.limits import Bucket
from crawler.settings import setting

if TYPE_CHECKING:
    from crawler.crawl.explore import Explorer
    from crawler.crawl.locate import Locator
    from crawler.crawl.outlet import Outlet
    from crawler.crawl.sample import Sampler
    from crawler.net.dht import Endpoint
    from crawler.wire.compact import Address


@attrs.frozen
class PaceConfig:
    """How the budget is spread over time."""

    tick: float = setting(0.01, unit="s", help="Queries leave in batches this far apart.", above=0)
    largest_batch: int = setting(
        256,
        unit="queries",
        help="Sent in one tick at most, so that answers do not come in floods.",
        minimum=1,
    )
    peers_debt: float = setting(
        2.0, unit="s", help="Lookups start while peers' share is not this far overdrawn.", above=0
    )
    uplink_lost_after: float = setting(
        5.0,
        unit="s",
        help="Asking so long without an answer means: the uplink is lost.",
        above=0,
    )


_PINGS = 8
_PROBES = 20
"""So many unanswered queries in a row at least are needed to suspect the uplink."""


class Pace:
    """Decides what an endpoint sends, tick by tick.

    Attributes:
        uplink_lost: whether nothing at all is answered.
        idle: whether budget was left over in the last tick, and no first question for peers waits.
    """

    def __init__(
        self,
        config: PaceConfig,
        endpoint: Endpoint,
        *,
        sampler: Sampler,
        explorer: Explorer,
        locator: Locator | None,
        outlet: Outlet,
        max_rate: float,
    ) -> None:
        """Join the parts; ``max_rate`` in queries per second."""
        self.uplink_lost = False
        self.idle = False
        self._config = config
        self._endpoint = endpoint
        self._sampler = sampler
        self._explorer = explorer
        self._locator = locator
        self._outlet = outlet
        self._share = locator.config.share if locator is not None else 0.0
        self._peers = Bucket(1, 1)
        self.set_rate(max_rate)
        self._sampling_idle = False
        self._asked_since_answer = 0
        self._first_unanswered = 0.0
        self._lost_at = 0.0

    def set_rate(self, max_rate: float) -> None:
        """Spend so many queries a second from now on (a reload)."""
        self._max_rate = max_rate
        self._peers.set_rate(max(max_rate * self._share, 0.1), max(max_rate * self._share * 0.25, 1.0))

    def charge_peers(self, queries: int, now: float) -> None:
        """Charge ``queries`` to the peers' share."""
        self._peers.take(queries, now)

    def may_look_up(self) -> bool:
        """Whether another lookup may start now."""
        if self.uplink_lost or self._outlet.full:
            return False
        if self._sampling_idle:
            return True
        debt = -self._peers.available(trio.current_time())
        return debt < self._peers.rate * self._config.peers_debt

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            now = trio.current_time()
            self._watch_uplink(now)
            queries = [] if self.uplink_lost or self._outlet.full else self._next_batch(now)
            if queries:
                self._endpoint.send_queries(queries, now)
            self._outlet.flush()
            await trio.sleep_until(now + self._pause(now, busy=bool(queries)))

    def _next_batch(self, now: float) -> list[tuple[bytes, Address]]:
        endpoint = self._endpoint
        free = min(endpoint.budget.available(now), endpoint.node.transactions.room) - endpoint.waiting
        free = min(free, self._config.largest_batch)
        if free <= 0:
            self.idle = False
            return []
        queries: list[tuple[bytes, Address]] = []
        if self._locator is not None and self._share:
            owed = min(int(self._peers.available(now)), free)
            queries = self._locator.next_queries(owed, now)
            self._peers.take(len(queries), now)
        room = free - len(queries)
        sampling = self._sampler.next_queries(room, now)
        self._sampling_idle = len(sampling) < room
        queries += sampling
        if self._sampling_idle:
            queries += self._spare(free - len(queries), now)
        self.idle = len(queries) < free and (self._locator is None or not self._locator.waiting)
        self._asked_since_answer += len(queries)
        return queries

    def _spare(self, count: int, now: float) -> list[tuple[bytes, Address]]:
        """What to ask with budget that sampling leaves over."""
        queries = self._explorer.next_queries(count, self._max_rate, now)
        if self._locator is not None and self._share:
            queries += self._locator.next_queries(count - len(queries), now)
        return queries

    def _pause(self, now: float, *, busy: bool) -> float:
        if busy:
            return self._config.tick
        # Without a wait for the budget there was nobody to ask, or no room for what they would answer.
        idle = 5 * self._config.tick
        wait = self._endpoint.budget.wait(now) or idle
        return min(max(wait, self._config.tick), idle)

    def _watch_uplink(self, now: float) -> None:
        endpoint = self._endpoint
        if endpoint.last_answer >= self._first_unanswered or self._asked_since_answer == 0:
            # When the very next probes are answered, it was only a row of dead nodes: they keep the blame.
            if self.uplink_lost and now - self._lost_at > self._config.uplink_lost_after:
                self._sampler.pardon()
            self.uplink_lost = False
            self._asked_since_answer = 0
            self._first_unanswered = now
        elif (
            self._asked_since_answer >= _PROBES
            and now - self._first_unanswered >= self._config.uplink_lost_after
        ):
            if not self.uplink_lost:
                self._lost_at = now
                self._probe(now)
            self.uplink_lost = True

    def _probe(self, now: float) -> None:
        """Let nodes that were good a moment ago be pinged: if they answer, the uplink is not to blame."""
        for node in self._endpoint.node.table.good_nodes(now)[:_PINGS]:
            self._endpoint.want_pings[node.address] = PingWanted(node.id, node.address)
