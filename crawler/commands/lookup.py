"""The `lookup` command: who has a torrent, and about how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawler.client.magnet_trackers import PATIENCE
from crawler.client.target import parse_target
from crawler.commands.client import (
    FINE,
    NO_FLAGS,
    NOT_FOUND,
    ClientFlags,
    NoTrackersFlag,
    PortFlag,
    TargetArgument,
    TrackerTimeoutFlag,
    remark_if_cut_off,
    run_job,
)
from crawler.commands.complaint import refuse
from crawler.commands.text import about, table
from crawler.commands.trackers import problem_fields

if TYPE_CHECKING:
    from crawler.client import LookupResult, Node, Peer
    from crawler.client.tracking import TrackerReport
    from crawler.commands.client import Ending
    from crawler.commands.screen import Screen
    from crawler.wire.magnet import Magnet


def lookup(
    target: TargetArgument,
    /,
    *,
    port: PortFlag = 0,
    no_trackers: NoTrackersFlag = False,
    tracker_timeout: TrackerTimeoutFlag = PATIENCE,
    flags: ClientFlags = NO_FLAGS,
) -> int:
    """Look up who has a torrent."""
    try:
        magnet, options = parse_target(target), flags.options(port, tracker_timeout)
    except ValueError as error:
        return refuse(error)
    return run_job(options, lambda node, screen: _Lookup(node, screen, magnet, trackers=not no_trackers))


def summary_rows(result: LookupResult) -> list[tuple[str, str]]:
    """Return what a lookup took, for people."""
    return [
        ("nodes", f"{result.nodes_asked} asked, {result.nodes_answered} answered"),
        ("hops", str(result.hops)),
        *_tracker_rows(result),
        ("time", f"{result.seconds:.1f} s"),
    ]


def summary_fields(result: LookupResult) -> dict[str, Any]:
    """Return what a lookup took, for programs."""
    return {
        "peers": len(result.peers),
        "nodes_asked": result.nodes_asked,
        "nodes_answered": result.nodes_answered,
        "hops": result.hops,
        "seconds": round(result.seconds, 3),
        **({"trackers": [_tracker_fields(one) for one in result.trackers]} if result.trackers_asked else {}),
    }


def _tracker_rows(result: LookupResult) -> list[tuple[str, str]]:
    """Return what the trackers of a magnet link said, for people; nothing when there was none."""
    if not result.trackers_asked:
        return []
    answers = [one.answer for one in result.trackers if one.answer is not None]
    text = f"{result.trackers_asked} asked, {len({o.url.text for o in result.trackers if o.answer})} answered"
    if answers:
        seeders = max((a.seeders or 0 for a in answers), default=0)
        leechers = max((a.leechers or 0 for a in answers), default=0)
        text += f"; the largest swarm: {seeders} seeders, {leechers} leechers"
    return [("trackers", text)]


def _tracker_fields(report: TrackerReport) -> dict[str, Any]:
    """Return what one tracker said, for programs."""
    said = {"tracker": report.url.origin, "infohash": report.infohash.hex()}
    if report.answer is None:
        return {**said, **problem_fields(report.error)}
    answer = report.answer
    return {**said, "peers": len(answer.peers), "seeders": answer.seeders, "leechers": answer.leechers}


class _Lookup:
    """One lookup, told as it goes."""

    def __init__(self, node: Node, screen: Screen, magnet: Magnet, *, trackers: bool) -> None:
        self._node = node
        self._screen = screen
        self._search = node.search(magnet, on_peer=self._found, trackers=trackers)

    async def run(self) -> None:
        await self._search.run()

    def live(self) -> str:
        result = self._search.result()
        return (
            f"{len(result.peers)} peers  {result.nodes_asked} nodes asked, "
            f"{result.nodes_answered} answered  hop {result.hops}"
        )

    def finish(self, ending: Ending) -> int:
        result = self._search.result()
        remark_if_cut_off(self._screen, self._node, result)
        if self._screen.json:
            self._screen.record(
                type="summary",
                infohashes=[infohash.hex() for infohash in result.infohashes],
                seeds=result.seeds,
                leechers=result.leechers,
                **summary_fields(result),
                ending=ending.word,
            )
        else:
            rows = [
                ("peers", str(len(result.peers))),
                ("seeds", about(result.seeds)),
                ("leechers", about(result.leechers)),
                *summary_rows(result),
                *ending.rows(),
            ]
            for line in ["", *table(rows)] if result.peers else table(rows):
                self._screen.line(line)
        return FINE if result.peers else NOT_FOUND

    def _found(self, peer: Peer) -> None:
        if self._screen.json:
            self._screen.record(type="peer", infohash=peer.infohash.hex(), peer=str(peer), source=peer.source)
        else:
            self._screen.line(str(peer))
