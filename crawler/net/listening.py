"""A TCP door: one bound address, and the taking in of whoever dials it.

Who may stay, and for how long, is the business of those who have a door. What they share is here: the options
that make a restart quick and a port ours, and patience when the system can't let anybody in for a while, so
that no error of accepting gets any further than a counter.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections import Counter

    from crawler.wire.compact import Address

_SHORTAGES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE: Final = 0.1
"""Seconds until the next try after an error that may last; those who dial wait in the kernel meanwhile."""


class Door:
    """A bound TCP socket that others dial.

    Args:
        address: where; port 0 picks one, and an IPv6 address is for IPv6 alone.
        failures: counts what kept us from letting somebody in: ``no_descriptors`` when the system had none,
            or no memory, for one more connection; else ``accept_…`` with the error's name.

    Attributes:
        local: the bound address.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(self, address: Address, failures: Counter[str]) -> None:
        self._failures = failures
        self._socket = _bind(address)
        self.local: Address = self._socket.getsockname()[:2]

    def close(self) -> None:
        """Let nobody in any more; connections that were let in stay."""
        self._socket.close()

    async def accept(self) -> tuple[socket.socket, Address]:
        """Return the next connection, a non-blocking socket, and the address that it comes from."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                sock, address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue  # who dialled is gone again
            except OSError as error:
                short = error.errno in _SHORTAGES
                name = errno.errorcode.get(error.errno or 0, "error").lower()
                self._failures["no_descriptors" if short else f"accept_{name}"] += 1
                await trio.sleep(_PAUSE)
                continue
            sock.setblocking(False)
            return sock, address[:2]


def _bind(address: Address) -> socket.socket:
    kind = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(kind, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if kind == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock
