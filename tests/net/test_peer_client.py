"""Fetching over real sockets on loopback: honest peers, dead ones of every kind, and nothing left open."""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING

import pytest
import trio

from crawler.net.peers import FetchError, PeerClient, PeersConfig
from crawler.net.tcp import LinkError, dial
from crawler.swarm.assembly import MemoryBudget, MemoryConfig
from crawler.swarm.connection import ConnectionConfig
from crawler.swarm.metadata import MetadataConfig, VerifiedMetadata
from crawler.wire.compact import pack_address
from tests.swarm.fake_wire import handshake, introduction, pieces

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crawler.net.tcp import Link


INFO = bytes(range(256)) * 200
HASH = hashlib.sha1(INFO).digest()  # noqa: S324 - BEP 3's choice
OURS = b"-DC0100-net-test-ours"[:20]


async def serve(
    nursery: trio.Nursery, behaviour: Callable[[trio.SocketStream], Awaitable[None]], host: str = "127.0.0.1"
) -> bytes:
    """Start a peer that behaves so; return its compact address."""
    [listener] = await trio.open_tcp_listeners(0, host=host)
    port = listener.socket.getsockname()[1]

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await behaviour(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.aclose()

    nursery.start_soon(trio.serve_listeners, handle, [listener])
    return pack_address((host, port))


def client_of(**options: object) -> PeerClient:
    """Return a client whose patience is measured in tenths of seconds."""
    return PeerClient(
        OURS,
        allow_private=True,
        peers=PeersConfig(dial_timeout=0.3),
        connection=ConnectionConfig(handshake_timeout=0.2),
        metadata=MetadataConfig(extensions_timeout=0.2, stall_window=0.2),
        **options,  # type: ignore[arg-type] # each test knows
    )


async def honest(stream: trio.SocketStream) -> None:
    """Answer as a good peer does, in small packets."""
    await stream.receive_some(68)
    whole = handshake(HASH) + introduction(len(INFO)) + pieces(INFO)
    for at in range(0, len(whole), 9000):
        await stream.send_all(whole[at : at + 9000])
        await trio.sleep(0.001)
    await trio.sleep_forever()


async def hang(stream: trio.SocketStream) -> None:
    """Accept and say nothing."""
    await stream.receive_some()
    await trio.sleep_forever()


async def close_at_once(stream: trio.SocketStream) -> None:
    """Accept and close."""
    await stream.aclose()


async def close_after_handshake(stream: trio.SocketStream) -> None:
    """Shake hands and close."""
    await stream.receive_some()
    await stream.send_all(handshake(HASH))
    await stream.send_eof()
    await trio.sleep_forever()


async def reset(stream: trio.SocketStream) -> None:
    """Accept and reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await stream.aclose()


async def trickle(stream: trio.SocketStream) -> None:
    """Introduce itself, then send a byte now and then."""
    await stream.send_all(handshake(HASH) + introduction(len(INFO)))
    for at in range(len(INFO)):
        await stream.send_all(pieces(INFO)[at : at + 1])
        await trio.sleep(0.02)


async def never_introduce(stream: trio.SocketStream) -> None:
    """Shake hands, and no more."""
    await stream.send_all(handshake(HASH))
    await trio.sleep_forever()


async def lie(stream: trio.SocketStream) -> None:
    """Send bytes whose hash is wrong."""
    await stream.send_all(handshake(HASH) + introduction(len(INFO)) + pieces(bytes(len(INFO))))
    await trio.sleep_forever()


async def flood(stream: trio.SocketStream) -> None:
    """Send blocks that nobody wants, for ever."""
    await stream.send_all(handshake(HASH))
    while True:
        await stream.send_all((b"\0\0\x40\x09\x07" + bytes(16392)) * 20)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_metadata_comes_over_both_families(host: str) -> None:
    """An honest peer gives the very bytes, over IPv4 and IPv6, and the socket is closed behind it."""
    client = client_of()
    async with trio.open_nursery() as nursery:
        address = await serve(nursery, honest, host)

        found = await client.fetch_metadata(address, HASH)

        nursery.cancel_scope.cancel()
    assert found == VerifiedMetadata(HASH, INFO)
    assert (client.counters.dialled, client.counters.connected, client.counters.fetched) == (1, 1, 1)
    assert (client.counters.open, client.budget.used) == (0, 0)


@pytest.mark.parametrize(
    ("behaviour", "reasons"),
    [
        (hang, {"handshake_timeout"}),
        (close_at_once, {"closed_in_handshake", "reset_in_handshake"}),
        (close_after_handshake, {"closed"}),
        (reset, {"reset_in_handshake"}),
        (never_introduce, {"extensions_timeout"}),
        (trickle, {"too_slow"}),
        (lie, {"wrong_hash"}),
        (flood, {"flood"}),
    ],
)
async def test_dead_peers_end_with_a_reason(
    behaviour: Callable[[trio.SocketStream], Awaitable[None]], reasons: set[str]
) -> None:
    """Every way to be dead ends the job in time, is counted under its reason, and leaves nothing open."""
    client = client_of()
    async with trio.open_nursery() as nursery:
        address = await serve(nursery, behaviour)

        with trio.fail_after(3), pytest.raises(FetchError) as caught:
            await client.fetch_metadata(address, HASH)

        nursery.cancel_scope.cancel()
    assert caught.value.reason in reasons
    assert caught.value.blame
    assert client.counters.failures == {caught.value.reason: 1}
    assert (client.counters.open, client.budget.used) == (0, 0)


async def test_nobody_listens() -> None:
    """A closed port is refused at once."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = pack_address(unused.getsockname())

        with pytest.raises(FetchError, match="refused"):
            await client_of().fetch_metadata(address, HASH)


async def test_dialling_ends_in_time() -> None:
    """A host that drops our packets costs the dial timeout and no more."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = pack_address(full.getsockname())
        fillers = []
        while (link := await dial_for(0.05, address)) is not None:
            fillers.append(link)

        with trio.fail_after(3), pytest.raises(FetchError, match="dial_timeout"):
            await client_of().fetch_metadata(address, HASH)

        for link in fillers:
            link.close()


async def dial_for(seconds: float, address: bytes) -> Link | None:
    """Return a connection, or None if there is none in time."""
    with trio.move_on_after(seconds):
        return await dial(address)
    return None


@pytest.mark.parametrize(
    "address", [("127.0.0.1", 6881), ("10.0.0.1", 6881), ("8.8.8.8", 0), ("8.8.8.8", 25), ("::1", 6881)]
)
async def test_forbidden_addresses_are_never_dialled(address: tuple[str, int]) -> None:
    """Private addresses, port 0 and system services are refused before a socket exists."""
    client = PeerClient(OURS)

    with pytest.raises(FetchError, match="forbidden_address") as caught:
        await client.fetch_metadata(pack_address(address), HASH)

    assert not caught.value.blame
    assert client.counters.dialled == 0


async def test_want_of_memory_is_not_the_peers_fault() -> None:
    """When our budget is used up the peer is not blamed, and may be asked again."""
    client = client_of(budget=MemoryBudget(MemoryConfig(allowance=16384, shared=0)))
    async with trio.open_nursery() as nursery:
        address = await serve(nursery, honest)

        with pytest.raises(FetchError, match="over_budget") as caught:
            await client.fetch_metadata(address, HASH)

        nursery.cancel_scope.cancel()
    assert not caught.value.blame


async def test_a_cancelled_fetch_leaves_nothing_open() -> None:
    """The caller's deadline may strike anywhere: socket closed, memory back, nothing counted as a failure."""
    client = client_of()
    async with trio.open_nursery() as nursery:
        address = await serve(nursery, trickle)

        with trio.move_on_after(0.05) as scope:
            await client.fetch_metadata(address, HASH)

        nursery.cancel_scope.cancel()
    assert scope.cancelled_caught
    assert client.counters.open == 0
    assert client.counters.failures == {}


async def test_a_link_error_tells_its_reason() -> None:
    """Without a client, dialling raises the link's own error with the same words."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))

        with pytest.raises(LinkError, match="refused"):
            await dial(pack_address(unused.getsockname()))
