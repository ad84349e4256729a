"""Fetching over real sockets on loopback: honest peers, dead ones of every kind, and nothing left open."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio

from crawler.net.peers import FetchError, PeerClient
from crawler.net.tcp import LinkError, dial
from crawler.swarm.assembly import MemoryBudget, MemoryConfig
from crawler.swarm.metadata import VerifiedMetadata
from crawler.wire.compact import pack_address
from tests.net.peer_behaviours import DEAD, HASH, INFO, OURS, client_of, honest, serve, trickle

if TYPE_CHECKING:
    from crawler.net.tcp import Link
    from tests.net.peer_behaviours import Behaviour


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


@pytest.mark.parametrize(("behaviour", "reasons"), DEAD)
async def test_dead_peers_end_with_a_reason(behaviour: Behaviour, reasons: set[str]) -> None:
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
