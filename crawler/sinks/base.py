"""What a sink is: it takes batches of records from a channel until that ends, and says how it fares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    import trio

    from crawler.records import Record


class SinkError(Exception):
    """A sink cannot be opened; one line for a person."""


class ReaderGoneError(Exception):
    """Whoever read our output is gone (a closed pipe): there is nothing left to do."""


@attrs.frozen
class SinkStatistics:
    """What went into a sink since it was opened: ``lines_in`` = written + held + dropped.

    Attributes:
        lines_in: lines taken.
        lines_written: lines acknowledged: wholly written and, where they go to a file, on the disk.
        lines_held: lines that wait or are being written.
        lines_dropped: lines that a lagging sink had no room for while another had.
        bytes_written: bytes that the system took, rewritten ones too.
        writes: batches acknowledged.
        failures: attempts at a batch that failed.
        alarms: times that somebody should have a look: lines are not accepted any more, as by a full disk, or
            the disk's word could not be trusted, so that a new file was begun.
        lines_rewritten: lines of batches begun in one file and written anew to another.
        torn: last lines cut off at opening.
        reopened: times that a file was followed after it was renamed or removed by others.
        rotated: files closed because of their size or age.
        compressed: closed files compressed.
        compress_failures: closed files that could not be compressed or deleted.
        segments_deleted: closed files deleted to keep to the total.
        trouble: why lines are not accepted at the moment; empty when they are.
    """

    lines_in: int = 0
    lines_written: int = 0
    lines_held: int = 0
    lines_dropped: int = 0
    bytes_written: int = 0
    writes: int = 0
    failures: int = 0
    alarms: int = 0
    lines_rewritten: int = 0
    torn: int = 0
    reopened: int = 0
    rotated: int = 0
    compressed: int = 0
    compress_failures: int = 0
    segments_deleted: int = 0
    trouble: str = ""


class Sink(Protocol):
    """Where records go."""

    async def run(self, records: trio.MemoryReceiveChannel[list[Record]]) -> None:
        """Write every record of ``records`` until it is closed, then finish what is held and return."""

    def reopen(self) -> None:
        """Follow a file that was renamed, at once."""

    def statistics(self) -> SinkStatistics:
        """Return the counts so far."""

    def close(self) -> None:
        """Release the file."""
