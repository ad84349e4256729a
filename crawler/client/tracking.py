"""Trackers for whoever asks once: announce to several, learn their peers, stay or leave again; scrape.

A tracker lists whoever announces. Who only wants to know its peers therefore says goodbye as soon as it has
them (``leave``), so that nobody dials a peer that is not there.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crawler.net.background import background
from crawler.net.tracker_config import TrackerClientConfig
from crawler.net.tracker_guard import TrackerError
from crawler.net.trackers import TrackerClient
from crawler.swarm.announce import AnnounceConfig, Announcer
from crawler.swarm.tracker_exchange import MAX_SCRAPED
from crawler.wire.ids import random_peer_id
from crawler.wire.tracker import KEY_BITS, SOME_LEFT, AnnounceRequest, Event
from crawler.wire.tracker_url import TrackerUrl, TrackerUrlError, parse_tracker_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from crawler.swarm.announce import Due
    from crawler.wire.tracker import AnnounceAnswer, ScrapeCounts

_GOODBYE_SECONDS: Final = 3.0
_WANTED_PEERS: Final = 200


@attrs.frozen
class TrackerReport:
    """What came of one announce.

    Attributes:
        url: the tracker.
        infohash: 20 bytes.
        event: as what we announced ourselves.
        answer: what it answered; its peers may be dialled. None when it failed.
        error: why it failed.
    """

    url: TrackerUrl
    infohash: bytes
    event: Event
    answer: AnnounceAnswer | None = None
    error: TrackerError | None = None


@attrs.frozen
class ScrapeReport:
    """What a tracker told of some infohashes; ``counts`` is empty when it failed with ``error``."""

    url: TrackerUrl
    counts: dict[bytes, ScrapeCounts]
    error: TrackerError | None = None


def tracker_urls(texts: Iterable[str]) -> list[TrackerUrl]:
    """Return those of ``texts`` that are trackers' URLs, each once."""
    urls = {}
    for text in texts:
        with contextlib.suppress(TrackerUrlError):
            url = parse_tracker_url(text)
            urls[url.text] = url
    return list(urls.values())


@contextlib.asynccontextmanager
async def open_trackers(
    *, allow_private: bool = False, config: TrackerClientConfig | None = None
) -> AsyncIterator[TrackerClient]:
    """Give what asks trackers for the length of an ``async with`` block.

    Args:
        allow_private: ask trackers, and take peers, at addresses that are not global, too.
        config: patience and limits.
    """
    client = TrackerClient(
        config or TrackerClientConfig(), random.SystemRandom(), allow_private=allow_private
    )
    async with background() as nursery:
        await nursery.start(client.run)
        yield client


class TrackerAnnounce:
    """Announces of one torrent to all of its trackers, each a tier of its own (BEP 12); to be run once.

    Args:
        client: asks them.
        infohashes: 20 bytes each; two for a hybrid torrent.
        trackers: whom to announce to.
        port: where peers reach us.
        seed: whether we have all of it.
        on_report: is told what came of every announce, goodbyes apart.
        config: when is announced again.

    Attributes:
        asked: announces that are over, goodbyes apart.
    """

    def __init__(
        self,
        client: TrackerClient,
        infohashes: Sequence[bytes],
        trackers: Sequence[TrackerUrl],
        port: int,
        *,
        seed: bool = False,
        on_report: Callable[[TrackerReport], None],
        config: AnnounceConfig | None = None,
    ) -> None:
        self.asked = 0
        self._client = client
        self._infohashes = tuple(infohashes)
        self._trackers = {url.text: url for url in trackers}
        self._port = port
        self._seed = seed
        self._on_report = on_report
        self._config = config or AnnounceConfig()
        self._rng = random.SystemRandom()
        self._peer_id = random_peer_id(self._rng)
        self._key = self._rng.getrandbits(KEY_BITS)
        self._news = trio.Event()

    async def run(self, *, stay: bool = False, leave: bool = False) -> None:
        """Announce to every tracker.

        Args:
            stay: go on, as often as the trackers want, until cancelled, and say goodbye then.
            leave: say goodbye at the end.
        """
        tiers = [[text] for text in self._trackers]
        announcers = [
            Announcer(tiers, self._config, self._rng, trio.current_time(), all_tiers=True)
            for _ in self._infohashes
        ]
        try:
            async with trio.open_nursery() as nursery:
                for infohash, announcer in zip(self._infohashes, announcers, strict=True):
                    if self._seed:
                        announcer.complete(trio.current_time())
                    nursery.start_soon(self._keep, infohash, announcer, stay)
        finally:
            if stay or leave:
                with trio.move_on_after(_GOODBYE_SECONDS, shield=True):
                    await self._say_goodbye(announcers)

    async def _keep(self, infohash: bytes, announcer: Announcer, stay: bool) -> None:
        async with trio.open_nursery() as nursery:
            self._begin(nursery, infohash, announcer)
            while stay:
                news = self._news
                with trio.CancelScope(deadline=announcer.next_timer()):
                    await news.wait()
                self._begin(nursery, infohash, announcer)

    def _begin(self, nursery: trio.Nursery, infohash: bytes, announcer: Announcer) -> None:
        """Make the announces that are due."""
        for due in announcer.take_due(trio.current_time()):
            nursery.start_soon(self._announce, infohash, announcer, due)

    async def _announce(self, infohash: bytes, announcer: Announcer, due: Due) -> None:
        url = self._trackers[due.url]
        report = await self._ask(infohash, due)
        now = trio.current_time()
        if report.answer is not None:
            announcer.answered(due, report.answer, now)
        else:
            error = report.error or TrackerError("unknown")
            announcer.failed(due, now, retry_in=error.retry_in, hopeless=error.hopeless)
        self.asked += 1
        self._on_report(attrs.evolve(report, url=url))
        self._news.set()
        self._news = trio.Event()

    async def _ask(self, infohash: bytes, due: Due) -> TrackerReport:
        url = self._trackers[due.url]
        request = AnnounceRequest(
            infohash,
            self._peer_id,
            self._port,
            left=0 if due.seed else SOME_LEFT,
            event=due.event,
            key=self._key,
            numwant=0 if due.event is Event.STOPPED else _WANTED_PEERS,
            tracker_id=due.tracker_id,
        )
        try:
            return TrackerReport(url, infohash, due.event, answer=await self._client.announce(url, request))
        except TrackerError as error:
            return TrackerReport(url, infohash, due.event, error=error)

    async def _say_goodbye(self, announcers: Sequence[Announcer]) -> None:
        async with trio.open_nursery() as nursery:
            for infohash, announcer in zip(self._infohashes, announcers, strict=True):
                for due in announcer.stop():
                    nursery.start_soon(self._ask, infohash, due)


async def scrape_all(
    client: TrackerClient,
    trackers: Sequence[TrackerUrl],
    infohashes: Sequence[bytes],
    on_report: Callable[[ScrapeReport], None],
) -> None:
    """Ask every tracker about all infohashes, in batches; each batch is reported as it comes."""

    async def ask(url: TrackerUrl, batch: Sequence[bytes]) -> None:
        try:
            counts = dict(await client.scrape(url, batch))
        except TrackerError as error:
            on_report(ScrapeReport(url, {}, error))
        else:
            on_report(ScrapeReport(url, counts))

    async with trio.open_nursery() as nursery:
        for url in trackers:
            for at in range(0, len(infohashes), MAX_SCRAPED):
                nursery.start_soon(ask, url, infohashes[at : at + MAX_SCRAPED])
