"""The HTTP server: a door, as many connections as there are seats, an ASGI application behind them.

What is answered is the application's business. Here is what every server needs, whoever may come: seats that
silent visitors can't keep, patience with an end, and errors of a request that end that request. hypercorn
speaks the protocol; it is an extra, so it is imported when a server is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

from crawler.net.http_terms import HttpCounters
from crawler.net.listening import Door
from crawler.wire.compact import format_address, pack_address, parse_address

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from crawler.net.http_connection import Connection, Workshop
    from crawler.net.http_terms import AsgiApp, HttpConfig
    from crawler.wire.compact import Address


class ExtraMissingError(RuntimeError):
    """What was asked for needs packages that are not installed; the message names the extra, in one line."""


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
        self._door = Door(parse_address(config.listen), self.counters.ended)
        self.local = self._door.local

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def close(self) -> None:
        """Close the door; for a server that was bound and never ran."""
        self._door.close()

    async def run(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Serve until cancelled, then hang up on everybody; reports the bound address when ready."""
        try:
            async with trio.open_nursery() as nursery:
                task_status.started(self.local)
                while True:
                    sock, client = await self._door.accept()
                    self.counters.accepted += 1
                    self._make_room()
                    nursery.start_soon(self._serve, sock, client, name="http connection")
        finally:
            self._door.close()
        raise AssertionError("the loop above ends by cancellation only")

    def _make_room(self) -> None:
        while len(self._connections) >= self._config.max_connections:
            silent = next(iter(self._connections))
            del self._connections[silent]
            silent.hang_up("no_seat")

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
