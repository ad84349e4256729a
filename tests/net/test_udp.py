"""The real socket on loopback: batches, losses that are counted, and a close that wakes."""

from __future__ import annotations

import errno
import gc
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crawler.net.udp import NetworkConfig, UdpSocket, has_ipv6, open_socket
from crawler.wire.compact import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crawler.wire.compact import Address

CONFIG = NetworkConfig()
_NO_FAMILY = 99


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def opened() -> Iterator[Callable[[str], UdpSocket]]:
    """What opens a socket that is closed after the test."""
    sockets: list[UdpSocket] = []

    def open_one(listen: str) -> UdpSocket:
        sockets.append(open_socket(listen, CONFIG))
        return sockets[-1]

    yield open_one
    for each in sockets:
        each._socket.close()


async def gather(receiver: UdpSocket, count: int) -> list[tuple[bytes, Address]]:
    """Receive until there are ``count`` datagrams."""
    with trio.fail_after(5):
        received = await receiver.receive_batch()
        while len(received) < count:
            received += await receiver.receive_batch()
    return received


@pytest.mark.parametrize(
    ("listen", "family"),
    [("127.0.0.1:0", Family.IPV4), pytest.param("[::1]:0", Family.IPV6, marks=needs_ipv6)],
)
async def test_datagrams_arrive_with_their_sender(
    opened: Callable[[str], UdpSocket], listen: str, family: Family
) -> None:
    """What one socket sends another receives, whole, with an address of host and port in both families."""
    here, there = opened(listen), opened(listen)

    assert here.send_batch([(b"one", there.local), (b"", there.local), (b"x" * 1472, there.local)]) == 3
    received = await gather(there, 3)

    assert received == [(b"one", here.local), (b"", here.local), (b"x" * 1472, here.local)]
    assert here.family is there.family is family
    assert len(here.local) == 2
    assert here.local[1] > 0
    assert not here.errors


async def test_a_batch_is_drained_at_once(opened: Callable[[str], UdpSocket]) -> None:
    """All that is there comes in one call, up to 256 datagrams; the rest comes in the next."""
    here, there = opened("127.0.0.1:0"), opened("127.0.0.1:0")
    here.send_batch([(bytes([number % 256]), there.local) for number in range(300)])

    first = await there.receive_batch()
    second = await there.receive_batch()

    assert [len(first), len(second)] == [256, 44]
    assert [data[0] for data, _ in first + second] == [number % 256 for number in range(300)]


async def test_an_unreasonably_long_datagram_is_cut(opened: Callable[[str], UdpSocket]) -> None:
    """No more than 8 KiB of a datagram are taken, and the next one is not affected."""
    here, there = opened("127.0.0.1:0"), opened("127.0.0.1:0")
    here.send_batch([(b"a" * 60_000, there.local), (b"b", there.local)])

    received = await gather(there, 2)

    assert [len(data) for data, _ in received] == [8192, 1]


async def test_what_cannot_be_sent_is_counted(opened: Callable[[str], UdpSocket]) -> None:
    """A datagram that the kernel refuses moves a counter of its cause, and the others still leave."""
    here, there = opened("127.0.0.1:0"), opened("127.0.0.1:0")
    batch = [(b"1", ("127.0.0.1", 0)), (b"x" * 70_000, there.local), (b"2", there.local)]

    assert here.send_batch(batch) == 1
    assert [data for data, _ in await gather(there, 1)] == [b"2"]
    assert here.errors == {"send_einval": 1, "send_emsgsize": 1}


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
def test_no_room_in_the_kernel_is_loss(
    opened: Callable[[str], UdpSocket], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """When the kernel has no room a datagram is dropped and counted; nothing waits."""
    here = opened("127.0.0.1:0")
    monkeypatch.setattr(here, "_socket", FullSocket(here._socket, code))

    assert here.send_batch([(b"x", here.local)] * 3) == 0
    assert here.errors == {"send_no_room": 3}


class FullSocket:
    """A socket that takes nothing."""

    def __init__(self, real: socket.socket, code: int) -> None:
        self._real = real
        self._code = code

    def sendto(self, _data: bytes, _address: Address) -> int:
        """Fail."""
        raise OSError(self._code, "no")

    def close(self) -> None:
        """Close the real one."""
        self._real.close()


async def test_an_icmp_error_is_no_end(
    opened: Callable[[str], UdpSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that the kernel reports on receiving is counted, and the datagrams around it arrive."""
    here = opened("127.0.0.1:0")
    outcomes: list[OSError | tuple[bytes, Address]] = [
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        (b"after", ("127.0.0.1", 9)),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    ]

    class Grumbling:
        def recvfrom(self, _size: int) -> tuple[bytes, Address]:
            outcome = outcomes.pop(0)
            if isinstance(outcome, OSError):
                raise outcome
            return outcome

    async def readable(_socket: object) -> None:
        await trio.lowlevel.checkpoint()

    real = here._socket
    monkeypatch.setattr(trio.lowlevel, "wait_readable", readable)
    monkeypatch.setattr(here, "_socket", Grumbling())
    try:
        assert await here.receive_batch() == [(b"after", ("127.0.0.1", 9))]
    finally:
        real.close()
        monkeypatch.setattr(here, "_socket", real)
    assert here.errors == {"receive_econnrefused": 2}


async def test_closing_wakes_who_waits(opened: Callable[[str], UdpSocket]) -> None:
    """A task that waits for datagrams learns of the close; closing again does nothing."""
    here = opened("127.0.0.1:0")

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await here.receive_batch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        here.close()
    here.close()


async def test_receiving_can_be_cancelled_without_loss(opened: Callable[[str], UdpSocket]) -> None:
    """A wait that is cancelled takes no datagram with it."""
    here, there = opened("127.0.0.1:0"), opened("127.0.0.1:0")
    with trio.CancelScope() as scope:
        scope.cancel()
        await there.receive_batch()
    here.send_batch([(b"later", there.local)])

    assert await gather(there, 1) == [(b"later", here.local)]


def test_a_taken_address_is_refused(opened: Callable[[str], UdpSocket]) -> None:
    """Two sockets do not share an address; the one that fails leaves nothing open behind."""
    here = opened("127.0.0.1:0")
    with pytest.raises(OSError, match="in use") as caught:
        open_socket(f"127.0.0.1:{here.local[1]}", CONFIG)
    assert caught.value.errno == errno.EADDRINUSE
    del caught
    gc.collect()  # a socket left open would warn, and a warning fails the test


def test_a_name_is_no_address() -> None:
    """Only literal addresses can be listened on."""
    with pytest.raises(ValueError, match="not an address"):
        open_socket("localhost:6881", CONFIG)


@needs_ipv6
def test_the_ipv6_socket_leaves_ipv4_alone(opened: Callable[[str], UdpSocket]) -> None:
    """Both families can listen on the same port, so an IPv4 sender never appears as a mapped address."""
    here = opened("0.0.0.0:0")
    there = opened(f"[::]:{here.local[1]}")

    assert there.local[1] == here.local[1]


def test_the_receive_buffer_is_asked_for(
    opened: Callable[[str], UdpSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gets asked for the size that is set, and a refusal is no error."""
    asked: list[int] = []

    class Stubborn(socket.socket):
        def setsockopt(self, level: int, option: int, value: int) -> None:  # type: ignore[override] # one form
            if option == socket.SO_RCVBUF:
                asked.append(value)
                raise OSError(errno.ENOBUFS, "no")
            super().setsockopt(level, option, value)

    monkeypatch.setattr(socket, "socket", Stubborn)
    opened("127.0.0.1:0")

    assert asked == [CONFIG.receive_buffer]


def test_a_machine_without_ipv6_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system knows no such family, none is promised."""
    monkeypatch.setattr(socket, "AF_INET6", _NO_FAMILY)
    assert not has_ipv6()
