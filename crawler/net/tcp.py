"""TCP links that drive a state machine: open one, move bytes both ways, wait no longer than the machine says.

Sockets are non-blocking, and every wait is followed by one system call that cannot be cut in half, so a timer
that interrupts the wait never loses a byte. Nothing is decided here.
"""

from __future__ import annotations

import errno
import socket
from typing import Final, Protocol, Self

import trio

from crawler.wire.compact import Family, unpack_address

_RECEIVE_BYTES: Final = 32 * 1024
_NON_BLOCKING: Final = getattr(socket, "SOCK_NONBLOCK", 0)
"""Where sockets can be made so, it spares a system call."""
_IN_PROGRESS: Final = {errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN}
_OUR_LIMITS: Final = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EADDRNOTAVAIL,
}
_REASONS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.ETIMEDOUT: "dial_timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EACCES: "unreachable",
    errno.EPERM: "unreachable",
}


class LinkError(Exception):
    """There is no connection, or not any more.

    Attributes:
        reason: a short token to count by; ``closed`` when the other side simply closed.
        blame: whether it is the other side's doing, not want of descriptors or memory here.
    """

    def __init__(self, reason: str, *, blame: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.blame = blame


class Machine(Protocol):
    """What drives a connection: the four verbs of every state machine in `swarm/`."""

    @property
    def finished(self) -> bool:
        """Whether it needs the connection no more."""

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes that arrived."""

    def data_to_send(self, now: float) -> bytes:
        """Return what is to be written now."""

    def next_timer(self) -> float:
        """Return when ``handle_timer`` is due."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""


class Link:
    """A connected, non-blocking TCP socket; a context manager that closes it.

    Attributes:
        unsent: bytes that the kernel had no room for.
    """

    __slots__ = ("_socket", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.unsent = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; may be called again."""
        self._socket.close()

    def send_some(self, data: bytes) -> None:
        """Send what the kernel takes of ``data``, and keep the rest in ``unsent``.

        Raises:
            LinkError: the other side is gone.
        """
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise link_error(error) from None
        self.unsent = data[sent:]

    def check_open(self) -> None:
        """See what became of the dialling, once there is something to be seen.

        Raises:
            LinkError: there is no connection.
        """
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise link_error(OSError(code, "connect"))

    async def wait_writable(self) -> None:
        """Wait until more can be sent."""
        await trio.lowlevel.wait_writable(self._socket)

    async def wait_readable(self) -> None:
        """Wait until something can be received."""
        await trio.lowlevel.wait_readable(self._socket)

    def receive_some(self) -> bytes | None:
        """Return what has arrived, or None if nothing has.

        Raises:
            LinkError: the other side is gone.
        """
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise link_error(error) from None
        if not data:
            raise LinkError("closed")
        return data


async def converse(link: Link, machine: Machine) -> None:
    """Carry bytes between ``link`` and ``machine``, and time to it, until the machine has finished.

    While the other side does not read, nothing is read from it either.

    Raises:
        LinkError: the other side is gone.
        PeerFault: the machine has enough of it.
    """
    while not machine.finished:
        # One scope for many waits, its deadline moved along: a scope each would double the cost of a wait.
        with trio.CancelScope() as patience:
            await converse_until_late(link, machine, patience)
        if patience.cancelled_caught:
            machine.handle_timer(trio.current_time())


async def converse_until_late(link: Link, machine: Machine, patience: trio.CancelScope) -> None:
    """Do the same, within ``patience``, until its deadline, which is moved to the machine's next timer.

    It is moved only to be earlier, since moving it costs more than being woken in vain now and then: when it
    has struck, let the machine handle its timers and go on with :func:`converse`.

    Raises:
        LinkError: the other side is gone.
        PeerFault: the machine has enough of it.
    """
    now = trio.current_time()
    while not machine.finished:
        while data := link.unsent or machine.data_to_send(now):
            link.send_some(data)
            if link.unsent:
                break
        due = machine.next_timer()
        if due < patience.deadline:  # noqa: PLR1730 - min() would set it each time, which is dear
            patience.deadline = due
        if link.unsent:
            await link.wait_writable()
            now = trio.current_time()
        else:
            await link.wait_readable()
            now = trio.current_time()
            received = link.receive_some()
            if received is not None:
                machine.receive_data(received, now)


async def dial(address: bytes) -> Link:
    """Open a TCP connection to a compact address, of either family.

    Raises:
        LinkError: the peer cannot be reached, or we are out of descriptors or ports.
    """
    link = Link(start_dialling(address))
    try:
        await link.wait_writable()
        link.check_open()
    except BaseException:
        link.close()
        raise
    return link


def start_dialling(address: bytes) -> socket.socket:
    """Begin to open a connection; when the socket is writable, `Link.check_open` tells what became of it.

    Raises:
        LinkError: it can't be begun.
    """
    kind = socket.AF_INET if Family.of(address) is Family.IPV4 else socket.AF_INET6
    try:
        sock = socket.socket(kind, socket.SOCK_STREAM | _NON_BLOCKING)
    except OSError as error:
        raise link_error(error) from None
    if not _NON_BLOCKING:
        sock.setblocking(False)
    try:
        code = sock.connect_ex(unpack_address(address))
    except OSError as error:
        code = error.errno or errno.EINVAL
    if code and code not in _IN_PROGRESS:
        sock.close()
        raise link_error(OSError(code, "connect"))
    return sock


def link_error(error: OSError) -> LinkError:
    """Return what an error of the system means to whoever wanted a link."""
    code = error.errno or 0
    reason = _REASONS.get(code) or "os_" + errno.errorcode.get(code, "unknown").lower()
    return LinkError(reason, blame=code not in _OUR_LIMITS)
