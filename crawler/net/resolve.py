"""Host names to compact addresses, for the bootstrap nodes: the only names a crawl ever resolves."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import trio

from crawler.wire.compact import Family, pack_address

if TYPE_CHECKING:
    from crawler.wire.compact import Address


_MOST_THREADS = 16
_threads: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("resolver threads")


class ResolveError(Exception):
    """A name has no address of the family asked for, now; it may have one later."""


def split_host_port(text: str) -> Address:
    """Return ("host", port) of ``HOST:PORT``; an IPv6 literal is in brackets.

    Raises:
        ValueError: when it is not of that form.
    """
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ValueError(f'"{text}" is not HOST:PORT with a port from 1 to 65535')
    return host, int(port)


async def resolve(text: str, family: Family, *, timeout: float) -> list[bytes]:  # noqa: ASYNC109 - see below
    """Return the compact addresses of ``HOST:PORT`` in ``family``; a literal of the other family has none.

    The system's resolver runs in a thread that may outlive its welcome, so the time it is waited for belongs
    to the question and not to the caller. Such threads have a limit of their own: whatever a name server
    does, there are threads left for the output and the state.

    Raises:
        ResolveError: when a name has none, or no answer came within ``timeout`` seconds.
    """
    host, port = split_host_port(text)
    with contextlib.suppress(ValueError):
        literal = pack_address((host, port))
        return [literal] if Family.of(literal) is family else []
    kind = socket.AF_INET6 if family is Family.IPV6 else socket.AF_INET
    try:
        with trio.fail_after(timeout):
            found = await trio.to_thread.run_sync(
                lambda: socket.getaddrinfo(host, port, family=kind, type=socket.SOCK_DGRAM),
                abandon_on_cancel=True,
                limiter=_limiter(),
            )
    except (OSError, UnicodeError) as error:
        raise ResolveError(f"{host}: {error}") from error
    except trio.TooSlowError:
        raise ResolveError(f"{host}: no answer within {timeout:g} s") from None
    return list(dict.fromkeys(pack_address((str(info[4][0]), port)) for info in found))


def _limiter() -> trio.CapacityLimiter:
    try:
        return _threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_MOST_THREADS)
        _threads.set(limiter)
        return limiter
