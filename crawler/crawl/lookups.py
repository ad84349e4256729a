"""Iterative get_peers lookups for the infohashes that their sampler could not settle (BEP 5).

Plain coroutines: a lookup is some twenty queries and rare beside the sampling. What the lookups send is
charged to the peers' share of the budget; a new one starts only when that share is not overdrawn.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from crawler.crawl.courtesy import ask_once
from crawler.dht.lookup import Lookup, LookupConfig
from crawler.net.lookup import run_lookup
from crawler.wire.compact import split_nodes

if TYPE_CHECKING:
    from crawler.crawl.locate import Locator, Wanted
    from crawler.crawl.pace import Pace
    from crawler.crawl.sample import Sampler
    from crawler.dht.events import Answered
    from crawler.net.dht import Endpoint

_IDLE = 0.25
_SEEDS = 16


class PeerLookups:
    """Runs the lookups of one endpoint, so many at a time."""

    def __init__(
        self, config: LookupConfig, endpoint: Endpoint, locator: Locator, sampler: Sampler, pace: Pace
    ) -> None:
        """Join the parts; nodes that lookups come across are passed on to the ``sampler``."""
        self._config = config
        self._endpoint = endpoint
        self._locator = locator
        self._sampler = sampler
        self._pace = pace

    async def run(self) -> None:
        """Run lookups as infohashes and budget allow, until cancelled."""
        room = trio.Semaphore(self._locator.config.parallel_lookups)
        async with trio.open_nursery() as nursery:
            while True:
                wanted = self._locator.next_wanted() if self._pace.may_look_up() else None
                if wanted is None:
                    await trio.sleep(_IDLE)
                    continue
                await room.acquire()
                nursery.start_soon(self._run_one, wanted, room)

    async def _run_one(self, wanted: Wanted, room: trio.Semaphore) -> None:
        try:
            await self._look_up(wanted)
        finally:
            room.release()

    async def _look_up(self, wanted: Wanted) -> None:
        endpoint, locator = self._endpoint, self._locator
        lookup = Lookup(wanted.infohash, self._config, spread=not endpoint.allow_private)
        now = trio.current_time()
        closest = endpoint.node.table.closest(wanted.infohash, _SEEDS, now=now, questionable=True)
        hints = split_nodes(wanted.nodes, endpoint.node.family)
        lookup.learn([node for node in hints if endpoint.may_contact(node[1])])
        lookup.learn([(node.id, node.address) for node in closest])
        peers: dict[bytes, None] = {}

        async def ask(address: bytes) -> Answered:
            self._pace.charge_peers(1, trio.current_time())
            return await endpoint.get_peers(address, wanted.infohash)

        await run_lookup(
            endpoint, lookup, partial(ask_once, self._sampler.frontier, ask=ask), partial(self._learn, peers)
        )
        locator.counters.lookups += 1
        if peers:
            locator.found(wanted.infohash, list(peers), trio.current_time())
        else:
            locator.counters.lookups_empty += 1

    def _learn(self, peers: dict[bytes, None], answer: Answered) -> None:
        body = answer.response.body
        peers.update(dict.fromkeys(self._locator.fit_peers(body.get(b"values"))))
        family = self._endpoint.node.family
        self._sampler.learn(split_nodes(body.get(family.nodes_key), family))
