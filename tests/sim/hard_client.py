"""The client that the hard worlds are fetched with: it notes how long each infohash took; and its gauges."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from crawler.net.peers import PeerClient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crawler.swarm.metadata import VerifiedMetadata
    from crawler.swarm.pex import PexInbox


class TimedClient(PeerClient):
    """A client that keeps, for each infohash, when its first dial began and when its last one ended."""

    def __init__(self, peer_id: bytes, **options: Any) -> None:
        super().__init__(peer_id, **options)
        self.times: dict[bytes, list[float]] = {}

    async def fetch_metadata(
        self,
        address: bytes,
        infohash: bytes,
        *,
        infohashes: Sequence[bytes] = (),
        switch_to: bytes | None = None,
        pex: PexInbox | None = None,
    ) -> VerifiedMetadata:
        """Fetch, and note the time."""
        times = self.times.setdefault(infohash, [trio.current_time(), 0.0])
        try:
            return await super().fetch_metadata(
                address, infohash, infohashes=infohashes, switch_to=switch_to, pex=pex
            )
        finally:
            times[1] = trio.current_time()


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
