"""TCP doors over loopback: who is let in, and what happens when the system can't let anybody in."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import errno
import os
import resource
import socket
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from crawler.net.http import HttpServer, url_of
from crawler.net.http_terms import HttpConfig
from crawler.net.listening import Door
from crawler.net.peer_listener import PeerListener
from crawler.swarm.serving import MetadataCache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from trio.testing import MockClock


@pytest.fixture
def failures() -> Counter[str]:
    """Return what the door counts in."""
    return Counter()


@pytest.fixture
async def door(failures: Counter[str]) -> AsyncIterator[Door]:
    """Yield a door on loopback, closed afterwards."""
    opened = Door(("127.0.0.1", 0), failures)
    yield opened
    opened.close()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let the process open nothing in the block: the system says EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def until_short(failures: Counter[str], times: int) -> None:
    """Wait until so many tries have found no descriptor."""
    with trio.fail_after(5):
        while failures["no_descriptors"] < times:  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(0.01)


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
async def test_who_dials_is_let_in(ip: str, failures: Counter[str]) -> None:
    """Over both families the socket does not block, and the address is the one that was dialled from."""
    door = Door((ip, 0), failures)
    with trio.fail_after(5):
        stream = await trio.open_tcp_stream(*door.local)
        sock, address = await door.accept()
    with sock:
        assert address == stream.socket.getsockname()[:2]
        assert sock.getsockname()[:2] == door.local
        assert not sock.getblocking()
    await stream.aclose()
    door.close()
    assert failures == {}


async def test_without_descriptors_the_door_waits(
    door: Door, failures: Counter[str], autojump_clock: MockClock
) -> None:
    """A caller waits in the kernel until there is a descriptor; ten tries a second are made, and counted."""
    caller = socket.create_connection(door.local)
    with no_descriptor_left(), trio.move_on_after(0.95) as patience:
        await door.accept()
    assert patience.cancelled_caught
    assert failures == {"no_descriptors": 10}

    sock, address = await door.accept()

    assert address == caller.getsockname()
    sock.close()
    caller.close()


class Grumbling:
    """A listening socket that fails in the ways of accept(2) which loopback does not know."""

    def __init__(self, real: socket.socket, *errors: OSError) -> None:
        self._real = real
        self._errors = list(errors)

    def accept(self) -> tuple[socket.socket, Any]:
        """Fail as often as was said, then do the real thing."""
        if self._errors:
            raise self._errors.pop(0)
        return self._real.accept()

    def fileno(self) -> int:
        """Return the real one's."""
        return self._real.fileno()

    def close(self) -> None:
        """Close the real one."""
        self._real.close()


@pytest.mark.parametrize(
    ("code", "counted", "seconds"),
    [
        (errno.ECONNABORTED, {}, 0.0),
        (errno.EAGAIN, {}, 0.0),
        (errno.ENOBUFS, {"no_descriptors": 2}, 0.2),
        (errno.EPERM, {"accept_eperm": 2}, 0.2),
        (errno.ENETDOWN, {"accept_enetdown": 2}, 0.2),
    ],
)
async def test_errors_of_accepting_go_no_further(
    door: Door,
    failures: Counter[str],
    autojump_clock: MockClock,
    code: int,
    counted: dict[str, int],
    seconds: float,
) -> None:
    """Who left again costs nothing; every other error is counted by name and followed by a pause."""
    door._socket = Grumbling(door._socket, OSError(code, "no"), OSError(code, "no"))  # type: ignore[assignment] # as much of one as a door needs
    with socket.create_connection(door.local):
        began = trio.current_time()
        sock, _ = await door.accept()
        sock.close()

    assert failures == counted
    assert trio.current_time() - began == pytest.approx(seconds)


async def test_a_closed_door_stays_closed(door: Door, failures: Counter[str]) -> None:
    """Nobody is let in any more, and the port is free again."""
    door.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(door.local)
    Door(door.local, failures).close()


async def test_a_taken_address_is_an_error_at_once(door: Door, failures: Counter[str]) -> None:
    """An address that another door has can't be bound, and no socket is left behind."""
    with pytest.raises(OSError, match="in use"):
        Door(door.local, failures)


async def test_the_http_server_outlasts_a_shortage() -> None:
    """A request that came while there were no descriptors is answered when there are some again."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            server = HttpServer(no_content, HttpConfig(listen="127.0.0.1:0"))
            await nursery.start(server.run)
            caller = socket.create_connection(server.local)
            caller.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with no_descriptor_left():
                await until_short(server.counters.ended, 2)
            assert server.counters.accepted == 0
            async with httpx2.AsyncClient() as client:
                assert (await client.get(url_of(server.local))).status_code == 204
            assert await trio.to_thread.run_sync(caller.recv, 12) == b"HTTP/1.1 204"
            caller.close()
            nursery.cancel_scope.cancel()


async def no_content(_scope: Any, _receive: Any, send: Any) -> None:
    """An application that has nothing to say."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_the_listener_for_peers_outlasts_a_shortage() -> None:
    """Peers that dialled while there were no descriptors are visitors as soon as there are some again."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listener = PeerListener("127.0.0.1:0", b"-DC0100-listener-our", MetadataCache(1 << 20))
            nursery.start_soon(listener.run)
            caller = socket.create_connection(listener.local)
            with no_descriptor_left():
                await until_short(listener.counters.ended, 2)
            assert (listener.counters.accepted, listener.visitors) == (0, 0)
            while not listener.visitors:  # noqa: ASYNC110 - the kernel tells nobody
                await trio.sleep(0.01)
            caller.close()
            nursery.cancel_scope.cancel()
