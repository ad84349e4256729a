"""Where the stages put what they found: a bounded channel towards the sink that never makes them wait.

The stages run inside the handling of a datagram and must not block there. So the outlet takes a record at
once, hands batches to the channel as it has room, and says when it is full; then the pace stops asking, and
what still comes in is shed at the socket. A record that was taken is never dropped.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.records import Record


_SINK_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.frozen
class OutletConfig:
    """How much may wait for the sink."""

    max_waiting: int = setting(
        100_000, unit="lines", help="Lines that wait for a slow sink before asking pauses.", minimum=1
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

    @property
    def lines_held(self) -> int:
        """Lines taken but not written yet: here, in the channel, or in the sink."""
        return self.lines_in - self._written()

    @property
    def full(self) -> bool:
        """Whether nothing more should be asked until the sink has caught up."""
        return self.lines_held >= self._config.max_waiting

    @property
    def overfull(self) -> bool:
        """Whether even answers on their way can no longer be kept."""
        return self.lines_held >= 2 * self._config.max_waiting

    def put(self, record: Record) -> None:
        """Take ``record``."""
        self._waiting.append(record)
        self.lines_in += len(record)

    def flush(self) -> None:
        """Hand what waits to the channel if it has room."""
        if self._waiting:
            with contextlib.suppress(trio.WouldBlock, *_SINK_GONE):
                self._channel.send_nowait(self._waiting)
                self._waiting = []

    async def finish(self) -> None:
        """Hand over the rest, waiting for room, and close the channel; a sink that is gone is no error."""
        with self._channel, contextlib.suppress(*_SINK_GONE):
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._channel.send(batch)
