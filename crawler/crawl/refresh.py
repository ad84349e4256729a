"""Keeps the routing table fit (BEP 5, Routing Table): refreshes buckets, pings whom a ping would tell about.

It also drops expired peers from the store, and makes our id follow our external address once enough networks
agree on one (BEP 42).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from crawler.crawl.bootstrap import look_up_node
from crawler.dht.events import PingWanted
from crawler.dht.identity import is_secure, secure_id
from crawler.net.dht import QueryFailedError
from crawler.settings import setting
from crawler.wire.compact import split_nodes

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from crawler.crawl.sample import Sampler
    from crawler.dht.events import Answered
    from crawler.dht.lookup import LookupConfig
    from crawler.dht.peers import PeerStore
    from crawler.net.dht import Endpoint

_EXPIRY = 60.0


@attrs.frozen
class RefreshConfig:
    """How the table is looked after."""

    tick: float = setting(1.0, unit="s", help="How often the table is looked at.", above=0)
    pings_per_tick: int = setting(8, unit="pings", help="Pings sent in one look.", minimum=1)


class Refresh:
    """Looks after the table of one endpoint."""

    def __init__(
        self,
        config: RefreshConfig,
        endpoint: Endpoint,
        *,
        sampler: Sampler,
        lookup: LookupConfig,
        store: PeerStore,
        rng: Random,
        on_event: Callable[..., None],
    ) -> None:
        """Join the parts; ``on_event(name, **fields)`` is told what happens, for the log."""
        self._config = config
        self._endpoint = endpoint
        self._sampler = sampler
        self._lookup = lookup
        self._store = store
        self._rng = rng
        self._on_event = on_event

    async def run(self) -> None:
        """Look after the table until cancelled."""
        expired = trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(self._config.tick)
                now = trio.current_time()
                self._follow_external_address(now)
                if now - expired >= _EXPIRY:
                    self._store.expire(now)
                    expired = now
                for address in self._worth_pinging(now):
                    nursery.start_soon(self._ping, address)
                for target in self._endpoint.node.table.due_refresh(now):
                    await look_up_node(
                        self._endpoint, self._sampler.frontier, target, self._lookup, self._learn
                    )

    def _worth_pinging(self, now: float) -> list[bytes]:
        wanted = self._endpoint.want_pings
        for node in self._endpoint.node.table.questionable(now):
            wanted.pop(node.address, None)
            wanted[node.address] = PingWanted(node.id, node.address)
        return [wanted.popitem()[0] for _ in range(min(len(wanted), self._config.pings_per_tick))]

    async def _ping(self, address: bytes) -> None:
        try:
            answer = await self._endpoint.ping(address)
        except QueryFailedError:
            return
        self._sampler.met(answer)

    def _learn(self, answer: Answered) -> None:
        family = self._endpoint.node.family
        self._sampler.learn(split_nodes(answer.response.body.get(family.nodes_key), family))

    def _follow_external_address(self, now: float) -> None:
        node = self._endpoint.node
        ip = node.external.current
        if ip is None or is_secure(node.id, ip):
            return
        node.change_id(secure_id(ip, self._rng), now)
        self._on_event("node.id_changed", node_id=node.id.hex(), reason="external address learned")
