"""Peers that dial us over loopback: served, shown out, or turned away, and nothing left behind."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import trio

from crawler.net.peer_listener import ListenerConfig, PeerListener
from crawler.net.peers import FetchError, PeerClient
from crawler.swarm.connection import ConnectionConfig
from crawler.swarm.serving import MetadataCache
from crawler.wire.compact import pack_address
from tests.swarm.fake_wire import handshake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INFO = bytes(range(256)) * 1000  # 256,000 bytes: more than a socket takes at once
HASH = hashlib.sha1(INFO).digest()  # noqa: S324 - BEP 3's choice
OURS, THEIRS = b"-DC0100-listener-our", b"-DC0100-listener-the"


def listener_of(listen: str = "127.0.0.1:0", **limits: float) -> PeerListener:
    """Return a bound listener that serves one info dict."""
    cache = MetadataCache(1 << 20)
    assert cache.add(HASH, INFO)
    return PeerListener(
        listen,
        OURS,
        cache,
        client=b"DC",
        config=ListenerConfig(**{"max_per_ip": 50, **limits}),  # type: ignore[arg-type] # each test knows
        connection=ConnectionConfig(handshake_timeout=0.3),
    )


@pytest.fixture
async def listener(nursery: trio.Nursery) -> AsyncIterator[PeerListener]:
    """Yield a running listener with three seats."""
    running = listener_of(max_visitors=3)
    nursery.start_soon(running.run)
    yield running
    nursery.cancel_scope.cancel()


async def until(listener: PeerListener, visitors: int) -> None:
    """Wait until so many are connected."""
    with trio.fail_after(3):
        while listener.visitors != visitors:  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(0.005)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
async def test_metadata_is_served(listen: str, nursery: trio.Nursery) -> None:
    """Who asks for what we have gets the very bytes, over both families, and the visit is counted."""
    running = listener_of(listen)
    nursery.start_soon(running.run)
    client = PeerClient(THEIRS, allow_private=True)

    found = await client.fetch_metadata(pack_address(running.local), HASH)

    assert found.info == INFO
    await until(running, 0)
    assert running.counters.accepted == 1
    assert running.counters.pieces_served == 16
    assert set(running.counters.ended) <= {"closed", "reset"}
    nursery.cancel_scope.cancel()


async def test_unknown_torrents_are_closed_without_a_word(listener: PeerListener) -> None:
    """Asked for a torrent that we do not have we close, and say nothing of ourselves."""
    stream = await trio.open_tcp_stream(*listener.local)
    await stream.send_all(handshake(b"x" * 20))

    with trio.fail_after(3):
        assert await stream.receive_some() == b""

    await stream.aclose()
    assert listener.counters.ended == {"unknown_infohash": 1}


async def test_talking_to_ourselves_is_noticed(listener: PeerListener) -> None:
    """A visitor with our own id is ourselves, and is closed."""
    client = PeerClient(OURS, allow_private=True)

    with pytest.raises(FetchError):
        await client.fetch_metadata(pack_address(listener.local), HASH)

    assert listener.counters.ended == {"self_connection": 1}


async def test_silent_visitors_go_in_time(listener: PeerListener) -> None:
    """Who dials us and says nothing is dropped when its time for a handshake is over."""
    async with await trio.open_tcp_stream(*listener.local) as stream:
        with trio.fail_after(3):
            assert await stream.receive_some() == b""

    assert listener.counters.ended == {"handshake_timeout": 1}


async def test_the_oldest_silent_visitor_makes_room(listener: PeerListener) -> None:
    """When all seats are taken by silent ones, an honest peer is served all the same."""
    silent = [await trio.open_tcp_stream(*listener.local) for _ in range(3)]
    await until(listener, 3)

    found = await PeerClient(THEIRS, allow_private=True).fetch_metadata(pack_address(listener.local), HASH)

    assert found.info == INFO
    assert listener.counters.ended["shown_out"] == 1
    assert listener.counters.refused == 0
    for stream in silent:
        await stream.aclose()


async def test_a_full_house_turns_newcomers_away(listener: PeerListener) -> None:
    """When all who sit have shaken hands, the newcomer is closed at once."""
    guests = []
    for number in range(3):
        stream = await trio.open_tcp_stream(*listener.local)
        await stream.send_all(handshake(HASH, b"-XX0100-guest-%06d" % number))
        assert await stream.receive_some() != b""
        guests.append(stream)

    with pytest.raises(FetchError, match="_in_handshake"):
        await PeerClient(THEIRS, allow_private=True).fetch_metadata(pack_address(listener.local), HASH)

    assert (listener.visitors, listener.counters.refused) == (3, 1)
    for stream in guests:
        await stream.aclose()
    await until(listener, 0)


async def test_one_address_gets_few_seats(nursery: trio.Nursery) -> None:
    """However many connections one address opens, it holds no more than its share."""
    running = listener_of(max_per_ip=2)
    nursery.start_soon(running.run)
    streams = [await trio.open_tcp_stream(*running.local) for _ in range(5)]

    await until(running, 2)
    with trio.fail_after(3):
        while running.counters.refused < 3:  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(0.005)

    assert running.visitors == 2
    for stream in streams:
        await stream.aclose()
    await until(running, 0)
    assert running._per_ip == {}
    nursery.cancel_scope.cancel()


async def test_closing_the_door_ends_all_visits() -> None:
    """Cancelled, the listener closes its socket and every visitor's."""
    running = listener_of()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run)
        stream = await trio.open_tcp_stream(*running.local)
        await until(running, 1)
        nursery.cancel_scope.cancel()

    assert running.visitors == 0
    with trio.fail_after(3):
        assert await stream.receive_some() == b""
    await stream.aclose()
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream(*running.local)
