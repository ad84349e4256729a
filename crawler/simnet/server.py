"""The simulated network on the loopback interface: carries datagrams between one socket and the world.

One task reads what came, lets the world answer, and sends each answer when its round trip is over. This is
the only module of the simulated network that needs Linux.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import trio

from crawler.net.pktinfo import PktinfoSocket
from crawler.settings import setting
from crawler.simnet.delays import DelayQueue, Journeys
from crawler.simnet.world import World, WorldConfig
from crawler.wire.compact import Address, pack_address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_KNOWN_SOURCES: Final = 65536


@attrs.frozen
class ServerConfig:
    """How the world is to be reached."""

    world: WorldConfig = attrs.field(factory=WorldConfig)
    listen_port: int = setting(
        0, unit="", help="UDP port of all nodes; 0 takes a free one.", minimum=0, maximum=65535
    )
    rtt: float = setting(0.1, unit="s", help="Mean round-trip time.", minimum=0, maximum=60)
    jitter: float = setting(
        0.25, unit="", help="How far a round trip differs from the mean.", minimum=0, maximum=1
    )
    receive_buffer: int = setting(
        16 << 20, unit="bytes", help="What the kernel may hold before it drops.", minimum=4096
    )


class SimulatedNetwork:
    """A world behind one UDP socket.

    The socket is bound, and queries are kept by the kernel, from the moment of construction; :meth:`serve`
    answers them.

    Attributes:
        world: the nodes.
        bootstrap: where to start a crawl.

    Raises:
        OSError: the port is taken, or this system is not Linux.
        ValueError: the bootstrap address is not one of 127.0.0.0/8.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._socket = PktinfoSocket(config.listen_port, receive_buffer=config.receive_buffer)
        try:
            self.world = World(attrs.evolve(config.world, port=self._socket.port))
        except BaseException:
            self._socket.close()
            raise
        self.bootstrap: Address = self.world.bootstrap
        self._journeys = Journeys(config.rtt, config.jitter, random.Random(config.world.seed))
        self._waiting: DelayQueue[tuple[bytes, bytes, Address]] = DelayQueue()
        self._compact: dict[Address, bytes] = {}
        self._most_waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; nobody may be serving any more."""
        self._socket.close()

    async def serve(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled; reports the bootstrap address at the start."""
        task_status.started(self.bootstrap)
        while True:
            received = self._answer_batch()
            self._send_due()
            if received:
                await trio.lowlevel.checkpoint()
            else:
                with trio.move_on_at(self._waiting.next_due):
                    await self._socket.wait_readable()

    def _answer_batch(self) -> int:
        batch = self._socket.receive_batch()
        now = trio.current_time()
        answer, duration, add = self.world.answer, self._journeys.duration, self._waiting.add
        for data, source, host in batch:
            reply = answer(data, self._compact.get(source) or self._pack(source), host, now)
            if reply is not None:
                add(now + duration(), (reply, host, source))
        return len(batch)

    def _send_due(self) -> None:
        self._most_waiting = max(self._most_waiting, len(self._waiting))
        send = self._socket.send
        for reply, host, destination in self._waiting.take(trio.current_time()):
            send(reply, host, destination)

    def _pack(self, source: Address) -> bytes:
        """Return the compact form of a sender's address, remembered for the next time."""
        if len(self._compact) >= _KNOWN_SOURCES:
            self._compact.clear()
        compact = self._compact[source] = pack_address(source)
        return compact

    def statistics(self) -> dict[str, Any]:
        """Return all counters, the world's and the socket's, in the summary's JSON form."""
        return {
            **self.world.statistics(),
            "kernel_drops": self._socket.kernel_drops,
            "send_drops": self._socket.send_drops,
            "in_flight": len(self._waiting),
            "most_in_flight": self._most_waiting,
        }


async def serve(
    config: ServerConfig, *, task_status: trio.TaskStatus[SimulatedNetwork] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve a simulated network until cancelled; ``nursery.start`` returns the network.

    Raises:
        OSError: the port is taken, or this system is not Linux.
    """
    with SimulatedNetwork(config) as network:
        task_status.started(network)
        await network.serve()


@contextlib.asynccontextmanager
async def open_network(config: ServerConfig) -> AsyncGenerator[SimulatedNetwork]:
    """Serve a simulated network for as long as the block lasts.

    Raises:
        OSError: the port is taken, or this system is not Linux.
    """
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve, config)
        nursery.cancel_scope.cancel()
