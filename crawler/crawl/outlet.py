"""Where the stages put what they found: a bounded channel towards the sink that never makes them wait.

The stages run inside the handling of a datagram and must not block there. So the outlet takes a record at
once, hands batches to the channel as it has room, and says when it is full; then the pace stops asking, and
what still comes in is shed at the socket. A record that was taken is never dropped.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.records import MetadataFound, Record


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
    ) -> None:
        """Send to ``channel``, which the outlet owns; ``wall_clock`` turns Trio's time into epoch seconds."""
        self.wall_clock = wall_clock
        self._config = config
        self._channel = channel
        self._waiting: list[Record] = []
        self._lines_waiting = 0
        self._metadata = 0
        self._in_channel: deque[int] = deque()

    @property
    def full(self) -> bool:
        """Whether nothing more should be asked until the sink has caught up."""
        return (
            self._lines_waiting >= self._config.max_waiting
            or self.metadata_waiting >= self._config.max_metadata
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
        return self._lines_waiting >= 2 * self._config.max_waiting

    @property
    def lines_waiting(self) -> int:
        """Lines taken but not handed to the channel yet."""
        return self._lines_waiting

    def put(self, record: Record) -> None:
        """Take ``record``."""
        self._waiting.append(record)
        self._lines_waiting += len(record)

    def put_metadata(self, record: MetadataFound) -> None:
        """Take ``record``, which may be large."""
        self.put(record)
        self._metadata += len(record.line)

    def flush(self) -> None:
        """Hand what waits to the channel if it has room."""
        if not self._waiting:
            return
        try:
            self._channel.send_nowait(self._waiting)
        except trio.WouldBlock:
            return
        # A batch without metadata counts too, or nobody could tell which ones the sink has taken.
        self._in_channel.append(self._metadata)
        self._waiting = []
        self._lines_waiting = self._metadata = 0

    async def finish(self) -> None:
        """Hand over the rest, waiting for room, and close the channel."""
        try:
            if self._waiting:
                batch, self._waiting, self._lines_waiting = self._waiting, [], 0
                await self._channel.send(batch)
        finally:
            self._channel.close()
