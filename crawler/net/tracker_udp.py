"""UDP trackers: one socket for each family carries the exchanges with all of them (BEP 15).

A datagram is handed to the exchanges with the very address and port that it came from; which of them it
belongs to is told by its transaction number. What fits none is counted and forgotten.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crawler.net.tracker_guard import TrackerError
from crawler.net.udp import UdpSocket
from crawler.swarm.tracker_exchange import ConnectionIds, Exchange
from crawler.wire.compact import Family, pack_address, unpack_address
from crawler.wire.tracker import TrackerFailure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from crawler.net.tracker_config import TrackerClientConfig
    from crawler.swarm.tracker_exchange import Scrape
    from crawler.wire.tracker import AnnounceAnswer, AnnounceRequest, ScrapeCounts

ANYWHERE: Final = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}  # noqa: S104 - we send from it
"""Every address of this machine, by family."""
_KINDS: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_NO_SUCH_FAMILY: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_RECEIVE_BUFFER: Final = 512 * 1024


@attrs.define(eq=False)
class _Waiter:
    """An exchange, and who waits for it."""

    exchange: Exchange
    news: trio.Event = attrs.field(factory=trio.Event)


class UdpTrackers:
    """The sockets, and the exchanges that go over them.

    Args:
        config: patience.
        rng: draws transaction numbers.
        sources: from which address of ours to send, for each family that is to be used.

    Attributes:
        unmatched: datagrams that belonged to no exchange.
    """

    def __init__(self, config: TrackerClientConfig, rng: Random, sources: Mapping[Family, str]) -> None:
        self.unmatched = 0
        self._sources = sources
        self._config = config
        self._rng = rng
        self._ids = ConnectionIds()
        self._sockets: dict[Family, UdpSocket] = {}
        self._waiting: dict[bytes, list[_Waiter]] = {}

    @property
    def families(self) -> tuple[Family, ...]:
        """Those that this machine has."""
        return tuple(self._sockets)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive until cancelled, then close the sockets."""
        with contextlib.ExitStack() as opened:
            for family, source in self._sources.items():
                try:
                    self._sockets[family] = UdpSocket((source, 0), receive_buffer=_RECEIVE_BUFFER)
                except OSError as error:
                    if error.errno not in _NO_SUCH_FAMILY:
                        raise
                else:
                    opened.callback(self._sockets[family].close)
            async with trio.open_nursery() as nursery:
                for each in self._sockets.values():
                    nursery.start_soon(self._receive, each)
                task_status.started()

    async def ask(
        self, address: bytes, request: AnnounceRequest | Scrape, url_data: bytes = b""
    ) -> AnnounceAnswer | tuple[ScrapeCounts, ...]:
        """Ask the tracker at a compact address, and wait for its answer.

        Raises:
            TrackerError: ``timeout``, ``unreachable`` or ``failure``.
        """
        own = self._sockets.get(Family.of(address))
        if own is None or not _has_route(address):
            raise TrackerError("unreachable")
        exchange = Exchange(
            address, request, self._ids, self._rng, retries=self._config.udp_retries, url_data=url_data
        )
        waiter = _Waiter(exchange)
        self._waiting.setdefault(address, []).append(waiter)
        try:
            await self._carry(own, address, waiter)
        finally:
            self._forget(address, waiter)
        answer = exchange.answer
        if answer is None:
            raise TrackerError("timeout")
        if isinstance(answer, TrackerFailure):
            raise TrackerError("failure", text=answer.reason, retry_in=answer.retry_in)
        return answer

    async def _carry(self, own: UdpSocket, address: bytes, waiter: _Waiter) -> None:
        exchange = waiter.exchange
        while True:
            data = exchange.data_to_send(trio.current_time())
            if exchange.finished:
                return
            if data is not None:
                own.send_batch([(data, unpack_address(address))])
            with trio.CancelScope(deadline=exchange.next_timer()):
                await waiter.news.wait()
            waiter.news = trio.Event()

    def _forget(self, address: bytes, waiter: _Waiter) -> None:
        others = self._waiting[address]
        others.remove(waiter)
        if not others:
            del self._waiting[address]

    async def _receive(self, own: UdpSocket) -> None:
        while True:
            batch = await own.receive_batch()
            now = trio.current_time()
            for data, source in batch:
                self._take(data, pack_address(source), now)

    def _take(self, data: bytes, source: bytes, now: float) -> None:
        for waiter in self._waiting.get(source, ()):
            if waiter.exchange.receive_datagram(data, now):
                waiter.news.set()
                return
        self.unmatched += 1


def _has_route(address: bytes) -> bool:
    """Whether this machine could send to ``address`` at all; asks the kernel, sends nothing."""
    with socket.socket(_KINDS[Family.of(address)], socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(unpack_address(address))
        except OSError:
            return False
    return True
