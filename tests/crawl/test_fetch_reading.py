"""Reading huge metadata beside a busy loop, with a real thread and a real clock: the loop goes on."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.crawl.failures import FailuresConfig
from crawler.crawl.fetch import Fetcher, FetchSections
from crawler.crawl.fetch_job import FetchConfig, Origin
from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.daemon.building import let_the_loop_go_first
from crawler.records import Record
from crawler.swarm.metadata import VerifiedMetadata
from crawler.wire import bencode
from crawler.wire.compact import pack_address
from tests.net.task_calls import TaskCalls

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = 110_000
DATAGRAMS = 50
TRIES = 3


def huge() -> bytes:
    """Return an info dict of more than 8 MiB with so many files."""
    files = [
        {b"length": 100, b"path": [b"directory %d" % (n % 99), b"a rather long name %020d" % n]}
        for n in range(FILES)
    ]
    return bencode.encode(
        {b"files": files, b"name": b"huge", b"piece length": 1 << 20, b"pieces": b"p" * 220}
    )


@attrs.define
class Giver:
    """Stands for a `PeerClient` whose peer has just given ``info``."""

    info: bytes

    async def fetch_metadata(self, _peer: bytes, infohash: bytes, **_options: Any) -> VerifiedMetadata:
        await trio.lowlevel.checkpoint()
        return VerifiedMetadata(infohash, self.info)


@pytest.fixture
def turns() -> Iterator[None]:
    """Undo what the daemon does to the interpreter."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def drain(sock: socket.socket) -> None:
    """Receive what is there."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recvfrom(2000)


async def busy(sock: socket.socket, gaps: list[float]) -> None:
    """Be a loop that sends and receives a batch of datagrams every 10 ms; note how long each round takes."""
    while True:
        began = time.monotonic()
        for _ in range(DATAGRAMS):
            sock.sendto(b"x" * 100, sock.getsockname())
        drain(sock)
        await trio.lowlevel.checkpoint()
        gaps.append(time.monotonic() - began)
        await trio.sleep(0.01)


async def read(info: bytes) -> tuple[float, float, str]:
    """Fetch ``info`` beside a busy loop; return the longest round, the seconds of reading, and the line."""
    sender, receiver = trio.open_memory_channel[list[Record]](10)
    outlet = Outlet(OutletConfig(), sender, lambda now: now, lambda: 0)
    fetcher = Fetcher(
        FetchSections(FetchConfig(enabled=True), FailuresConfig()),
        TaskCalls(Giver(info).fetch_metadata),
        outlet,
        seek=lambda _infohash: None,
        admit=lambda _address: True,
    )
    gaps: list[float] = []
    infohash = hashlib.sha1(info).digest()  # noqa: S324 - BEP 3's choice
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy, sock, gaps)
            nursery.start_soon(fetcher.run)
            began = trio.current_time()
            fetcher.offer(infohash, [pack_address(("192.0.2.1", 6881))], Origin.NAMED, began)
            while not fetcher.jobs.counters.fetched:  # noqa: ASYNC110 - a counter wakes nobody
                await trio.sleep(0.005)
            seconds = trio.current_time() - began
            nursery.cancel_scope.cancel()
    outlet.flush()
    [[record]] = [receiver.receive_nowait()]
    return max(gaps), seconds, record.lines().decode()


@pytest.mark.usefixtures("turns")
async def test_the_loop_goes_on_while_huge_metadata_is_read() -> None:
    """Reading 8 MiB of metadata, 110,000 files, holds no round of a busy loop up for a quarter of its time.

    The middle one of three tries, because other programs take the processor too; without a thread, or with
    Python's own way to share the interpreter, one round lasts about half as long as the reading.
    """
    info = huge()
    assert 8 << 20 < len(info) <= 10 << 20
    let_the_loop_go_first()
    tries = []
    for _ in range(TRIES):
        longest, seconds, line = await read(info)
        assert '"files_truncated":true,"file_count":110000' in line
        tries.append((longest, seconds))
    longest, seconds = sorted(tries)[TRIES // 2]
    assert longest < max(0.05, seconds / 4), tries
