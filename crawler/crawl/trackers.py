"""What trackers know of the infohashes found: how large their swarms are, and peers.

Off unless trackers are named. Each is asked about many infohashes at once (scrape), and announced to for
those that somebody has there, since only an announce brings peers. An announce also puts us on the tracker's
list, though we have nothing to give: so each is followed by a goodbye, unless that is switched off, and a
budget keeps them few. Whatever a tracker says is its claim, and is written as that.

What waits is bounded for each tracker: what is full drops the oldest and counts it. Of the infohashes that
came in for a tracker, in = told + untold + dropped + held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import trio

from crawler.net.limits import Bucket
from crawler.net.tracker_guard import TrackerError
from crawler.settings import setting
from crawler.swarm.announce import retry_rest
from crawler.swarm.tracker_exchange import MAX_SCRAPED
from crawler.wire.ids import random_peer_id
from crawler.wire.tracker import KEY_BITS, SOME_LEFT, AnnounceAnswer, AnnounceRequest, Event, ScrapeCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from crawler.crawl.outlet import Outlet
    from crawler.crawl.swarm_report import PeersDesk
    from crawler.net.trackers import TrackerClient
    from crawler.swarm.announce import AnnounceConfig
    from crawler.wire.tracker_url import TrackerUrl

_PAUSE: Final = 1.0
_Held = TypeVar("_Held")


@attrs.frozen
class TrackersConfig:
    """Which trackers are asked about the infohashes found, and how often."""

    urls: tuple[str, ...] = setting(
        (), unit="URL", help="Trackers to ask (udp://, http://, https://); none: no tracker is asked."
    )
    announce: bool = setting(
        True, unit="", help="Announce where a scrape told of peers, to learn them; false: sizes only."
    )
    leave: bool = setting(
        True, unit="", help="Say goodbye after each announce, so that nobody dials us for pieces."
    )
    batch: int = setting(
        MAX_SCRAPED, unit="infohashes", help="In one scrape.", minimum=1, maximum=MAX_SCRAPED
    )
    gather: float = setting(5.0, unit="s", help="A batch that is not full waits so long.", minimum=0)
    scrape_interval: float = setting(
        2.0, unit="s", help="Between two scrapes of one tracker at least.", minimum=0
    )
    max_announces: float = setting(
        1.0, unit="announces/s", help="To all trackers together, goodbyes apart.", above=0
    )
    numwant: int = setting(100, unit="peers", help="Asked for in an announce.", minimum=1, maximum=200)
    max_waiting: int = setting(
        10_000, unit="infohashes", help="That wait for a scrape, per tracker; the oldest goes.", minimum=1
    )
    max_announces_waiting: int = setting(
        1000, unit="infohashes", help="That wait for an announce, per tracker; the oldest goes.", minimum=1
    )


@attrs.define
class TrackersCounters:
    """What became of the infohashes that trackers were to be asked about, once for each tracker."""

    infohashes_in: int = 0
    told: int = 0
    untold: int = 0
    with_peers: int = 0
    announced: int = 0
    dropped_scrapes: int = 0
    dropped_announces: int = 0


@attrs.define(eq=False)
class _Tracker:
    """One tracker, and what waits for it."""

    url: TrackerUrl
    waiting: dict[bytes, None] = attrs.field(factory=dict)
    hits: dict[bytes, ScrapeCounts] = attrs.field(factory=dict)
    news: trio.Event = attrs.field(factory=trio.Event)
    failures: int = 0
    resting_until: float = float("-inf")

    def tell(self) -> None:
        self.news.set()
        self.news = trio.Event()


class TrackerStage:
    """The stage; one for a run.

    Args:
        config: settings.
        announces: how long a tracker that fails is left alone.
        urls: the trackers.
        client: asks them.
        desk: takes what they say.
        outlet: says when nothing more should be asked.
        rng: draws peer ids; spreads retries.
        port: where we listen, for announces.

    Attributes:
        counters: what became of the infohashes.
        paused: says that nothing is to be asked, such as while there is no network.
    """

    def __init__(  # noqa: PLR0913 - a stage is joined to many
        self,
        config: TrackersConfig,
        announces: AnnounceConfig,
        urls: Iterable[TrackerUrl],
        client: TrackerClient,
        *,
        desk: PeersDesk,
        outlet: Outlet,
        rng: Random,
        port: int,
    ) -> None:
        self.counters = TrackersCounters()
        self.client = client
        self.paused: Callable[[], bool] = _never
        self._config = config
        self._announces = announces
        self._desk = desk
        self._outlet = outlet
        self._rng = rng
        self._port = port
        self._trackers = [_Tracker(url) for url in urls]
        self._budget = Bucket(config.max_announces, 1)
        self._peer_id = random_peer_id(rng)
        self._key = rng.getrandbits(KEY_BITS)

    @property
    def held(self) -> int:
        """Infohashes that wait for a scrape or an announce, once for each tracker."""
        return sum(len(tracker.waiting) + len(tracker.hits) for tracker in self._trackers)

    def found(self, infohashes: Sequence[bytes]) -> None:
        """``infohashes`` are new: ask about them when it is their turn."""
        config = self._config
        for tracker in self._trackers:
            self.counters.infohashes_in += len(infohashes)
            self.counters.dropped_scrapes += _put(
                tracker.waiting, dict.fromkeys(infohashes), config.max_waiting
            )
            tracker.tell()

    async def run(self) -> None:
        """Ask until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.client.run)
            for tracker in self._trackers:
                nursery.start_soon(self._scrape_all, tracker)
                nursery.start_soon(self._announce_all, tracker)

    async def _scrape_all(self, tracker: _Tracker) -> None:
        while True:
            await self._gathered(tracker)
            await self._may_ask(tracker)
            batch = list(tracker.waiting)[: self._config.batch]
            for infohash in batch:
                del tracker.waiting[infohash]
            await self._scrape(tracker, batch)
            await trio.sleep(self._config.scrape_interval)

    async def _gathered(self, tracker: _Tracker) -> None:
        """Wait until a batch is full, or has waited long enough."""
        while not tracker.waiting:
            await tracker.news.wait()
        with trio.move_on_after(self._config.gather):
            while len(tracker.waiting) < self._config.batch:
                await tracker.news.wait()

    async def _may_ask(self, tracker: _Tracker) -> None:
        """Wait while the tracker rests, the output is behind, or there is no network."""
        while True:
            now = trio.current_time()
            if now < tracker.resting_until:
                await trio.sleep_until(tracker.resting_until)
            elif self._outlet.full or self.paused():
                await trio.sleep(_PAUSE)
            else:
                return

    async def _scrape(self, tracker: _Tracker, batch: Sequence[bytes]) -> None:
        try:
            counts = await self.client.scrape(tracker.url, batch)
        except TrackerError as error:
            if error.reason == "no_scrape" and self._config.announce:
                self._hit(tracker, dict.fromkeys(batch, ScrapeCounts()))
                return
            self.counters.untold += len(batch)
            self._failed(tracker, error)
            return
        tracker.failures = 0
        found = {infohash: said for infohash, said in counts.items() if said.seeders or said.leechers}
        self.counters.with_peers += len(found)
        self.counters.told += len(batch) - len(found)
        self._hit(tracker, found)

    def _hit(self, tracker: _Tracker, found: dict[bytes, ScrapeCounts]) -> None:
        """Somebody has ``found`` there: announce, or tell their sizes at once."""
        if self._config.announce:
            self.counters.dropped_announces += _put(tracker.hits, found, self._config.max_announces_waiting)
            tracker.tell()
            return
        for infohash, said in found.items():
            self._write(tracker, infohash, said, ())

    async def _announce_all(self, tracker: _Tracker) -> None:
        while True:
            while not tracker.hits:
                await tracker.news.wait()
            await self._may_ask(tracker)
            while (wait := self._budget.wait(1, trio.current_time())) > 0:  # noqa: ASYNC110 - it knows no Event
                await trio.sleep(wait)
            self._budget.take(1, trio.current_time())
            if tracker.hits:
                await self._announce(tracker, *tracker.hits.popitem())

    async def _announce(self, tracker: _Tracker, infohash: bytes, said: ScrapeCounts) -> None:
        request = AnnounceRequest(
            infohash,
            self._peer_id,
            self._port,
            left=SOME_LEFT,
            event=Event.STARTED,
            key=self._key,
            numwant=self._config.numwant,
        )
        answer = AnnounceAnswer()
        try:
            answer = await self.client.announce(tracker.url, request)
        except TrackerError as error:
            self._failed(tracker, error)
        else:
            self.counters.announced += 1
            tracker.failures = 0
        self._write(tracker, infohash, said, answer.peers)
        if self._config.leave and answer != AnnounceAnswer():
            try:
                await self.client.announce(
                    tracker.url,
                    attrs.evolve(request, event=Event.STOPPED, numwant=0, tracker_id=answer.tracker_id),
                )
            except TrackerError as error:
                self._failed(tracker, error)

    def _write(self, tracker: _Tracker, infohash: bytes, said: ScrapeCounts, peers: Sequence[bytes]) -> None:
        """Hand on what the tracker said of an infohash; nothing when it said nothing."""
        self.counters.told += 1
        if peers or said.seeders or said.leechers:
            now = trio.current_time()
            self._desk.tracked(infohash, peers, tracker.url.origin, said, now)

    def _failed(self, tracker: _Tracker, error: TrackerError) -> None:
        """Leave the tracker alone for a while; for what it refuses, a moment."""
        if error.reason == "failure" and error.retry_in is None:
            return
        rest = retry_rest(
            self._announces, tracker.failures, self._rng, retry_in=error.retry_in, hopeless=error.hopeless
        )
        tracker.failures += 1
        tracker.resting_until = trio.current_time() + rest


def _put(held: dict[bytes, _Held], more: dict[bytes, _Held], most: int) -> int:
    """Put ``more`` behind what is held; return how many were dropped: the oldest, and what is there twice."""
    before = len(held) + len(more)
    held |= more
    for infohash in list(held)[: max(len(held) - most, 0)]:
        del held[infohash]
    return before - len(held)


def _never() -> bool:
    return False
