"""Where the stages put what they found: a bounded channel towards the sink that never makes them wait.

The stages run inside the handling of a datagram and must not block there. So the outlet takes a record at
once, hands batches to the channel as it has room, and says when it is full; then the pace stops asking, and
what still comes in is shed at the socket. A record that was taken is never dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.records import Record


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
    ) -> None:
        """Send to ``channel``, which the outlet owns; ``wall_clock`` turns Trio's time into epoch seconds."""
        self.wall_clock = wall_clock
        self.infohashes = 0
        self.peers = 0
        self._config = config
        self._channel = channel
        self._waiting: list[Record] = []
        self._lines_waiting = 0

    @property
    def full(self) -> bool:
        """Whether nothing more should be asked until the sink has caught up."""
        return self._lines_waiting >= self._config.max_waiting

    @property
    def overfull(self) -> bool:
        """Whether even answers on their way can no longer be kept."""
        return self._lines_waiting >= 2 * self._config.max_waiting

    @property
    def lines_waiting(self) -> int:
        """Lines taken but not handed to the channel yet."""
        return self._lines_waiting

    def put(self, record: Record) -> None:
        """Take ``record``."""
        self._waiting.append(record)
        self._lines_waiting += len(record)

    def flush(self) -> None:
        """Hand what waits to the channel if it has room."""
        if not self._waiting:
            return
        try:
            self._channel.send_nowait(self._waiting)
        except trio.WouldBlock:
            return
        self._waiting = []
        self._lines_waiting = 0

    async def finish(self) -> None:
        """Hand over the rest, waiting for room, and close the channel."""
        try:
            if self._waiting:
                batch, self._waiting, self._lines_waiting = self._waiting, [], 0
                await self._channel.send(batch)
        finally:
            self._channel.close()
