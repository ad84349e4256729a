"""The `announce` command: tells the DHT, or trackers, that we have a torrent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import Group

from crawler.client.target import parse_target
from crawler.commands.announce_trackers import AnnounceToTrackers
from crawler.commands.client import (
    DEFAULT_TIMEOUT,
    FINE,
    NO_FLAGS,
    NOT_FOUND,
    ClientFlags,
    TargetArgument,
    check_port,
    flag,
    remark_if_cut_off,
    run_job,
    run_tracker_job,
)
from crawler.commands.complaint import refuse
from crawler.commands.lookup import summary_fields, summary_rows
from crawler.commands.text import table
from crawler.commands.trackers import TrackerFlag, check_trackers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawler.client import Node
    from crawler.client.announcing import Announce
    from crawler.commands.client import Ending
    from crawler.commands.screen import Screen
    from crawler.wire.tracker_url import TrackerUrl

_ANNOUNCE = Group("What is announced", sort_key=0)


def announce(
    target: TargetArgument,
    /,
    *,
    port: Annotated[int, flag(_ANNOUNCE, "PORT", "where peers reach us, TCP and UDP")],
    implied_port: Annotated[
        bool,
        flag(
            _ANNOUNCE,
            "",
            "send from UDP port PORT, and have nodes take the port that they see; "
            "with --listen, from the port given there",
        ),
    ] = False,
    tracker: TrackerFlag | None = None,
    seed: Annotated[bool, flag(_ANNOUNCE, "", "we have all of it")] = False,
    stay: Annotated[
        bool, flag(_ANNOUNCE, "", "to trackers: announce again when they want it, until Ctrl-C; then leave")
    ] = False,
    flags: ClientFlags = NO_FLAGS,
) -> int:
    """Announce that we have a torrent."""
    try:
        check_port("--port", port)
        magnet = parse_target(target)
        options = flags.options(port if implied_port and not flags.listen else 0)
        trackers = check_trackers(tracker or [])
        _check_tracker_flags(trackers, implied_port=implied_port, stay=stay)
    except ValueError as error:
        return refuse(error)
    if trackers:
        if stay and flags.timeout == DEFAULT_TIMEOUT:
            options = attrs.evolve(options, timeout=float("inf"))
        return run_tracker_job(
            options,
            lambda client, screen: AnnounceToTrackers(
                client, screen, magnet, trackers, port, seed=seed, stay=stay
            ),
        )
    return run_job(
        options,
        lambda node, screen: _Announce(
            screen,
            node,
            node.announcement(magnet, port, implied_port=implied_port, seed=seed),
            {"port": port, "implied_port": implied_port, "seed": seed},
        ),
    )


def _check_tracker_flags(trackers: Sequence[TrackerUrl], *, implied_port: bool, stay: bool) -> None:
    """Refuse flags that mean nothing together.

    Raises:
        ValueError: one line for a person.
    """
    if trackers and implied_port:
        raise ValueError("--implied-port is for the DHT; with --tracker give the port with --port")
    if stay and not trackers:
        raise ValueError("--stay is for trackers; name one with --tracker")


class _Announce:
    """One announce, told as it goes."""

    def __init__(self, screen: Screen, node: Node, job: Announce, said: dict[str, Any]) -> None:
        self._node = node
        self._screen = screen
        self._announce = job
        self._said = said

    async def run(self) -> None:
        await self._announce.run()

    def live(self) -> str:
        result = self._announce.result()
        return (
            f"{len(result.accepted)} announced  {result.lookup.nodes_asked} nodes asked, "
            f"{result.lookup.nodes_answered} answered  hop {result.lookup.hops}"
        )

    def finish(self, ending: Ending) -> int:
        result = self._announce.result()
        remark_if_cut_off(self._screen, self._node, result.lookup)
        if self._screen.json:
            for node in result.accepted:
                self._screen.record(type="announced", node=node)
            self._screen.record(
                type="summary",
                infohashes=[infohash.hex() for infohash in result.lookup.infohashes],
                **self._said,
                accepted=len(result.accepted),
                refused=result.refused,
                silent=result.silent,
                **summary_fields(result.lookup),
                ending=ending.word,
            )
        else:
            which = "the port that nodes see" if self._said["implied_port"] else f"port {self._said['port']}"
            rows = [
                ("announced", f"{which}, to {len(result.accepted)} nodes"),
                ("refused", f"by {result.refused}, no answer from {result.silent}"),
                ("others", f"{len(result.lookup.peers)} peers are known there"),
                *summary_rows(result.lookup),
                *ending.rows(),
            ]
            for line in table(rows):
                self._screen.line(line)
        return FINE if result.accepted else NOT_FOUND
