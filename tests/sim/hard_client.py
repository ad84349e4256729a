"""The calls that the hard worlds are fetched with, which note how long each infohash took; and gauges."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from crawler.net.calls import LinkCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.net.calls import Wish
    from crawler.net.peers import FetchError, PeerClient
    from crawler.swarm.metadata import VerifiedMetadata


class TimedCalls(LinkCalls):
    """Calls that keep, for each infohash, when its first dial began and when its last one ended."""

    def __init__(self, client: PeerClient) -> None:
        super().__init__(client)
        self.times: dict[bytes, list[float]] = {}

    def begin(self, wish: Wish) -> Callable[[], None]:
        """Call, and note the time."""
        times = self.times.setdefault(wish.infohash, [trio.current_time(), 0.0])
        on_end = wish.on_end

        def ended(outcome: VerifiedMetadata | FetchError, now: float) -> None:
            times[1] = now
            on_end(outcome, now)

        wish.on_end = ended
        hang_up = super().begin(wish)

        def hung_up() -> None:
            times[1] = trio.current_time()
            hang_up()

        return hung_up


def open_files() -> int:
    """Return how many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for is in counters and in the kernel
        await trio.sleep(0.02)
