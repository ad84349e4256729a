"""Sockets in virtual time: they behave as `net/udp`'s do, and time costs nothing."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among the arguments of the test itself

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crawler.simnet.memory import BATCH, CAPACITY, MemoryNetwork
from crawler.simnet.world import World, WorldConfig
from crawler.wire import krpc
from crawler.wire.compact import Family

if TYPE_CHECKING:
    from crawler.wire.compact import Address

HERE: Address = ("127.0.0.1", 6881)
THERE: Address = ("127.0.0.2", 6881)
PING = krpc.ping(b"abcd", b"i" * 20)


def network(**options: float) -> MemoryNetwork:
    """Return a network without a world whose journeys all take the same time."""
    return MemoryNetwork(None, rng=random.Random(1), jitter=0, **options)


async def test_a_node_answers_after_the_round_trip(autojump_clock: trio.testing.MockClock) -> None:
    """A query to a node of the world brings its answer, one round trip later on the clock."""
    world = World(WorldConfig(nodes=50, infohashes=50, loss=0))
    socket = MemoryNetwork(world, rtt=3.0, jitter=0, rng=random.Random(1)).socket(HERE)
    start = trio.current_time()

    assert socket.send_batch([(PING, world.bootstrap)]) == 1
    [(data, sender)] = await socket.receive_batch()

    assert sender == world.bootstrap
    assert isinstance(krpc.decode(data), krpc.Response)
    assert trio.current_time() - start == pytest.approx(3.0, abs=0.002)


async def test_sockets_reach_each_other_after_half_a_round_trip(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two crawlers on one network are strangers to the world and can still talk."""
    net = network(rtt=2.0)
    here, there = net.socket(HERE), net.socket(THERE)
    start = trio.current_time()

    here.send_batch([(b"hello", THERE)])

    assert await there.receive_batch() == [(b"hello", HERE)]
    assert trio.current_time() - start == pytest.approx(1.0, abs=0.002)


async def test_a_waiting_socket_wakes_for_an_earlier_datagram(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """A datagram sent while the receiver waits arrives when it is due."""
    net = network(rtt=2.0)
    here, there = net.socket(HERE), net.socket(THERE)
    arrived: list[float] = []

    async def receive() -> None:
        await there.receive_batch()
        arrived.append(trio.current_time())

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    here.send_batch([(b"hello", THERE)])
    sent = trio.current_time()
    await trio.sleep(5)

    assert arrived == [pytest.approx(sent + 1.0, abs=0.002)]


async def test_batches_are_bounded_and_overflow_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    """A receiver that is not read loses what comes beyond its capacity, and gets the rest in batches."""
    net = network(rtt=0.0)
    here, there = net.socket(HERE), net.socket(THERE)

    here.send_batch([(b"x", THERE)] * (CAPACITY + 10))
    batch = await there.receive_batch()

    assert (len(batch), net.overflowed) == (BATCH, 10)


async def test_a_closed_socket_says_so(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Closing wakes who waits, refuses further use, frees the address, and may be done twice."""
    net = network()
    socket = net.socket(HERE)

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await socket.receive_batch()

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    socket.close()
    socket.close()

    with pytest.raises(trio.ClosedResourceError):
        socket.send_batch([(b"x", THERE)])
    assert net.socket(HERE).family is Family.IPV4


async def test_what_reaches_nobody_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    """Datagrams to an address without a socket, and those that chance takes, are in a counter each."""
    net = network(loss=1.0)
    here = net.socket(HERE)
    net.socket(THERE)

    here.send_batch([(b"x", ("127.9.9.9", 1)), (b"x", THERE)])
    await trio.sleep(1)

    assert (net.undeliverable, net.lost) == (1, 1)


def test_an_address_is_taken_once() -> None:
    """Two sockets at one address are refused, as the kernel would."""
    net = network()
    net.socket(HERE)

    with pytest.raises(OSError, match=r"127\.0\.0\.1:6881 is taken"):
        net.socket(HERE)
