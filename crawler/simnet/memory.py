"""The simulated network without a kernel: sockets that reach a world, and each other, in virtual time.

A crawler that is handed these in place of real sockets runs a day in seconds under
``trio.testing.MockClock``, the same way each time.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

import trio

from crawler.simnet.delays import DelayQueue, Journeys
from crawler.wire.compact import Address, Family, pack_address

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from crawler.simnet.world import World

BATCH: Final = 256
"""The most datagrams that one call of receive_batch returns."""
CAPACITY: Final = 16_384
"""The most datagrams on their way to one socket; later ones are dropped and counted, as a kernel does."""
_ROUND_TRIPS_PER_WAY: Final = 0.5

Datagram = tuple[bytes, Address]


class MemoryNetwork:
    """Where memory sockets meet: those of one network reach each other and the nodes of its world.

    Attributes:
        lost: datagrams between sockets that got lost, as chance wanted.
        undeliverable: datagrams to an address where nobody is.
        overflowed: datagrams dropped because too many were on their way to one socket.

    Args:
        world: simulated nodes; it loses datagrams on its own account. None: there are only sockets.
        rtt: mean round-trip time in seconds; each differs by up to ``jitter`` of it.
        jitter: 0 to 1.
        loss: probability that a datagram from socket to socket gets lost.
        rng: where chance comes from.
    """

    def __init__(
        self,
        world: World | None,
        *,
        rtt: float = 0.1,
        jitter: float = 0.25,
        loss: float = 0.0,
        rng: random.Random,
    ) -> None:
        self.world = world
        self.lost = 0
        self.undeliverable = 0
        self.overflowed = 0
        self._loss = loss
        self._chance = rng.random
        self._journeys = Journeys(rtt, jitter, rng)
        self._sockets: dict[Address, MemorySocket] = {}

    def socket(self, local: Address) -> MemorySocket:
        """Return a new socket at ``local``.

        Raises:
            OSError: there is one already.
        """
        if local in self._sockets:
            raise OSError(f"{local[0]}:{local[1]} is taken")
        socket = self._sockets[local] = MemorySocket(self, local)
        return socket

    def carry(self, data: bytes, source: MemorySocket, destination: Address, now: float) -> None:
        """Deliver one datagram, and the world's answer to it, in their own time."""
        receiver = self._sockets.get(destination)
        if receiver is not None:
            if self._loss and self._chance() < self._loss:
                self.lost += 1
                return
            way = self._journeys.duration() * _ROUND_TRIPS_PER_WAY
            self._deliver(receiver, now + way, (data, source.local))
        elif self.world is None or source.family is not Family.IPV4:
            self.undeliverable += 1
        else:
            reply = self.world.receive(data, source.local, destination, now)
            if reply is not None:
                self._deliver(source, now + self._journeys.duration(), (reply, destination))

    def _deliver(self, receiver: MemorySocket, due: float, datagram: Datagram) -> None:
        if not receiver.accept(due, datagram):
            self.overflowed += 1

    def forget(self, local: Address) -> None:
        """Free the address of a socket that was closed."""
        del self._sockets[local]


class MemorySocket:
    """A datagram socket as `net` knows it, on a :class:`MemoryNetwork`.

    Attributes:
        local: its address.
        family: IPv4 or IPv6.
        errors: what the kernel would have refused, by cause; nothing, here.
    """

    def __init__(self, network: MemoryNetwork, local: Address) -> None:
        self.local = local
        self.family = Family.of(pack_address(local))
        self.errors: Counter[str] = Counter()
        self._network = network
        self._coming: DelayQueue[Datagram] = DelayQueue()
        self._here: deque[Datagram] = deque()
        self._earlier = trio.Event()
        self._closed = False

    def send_batch(self, datagrams: Iterable[Datagram]) -> int:
        """Send all datagrams and return how many that were; never waits.

        Raises:
            trio.ClosedResourceError: the socket was closed.
        """
        self._check_open()
        now = trio.current_time()
        sent = 0
        for data, destination in datagrams:
            self._network.carry(data, self, destination, now)
            sent += 1
        return sent

    async def receive_batch(self) -> list[Datagram]:
        """Wait for at least one datagram and return those that are there, at most 256.

        Raises:
            trio.ClosedResourceError: the socket was closed, before or meanwhile.
        """
        await trio.lowlevel.checkpoint()
        while True:
            self._check_open()
            self._here.extend(self._coming.take(trio.current_time()))
            if self._here:
                return [self._here.popleft() for _ in range(min(BATCH, len(self._here)))]
            self._earlier = trio.Event()
            with trio.move_on_at(self._coming.next_due):
                await self._earlier.wait()

    def accept(self, due: float, datagram: Datagram) -> bool:
        """Take a datagram that arrives at ``due``; return False when too many are on their way."""
        if len(self._coming) + len(self._here) >= CAPACITY:
            return False
        if due < self._coming.next_due:
            self._earlier.set()
        self._coming.add(due, datagram)
        return True

    def close(self) -> None:
        """Close the socket and free its address; closing it again does nothing."""
        if not self._closed:
            self._closed = True
            self._network.forget(self.local)
            self._earlier.set()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
