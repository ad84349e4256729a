"""The HTTP door over loopback, with real clients: who is served, who must go, and what is left at the end."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
from typing import TYPE_CHECKING, Any

import attrs
import httpx2
import pytest
import trio

from crawler.net.http import ExtraMissingError, HttpServer, url_of
from crawler.net.http_terms import HttpConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from crawler.net.http_terms import Message

LONG = b"x" * (32 << 20)  # more than any socket takes without a reader


async def answer(
    scope: Message, _receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """An application with a path for each thing that can happen."""
    assert scope["type"] == "http"
    if scope["path"] == "/fault":
        raise ZeroDivisionError("a fault of our own")
    if scope["path"] == "/hang":
        await trio.sleep_forever()
    body = LONG if scope["path"] == "/long" else f"{scope['method']} {scope['path']}".encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


@attrs.define
class Running:
    """A server in its nursery."""

    server: HttpServer
    url: str
    told: list[tuple[str, dict[str, Any]]]


@contextlib.asynccontextmanager
async def serving(listen: str = "127.0.0.1:0", **settings: Any) -> AsyncIterator[Running]:
    """Serve in the block, then cancel and see that everything is closed within half a second."""
    told: list[tuple[str, dict[str, Any]]] = []
    server = HttpServer(
        answer, HttpConfig(listen=listen, **settings), lambda event, **fields: told.append((event, fields))
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            address = await nursery.start(server.run)
            assert address == server.local
            yield Running(server, url_of(address), told)
            ended = trio.current_time()
            nursery.cancel_scope.cancel()
    assert trio.current_time() - ended < 0.5
    assert server.connections == 0
    assert sum(server.counters.ended.values()) == server.counters.accepted
    with pytest.raises(OSError, match=r"refused|failed"):
        await trio.open_tcp_stream(*server.local)
    gc.collect()  # a socket left open would warn, and a warning fails the test


async def until(running: Running, reason: str, count: int = 1) -> None:
    """Wait until so many connections ended for a reason."""
    with trio.fail_after(5):
        while running.server.counters.ended[reason] < count:  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(0.005)


async def exchange(running: Running, request: bytes) -> bytes:
    """Send bytes on a connection of their own and return all that comes until it is closed."""
    async with await trio.open_tcp_stream(*running.server.local) as stream:
        await stream.send_all(request)
        await stream.send_eof()
        return b"".join([bytes(data) async for data in stream])


async def answered(stream: trio.SocketStream) -> None:
    """Read the answer to a request for /a."""
    heard = b""
    while not heard.endswith(b"\r\n\r\nGET /a"):
        heard += await stream.receive_some()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
async def test_requests_are_answered(listen: str) -> None:
    """Over both families, several on one connection, each told and counted; HEAD gets no body."""
    async with serving(listen) as running, httpx2.AsyncClient(base_url=running.url) as client:
        assert (await client.get("/a")).text == "GET /a"
        assert (await client.get("/b%20c?d")).text == "GET /b c"
        head = await client.head("/a")

        assert (head.headers["content-length"], head.text) == ("7", "")
        assert "server" not in head.headers
        assert running.server.counters.accepted == 1
        with trio.fail_after(5):
            while running.server.counters.answers != {200: 3}:  # noqa: ASYNC110 - counted once it is sent
                await trio.sleep(0.005)
        assert [(event, fields["path"], fields["status"]) for event, fields in running.told] == [
            ("http.request", "/a", 200),
            ("http.request", "/b c", 200),
            ("http.request", "/a", 200),
        ]


async def test_a_fault_in_the_application_ends_one_request() -> None:
    """An exception becomes a 500 and an event with its traceback; the next request is served."""
    async with serving() as running, httpx2.AsyncClient(base_url=running.url) as client:
        assert (await client.get("/fault")).status_code == 500
        assert (await client.get("/a")).status_code == 200

        [fields] = [fields for event, fields in running.told if event == "http.failed"]
        assert isinstance(fields["exc_info"], ZeroDivisionError)
        assert running.server.counters.failed == 1


async def test_who_asks_nothing_must_go() -> None:
    """A connection without a request, or with one that never ends, is closed when its time is over."""
    async with serving(idle_timeout=0.1) as running:
        for begun in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            async with await trio.open_tcp_stream(*running.server.local) as stream:
                await stream.send_all(begun or b"G")
                assert [data async for data in stream] == []
        await until(running, "idle", 2)


async def test_who_sends_drop_by_drop_must_go() -> None:
    """Bytes that come one by one do not lengthen the time for a whole request."""
    async with serving(idle_timeout=0.1) as running:
        async with await trio.open_tcp_stream(*running.server.local) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                for byte in b"GET / HTTP/1.1\r\nHost: " + b"x" * 1000:
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(0.005)
                raise AssertionError("it was let go on for five seconds")
        await until(running, "idle")


async def test_who_takes_nothing_must_go() -> None:
    """A client that does not read its answer is cut off, though the sending itself would wait for ever."""
    async with (
        serving(request_timeout=0.2) as running,
        await trio.open_tcp_stream(*running.server.local) as stream,
    ):
        await stream.send_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(running, "slow")


async def test_the_end_waits_for_nobody() -> None:
    """With silent, hanging and deaf clients connected, cancelling closes everything at once."""
    async with serving() as running, contextlib.AsyncExitStack() as streams:
        for begun in (
            b"G",
            b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            stream = await streams.enter_async_context(await trio.open_tcp_stream(*running.server.local))
            await stream.send_all(begun)
        with trio.fail_after(5):
            while running.server.connections < 3:  # noqa: ASYNC110 - the kernel tells nobody
                await trio.sleep(0.005)


async def test_the_most_silent_makes_room() -> None:
    """When all seats are taken, who was silent longest loses his, and a new client is served."""
    async with serving(max_connections=3) as running, contextlib.AsyncExitStack() as streams:
        silent = []
        for _ in range(3):
            stream = await streams.enter_async_context(await trio.open_tcp_stream(*running.server.local))
            await stream.send_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            await answered(stream)
            silent.append(stream)
        await silent[0].send_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await answered(silent[0])
        async with httpx2.AsyncClient(base_url=running.url) as client:
            assert (await client.get("/a")).status_code == 200

        assert await silent[1].receive_some() == b""
        assert running.server.counters.ended == {"no_seat": 1}
        assert running.server.connections <= 3


@pytest.mark.parametrize(
    "request_line",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\nBroken\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    ],
)
async def test_garbage_harms_nobody(request_line: bytes) -> None:
    """What is no HTTP is refused or closed, and the next client is served."""
    async with serving() as running:
        with contextlib.suppress(trio.BrokenResourceError):
            heard = await exchange(running, request_line)
            assert not heard or heard.startswith(b"HTTP/1.1 ")
        async with httpx2.AsyncClient(base_url=running.url) as client:
            assert (await client.get("/a")).status_code == 200
        assert running.server.counters.failed == 0


async def test_an_answer_outlives_half_a_connection() -> None:
    """Who closes its sending side after the request still gets the answer."""
    async with serving() as running:
        heard = await exchange(running, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert heard.endswith(b"\r\n\r\nGET /a")


@pytest.mark.parametrize(
    "offer",
    [
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        b"Upgrade: tls/1.2\r\nConnection: Upgrade\r\n",
    ],
)
async def test_other_protocols_are_not_taken_up(offer: bytes) -> None:
    """A client that offers HTTP/2 or worse is answered in HTTP/1.1."""
    async with serving() as running:
        heard = await exchange(running, b"GET /a HTTP/1.1\r\nHost: x\r\n" + offer + b"\r\n")
        assert heard.startswith(b"HTTP/1.1 200")


async def test_websockets_are_refused() -> None:
    """A websocket handshake gets a 403; the application never sees it."""
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    upgrade = b"GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + key + b"\r\n"
    async with serving() as running:
        assert (await exchange(running, upgrade)).startswith(b"HTTP/1.1 403")
        assert running.server.counters.failed == 0


async def test_a_taken_port_is_an_error_at_once() -> None:
    """The address is bound when the server is made, so that a mistake is told before anything runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        HttpServer(answer, HttpConfig(listen=f"127.0.0.1:{taken.getsockname()[1]}"))


async def test_a_server_that_never_ran_can_be_closed() -> None:
    """Closing the door of a server gives its port back."""
    server = HttpServer(answer, HttpConfig(listen="127.0.0.1:0"))
    server.close()
    HttpServer(answer, HttpConfig(listen=f"127.0.0.1:{server.local[1]}")).close()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hypercorn one line says what to install."""
    monkeypatch.delitem(sys.modules, "crawler.net.http_connection", raising=False)
    monkeypatch.setitem(sys.modules, "hypercorn.config", None)
    with pytest.raises(ExtraMissingError, match=r'pip install "dht-crawler\[http\]"') as raised:
        HttpServer(answer, HttpConfig(listen="127.0.0.1:0"))
    assert "\n" not in str(raised.value)
