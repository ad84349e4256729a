"""One UDP socket that is a thousand addresses: all of 127.0.0.0/8 on one port, by IP_PKTINFO.

The kernel tells with each datagram to which address it was sent, and is told with each reply from which
address it shall come. Only the simulated network needs this, and only Linux can do it: other systems give a
single loopback address unless each one is set up by hand.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, Self

import trio

if TYPE_CHECKING:
    from crawler.wire.compact import Address

# Linux numbers, from linux/in.h and asm-generic/socket.h; Python 3.11's socket module has no names for them.
_IP_PKTINFO: Final = 8
_SO_BINDTODEVICE: Final = 25
_SO_RXQ_OVFL: Final = 40
_SO_RCVBUFFORCE: Final = 33

_BATCH: Final = 256
_LARGEST_DATAGRAM: Final = 4096
_PACK_SOURCE: Final = struct.Struct("=i4s4s").pack
_DESTINATION: Final = slice(8, 12)
_ANCILLARY_BYTES: Final = 64

Received = tuple[bytes, "Address", bytes]
"""A datagram, who sent it, and the IPv4 address (4 bytes) to which it was sent."""


class PktinfoSocket:
    """A non-blocking UDP socket on ``port`` of every IPv4 address of the loopback interface.

    Attributes:
        port: the UDP port.
        kernel_drops: datagrams that the kernel dropped because this program did not read fast enough.
        send_drops: datagrams that the kernel refused to send.

    Args:
        port: 0 takes a free one.
        receive_buffer: bytes that the kernel may hold for us; it may grant less.

    Raises:
        OSError: the port is taken, or this system is not Linux.
    """

    def __init__(self, port: int, *, receive_buffer: int) -> None:
        if sys.platform != "linux":
            raise OSError(
                "the simulated network needs Linux: one socket for all of 127.0.0.0/8 takes IP_PKTINFO"
            )
        self.kernel_drops = 0
        self.send_drops = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._prepare(receive_buffer)
            self._socket.bind(("", port))
        except BaseException:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]

    def _prepare(self, receive_buffer: int) -> None:
        sock = self._socket
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        # Nobody outside this machine shall reach the port; a kernel that wants a privilege for it says
        # EPERM, and then it is only the caller who keeps strangers out, by their addresses.
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, b"lo")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)

    async def wait_readable(self) -> None:
        """Wait until at least one datagram is there."""
        await trio.lowlevel.wait_readable(self._socket)

    def receive_batch(self) -> list[Received]:
        """Return the datagrams that are there now, at most 256; never waits."""
        batch: list[Received] = []
        receive = self._socket.recvmsg
        try:
            for _ in range(_BATCH):
                data, ancillary, _flags, source = receive(_LARGEST_DATAGRAM, _ANCILLARY_BYTES)
                batch.append((data, source, ancillary[-1][2][_DESTINATION]))
                if len(ancillary) > 1:
                    self._read_drops(ancillary)
        except BlockingIOError:
            pass
        return batch

    def _read_drops(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                self.kernel_drops = int.from_bytes(value, sys.byteorder)

    def send(self, data: bytes, source: bytes, destination: Address) -> bool:
        """Send a datagram from ``source``, an IPv4 address of 4 bytes; return whether the kernel took it."""
        control = [(socket.IPPROTO_IP, _IP_PKTINFO, _PACK_SOURCE(0, source, b"\0\0\0\0"))]
        try:
            self._socket.sendmsg((data,), control, 0, destination)
        except OSError:
            self.send_drops += 1
            return False
        return True

    def close(self) -> None:
        """Close the socket, for which nobody may be waiting any more."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
