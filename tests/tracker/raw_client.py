"""The plainest clients of a tracker that there can be, over real sockets, for its tests."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import trio

from crawler.wire import tracker_http, tracker_udp
from crawler.wire.compact import Family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crawler.wire.tracker import AnnounceAnswer, AnnounceRequest, TrackerFailure

PATIENCE = 20.0


class UdpClient:
    """One socket that asks one tracker."""

    def __init__(self, sock: trio.socket.SocketType, family: Family) -> None:
        self.socket = sock
        self.family = family

    async def ask(self, data: bytes) -> bytes:
        """Send ``data`` and return what comes back."""
        await self.socket.send(data)
        with trio.fail_after(PATIENCE):
            return await self.socket.recv(65536)

    async def connect(self) -> bytes:
        """Return a connection id."""
        found = tracker_udp.decode_connect_reply(await self.ask(tracker_udp.encode_connect(1)), 1)
        assert isinstance(found, bytes)
        return found

    async def announce(self, request: AnnounceRequest) -> AnnounceAnswer | TrackerFailure:
        """Connect and announce."""
        data = tracker_udp.encode_announce(request, await self.connect(), 2)
        return tracker_udp.decode_announce_reply(await self.ask(data), 2, self.family)


@contextlib.contextmanager
def udp_client(host: str, port: int | None) -> Iterator[UdpClient]:
    """A client with a socket of its own."""
    family = Family.IPV6 if ":" in host else Family.IPV4
    kind = socket.AF_INET6 if family is Family.IPV6 else socket.AF_INET
    sock = socket.socket(kind, socket.SOCK_DGRAM)
    sock.connect((host, port))
    sock.setblocking(False)
    with trio.socket.from_stdlib_socket(sock) as wrapped:
        yield UdpClient(wrapped, family)


async def http_get(host: str, port: int | None, target: str, *headers: str, source: str = "") -> bytes:
    """Return all of the response to a GET of ``target``, head and body."""
    assert port is not None
    stream = await trio.open_tcp_stream(host, port, local_address=source or None)
    words = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    async with stream:
        with trio.fail_after(PATIENCE):
            await stream.send_all("\r\n".join(words).encode("latin-1"))
            return b"".join([bytes(part) async for part in stream])


async def http_announce(
    host: str, port: int | None, request: AnnounceRequest, *headers: str, source: str = ""
) -> AnnounceAnswer | TrackerFailure:
    """Announce over HTTP."""
    target = f"/announce?{tracker_http.announce_query(request)}"
    head, _, body = (await http_get(host, port, target, *headers, source=source)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return tracker_http.decode_announce(body)
