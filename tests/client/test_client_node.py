"""The library as a program uses it, in simulated networks and among nodes that say what a test wants."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.client import ListenError, MetadataNotFoundError, Node, Peer, open_node
from crawler.dht.scrape_filter import filter_of
from crawler.net.resolve import ResolveError
from crawler.simnet.server import ServerConfig, open_network
from crawler.simnet.world import WorldConfig
from crawler.wire.compact import Family, format_address, pack_address
from crawler.wire.ids import distance
from tests.client.scripted_node import ScriptedNode, scripted_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from crawler.wire import krpc

WORLD = ServerConfig(WorldConfig(nodes=600, infohashes=50, dead=0.1, loss=0), rtt=0.02)
HASH = b"\x11" * 20
needs_simnet = pytest.mark.skipif(sys.platform != "linux", reason="the simulated network needs Linux")


def near(number: int) -> bytes:
    """Return an id; the larger the number, the farther from HASH."""
    return HASH[:18] + (0x1111 ^ number).to_bytes(2, "big")


@contextlib.asynccontextmanager
async def joined(*bootstrap: str, **options: Any) -> AsyncIterator[Node]:
    """Open a node on loopback; fail if it takes too long."""
    listen = options.pop("listen", ["127.0.0.1:0"])
    with trio.fail_after(20):
        async with open_node(bootstrap=bootstrap, listen=listen, allow_private=True, **options) as node:
            yield node


@needs_simnet
async def test_a_lookup_finds_every_peer_that_is_known() -> None:
    """In a network with dead nodes, lookups reach the nodes that hold the peers, and tell what it took."""
    async with (
        open_network(WORLD) as network,
        joined(format_address(pack_address(network.bootstrap))) as node,
    ):
        truths = list(network.world.truth())[:4]
        for truth in truths:
            told: list[Peer] = []
            result = await node.lookup(truth.infohash, on_peer=told.append)

            assert {peer.address for peer in result.peers} == set(truth.peers)
            assert tuple(told) == result.peers
            assert {(peer.infohash, peer.source) for peer in result.peers} == {(truth.infohash, "dht")}
            assert result.complete
            assert 8 <= result.nodes_answered <= result.nodes_asked <= 128
            assert result.hops >= 1


@needs_simnet
async def test_an_announce_is_found_by_the_next_lookup() -> None:
    """What we announce to the nodes with tokens, by port or implied port, others then find."""
    infohash = b"\x77" * 20
    async with open_network(attrs.evolve(WORLD, world=attrs.evolve(WORLD.world, dead=0))) as network:
        host = format_address(pack_address(network.bootstrap))
        async with joined(host) as node:
            result = await node.announce(infohash, 5000)
            implied = await node.announce(infohash, 6000, implied_port=True)
            own_port = node.endpoints[0].socket.local[1]
        async with joined(host) as other, other.get_peers(infohash.hex()) as peers:
            found = {str(peer) async for peer in peers}

    assert len(result.accepted) == result.asked == len(set(result.accepted)) == 8
    assert len(implied.accepted) == 8
    assert found == {"127.0.0.1:5000", f"127.0.0.1:{own_port}"}


async def test_a_reader_that_has_enough_ends_the_lookup() -> None:
    """Closing the channel of peers before all of them came is no fault, neither here nor in the block."""
    later, asked = pack_address(("127.9.9.9", 2222)), trio.Event()

    def answer(query: krpc.Query, body: dict[bytes, Any]) -> dict[bytes, Any]:
        if query.method == b"get_peers":
            asked.set()
        return body | {b"values": [later]}

    async with scripted_node(near(1)) as remote, joined(remote.name) as node:
        remote.edit = answer
        # The peer that the link names is there at once, the other one when the node has answered.
        async with node.get_peers(f"magnet:?xt=urn:btih:{HASH.hex()}&x.pe=127.9.9.9:1111") as channel:
            async with channel:
                assert str(await channel.receive()) == "127.9.9.9:1111"
            await asked.wait()
            await trio.sleep(0.2)


async def test_we_are_read_only() -> None:
    """Every query says so (BEP 43), and queries to us get no answer."""
    async with scripted_node(near(1)) as remote, joined(remote.name) as node:
        await node.announce(HASH, 5000)
        await node.lookup(HASH)
        await remote.sock.sendto(
            b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", node.endpoints[0].socket.local
        )
        await trio.sleep(0.05)
        counters = node.endpoints[0].node.counters

        assert {query.method for query in remote.queries} >= {b"find_node", b"get_peers"}
        assert all(query.read_only for query in remote.queries)
        assert (counters.queries_in, counters.replies) == (1, 0)


async def test_the_closest_eight_with_tokens_are_told() -> None:
    """Of twelve nodes the eight closest that gave a token get the announce, with that token."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(scripted_node(near(n), f"127.0.0.{n}")) for n in range(1, 13)
        ]
        for number, remote in enumerate(nodes):
            remote.knows = [(other.node_id, other.compact) for other in nodes]
            remote.body[b"get_peers"] = {b"token": b"t%d" % number}
        del nodes[0].body[b"get_peers"]
        async with joined(nodes[11].name) as node:
            result = await node.announce(HASH, 5000, seed=True)
        told = [remote for remote in nodes if remote.asked(b"announce_peer")]
        by_distance = sorted(nodes, key=lambda remote: distance(remote.node_id, HASH))
        answered = [remote for remote in by_distance if remote.asked(b"get_peers")]

    assert set(result.accepted) == {remote.name for remote in told}
    assert told == [remote for remote in nodes if remote in answered[1:9]]
    for remote in told:
        [query] = remote.asked(b"announce_peer")
        assert query.args[b"token"] == remote.body[b"get_peers"][b"token"]
        assert (query.args[b"port"], query.args[b"seed"], query.args[b"info_hash"]) == (5000, 1, HASH)
        assert b"implied_port" not in query.args


async def test_both_families_are_searched() -> None:
    """An IPv4 host that names IPv6 nodes is the way into both networks, and peers of both come back."""
    peer4, peer6 = pack_address(("127.9.9.9", 4444)), pack_address(("::1", 6666))
    async with scripted_node(near(1)) as four, scripted_node(near(2), "::1") as six:
        four.knows = [(six.node_id, six.compact)]
        four.body[b"get_peers"] = {b"values": [peer4]}
        six.body[b"get_peers"] = {b"values": [peer6]}
        async with joined(four.name, listen=["127.0.0.1:0", "[::1]:0"]) as node:
            result = await node.lookup(HASH)

        assert [query.args[b"want"] for query in four.asked(b"find_node")] == [[b"n4", b"n6"]]
    assert {peer.address for peer in result.peers} == {peer4, peer6}
    assert result.nodes_answered == 2


async def test_a_hybrid_magnet_is_looked_up_under_both_names() -> None:
    """Both hashes are asked for; peers are told apart by the one that they were found under."""
    v2 = b"\x22" * 32
    link = f"magnet:?xt=urn:btih:{HASH.hex()}&xt=urn:btmh:1220{v2.hex()}&x.pe=127.5.5.5:5555&x.pe=127.6.6.6:0"
    v1_peer, v2_peer = pack_address(("127.9.9.9", 1111)), pack_address(("127.9.9.9", 2222))

    def answer(query: krpc.Query, body: dict[bytes, Any]) -> dict[bytes, Any]:
        values = {HASH: [v1_peer], v2[:20]: [v2_peer, v1_peer]}.get(query.args.get(b"info_hash", b""))
        return body if values is None else body | {b"values": values}

    async with scripted_node(near(1)) as remote, joined(remote.name) as node:
        remote.edit = answer
        result = await node.lookup(link)

    assert result.infohashes == (HASH, v2[:20])
    assert {str(peer): peer.source for peer in result.peers} == {
        "127.5.5.5:5555": "magnet",
        "127.9.9.9:1111": "dht",
        "127.9.9.9:2222": "dht",
    }


async def test_swarm_sizes_are_united_over_nodes() -> None:
    """Filters of several nodes are united (BEP 33); one with too many bits is made up and left out."""
    ips = [bytes((10, 0, n // 256, n % 256)) for n in range(60)]
    filters = [filter_of(ips[:40]), filter_of(ips[20:]), b"\xff" * 256]
    peer = pack_address(("127.9.9.9", 1111))

    def answers(number: int) -> Any:
        def answer(query: krpc.Query, body: dict[bytes, Any]) -> dict[bytes, Any]:
            if query.args.get(b"scrape"):
                # As libtorrent does it: filters in place of peers.
                return body | {b"BFsd": filters[number], b"BFpe": filter_of(())}
            return body | {b"values": [peer]}

        return answer

    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(scripted_node(near(n), f"127.0.0.{n + 1}")) for n in range(3)
        ]
        for number, remote in enumerate(nodes):
            remote.edit = answers(number)
            remote.knows = [(other.node_id, other.compact) for other in nodes]
        async with joined(nodes[0].name) as node:
            result = await node.lookup(HASH)
            nothing = node.search(HASH, scrape=False)
            await nothing.run()

    assert result.seeds is not None
    assert 55 <= result.seeds <= 65
    assert result.leechers == 0
    assert (nothing.result().seeds, len(nothing.result().peers)) == (None, 1)


async def test_a_dead_host_delays_nothing() -> None:
    """While one bootstrap host answers, silent and unknown ones cost no time and are named afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(scripted_node(near(n), f"127.0.0.{n + 1}")) for n in range(8)
        ]
        for remote in nodes:
            remote.knows = [(other.node_id, other.compact) for other in nodes]
        silent = await stack.enter_async_context(scripted_node(near(99)))
        silent.edit = lambda _query, _body: None
        async with joined(silent.name, nodes[0].name) as node:
            result = await node.lookup(HASH)
            assert result.nodes_answered == 8
            assert result.seconds < 1
            assert node.seeds.problems == []


async def test_nobody_answering_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any answer a lookup ends empty, tells why for each host, and the next one asks them again."""

    async def resolve(text: str, family: Family, **_options: Any) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        if text.startswith("gone"):
            raise ResolveError("gone.example: [Errno -2] Name or service not known")
        return [remote.compact] if family is Family.IPV4 else []

    monkeypatch.setattr("crawler.client.seeds.resolve", resolve)
    monkeypatch.setattr("crawler.client.seeds._TRIES", 1)
    async with scripted_node(near(1)) as remote:
        remote.edit = lambda _query, _body: None
        async with joined("gone.example:1", "silent.example:2", "[::1]:9") as node:
            result = await node.lookup(HASH)
            assert (result.peers, result.nodes_asked, result.complete) == ((), 0, True)
            assert sorted(node.seeds.problems) == [
                "[::1]:9: no socket of its address family",
                "gone.example:1: Name or service not known",
                "silent.example:2: no answer",
            ]
            remote.edit = lambda _query, body: body
            assert (await node.lookup(HASH)).nodes_answered == 1
            assert any(problem.startswith("gone.example") for problem in node.seeds.problems)


async def test_private_addresses_are_left_alone() -> None:
    """Without allow_private neither hosts nor peers of private networks are contacted or even told of."""
    async with scripted_node(near(1)) as remote:
        with trio.fail_after(10):
            async with open_node(bootstrap=[remote.name], listen=["127.0.0.1:0"]) as node:
                result = await node.lookup(f"magnet:?xt=urn:btih:{HASH.hex()}&x.pe={remote.name}")
                with pytest.raises(MetadataNotFoundError) as missing:
                    await node.find_metadata(f"magnet:?xt=urn:btih:{HASH.hex()}&x.pe={remote.name}")
                problems = node.seeds.problems

    assert (result.peers, result.peers_dropped) == ((), 1)
    assert missing.value.tried == 0
    assert problems == [f"{remote.name}: {remote.name} is no address of the public Internet"]
    assert remote.queries == []


async def test_a_lost_answer_of_a_host_is_asked_for_again() -> None:
    """One datagram lost on the way to the only bootstrap host is not the end."""
    async with scripted_node(near(1)) as remote:
        remote.edit = lambda _query, body: body if len(remote.queries) > 1 else None
        async with joined(remote.name) as node:
            assert (await node.lookup(HASH)).nodes_answered == 1


async def test_errors_in_the_block_come_out_as_they_are() -> None:
    """A caller's own exception is not wrapped in a group, though tasks run beside the block."""
    with pytest.raises(KeyError, match="mine"):
        async with joined("127.0.0.1:9") as node, node.get_peers(HASH):
            raise KeyError("mine")


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        (["nonsense"], "cannot listen: not an address: 'nonsense'"),
        (["192.0.2.1:0"], "cannot listen on 192.0.2.1:0: not available here"),
        (
            ["127.0.0.1:0", "127.0.0.2:0"],
            "cannot listen on 127.0.0.2:0 too: one address per family is enough",
        ),
        ([], "cannot listen on no address"),
    ],
)
async def test_where_nobody_can_listen_is_one_line(listen: list[str], said: str) -> None:
    """What cannot be bound is refused before anything is sent."""
    with pytest.raises(ListenError, match=said):
        async with open_node(bootstrap=["127.0.0.1:9"], listen=listen):
            raise AssertionError


@pytest.mark.parametrize("host", ["host", "host:0", "host:70000", ":1"])
async def test_a_bootstrap_that_is_none_is_refused_at_the_door(host: str) -> None:
    """Whoever mistypes a host gets a plain ValueError at once, not a group of them out of a later call."""
    with pytest.raises(ValueError, match="is not HOST:PORT with a port from 1 to 65535"):
        async with joined("127.0.0.1:1", host):
            pytest.fail("it opened")


async def test_a_taken_port_is_named() -> None:
    """Somebody else's port is refused with the system's reason."""
    async with scripted_node(near(1)) as remote:
        with pytest.raises(ListenError, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
            async with open_node(bootstrap=[remote.name], listen=[remote.name]):
                raise AssertionError


@pytest.mark.parametrize("target", ["xyz", b"short", "magnet:?dn=x"])
async def test_a_target_that_is_none_is_refused(target: str | bytes) -> None:
    """Every way to ask takes the same targets and refuses the rest with a ValueError."""
    async with joined("127.0.0.1:9") as node:
        for ask in (node.lookup, node.find_metadata):
            with pytest.raises(ValueError, match=r"."):
                await ask(target)
        with pytest.raises(ValueError, match="allowed is 1 to 65535"):
            await node.announce(HASH, 0)


def test_scripted_nodes_have_the_ids_of_the_test() -> None:
    """The helper's distances are what the tests above take them for."""
    assert [distance(near(n), HASH) for n in (0, 1, 2, 3, 99)] == [0, 1, 2, 3, 99]
    assert ScriptedNode.__attrs_attrs__
