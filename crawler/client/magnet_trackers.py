"""The trackers that a magnet link names, asked for peers beside the DHT.

To be told of peers we have to announce ourselves, though we are nobody's peer; so every tracker that took us
is told goodbye right after. Whoever waits for a lookup does not wait long for dead trackers.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import trio

from crawler.client.tracking import TrackerAnnounce, TrackerReport, tracker_urls
from crawler.net.tracker_guard import TrackerError
from crawler.net.tracker_http import TrackerSupportError, load_httpx
from crawler.wire.tracker import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crawler.net.trackers import TrackerClient
    from crawler.wire.magnet import Magnet
    from crawler.wire.tracker_url import TrackerUrl

PATIENCE: Final = 10.0
"""Seconds that trackers are waited for, unless somebody says otherwise."""
_PORTS: Final = (49_152, 65_535)


class MagnetTrackers:
    """The trackers of one link, to be asked once.

    Args:
        magnet: the link.
        patience: seconds after which those that have not answered are given up.
        client: gives what asks trackers.
        on_peer: is told of each peer, as (compact address, infohash).
        on_event: is told ``on_event(name, **fields)`` what came of each tracker.

    Attributes:
        reports: what the trackers said so far.
        asked: how many are asked.
    """

    def __init__(
        self,
        magnet: Magnet,
        *,
        patience: float = PATIENCE,
        client: Callable[[], Awaitable[TrackerClient]],
        on_peer: Callable[[bytes, bytes], None],
        on_event: Callable[..., None],
    ) -> None:
        self.reports: list[TrackerReport] = []
        self._magnet = magnet
        self._patience = patience
        # Nobody is at this port of ours, and hardly any peer has the same: so we know ourselves again.
        self._port = random.SystemRandom().randint(*_PORTS)
        self._client = client
        self._on_peer = on_peer
        self._on_event = on_event
        self._urls = self._usable(tracker_urls(magnet.trackers))
        self.asked = len(self._urls)

    async def run(self) -> None:
        """Ask them all; give up on those that take too long."""
        if not self._urls:
            return
        client = await self._client()
        announce = TrackerAnnounce(client, self._magnet.targets, self._urls, self._port, on_report=self._told)
        with trio.move_on_after(self._patience) as waiting:
            await announce.run(leave=True)
        if waiting.cancelled_caught:
            self._give_up()

    def _give_up(self) -> None:
        """Report those that have not answered."""
        heard = {(report.url.text, report.infohash) for report in self.reports}
        for url in self._urls:
            for infohash in self._magnet.targets:
                if (url.text, infohash) not in heard:
                    self._told(TrackerReport(url, infohash, Event.STARTED, error=TrackerError("timeout")))

    def _usable(self, urls: list[TrackerUrl]) -> list[TrackerUrl]:
        """Leave out those that need a package that is not there."""
        try:
            if any(url.scheme != "udp" for url in urls):
                load_httpx()
        except TrackerSupportError as error:
            self._on_event("trackers skipped", problem=str(error))
            return [url for url in urls if url.scheme == "udp"]
        return urls

    def _told(self, report: TrackerReport) -> None:
        self.reports.append(report)
        if report.answer is None:
            self._on_event("tracker failed", tracker=report.url.origin, problem=report.error)
            return
        self._on_event("tracker", tracker=report.url.origin, peers=len(report.answer.peers))
        for peer in report.answer.peers:
            if int.from_bytes(peer[-2:], "big") != self._port:
                self._on_peer(peer, report.infohash)
