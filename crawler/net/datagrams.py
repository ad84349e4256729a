"""A server of datagrams: what comes in a batch is answered in a batch, with no task for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

from crawler.net.udp import UdpSocket
from crawler.wire.compact import pack_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.wire.compact import Address

_RECEIVE_BUFFER = 4 * 1024 * 1024


class DatagramServer:
    """A bound UDP socket at which a function answers.

    Args:
        answer: is given a datagram, the compact address that it came from and the time, and returns the
            reply, or None.
        listen: where to bind.

    Attributes:
        local: the bound address.
        socket: the socket, for its counters of errors.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(self, answer: Callable[[bytes, bytes, float], bytes | None], listen: Address) -> None:
        self.socket = UdpSocket(listen, receive_buffer=_RECEIVE_BUFFER)
        self.local: Address = self.socket.local
        self._answer = answer

    def close(self) -> None:
        """Close the socket; for a server that was bound and never ran."""
        self.socket.close()

    async def run(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Answer until cancelled, then close; reports the bound address."""
        task_status.started(self.local)
        try:
            while True:
                batch = await self.socket.receive_batch()
                now = trio.current_time()
                replies = []
                for data, source in batch:
                    reply = self._answer(data, pack_address(source), now)
                    if reply is not None:
                        replies.append((reply, source))
                self.socket.send_batch(replies)
        finally:
            self.socket.close()
