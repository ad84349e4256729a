"""A TCP socket that others may dial: one place for the options that make a restart quick and a port ours."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.wire.compact import Address


def bind_tcp(address: Address) -> socket.socket:
    """Return a non-blocking socket that listens on ``address``, an IPv6 one for IPv6 alone.

    Raises:
        OSError: the address cannot be bound.
    """
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
