"""What reaches the daemon from others: queries, announces, votes on its address; in both families."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from crawler import app
from crawler.dht.identity import is_secure
from crawler.wire import krpc
from crawler.wire.compact import Family, format_address, pack_address, parse_address, split_nodes
from tests.sim.crawl_scene import LISTEN, Scene

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from crawler.simnet.memory import MemorySocket

SLOW_MOTION: dict[str, Any] = {"limits": {"max_rate": 100.0}, "pace": {"tick": 0.05}}
BOTH = (LISTEN, "[::1]:6881")
STRANGER = b"s" * 20


async def ask(socket: MemorySocket, query: bytes, address: str = LISTEN) -> dict[bytes, Any]:
    """Ask our daemon and return the body of its response; its own queries meanwhile are ignored."""
    socket.send_batch([(query, parse_address(address))])
    with trio.fail_after(10):
        while True:
            for data, _ in await socket.receive_batch():
                message = krpc.decode(data)
                if isinstance(message, krpc.Response):
                    return {**message.body, b"ip": message.ip}


async def test_what_others_announce_is_found(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A get_peers query makes its infohash a find, an announce its peer; and others find the peer with us."""
    with Scene.of(tmp_path, 51, nodes=50, infohashes=0) as scene:

        async def neighbour() -> None:
            await trio.sleep(5)
            announcer, seeker = (scene.network.socket((f"127.0.0.{host}", 6881)) for host in (7, 8))
            answer = await ask(announcer, krpc.get_peers(b"aa", STRANGER, b"h" * 20))
            for _ in range(2):
                token = answer[b"token"]
                await ask(announcer, krpc.announce_peer(b"ab", STRANGER, b"h" * 20, 7777, token))
            found = await ask(seeker, krpc.get_peers(b"ac", STRANGER, b"h" * 20))
            assert found[b"values"] == [pack_address(("127.0.0.7", 7777))]
            sample = await ask(seeker, krpc.sample_infohashes(b"ad", STRANGER, b"t" * 20))
            assert sample[b"samples"] == b"h" * 20

        async with trio.open_nursery() as nursery:
            nursery.start_soon(neighbour)
            await scene.crawl(20, **SLOW_MOTION)

        [infohash] = scene.records("infohash")
        assert (infohash["infohash"], infohash["source"]) == ((b"h" * 20).hex(), "get_peers")
        assert infohash["node"] == "127.0.0.7:6881"
        announced = [record for record in scene.records("peers") if record["source"] == "announce"]
        assert [record["peers"] for record in announced] == [["127.0.0.7:7777"]] * 2


async def test_an_announce_alone_is_a_find(tmp_path: Path, autojump_clock: MockClock) -> None:
    """An announce with a valid token counts, with its sender's own port if it says so."""
    with Scene.of(tmp_path, 52, nodes=50, infohashes=0) as scene:

        async def neighbour() -> None:
            await trio.sleep(5)
            socket = scene.network.socket(("127.0.0.7", 6881))
            answer = await ask(socket, krpc.get_peers(b"aa", STRANGER, b"a" * 20))
            query = krpc.announce_peer(b"ab", STRANGER, b"a" * 20, 1, answer[b"token"], implied_port=True)
            await ask(socket, query)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(neighbour)
            await scene.crawl(20, **SLOW_MOTION)

        [announced] = [record for record in scene.records("peers") if record["source"] == "announce"]
        assert announced["peers"] == ["127.0.0.7:6881"]


async def test_peers_are_sought_for_what_others_seek(tmp_path: Path, autojump_clock: MockClock) -> None:
    """An infohash that no sample names, but somebody asks us for, is looked up in the network."""
    with Scene.of(tmp_path, 53, nodes=300, infohashes=200, bep51=0.0, loss=0.0) as scene:
        wanted = next(iter(scene.world.truth())).infohash

        async def neighbour() -> None:
            await trio.sleep(10)
            socket = scene.network.socket(("127.0.0.7", 6881))
            await ask(socket, krpc.get_peers(b"aa", STRANGER, wanted))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(neighbour)
            await scene.crawl(30, **SLOW_MOTION)

        assert scene.found() == [wanted.hex()]
        [record] = scene.records("peers")
        assert record["source"] == "get_peers"
        assert set(record["peers"]) == scene.true_peers()[wanted.hex()]


async def test_key_that_one_network_asks_for_can_be_left_out(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """With two askers wanted, a key that one client looks up makes no line; what two networks seek does."""
    sought, random_key = b"s" * 20, b"r" * 20
    with Scene.of(tmp_path, 53, nodes=50, infohashes=0, loss=0.0) as scene:

        async def neighbours() -> None:
            await trio.sleep(5)
            here, elsewhere = (scene.network.socket((f"127.0.{net}.1", 6881)) for net in (7, 8))
            for socket, key in ((here, sought), (here, random_key), (elsewhere, sought)):
                await ask(socket, krpc.get_peers(b"aa", STRANGER, key))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(neighbours)
            await scene.crawl(10, **SLOW_MOTION, sightings={"askers": 2})

        assert scene.found() == [sought.hex()]


async def test_our_id_follows_our_address(tmp_path: Path, autojump_clock: MockClock) -> None:
    """When the network tells us our public address our id becomes one that fits, and is kept."""
    state = {"directory": str(tmp_path / "state")}
    public = {"listen": ("45.10.0.1:6881",)}
    with Scene.of(tmp_path, 54, nodes=200, infohashes=100) as scene:
        await scene.crawl(20, **SLOW_MOTION, network=public, state=state)
        [changed] = scene.status("node.id_changed")
        await scene.crawl(20, **SLOW_MOTION, network=public, state=state)

        assert is_secure(bytes.fromhex(changed["node_id"]), bytes([45, 10, 0, 1]))
        first, second = (fields["node_id"] for fields in scene.status("crawler.listening"))
        assert first != changed["node_id"] == second
        assert scene.status("node.id_changed") == [changed]


async def test_both_families_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    """The IPv6 node is a node of its own: its id, its table, and `want` for either family on either."""
    with Scene.of(tmp_path, 55, nodes=100, infohashes=100) as scene:

        async def neighbours() -> None:
            await trio.sleep(10)
            four, six = scene.network.socket(("127.0.0.7", 6881)), scene.network.socket(("::7", 6881))
            # Someone at IPv6 whom the daemon gets to know because it answers a ping.
            answer = await ask(six, krpc.ping(b"aa", b"6" * 20), BOTH[1])
            await answer_pings(six, b"6" * 20)
            await trio.sleep(1)  # the answer is on its way
            want = (b"n4", b"n6")
            over_four = await ask(four, krpc.find_node(b"ab", STRANGER, b"6" * 20, want=want))
            over_six = await ask(six, krpc.find_node(b"ac", b"6" * 20, b"6" * 20, want=want), BOTH[1])
            plain_six = await ask(six, krpc.find_node(b"ad", b"6" * 20, b"5" * 20), BOTH[1])

            assert over_four[b"id"] != over_six[b"id"] == answer[b"id"]
            assert over_six[b"ip"] == pack_address(("::7", 6881))
            assert len(split_nodes(over_four[b"nodes"], Family.IPV4)) == 8
            assert split_nodes(over_four[b"nodes6"], Family.IPV6) == [
                (b"6" * 20, pack_address(("::7", 6881)))
            ]
            assert len(split_nodes(over_six[b"nodes"], Family.IPV4)) == 8
            assert b"nodes" not in plain_six

        async with trio.open_nursery() as nursery:
            nursery.start_soon(neighbours)
            await scene.crawl(30, **SLOW_MOTION, network={"listen": BOTH})


async def answer_pings(socket: MemorySocket, node_id: bytes) -> None:
    """Answer the first ping that comes."""
    with trio.fail_after(10):
        while True:
            for data, source in await socket.receive_batch():
                query = krpc.decode(data)
                if isinstance(query, krpc.Query) and query.method == b"ping":
                    socket.send_batch([(krpc.response(query.tid, {b"id": node_id}), source)])
                    return


async def test_a_family_can_be_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    """With an IPv4 address alone there is no IPv6 node, and `want` for its nodes gets none."""
    with Scene.of(tmp_path, 56, nodes=50, infohashes=0) as scene:

        async def neighbour() -> None:
            await trio.sleep(5)
            socket = scene.network.socket(("127.0.0.7", 6881))
            body = await ask(socket, krpc.find_node(b"ab", STRANGER, b"t" * 20, want=(b"n4", b"n6")))
            assert body[b"nodes"]
            assert not body.get(b"nodes6")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(neighbour)
            await scene.crawl(10, **SLOW_MOTION)

        assert [fields["address"] for fields in scene.status("crawler.listening")] == [LISTEN]


async def test_an_ipv6_daemon_alone(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Of two daemons that speak only IPv6 one finds what is announced to the other."""
    with Scene.of(tmp_path, 57, nodes=10, infohashes=0) as scene:
        listens = "[::1]:6881", "[::2]:6881"

        async def daemon(number: int) -> None:
            network = {"listen": (listens[number],), "bootstrap": (listens[0],) if number else ()}
            output = {"path": (str(tmp_path / f"{number}.jsonl"),)}
            # Our own samples stay the same for at least a minute, so the finder comes again after that.
            run = {"duration": 150.0, "status_interval": 0.0}
            sections: dict[str, Any] = {
                "network": network,
                "output": output,
                "run": run,
                "peer_store": {"sample_interval": 60},
            }
            await app.run(scene.config(**SLOW_MOTION, **sections), open_socket=scene.open_socket)

        async def announcer() -> None:
            await trio.sleep(20)
            socket = scene.network.socket(("::7", 6881))
            answer = await ask(socket, krpc.get_peers(b"aa", STRANGER, b"h" * 20), listens[0])
            query = krpc.announce_peer(b"ab", STRANGER, b"h" * 20, 7777, answer[b"token"])
            await ask(socket, query, listens[0])

        async with trio.open_nursery() as nursery:
            for number in (0, 1):
                nursery.start_soon(daemon, number)
            nursery.start_soon(announcer)

        assert [fields["table"] for fields in scene.status()] == [1, 1]
        scene.out = tmp_path / "1.jsonl"
        [found] = scene.records("infohash")
        assert found["node"] == listens[0]
        assert found["infohash"] == (b"h" * 20).hex()
        assert [record["peers"] for record in scene.records("peers")] == [["[::7]:7777"]]


async def test_ipv6_is_entered_through_ipv4(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A daemon with both families learns IPv6 nodes from its IPv4 bootstrap node (BEP 32's `want`)."""
    with Scene.of(tmp_path, 58, nodes=10, infohashes=0) as scene:
        router, lone, ours = (
            ("127.0.0.1:6881", "[::1]:6881"),
            ("[::2]:6881",),
            ("127.0.0.3:6881", "[::3]:6881"),
        )

        async def daemon(listen: tuple[str, ...], bootstrap: tuple[str, ...], delay: float) -> None:
            await trio.sleep(delay)
            output = {"path": (str(tmp_path / f"{len(listen)}{delay}.jsonl"),)}
            run = {"duration": 60.0, "status_interval": 0.0}
            network = {"listen": listen, "bootstrap": bootstrap}
            config = scene.config(**SLOW_MOTION, network=network, output=output, run=run)
            await app.run(config, open_socket=scene.open_socket)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon, router, (), 0)
            nursery.start_soon(daemon, lone, (router[1],), 1)
            nursery.start_soon(daemon, ours, (router[0],), 20)
        to_lone = {source for _, source, destination, _ in scene.network.sent if destination == ("::2", 6881)}

        assert ("::3", 6881) in to_lone


@pytest.mark.parametrize("data", [b"", b"d1:y1:q", b"\xff" * 1500, b"d1:t2:aa1:y1:ree", b"l" * 1472])
async def test_garbage_is_no_trouble(tmp_path: Path, autojump_clock: MockClock, data: bytes) -> None:
    """Whatever reaches the daemon, it goes on crawling and answering."""
    with Scene.of(tmp_path, 59, nodes=50, infohashes=50) as scene:

        async def vandal() -> None:
            await trio.sleep(2)
            socket = scene.network.socket(("127.0.0.7", 6881))
            socket.send_batch([(data, parse_address(LISTEN))] * 100)
            assert await ask(socket, krpc.ping(b"aa", STRANGER))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(vandal)
            assert await scene.crawl(10, **SLOW_MOTION) == 0

        assert format_address(pack_address(scene.world.bootstrap))
        assert len(scene.found()) >= 0.9 * len(scene.reachable())
        assert sum(scene.status()[-1]["dropped"].values()) == 100
