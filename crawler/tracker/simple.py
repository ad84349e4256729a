"""A tracker for the length of a block: what tests and small programs want."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any, Self

import trio

from crawler.net.background import background
from crawler.tracker.server import TrackerServer, TrackerSettings
from crawler.wire.compact import Family, format_address, pack_address, unpack_address
from crawler.wire.ids import ID_BYTES, parse_infohash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from types import TracebackType

    from crawler.wire.compact import Address
    from crawler.wire.tracker import ScrapeCounts

_EVERYBODY = 1 << 40


class SimpleTracker:
    """A tracker on ``host`` while the ``async with`` block lasts.

    Args:
        udp_port: to be asked at over UDP; 0 picks one, None switches UDP off.
        http_port: the same for HTTP, which needs the extra ``http``.
        host: the IP to bind, of this machine alone unless it is given.
        settings: how clients are answered, and how much is remembered.

    Attributes:
        udp_port: the bound port once the block has begun; None when UDP is off.
        http_port: the same for HTTP.

    Raises:
        ListenError: at the block's begin: a port is taken.
        ExtraMissingError: at the block's begin: HTTP is wanted and its packages are not installed.
        RuntimeError: it is asked for something before the block has begun.
    """

    def __init__(
        self,
        udp_port: int | None = 0,
        http_port: int | None = 0,
        *,
        host: str = "127.0.0.1",
        settings: TrackerSettings | None = None,
    ) -> None:
        self.udp_port = udp_port
        self.http_port = http_port
        self._host = host
        self._settings = settings or TrackerSettings()
        self._bound: TrackerServer | None = None
        self._block: contextlib.AbstractAsyncContextManager[None]

    async def __aenter__(self) -> Self:
        server = self._bound = TrackerServer(
            udp=self._listen(self.udp_port),
            http=self._listen(self.http_port),
            settings=self._settings,
            rng=random.SystemRandom(),
        )
        if self.udp_port is not None:
            self.udp_port = server.udp[0][1]
        if self.http_port is not None:
            self.http_port = server.http[0][1]
        self._block = _running(server)
        await self._block.__aenter__()
        return self

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Awaitable[bool | None]:
        return self._block.__aexit__(kind, error, traceback)

    @property
    def _server(self) -> TrackerServer:
        if self._bound is None:
            raise RuntimeError("a SimpleTracker can be asked from within its `async with` block only")
        return self._bound

    @property
    def udp_url(self) -> str:
        """Where to announce over UDP."""
        return self._url("udp", self.udp_port)

    @property
    def http_url(self) -> str:
        """Where to announce over HTTP."""
        return self._url("http", self.http_port)

    def get_peers(self, infohash: bytes | str) -> list[Address]:
        """Return (host, port) of everybody in a swarm, IPv4 first, each family in order.

        Args:
            infohash: 20 bytes, or their text.

        Raises:
            ValueError: it is no infohash.
        """
        registry, key, now = self._server.registry, _infohash(infohash), trio.current_time()
        found = []
        for family in Family:
            packed = registry.draw(key, family, _EVERYBODY, now)
            size = family.address_bytes
            found += sorted(packed[at : at + size] for at in range(0, len(packed), size))
        return [unpack_address(peer) for peer in found]

    def scrape(self, infohash: bytes | str) -> ScrapeCounts:
        """Return the size of a swarm.

        Raises:
            ValueError: it is no infohash.
        """
        return self._server.registry.scrape(_infohash(infohash), trio.current_time())

    def swarm_count(self) -> int:
        """Return how many swarms are known."""
        return self._server.registry.swarm_count

    def figures(self) -> dict[str, Any]:
        """Return all counters as a tree of plain values."""
        return self._server.figures()

    def _listen(self, port: int | None) -> tuple[str, ...]:
        return () if port is None else (self._at(port),)

    def _url(self, scheme: str, port: int | None) -> str:
        if port is None:
            raise ValueError("this carrier is switched off")
        if self._bound is None and not port:
            raise RuntimeError("the port is not known before the `async with` block has begun")
        return f"{scheme}://{self._at(port)}/announce"

    def _at(self, port: int) -> str:
        return format_address(pack_address((self._host, port)))


@contextlib.asynccontextmanager
async def _running(server: TrackerServer) -> AsyncIterator[None]:
    """Let the tracker answer beside a block, whose own error is not wrapped."""
    async with background() as nursery:
        await nursery.start(server.run)
        yield


def _infohash(value: bytes | str) -> bytes:
    if isinstance(value, str):
        return parse_infohash(value)
    if len(value) != ID_BYTES:
        raise ValueError(f"an infohash has {ID_BYTES} bytes, not {len(value)}")
    return value
