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
    """What went into a sink since it was opened: ``lines_in`` = ``lines_written`` + ``lines_held``."""

    lines_in: int
    lines_written: int
    lines_held: int
    bytes_written: int
    writes: int
    failures: int


class Sink(Protocol):
    """Where records go."""

    async def run(self, records: trio.MemoryReceiveChannel[list[Record]]) -> None:
        """Write every record of ``records`` until it is closed, then finish what is held and return."""

    def statistics(self) -> SinkStatistics:
        """Return the counts so far."""

    def close(self) -> None:
        """Release the file."""
