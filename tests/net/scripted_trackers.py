"""Trackers on loopback that say what a test wants: UDP datagrams and HTTP responses, byte by byte."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import trio

from crawler.wire import tracker_udp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from crawler.wire.compact import Address

CONNECTION_ID = b"\x11\x22\x33\x44\x55\x66\x77\x88"


class UdpTracker:
    """A UDP tracker that answers connects, and everything else as ``answer(request)`` says.

    Attributes:
        seen: what came in, as (datagram, source).
    """

    def __init__(self, answer: Callable[[bytes], list[bytes]], host: str = "127.0.0.1") -> None:
        self.seen: list[tuple[bytes, Address]] = []
        kind = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
        self.socket = trio.socket.socket(kind, trio.socket.SOCK_DGRAM)
        self._answer = answer
        self._host = host

    @property
    def url(self) -> str:
        """Where it is."""
        host, port = self.socket.getsockname()[:2]
        return f"udp://[{host}]:{port}/announce" if ":" in host else f"udp://{host}:{port}/announce"

    @property
    def actions(self) -> list[int]:
        """The actions that were asked for."""
        return [tracker_udp.read_head(data)[1] for data, _ in self.seen]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[UdpTracker]:
        """Serve for the length of the block."""
        with self.socket:
            await self.socket.bind((self._host, 0))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve)
                yield self
                nursery.cancel_scope.cancel()

    async def _serve(self) -> None:
        while True:
            data, source = await self.socket.recvfrom(4096)
            self.seen.append((data, source[:2]))
            _, action, transaction = tracker_udp.read_head(data)
            if action == tracker_udp.CONNECT:
                await self.socket.sendto(tracker_udp.encode_connect_reply(transaction, CONNECTION_ID), source)
                continue
            for reply in self._answer(data):
                await self.socket.sendto(reply, source)


class HttpTracker:
    """An HTTP server of one answer: ``answer(target)`` gives bytes, or handles the stream by itself.

    Attributes:
        heads: the heads of the requests that came in.
    """

    def __init__(
        self, answer: Callable[[str], bytes | Callable[[trio.SocketStream], Awaitable[None]]]
    ) -> None:
        self.heads: list[str] = []
        self.port = 0
        self._answer = answer

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/announce"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[HttpTracker]:
        """Serve for the length of the block."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._serve, listeners)
            yield self
            nursery.cancel_scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            head = b""
            while b"\r\n\r\n" not in head:
                part = await stream.receive_some()
                if not part:
                    return
                head += part
            self.heads.append(head.decode("latin-1"))
            answer = self._answer(head.split(b" ", 2)[1].decode())
            if isinstance(answer, bytes):
                await stream.send_all(answer)
            else:
                await answer(stream)
            await stream.aclose()


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return an HTTP response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def free_port() -> int:
    """Return a TCP port of loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
