"""Host names to addresses: a literal, a name, a name that has none, a name server that sleeps."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from crawler.net.resolve import ResolveError, resolve, split_host_port
from crawler.wire.compact import Family, pack_address
from tests.sim.crawl_scene import run_in_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock


def answer_with(*hosts: str) -> Callable[..., list[Any]]:
    """Return a resolver that gives ``hosts`` for every name."""

    def look_up(_host: str, port: int, **options: Any) -> list[Any]:
        kind = options["family"]
        tail = (0, 0) if kind == socket.AF_INET6 else ()
        return [(kind, socket.SOCK_DGRAM, 17, "", (host, port, *tail)) for host in hosts]

    return look_up


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("router.example.org:6881", "router.example.org", 6881),
        ("1.2.3.4:1", "1.2.3.4", 1),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
    ],
)
def test_host_and_port_are_told_apart(text: str, host: str, port: int) -> None:
    """A name, an IPv4 literal and an IPv6 literal in brackets each give a host and a port."""
    assert split_host_port(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "host", ":1", "host:", "host:0", "host:65536", "host:-1", "host:x", "host:\u0661"]
)
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    """Anything else is an error that shows the text and says what is allowed."""
    with pytest.raises(ValueError, match="is not HOST:PORT with a port from 1 to 65535"):
        split_host_port(text)


@pytest.mark.parametrize(
    ("text", "family", "address"),
    [("127.0.0.1:7001", Family.IPV4, ("127.0.0.1", 7001)), ("[::1]:7001", Family.IPV6, ("::1", 7001))],
)
async def test_literals_need_no_name_server(text: str, family: Family, address: tuple[str, int]) -> None:
    """A literal address of the family asked for comes back in compact form."""
    assert await resolve(text, family, timeout=5) == [pack_address(address)]


async def test_a_literal_of_the_other_family_is_no_trouble() -> None:
    """Whoever names an IPv4 node for a daemon with both families is not warned about IPv6."""
    assert await resolve("127.0.0.1:7001", Family.IPV6, timeout=5) == []
    assert await resolve("[::1]:7001", Family.IPV4, timeout=5) == []


async def test_a_name_may_have_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """All addresses of a name are returned, in the resolver's order and each once."""
    monkeypatch.setattr(socket, "getaddrinfo", answer_with("1.2.3.4", "5.6.7.8", "1.2.3.4"))

    found = await resolve("router.example.org:80", Family.IPV4, timeout=5)

    assert found == [pack_address(("1.2.3.4", 80)), pack_address(("5.6.7.8", 80))]


async def test_the_family_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv6 node asks for IPv6 addresses only; a zone in the answer is left out."""
    monkeypatch.setattr(socket, "getaddrinfo", answer_with("2001:db8::1", "fe80::1%eth0"))

    found = await resolve("router.example.org:80", Family.IPV6, timeout=5)

    assert found == [pack_address(("2001:db8::1", 80)), pack_address(("fe80::1", 80))]


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        OSError(24, "Too many open files"),
        UnicodeError("label too long"),
    ],
)
async def test_a_name_without_address_is_an_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Whatever the resolver raises becomes the one error, which names the host and the cause."""

    def fail(*_arguments: object, **_options: object) -> list[Any]:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ResolveError, match="router.example.org: .*" + str(error.args[-1])):
        await resolve("router.example.org:80", Family.IPV4, timeout=5)


@pytest.mark.parametrize("text", ["a" * 64 + ".example.org:80", "..:80", "a..b:80", "\udcff:80"])
async def test_a_name_that_cannot_exist_is_an_error(text: str) -> None:
    """A name that cannot even be asked for does not crash the daemon."""
    with pytest.raises(ResolveError):
        await resolve(text, Family.IPV4, timeout=5)


@pytest.fixture
def sleeping_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every look-up hang in its thread until the test is over."""
    wake = threading.Event()

    def sleep(*_arguments: object, **_options: object) -> list[Any]:
        wake.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", sleep)
    yield
    wake.set()


@pytest.mark.usefixtures("sleeping_server")
async def test_a_sleeping_name_server_is_given_up(autojump_clock: MockClock) -> None:
    """When no answer comes in time that is the error, however long the thread goes on waiting."""
    with pytest.raises(ResolveError, match="no answer within 10 s"):
        await resolve("router.example.org:80", Family.IPV4, timeout=10)
    assert trio.current_time() == pytest.approx(10, abs=0.1)


@pytest.mark.usefixtures("sleeping_server")
async def test_sleeping_name_servers_block_nobody_else(autojump_clock: MockClock) -> None:
    """However many look-ups hang, threads are left for the output and the state."""

    async def look_up() -> None:
        with pytest.raises(ResolveError):
            await resolve("router.example.org:80", Family.IPV4, timeout=10)

    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(look_up)
    limiter = trio.to_thread.current_default_thread_limiter()
    assert limiter.available_tokens == limiter.total_tokens


async def test_no_address_is_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that answers with nothing gives nothing."""
    monkeypatch.setattr(socket, "getaddrinfo", answer_with())
    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_line)

    assert await resolve("router.example.org:80", Family.IPV4, timeout=5) == []
