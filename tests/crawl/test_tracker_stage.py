"""What the crawl makes of trackers: sizes and peers as records, few announces, goodbyes, bounded queues."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.crawl.locate import LocateConfig
from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.crawl.swarm_report import PeersDesk
from crawler.crawl.trackers import TrackersConfig, TrackerStage
from crawler.net.tracker_config import TrackerClientConfig
from crawler.net.trackers import TrackerClient
from crawler.records import PeersFound, Record
from crawler.swarm.announce import AnnounceConfig
from crawler.wire import tracker_udp
from crawler.wire.compact import pack_address
from crawler.wire.tracker import Event, ScrapeCounts
from crawler.wire.tracker_url import parse_tracker_url
from tests.net.scripted_trackers import UdpTracker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from trio.testing import MockClock

    from crawler.crawl.fetch_job import Origin

PEER = pack_address(("1.2.3.4", 6881))
HASHES = [number.to_bytes(20, "big") for number in range(200)]


class Swarms:
    """A tracker that knows the swarms of even-numbered infohashes, one peer each.

    Attributes:
        batches: how many infohashes each scrape had.
        announces: (infohash, event, when) of each announce.
    """

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.announces: list[tuple[bytes, Event, float]] = []
        self.silent = False

    def answer(self, data: bytes) -> list[bytes]:
        """Answer one request."""
        read = tracker_udp.decode_request(data)
        if self.silent:
            return []
        if isinstance(read, tracker_udp.UdpScrape):
            self.batches.append(len(read.infohashes))
            counts = [
                ScrapeCounts(3, 9, 2) if not h[-1] % 2 else ScrapeCounts(0, 0, 0) for h in read.infohashes
            ]
            return [tracker_udp.encode_scrape_reply(read.transaction, counts)]
        assert isinstance(read, tracker_udp.UdpAnnounce)
        self.announces.append((read.request.infohash, read.request.event, trio.current_time()))
        return [tracker_udp.encode_announce_reply(read.transaction, 1800, 2, 3, PEER)]


@attrs.define
class Scene:
    """A stage, the tracker that it asks, and what came of it."""

    stage: TrackerStage
    swarms: Swarms
    outlet: Outlet
    offered: list[tuple[bytes, Sequence[bytes]]]

    @property
    def records(self) -> list[PeersFound]:
        """What was written."""
        return [record for record in self.outlet._waiting if isinstance(record, PeersFound)]

    def balanced(self) -> bool:
        """Whether nothing was lost without being counted."""
        c = self.stage.counters
        dropped = c.dropped_scrapes + c.dropped_announces
        return c.infohashes_in == c.told + c.untold + dropped + self.stage.held


async def asked_for_ever(stage: TrackerStage) -> None:
    """Run the stage."""
    await stage.run()


@contextlib.asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Scene]:
    """Run a stage against a tracker for the length of the block."""
    swarms = Swarms()
    sender, _receiver = trio.open_memory_channel[list[Record]](0)
    outlet = Outlet(OutletConfig(), sender, lambda now: now, lambda: 0)
    desk = PeersDesk(LocateConfig().max_peers, outlet)
    offered: list[tuple[bytes, Sequence[bytes]]] = []

    def offer(infohash: bytes, peers: Sequence[bytes], _origin: Origin, _now: float) -> None:
        offered.append((infohash, peers))

    desk.on_peers = offer
    async with UdpTracker(swarms.answer).running() as tracker, trio.open_nursery() as nursery:
        rng = random.Random(1)
        stage = TrackerStage(
            TrackersConfig(**settings),
            AnnounceConfig(),
            [parse_tracker_url(tracker.url)],
            TrackerClient(TrackerClientConfig(), rng, allow_private=True),
            desk=desk,
            outlet=outlet,
            rng=rng,
            port=6881,
        )
        nursery.start_soon(asked_for_ever, stage)
        yield Scene(stage, swarms, outlet, offered)
        nursery.cancel_scope.cancel()


async def test_sizes_and_peers_become_records(autojump_clock: MockClock) -> None:
    """What has peers there is announced and left again; size and peers make a record, and go to the fetch."""
    async with running() as scene:
        scene.stage.found(HASHES[:4])
        await trio.sleep(30)
        assert scene.balanced()

    assert autojump_clock.current_time() >= 30
    assert scene.swarms.batches == [4]
    events = [(infohash, event) for infohash, event, _ in scene.swarms.announces]
    assert sorted(events) == sorted(
        (infohash, event) for infohash in (HASHES[0], HASHES[2]) for event in (Event.STARTED, Event.STOPPED)
    )
    assert {record.infohash for record in scene.records} == {HASHES[0], HASHES[2]}
    record = scene.records[0]
    assert (record.source, record.peers, record.seeds, record.leechers) == ("tracker", (PEER,), 3, 2)
    assert record.tracker is not None
    assert record.tracker.startswith("udp://127.0.0.1:")
    assert sorted(scene.offered) == sorted((infohash, (PEER,)) for infohash in (HASHES[0], HASHES[2]))
    counters = scene.stage.counters
    assert (counters.infohashes_in, counters.told, counters.announced) == (4, 4, 2)


async def test_full_batches_go_at_once(autojump_clock: MockClock) -> None:
    """Seventy-four infohashes fill a scrape; the rest follows at the pace that is set."""
    began = autojump_clock.current_time()
    async with running(announce=False, scrape_interval=2.0, gather=5.0) as scene:
        scene.stage.found(HASHES)
        await trio.sleep(1)
        assert scene.swarms.batches == [74]
        await trio.sleep(20)
        assert scene.balanced()

    assert autojump_clock.current_time() - began >= 21
    assert scene.swarms.batches == [74, 74, 52]
    assert scene.swarms.announces == []
    assert len(scene.records) == 100
    assert scene.records[0].lines().count(b'"peers":[]') == 1


async def test_announces_keep_to_their_budget(autojump_clock: MockClock) -> None:
    """Announces are at most so many a second, however many infohashes have peers."""
    async with running(max_announces=0.5, leave=False, scrape_interval=0.0) as scene:
        scene.stage.found(HASHES)
        await trio.sleep(61)
        assert scene.balanced()

    assert autojump_clock.current_time() >= 61
    assert 28 <= len(scene.swarms.announces) <= 31
    assert {event for _, event, _ in scene.swarms.announces} == {Event.STARTED}


async def test_queues_are_bounded(autojump_clock: MockClock) -> None:
    """What finds no room is dropped and counted, for scrapes and for announces; nothing is lost unseen."""
    async with running(max_waiting=100, max_announces_waiting=5, max_announces=0.001, gather=0.0) as scene:
        scene.stage.found(HASHES)
        await trio.sleep(60)
        assert scene.balanced()

    assert autojump_clock.current_time() >= 60
    assert scene.stage.counters.dropped_scrapes == 100
    assert scene.stage.counters.dropped_announces >= 40
    assert scene.stage.held <= 6


async def test_a_dead_tracker_is_left_alone_ever_longer(autojump_clock: MockClock) -> None:
    """A silent tracker is asked ever more rarely; what it was to tell counts as untold."""
    async with running(gather=0.0) as scene:
        scene.swarms.silent = True
        for _ in range(48):
            scene.stage.found(HASHES[:1])
            await trio.sleep(300)
        assert scene.balanced()

    assert autojump_clock.current_time() >= 14_400
    assert 4 <= scene.stage.counters.untold <= 12
    assert scene.records == []


async def test_nothing_is_asked_while_paused(autojump_clock: MockClock) -> None:
    """Without a network, trackers are left alone."""
    async with running(gather=0.0) as scene:
        scene.stage.paused = lambda: True
        scene.stage.found(HASHES[:4])
        await trio.sleep(60)
        assert scene.swarms.batches == []
        scene.stage.paused = lambda: False
        await trio.sleep(10)

    assert autojump_clock.current_time() >= 70
    assert scene.swarms.batches == [4]
