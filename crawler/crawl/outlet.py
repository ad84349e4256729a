"""Where the stages put what they found: a bounded channel towards the sink that never makes them wait.

The stages run inside the handling of a datagram and must not block there. So the outlet takes a record at
once, hands batches to the channel as it has room, and says when it is full; then the pace stops asking, and
what still comes in is shed at the socket. A record that was taken is never dropped.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.records import MetadataFound, Record


_SINK_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.frozen
class OutletConfig:
    """How much may wait for the sink."""

    max_waiting: int = setting(
        100_000, unit="lines", help="Lines that wait for a slow sink before asking pauses.", minimum=1
    )
    max_metadata: int = setting(
        64 << 20,
        unit="bytes",
        help="Lines of metadata that wait for a slow sink before asking pauses.",
        minimum=1,
    )


class Outlet:
    """The stages' end of the channel to the sink."""

    def __init__(
        self,
        config: OutletConfig,
        channel: trio.MemorySendChannel[list[Record]],
        wall_clock: Callable[[float], float],
        written: Callable[[], int],
    ) -> None:
        """Send to ``channel``, which the outlet owns.

        Args:
            config: how much may wait.
            channel: leads to the sink.
            wall_clock: turns Trio's time into epoch seconds.
            written: how many lines the sink has written.
        """
        self.wall_clock = wall_clock
        self.lines_in = 0
        self._config = config
        self._channel = channel
        self._written = written
        self._waiting: list[Record] = []
        self._metadata = 0
        self._in_channel: deque[int] = deque()

    @property
    def lines_held(self) -> int:
        """Lines taken but not written yet: here, in the channel, or in the sink."""
        return self.lines_in - self._written()

    @property
    def full(self) -> bool:
        """Whether nothing more should be asked until the sink has caught up."""
        return (
            self.lines_held >= self._config.max_waiting or self.metadata_waiting >= self._config.max_metadata
        )

    @property
    def metadata_waiting(self) -> int:
        """Bytes of metadata lines that the sink has not taken yet, here and in the channel."""
        if self._in_channel:
            for _ in range(len(self._in_channel) - self._channel.statistics().current_buffer_used):
                self._in_channel.popleft()
        return self._metadata + sum(self._in_channel)

    @property
    def overfull(self) -> bool:
        """Whether even answers on their way can no longer be kept."""
        return self.lines_held >= 2 * self._config.max_waiting

    def put(self, record: Record) -> None:
        """Take ``record``."""
        self._waiting.append(record)
        self.lines_in += len(record)

    def put_metadata(self, record: MetadataFound) -> None:
        """Take ``record``, which may be large."""
        self.put(record)
        self._metadata += len(record.line)

    def flush(self) -> None:
        """Hand what waits to the channel if it has room."""
        if self._waiting:
            with contextlib.suppress(trio.WouldBlock, *_SINK_GONE):
                self._channel.send_nowait(self._waiting)
                # A batch without metadata counts too, or nobody could tell which ones the sink has taken.
                self._in_channel.append(self._metadata)
                self._waiting = []
                self._metadata = 0

    async def finish(self) -> None:
        """Hand over the rest, waiting for room, and close the channel; a sink that is gone is no error."""
        with self._channel, contextlib.suppress(*_SINK_GONE):
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._channel.send(batch)
