"""The `metadata` command: what a torrent is, from its peers, and a .torrent file of it."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations when the program runs
from typing import TYPE_CHECKING, Annotated

from crawler import __version__, records
from crawler.client.fetching import MetadataNotFoundError
from crawler.client.magnet_trackers import PATIENCE
from crawler.client.target import parse_target
from crawler.commands.client import (
    FINE,
    NO_FLAGS,
    NOT_FOUND,
    OUTPUT,
    ClientFlags,
    NoTrackersFlag,
    PortFlag,
    TargetArgument,
    TrackerTimeoutFlag,
    flag,
    remark_if_cut_off,
    run_job,
)
from crawler.commands.complaint import refuse
from crawler.commands.lookup import summary_fields, summary_rows
from crawler.commands.saving import SaveError, check_place, save
from crawler.commands.text import bytes_text, table, visible, visible_path
from crawler.wire.metainfo import MetainfoError

if TYPE_CHECKING:
    from crawler.client import FoundMetadata, Node
    from crawler.client.fetching import MetadataSearch
    from crawler.commands.client import Ending
    from crawler.commands.screen import Screen
    from crawler.wire.metainfo import Metainfo

_LONGEST_LINE = 64 << 20


def metadata(
    target: TargetArgument,
    /,
    *,
    save: Annotated[Path | None, flag(OUTPUT, "FILE", "write a .torrent of it to FILE, a new one")] = None,
    force: Annotated[bool, flag(OUTPUT, "", "let --save replace FILE if it exists")] = False,
    port: PortFlag = 0,
    no_trackers: NoTrackersFlag = False,
    tracker_timeout: TrackerTimeoutFlag = PATIENCE,
    flags: ClientFlags = NO_FLAGS,
) -> int:
    """Show what a torrent is."""
    try:
        magnet, options = parse_target(target), flags.options(port, tracker_timeout)
        if save is not None:
            check_place(save, force=force)
    except ValueError as error:
        return refuse(error)
    return run_job(
        options,
        lambda node, screen: _Metadata(
            node.metadata_search(magnet, trackers=not no_trackers), node, screen, save, force=force
        ),
    )


def describe(found: Metainfo, peer: str) -> list[str]:
    """Return what an info dict says, as lines for people."""
    name = visible(found.name.text) or "(none)"
    if found.name.encoding:
        name += f"  (read as {found.name.encoding})"
    rows = [("name", name)]
    if found.infohash_v1:
        rows.append(("infohash", found.infohash_v1.hex()))
    if found.infohash_v2:
        rows.append(("infohash v2", found.infohash_v2.hex()))
    rows += [
        ("size", bytes_text(found.size)),
        ("piece length", bytes_text(found.piece_length)),
        ("private", "yes" if found.private else "no"),
        ("from", peer),
    ]
    if found.faults:
        rows.append(("faults", ", ".join(found.faults)))
    rows.append(("files", f"{found.file_count:,}"))
    sizes = [f"{file.size:,}" for file in found.files]
    width = max(map(len, sizes), default=0)
    lines = [
        f"  {size.rjust(width)}  {visible_path(part.text for part in file.path)}"
        for size, file in zip(sizes, found.files, strict=True)
    ]
    if found.files_truncated:
        lines.append(f"  and {found.file_count - len(found.files):,} more")
    return [*table(rows), *lines]


class _Metadata:
    """One search for metadata, told as it goes."""

    def __init__(
        self, job: MetadataSearch, node: Node, screen: Screen, place: Path | None, *, force: bool
    ) -> None:
        self._node = node
        self._screen = screen
        self._place = place
        self._force = force
        self._job = job
        self._found: FoundMetadata | None = None

    async def run(self) -> None:
        try:
            self._found = await self._job.run()
        except MetadataNotFoundError:
            self._found = None

    def live(self) -> str:
        hunt, result = self._job.hunt, self._job.search.result()
        return (
            f"{len(result.peers)} peers, {hunt.tried} tried, {hunt.in_flight} busy  "
            f"{result.nodes_asked} nodes asked, {result.nodes_answered} answered"
        )

    def finish(self, ending: Ending) -> int:
        if self._found is None:
            self._tell_failure(ending)
            return NOT_FOUND
        try:
            metainfo = self._found.parse()
        except MetainfoError as error:
            said = "metadata with the right hash that no program could load"
            self._screen.remark(f"dht-crawler: {self._found.peer} gave {said}: {error}")
            if self._screen.json:
                self._record_failure(ending, unreadable=error.reason)
            return NOT_FOUND
        self._tell(self._found, metainfo)
        return FINE if self._place is None else self._save(self._found, self._place)

    def _tell(self, found: FoundMetadata, metainfo: Metainfo) -> None:
        peer = found.peer
        if self._screen.json:
            record = records.metadata_found(
                time.time(), peer.infohash, metainfo, peer.address, max_line=_LONGEST_LINE
            )
            self._screen.line(record.lines().decode().rstrip("\n"))
            return
        for line in describe(metainfo, str(peer)):
            self._screen.line(line)

    def _save(self, found: FoundMetadata, place: Path) -> int:
        try:
            save(place, found.torrent_file(created_by=f"dht-crawler {__version__}"), force=self._force)
        except SaveError as error:
            self._screen.remark(f"dht-crawler: error: {visible(str(error))}")
            return NOT_FOUND
        except MetainfoError as error:
            self._screen.remark(f"dht-crawler: error: no .torrent can be made of this metadata: {error}")
            return NOT_FOUND
        if not self._screen.json:
            self._screen.line(f"saved as {visible(str(place))}")
        return FINE

    def _tell_failure(self, ending: Ending) -> None:
        hunt, result = self._job.hunt, self._job.search.result()
        remark_if_cut_off(self._screen, self._node, result)
        if self._screen.json:
            self._record_failure(ending)
            return
        reasons = dict(hunt.failures.most_common())
        rows = [
            ("metadata", "not found"),
            ("peers", f"{len(result.peers)} found, {hunt.tried} tried"),
            *([("failures", ", ".join(f"{n} {reason}" for reason, n in reasons.items()))] if reasons else []),
            *summary_rows(result),
            *ending.rows(),
        ]
        for line in table(rows):
            self._screen.line(line)

    def _record_failure(self, ending: Ending, **fields: str) -> None:
        hunt, result = self._job.hunt, self._job.search.result()
        self._screen.record(
            type="summary",
            infohashes=[infohash.hex() for infohash in result.infohashes],
            tried=hunt.tried,
            failures=dict(hunt.failures.most_common()),
            **fields,
            **summary_fields(result),
            ending=ending.word,
        )
