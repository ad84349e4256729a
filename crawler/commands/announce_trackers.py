"""The `announce` command with --tracker: tells trackers that we have a torrent, once or again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from crawler.client.tracking import TrackerAnnounce
from crawler.commands.client import FINE, NOT_FOUND
from crawler.commands.text import table, visible
from crawler.commands.trackers import number_text, problem_fields, problem_text
from crawler.wire.compact import format_address
from crawler.wire.tracker import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawler.client.tracking import TrackerReport
    from crawler.commands.client import Ending
    from crawler.commands.screen import Screen
    from crawler.net.trackers import TrackerClient
    from crawler.wire.magnet import Magnet
    from crawler.wire.tracker_url import TrackerUrl


_MAX_PEERS: Final = 10_000
"""Peers that are told of; with --stay there may be more and more."""


class AnnounceToTrackers:
    """One announce, or with ``stay`` as many as the trackers want, told as they go."""

    def __init__(
        self,
        client: TrackerClient,
        screen: Screen,
        magnet: Magnet,
        trackers: Sequence[TrackerUrl],
        port: int,
        *,
        seed: bool,
        stay: bool,
    ) -> None:
        self._screen = screen
        self._magnet = magnet
        self._port = port
        self._stay = stay
        self._trackers = len(trackers)
        self._accepted: set[str] = set()
        self._failed: set[str] = set()
        self._peers: set[bytes] = set()
        self._announce = TrackerAnnounce(
            client, magnet.targets, trackers, port, seed=seed, on_report=self._told
        )

    async def run(self) -> None:
        """Announce."""
        await self._announce.run(stay=self._stay)

    def live(self) -> str:
        """Return what there is to tell while it runs."""
        return f"{self._announce.asked} announces, {len(self._peers)} peers"

    def finish(self, ending: Ending) -> int:
        """Write what came of it and return the exit code."""
        if self._screen.json:
            self._screen.record(
                type="summary",
                infohashes=[infohash.hex() for infohash in self._magnet.targets],
                port=self._port,
                accepted=len(self._accepted),
                failed=len(self._failed - self._accepted),
                silent=self._silent,
                peers=len(self._peers),
                ending=ending.word,
            )
        else:
            rows = [
                ("announced", f"port {self._port}, to {len(self._accepted)} trackers"),
                ("failed", f"{len(self._failed - self._accepted)}, no answer yet from {self._silent}"),
                ("others", f"{len(self._peers)} peers are known there"),
                *ending.rows(),
            ]
            for line in table(rows):
                self._screen.line(line)
        return FINE if self._accepted else NOT_FOUND

    @property
    def _silent(self) -> int:
        return self._trackers - len(self._accepted | self._failed)

    def _told(self, report: TrackerReport) -> None:
        if report.answer is None:
            self._failed.add(report.url.text)
        else:
            self._accepted.add(report.url.text)
        if self._screen.json:
            self._screen.record(**_fields(report))
        else:
            self._screen.line(f"{report.url.origin}  {_text(report)}")
        for peer in report.answer.peers if report.answer is not None else ():
            if peer in self._peers or len(self._peers) >= _MAX_PEERS:
                continue
            self._peers.add(peer)
            if self._screen.json:
                self._screen.record(
                    type="peer",
                    infohash=report.infohash.hex(),
                    peer=format_address(peer),
                    source="tracker",
                    tracker=report.url.origin,
                )
            else:
                self._screen.line(f"  {format_address(peer)}")


def _fields(report: TrackerReport) -> dict[str, Any]:
    said: dict[str, Any] = {
        "type": "announced",
        "tracker": report.url.origin,
        "infohash": report.infohash.hex(),
        "event": report.event.name.lower(),
    }
    answer = report.answer
    if answer is None:
        return {**said, "type": "failed", **problem_fields(report.error)}
    said |= {"seeders": answer.seeders, "leechers": answer.leechers, "interval": answer.interval}
    if answer.warning:
        said["warning"] = answer.warning
    return said


def _text(report: TrackerReport) -> str:
    answer = report.answer
    if answer is None:
        return problem_text(report.error)
    words = f"{number_text(answer.seeders)} seeders, {number_text(answer.leechers)} leechers"
    if answer.interval is not None:
        words += f", every {answer.interval} s"
    if report.event is not Event.NONE:
        words += f" ({report.event.name.lower()})"
    return f"{words}; it warns: {visible(answer.warning)}" if answer.warning else words
