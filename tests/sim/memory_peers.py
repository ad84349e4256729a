"""Peers in virtual time: links without a kernel between our peer client and scripted peers.

Stands in for `net.tcp.dial` and for nothing else: what our side says and verifies is the real client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio

from crawler.net.tcp import LinkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RTT = 0.1
"""Seconds that it takes to connect."""


class _Pipe:
    """Bytes on their way in one direction."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.closed = False
        self.news = trio.Event()

    def put(self, data: bytes) -> None:
        self.data += data
        self.news.set()

    def close(self) -> None:
        self.closed = True
        self.news.set()

    async def wait(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.data and not self.closed:
            self.news = trio.Event()
            await self.news.wait()

    def take(self) -> bytes:
        data = bytes(self.data)
        self.data.clear()
        return data


class MemoryLink:
    """Our end, as `net.tcp.converse` knows a link."""

    def __init__(self, ours: _Pipe, theirs: _Pipe) -> None:
        self.unsent = b""
        self._ours, self._theirs = ours, theirs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._theirs.close()

    def send_some(self, data: bytes) -> None:
        self._theirs.put(data)

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_readable(self) -> None:
        await self._ours.wait()

    def receive_some(self) -> bytes | None:
        if not self._ours.data and self._ours.closed:
            raise LinkError("closed")
        return self._ours.take() or None


class PeerEnd:
    """The scripted peer's end, a stream."""

    def __init__(self, ours: _Pipe, theirs: _Pipe) -> None:
        self._ours, self._theirs = ours, theirs

    async def receive_some(self, _most: int = 0) -> bytes:
        await self._theirs.wait()
        return self._theirs.take()

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._theirs.closed:
            raise trio.BrokenResourceError
        self._ours.put(data)

    def close(self) -> None:
        self._ours.close()


class MemoryPeers:
    """Everybody who may be dialled.

    Args:
        answers: whether the peer at a compact address answers.
        play: is the peer at a compact address until it closes.
    """

    def __init__(
        self, answers: Callable[[bytes], bool], play: Callable[[bytes, PeerEnd], Awaitable[None]]
    ) -> None:
        self._answers = answers
        self._play = play
        self._nursery: trio.Nursery | None = None
        self.dialled = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Play the peers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def dial(self, address: bytes) -> MemoryLink:
        """Stand in for `net.tcp.dial`."""
        assert self._nursery is not None
        self.dialled += 1
        if not self._answers(address):
            await trio.sleep_forever()
        await trio.sleep(RTT)
        ours, theirs = _Pipe(), _Pipe()
        self._nursery.start_soon(self._be, address, PeerEnd(ours, theirs))
        return MemoryLink(ours, theirs)

    async def _be(self, address: bytes, end: PeerEnd) -> None:
        try:
            await self._play(address, end)
        except trio.BrokenResourceError:
            pass
        finally:
            end.close()
