"""One bound UDP socket, non-blocking: wait once until it is readable, then drain a batch.

That costs a quarter of awaiting every datagram, and the wait is the checkpoint. Sending never waits either: a
datagram the kernel has no room for is dropped and counted, as the network would. Nothing is decided here.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.settings import setting
from crawler.wire.compact import Family, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawler.wire.compact import Address

_LARGEST_DATAGRAM = 8192
"""BEP 32 asks to accept more than 1024 bytes; no honest message comes near this, and a longer one is cut."""

_BATCH = 256
_NO_ROOM = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS}


@attrs.frozen
class NetworkConfig:
    """Where we listen and whom we ask first."""

    listen: tuple[str, ...] = setting(
        ("0.0.0.0:6881", "[::]:6881"),
        unit="ADDR:PORT",
        help="UDP addresses to listen on, a node each; a family without one is off; port 0 picks one.",
    )
    bootstrap: tuple[str, ...] = setting(
        (
            "router.bittorrent.com:6881",
            "dht.transmissionbt.com:6881",
            "router.utorrent.com:6881",
            "dht.libtorrent.org:25401",
        ),
        unit="HOST:PORT",
        help="Nodes that are asked for the way in when we know nobody.",
    )
    allow_private: bool = setting(
        False,
        unit="",
        help="Talk to private, loopback and other non-global addresses too; for tests and closed networks.",
    )
    receive_buffer: int = setting(
        4 * 1024 * 1024, unit="bytes", help="Kernel receive buffer asked for, per socket.", minimum=4096
    )


class UdpSocket:
    """A bound, non-blocking UDP socket of one family."""

    def __init__(self, listen: Address, *, receive_buffer: int) -> None:
        """Bind to ``listen``.

        Raises:
            OSError: when the address cannot be bound.
        """
        self.family = Family.IPV6 if ":" in listen[0] else Family.IPV4
        kind = socket.AF_INET6 if self.family is Family.IPV6 else socket.AF_INET
        self._socket = socket.socket(kind, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if kind == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._socket.bind(listen)
        except BaseException:
            self._socket.close()
            raise
        self.local: Address = self._socket.getsockname()[:2]
        self.errors: Counter[str] = Counter()

    def send_batch(self, datagrams: Iterable[tuple[bytes, Address]]) -> int:
        """Send what the kernel takes at once; drop and count the rest. Returns how many went."""
        sent = 0
        sendto = self._socket.sendto
        for data, address in datagrams:
            try:
                sendto(data, address)
                sent += 1
            except OSError as error:
                cause = "no_room" if error.errno in _NO_ROOM else _name(error)
                self.errors["send_" + cause] += 1
        return sent

    async def receive_batch(self) -> list[tuple[bytes, Address]]:
        """Wait until something is there, then return up to 256 datagrams with their senders.

        Raises:
            trio.ClosedResourceError: when :meth:`close` is called meanwhile.
        """
        recvfrom = self._socket.recvfrom
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            batch: list[tuple[bytes, Address]] = []
            try:
                for _ in range(_BATCH):
                    batch.append(recvfrom(_LARGEST_DATAGRAM))  # noqa: PERF401 - the loop ends by exception
            except BlockingIOError:
                pass
            except OSError as error:
                # An ICMP error of an earlier send surfaces here on some systems; the socket goes on.
                self.errors["receive_" + _name(error)] += 1
            if batch:
                return batch if self.family is Family.IPV4 else [(data, a[:2]) for data, a in batch]

    def close(self) -> None:
        """Close the socket and wake whoever waits for it; closing it again does nothing."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


def has_ipv6() -> bool:
    """Whether this machine has any IPv6 address to be asked at; looks by binding one, and sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def open_socket(listen: str, config: NetworkConfig) -> UdpSocket:
    """Bind the literal address ``listen`` ("ADDR:PORT").

    Raises:
        OSError: when it cannot be bound.
        ValueError: when it is no literal address and port.
    """
    return UdpSocket(parse_address(listen), receive_buffer=config.receive_buffer)


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown").lower()
