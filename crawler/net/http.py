"""The HTTP door: one bound address, as many connections as there are seats, an ASGI application behind it.

What is answered is the application's business. Here is what every server needs, whoever may come: seats that
silent visitors can't keep, patience with an end, and errors of a request that end that request. hypercorn
speaks the protocol; it is an extra, so it is imported when a door is opened.
"""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs
import trio

from crawler.net.listening import bind_tcp
from crawler.settings import setting
from crawler.wire.compact import format_address, pack_address, parse_address

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, MutableMapping

    from crawler.net.http_connection import Connection, Workshop
    from crawler.wire.compact import Address

    Message = MutableMapping[str, Any]
    AsgiApp = Callable[
        [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
    ]

_TRANSIENT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE: Final = 0.1
"""Seconds to wait when the system has no descriptors or memory for one more connection."""


class ExtraMissingError(RuntimeError):
    """What was asked for needs packages that are not installed; the message names the extra, in one line."""


@attrs.frozen
class HttpConfig:
    """Where HTTP is served, and how patiently."""

    listen: str = setting("", unit="ADDR:PORT", help='Serve HTTP here; port 0 picks one; "" for nowhere.')
    max_connections: int = setting(
        64,
        unit="connections",
        help="Connections at once; for one more, the one that was silent longest is closed.",
        minimum=1,
    )
    idle_timeout: float = setting(
        30.0, unit="s", help="A connection on which no whole request comes for so long is closed.", above=0
    )
    request_timeout: float = setting(
        10.0, unit="s", help="A request must be answered, and the answer taken, within this.", above=0
    )
    max_head: int = setting(
        16_384, unit="bytes", help="A request with a longer line and headers is refused.", minimum=256
    )


@attrs.define
class HttpCounters:
    """What became of those who came: accepted = open + each way to end.

    Attributes:
        accepted: connections.
        ended: connections, by why they ended.
        answers: requests answered, by status code.
        failed: requests in which our own code failed.
    """

    accepted: int = 0
    ended: Counter[str] = attrs.field(factory=Counter)
    answers: Counter[int] = attrs.field(factory=Counter)
    failed: int = 0


class HttpServer:
    """A bound address at which an ASGI application answers.

    The application gets scopes of type ``http`` only (HTTP/1.1; no lifespan, websockets are refused). An
    exception in it ends that request with status 500 and is told as ``http.failed``, since what a stranger
    sent chose the way there.

    Args:
        app: the application.
        config: the address and the patience.
        on_event: is told ``http.request`` of every answer, and ``http.failed`` with ``exc_info``.

    Attributes:
        local: the bound address.
        counters: what became of those who came.

    Raises:
        OSError: the address cannot be bound.
        ValueError: it is no literal address and port.
        ExtraMissingError: hypercorn is not installed.
    """

    def __init__(
        self,
        app: AsgiApp,
        config: HttpConfig,
        on_event: Callable[..., None] = lambda *_words, **_fields: None,
    ) -> None:
        self.counters = HttpCounters()
        self._config = config
        self._connections: dict[Connection, None] = {}
        self._workshop = _workshop(app, config, self.counters, on_event)
        self._socket = bind_tcp(parse_address(config.listen))
        self.local: Address = self._socket.getsockname()[:2]

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def close(self) -> None:
        """Close the door; for a server that was bound and never ran."""
        self._socket.close()

    async def run(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Serve until cancelled, then hang up on everybody; reports the bound address when ready."""
        try:
            async with trio.open_nursery() as nursery:
                task_status.started(self.local)
                while True:
                    await trio.lowlevel.wait_readable(self._socket)
                    await self._accept(nursery)
        finally:
            self._socket.close()
        raise AssertionError("the loop above ends by cancellation only")

    async def _accept(self, nursery: trio.Nursery) -> None:
        try:
            sock, address = self._socket.accept()
        except OSError as error:
            if error.errno in _TRANSIENT:
                self.counters.ended["no_descriptors"] += 1
                await trio.sleep(_PAUSE)
            return
        self.counters.accepted += 1
        while len(self._connections) >= self._config.max_connections:
            silent = next(iter(self._connections))
            del self._connections[silent]
            silent.hang_up("no_seat")
        nursery.start_soon(self._serve, sock, address[:2], name="http connection")

    async def _serve(self, sock: socket.socket, client: Address) -> None:
        connection = self._workshop.connection(sock, client, self._heard)
        self._connections[connection] = None
        try:
            await connection.run()
        finally:
            self._connections.pop(connection, None)
            self.counters.ended[connection.ended] += 1

    def _heard(self, connection: Connection) -> None:
        """Put a connection on which something came behind all others."""
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None


def url_of(address: Address) -> str:
    """Return ``http://ADDR:PORT`` of a bound address."""
    return f"http://{format_address(pack_address(address))}"


def _workshop(
    app: AsgiApp, config: HttpConfig, counters: HttpCounters, on_event: Callable[..., None]
) -> Workshop:
    try:
        from crawler.net.http_connection import Workshop  # noqa: PLC0415 - it imports the extra
    except ImportError as error:
        raise ExtraMissingError(
            f'HTTP needs packages that are missing ({error.name}): pip install "dht-crawler[http]"'
        ) from error
    return Workshop(app, config, counters, on_event)
