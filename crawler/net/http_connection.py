"""One HTTP connection: bytes between a socket and hypercorn's protocol, within the time that it is given.

hypercorn's own server has no bound on connections, and a peer that takes no bytes can hold up its end; so
the protocol is its, and the way to the socket is ours. HTTP/1.1 only: nobody here needs more, and less can go
wrong.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.logging import Logger
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    import h11
    from hypercorn.events import Event
    from hypercorn.typing import AppWrapper

    from crawler.net.http_terms import AsgiApp, HttpConfig, HttpCounters, Message
    from crawler.wire.compact import Address

_RECEIVE_BYTES = 16 * 1024


class Workshop:
    """Makes connections: what they all share."""

    def __init__(
        self, app: AsgiApp, config: HttpConfig, counters: HttpCounters, on_event: Callable[..., None]
    ) -> None:
        """Take what `HttpServer` was given."""
        self.config = config
        self.context = WorkerContext(None)
        self.hypercorn = Config()
        self.hypercorn.h11_max_incomplete_size = config.max_head
        self.hypercorn.include_server_header = False
        self.hypercorn.logger_class = partial(_Log, counters, on_event)  # type: ignore[assignment] # it is called only
        self._app = app

    def connection(
        self, sock: socket.socket, client: Address, heard: Callable[[Connection], None]
    ) -> Connection:
        """Return a connection on a socket just accepted; ``heard`` is called whenever bytes come."""
        return Connection(self, sock, client, heard)

    async def answer(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        *_for_threads: Any,
    ) -> None:
        """Let the application answer; it need not know of anything but requests."""
        if scope["type"] == "http":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close"})


class Connection:
    """One connection; :meth:`run` lasts as long as it does.

    Attributes:
        ended: why it ended, a short token to count by.
    """

    def __init__(
        self, workshop: Workshop, sock: socket.socket, client: Address, heard: Callable[[Connection], None]
    ) -> None:
        """Take over ``sock``, which does not block."""
        self.ended = "closed"
        self._workshop = workshop
        self._client = client
        self._heard = heard
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._server: Address = sock.getsockname()[:2]
        self._sending = trio.Lock()
        self._scope = trio.CancelScope()
        self._idle = True
        self._protocol: _OnlyHttp1

    def hang_up(self, reason: str) -> None:
        """End it now."""
        self.ended = reason
        self._scope.cancel()

    async def run(self) -> None:
        """Serve requests until either side has enough."""
        try:
            self._wait_for_request()
            with self._scope:
                await self._converse()
            if self._scope.cancelled_caught and self.ended == "closed":
                self.ended = "idle" if self._idle else "slow"
        except trio.Cancelled:
            self.ended = "shutdown"
            raise
        except Exception as error:  # noqa: BLE001 - what a stranger sends may hit a fault in the protocol's code
            self.ended = "protocol_failed"
            self._workshop.hypercorn.log.tell("http.failed", exc_info=error)
        finally:
            self._stream.socket.close()

    async def _converse(self) -> None:
        shop = self._workshop
        async with TaskGroup() as tasks:
            self._protocol = _OnlyHttp1(
                cast("AppWrapper", shop.answer),
                shop.hypercorn,
                shop.context,
                tasks,
                ConnectionState({}),
                False,  # no TLS
                self._client,
                self._server,
                self._do,
            )
            while data := await self._receive():
                self._heard(self)
                await self._protocol.handle(RawData(data))
            await self._protocol.handle(Closed())

    async def _receive(self) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""
        if not data:
            # It will ask no more, but may wait for the answer still.
            await self._protocol.handle(RawData(data))
        return data

    async def _do(self, event: Event) -> None:
        """Do what the protocol wants done to the connection."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Updated) and event.idle:
            self._wait_for_request()
        elif isinstance(event, Updated):
            self._idle = False
            self._scope.deadline = trio.current_time() + self._workshop.config.request_timeout
        elif isinstance(event, Closed):
            self._stream.socket.close()
            await self._protocol.handle(Closed())

    def _wait_for_request(self) -> None:
        self._idle = True
        self._scope.deadline = trio.current_time() + self._workshop.config.idle_timeout

    async def _send(self, data: bytes) -> None:
        try:
            async with self._sending:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._protocol.handle(Closed())


class _OnlyHttp1(H11Protocol):
    """HTTP/1.1 that stays so when a client offers HTTP/2."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Go on with the request as it is, as a server may that does not take the offer (RFC 9110 7.8)."""


class _Log(Logger):
    """What hypercorn has to say, as counters and events."""

    def __init__(self, counters: HttpCounters, on_event: Callable[..., None], _config: Config) -> None:
        self._counters = counters
        self.tell = on_event

    async def access(self, request: Any, response: Any, request_time: float) -> None:
        """Count and tell an answer; without one, the client went away first."""
        if response is None:
            return
        status = int(response["status"])
        self._counters.answers[status] += 1
        client = request.get("client") or ("",)
        self.tell(
            "http.request",
            method=request.get("method", ""),
            path=request["path"],
            status=status,
            seconds=round(request_time, 6),
            client=client[0],
        )

    async def exception(self, message: str, *_arguments: Any, **_options: Any) -> None:
        """Tell of an exception in the application."""
        self._counters.failed += 1
        self.tell("http.failed", problem=message, exc_info=sys.exc_info()[1])
