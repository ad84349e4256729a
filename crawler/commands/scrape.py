"""The `scrape` command: how large swarms are, as trackers count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from crawler.client.target import parse_target
from crawler.client.tracking import scrape_all
from crawler.commands.client import (
    FINE,
    NO_TRACKER_FLAGS,
    NOT_FOUND,
    TrackerFlags,
    run_tracker_job,
)
from crawler.commands.complaint import refuse
from crawler.commands.trackers import (
    TrackerFlag,
    check_trackers,
    number_text,
    problem_fields,
    problem_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawler.client.tracking import ScrapeReport
    from crawler.commands.client import Ending
    from crawler.commands.screen import Screen
    from crawler.net.trackers import TrackerClient
    from crawler.wire.tracker_url import TrackerUrl

_MOST = 10_000


def scrape(
    target: Annotated[str, Parameter(name="TARGET", help="infohash or magnet link, as for lookup")],
    /,
    *more: Annotated[str, Parameter(name="TARGET", help="more of them")],
    tracker: TrackerFlag,
    flags: TrackerFlags = NO_TRACKER_FLAGS,
) -> int:
    """Ask trackers how large swarms are."""
    try:
        trackers = check_trackers(tracker)
        wanted = [infohash for text in (target, *more) for infohash in parse_target(text).targets]
        options = flags.options()
    except ValueError as error:
        return refuse(error)
    if len(wanted) > _MOST:
        return refuse(f"{len(wanted)} infohashes: allowed are {_MOST} at once")
    infohashes = list(dict.fromkeys(wanted))
    return run_tracker_job(options, lambda client, screen: _Scrape(client, screen, trackers, infohashes))


class _Scrape:
    """One scrape of all trackers, told as it goes."""

    def __init__(
        self,
        client: TrackerClient,
        screen: Screen,
        trackers: Sequence[TrackerUrl],
        infohashes: Sequence[bytes],
    ) -> None:
        self._client = client
        self._screen = screen
        self._trackers = trackers
        self._infohashes = infohashes
        self._told: set[bytes] = set()
        self._answered: set[str] = set()
        self._failed: set[str] = set()

    async def run(self) -> None:
        await scrape_all(self._client, self._trackers, self._infohashes, self._take)

    def live(self) -> str:
        return f"{len(self._told)} of {len(self._infohashes)} infohashes, {len(self._answered)} trackers"

    def finish(self, ending: Ending) -> int:
        if self._screen.json:
            self._screen.record(
                type="summary",
                infohashes=len(self._infohashes),
                told=len(self._told),
                answered=len(self._answered),
                failed=len(self._failed),
                ending=ending.word,
            )
        else:
            for name, value in ending.rows():
                self._screen.line(f"{name}  {value}")
        return FINE if self._told else NOT_FOUND

    def _take(self, report: ScrapeReport) -> None:
        where = report.url.origin
        if report.error is not None:
            self._failed.add(report.url.text)
            if self._screen.json:
                self._screen.record(type="failed", tracker=where, **problem_fields(report.error))
            else:
                self._screen.line(f"{where}  {problem_text(report.error)}")
            return
        self._answered.add(report.url.text)
        for infohash, counts in report.counts.items():
            self._told.add(infohash)
            if self._screen.json:
                self._screen.record(
                    type="scrape",
                    infohash=infohash.hex(),
                    tracker=where,
                    seeders=counts.seeders,
                    leechers=counts.leechers,
                    completed=counts.completed,
                )
            else:
                said = (
                    f"{number_text(counts.seeders)} seeders, {number_text(counts.leechers)} leechers, "
                    f"{number_text(counts.completed)} completed"
                )
                self._screen.line(f"{infohash.hex()}  {said}  {where}")
