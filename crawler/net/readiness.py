"""Which of many sockets are ready: one descriptor to wait for, so that a link costs Trio no task and no wait.

An epoll or kqueue is itself readable as soon as one of its sockets is ready. Elsewhere, where there is only
select, somebody has to look now and then.
"""

from __future__ import annotations

import select
import selectors
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST: Final = 64
"""Sockets told of at once: their data is handled in one go, while everybody else waits."""


class Readiness(Protocol):
    """A set of sockets, each waited for in one direction."""

    def watch(self, fd: int, *, writable: bool) -> None:
        """Begin to wait until ``fd`` is writable, or readable."""

    def turn(self, fd: int, *, writable: bool) -> None:
        """Wait for the other direction."""

    def forget(self, fd: int) -> None:
        """Wait for ``fd`` no more; to be called before it is closed."""

    def ready(self) -> Iterable[int]:
        """Return descriptors that are ready or broken, without waiting: all of them, or some in turn."""

    def descriptor(self) -> int | None:
        """Return what is readable when one is ready; None where there is no such thing."""

    def close(self) -> None:
        """Give back the descriptor."""


class EpollReadiness:
    """Linux: as little as there can be between a link and the kernel."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def watch(self, fd: int, *, writable: bool) -> None:
        """Begin to wait."""
        self._epoll.register(fd, select.EPOLLOUT if writable else select.EPOLLIN)

    def turn(self, fd: int, *, writable: bool) -> None:
        """Wait for the other direction."""
        self._epoll.modify(fd, select.EPOLLOUT if writable else select.EPOLLIN)

    def forget(self, fd: int) -> None:
        """Do nothing: the kernel forgets a socket that is closed."""

    def ready(self) -> Iterable[int]:
        """Return what is ready."""
        return [fd for fd, _ in self._epoll.poll(0, _MOST)]

    def descriptor(self) -> int | None:
        """Return the epoll's own."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close it."""
        self._epoll.close()


class SelectorReadiness:
    """The others: kqueue, poll or select, as Python has them."""

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._selector = selector or selectors.DefaultSelector()

    def watch(self, fd: int, *, writable: bool) -> None:
        """Begin to wait."""
        self._selector.register(fd, _event(writable=writable))

    def turn(self, fd: int, *, writable: bool) -> None:
        """Wait for the other direction."""
        self._selector.modify(fd, _event(writable=writable))

    def forget(self, fd: int) -> None:
        """Wait for it no more."""
        self._selector.unregister(fd)

    def ready(self) -> Iterable[int]:
        """Return what is ready."""
        return [key.fd for key, _ in self._selector.select(0)]

    def descriptor(self) -> int | None:
        """Return the kqueue's own; select and poll have none."""
        fileno = getattr(self._selector, "fileno", None)
        return None if fileno is None else int(fileno())

    def close(self) -> None:
        """Close it."""
        self._selector.close()


def _event(*, writable: bool) -> int:
    return selectors.EVENT_WRITE if writable else selectors.EVENT_READ


def open_readiness() -> Readiness:
    """Return the best that this system has."""
    return EpollReadiness() if hasattr(select, "epoll") else SelectorReadiness()
