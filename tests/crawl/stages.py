"""The stages of a crawl joined to an endpoint on a memory network, as `station` joins them."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.crawl.credit import Credit, CreditConfig
from crawler.crawl.explore import ExploreConfig, Explorer
from crawler.crawl.frontier import Frontier, FrontierConfig
from crawler.crawl.locate import LocateConfig, Locator
from crawler.crawl.lookup_queue import LookupQueue
from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.crawl.pace import Pace, PaceConfig
from crawler.crawl.rumours import RumourGuard, RumoursConfig
from crawler.crawl.sample import SampleConfig, Sampler
from crawler.crawl.seen import Seen, SeenConfig
from crawler.crawl.swarm_report import PeersDesk
from crawler.records import InfohashesFound, PeersFound, Record
from tests.net.endpoints import make_endpoint, network, scripted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from crawler.net.dht import Endpoint
    from crawler.simnet.memory import MemoryNetwork
    from tests.net.endpoints import ScriptedNode


@attrs.define
class Stages:
    """An endpoint and what works on it; nothing runs until the test says so."""

    net: MemoryNetwork
    endpoint: Endpoint
    frontier: Frontier
    rumours: RumourGuard
    outlet: Outlet
    desk: PeersDesk
    queue: LookupQueue
    credit: Credit
    locator: Locator
    sampler: Sampler
    explorer: Explorer
    pace: Pace
    events: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)

    @classmethod
    def joined(
        cls, *, max_rate: float = 1000.0, with_peers: bool = True, **sections: dict[str, Any]
    ) -> Stages:
        """Return all stages; ``sections`` are settings by section, as in the configuration."""
        net = network()
        endpoint = make_endpoint(net, limits={"max_rate": max_rate, **sections.get("limits", {})})
        rng = random.Random(3)
        sender, _receiver = trio.open_memory_channel[list[Record]](0)
        outlet = Outlet(OutletConfig(**sections.get("outlet", {})), sender, lambda now: now, lambda: 0)
        frontier = Frontier(FrontierConfig(**sections.get("frontier", {})), rng)
        rumours = RumourGuard(RumoursConfig(**sections.get("rumours", {})))
        locate = LocateConfig(**sections.get("locate", {}))
        desk, queue = PeersDesk(locate.max_peers, outlet), LookupQueue(locate.max_lookups_waiting)
        credit = Credit(CreditConfig(**sections.get("credit", {})), verified=False)
        locator = Locator(locate, endpoint, desk, queue, credit)
        sampler = Sampler(
            SampleConfig(**sections.get("sample", {})),
            endpoint,
            frontier=frontier,
            rumours=rumours,
            credit=credit,
            seen=Seen(SeenConfig(), b"key"),
            locator=locator if with_peers else None,
            outlet=outlet,
            rng=rng,
        )
        explorer = Explorer(ExploreConfig(**sections.get("explore", {})), endpoint, sampler, rng)
        sampler.on_answer = explorer.met
        pace = Pace(
            PaceConfig(**sections.get("pace", {})),
            endpoint,
            sampler=sampler,
            explorer=explorer,
            locator=locator if with_peers else None,
            outlet=outlet,
            max_rate=max_rate,
        )
        return cls(
            net, endpoint, frontier, rumours, outlet, desk, queue, credit, locator, sampler, explorer, pace
        )

    @contextlib.asynccontextmanager
    async def running(self, *nodes: ScriptedNode) -> AsyncIterator[trio.Nursery]:
        """Run the endpoint and the nodes until the block is cancelled; the nursery takes more tasks."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.endpoint.run)
            for node in nodes:
                await nursery.start(node.run)
            yield nursery

    def on_event(self, event: str, **fields: Any) -> None:
        """Take what a stage tells the log."""
        self.events.append((event, fields))

    def node(self, number: int, script: Callable[..., Any]) -> ScriptedNode:
        """Return a scripted node of the network, not running yet, that the frontier knows."""
        node = scripted(self.net, number, script)
        self.sampler.learn([node.contact])
        return node

    def know(self, nodes: list[tuple[bytes, bytes]]) -> None:
        """Let the frontier hear of nodes, one answer each."""
        for node in nodes:
            self.sampler.learn([node])

    def send(self, queries: list[Any]) -> int:
        """Send what a stage wants to ask; returns how many queries."""
        self.endpoint.send_queries(queries, trio.current_time())
        return len(queries)

    def sample(self, count: int = 100) -> int:
        """Let the sampler ask; returns how many it asked."""
        return self.send(self.sampler.next_queries(count, trio.current_time()))

    def locate(self, count: int = 100) -> int:
        """Let the locator ask its first questions; returns how many."""
        return self.send(self.locator.next_queries(count, trio.current_time()))

    @property
    def records(self) -> list[Record]:
        """Everything that was found."""
        return self.outlet._waiting

    @property
    def found(self) -> list[bytes]:
        """The infohashes found, in their order."""
        return [
            i for record in self.records if isinstance(record, InfohashesFound) for i in record.infohashes
        ]

    @property
    def located(self) -> dict[bytes, list[bytes]]:
        """The peers found, by infohash; of several records all."""
        peers: dict[bytes, list[bytes]] = {}
        for record in self.records:
            if isinstance(record, PeersFound):
                peers.setdefault(record.infohash, []).extend(record.peers)
        return peers
