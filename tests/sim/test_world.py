"""The simulated world against the rules it claims to follow, worked out the slow way."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.simnet import exchange
from crawler.simnet.population import DEAD, FALLS_BACK, IGNORES, REFUSES, SAMPLES
from crawler.simnet.world import World, WorldConfig
from crawler.wire import bencode, krpc
from crawler.wire.compact import Family, pack_address, split_nodes, split_samples, unpack_address
from crawler.wire.ids import ID_BYTES, common_prefix_bits, distance

if TYPE_CHECKING:
    from crawler.wire.compact import Address

ME: Address = ("127.0.0.1", 6881)
MY_ID = b"i" * ID_BYTES
TID = b"abcd"
CALM = WorldConfig(nodes=300, infohashes=900, loss=0)


@pytest.fixture(scope="module", name="world")
def calm_world() -> World:
    """Return a world without loss; tests that count make their own."""
    return World(CALM)


def addresses(world: World, kind: int | None = None) -> list[Address]:
    """Return the nodes of a kind (None: living ones)."""
    population = world._population
    return [
        unpack_address(population.nodes[rank][ID_BYTES:])
        for rank, its_kind in enumerate(population.kinds)
        if (its_kind != DEAD if kind is None else its_kind == kind)
    ]


def rank_of(world: World, address: Address) -> int:
    """Return the rank of the node at an address."""
    return world._population.rank_of[pack_address(address)[:4]]


def id_of(world: World, address: Address) -> bytes:
    """Return the id of the node at an address."""
    return world._population.nodes[rank_of(world, address)][:ID_BYTES]


def ask(world: World, address: Address, query: bytes, now: float = 0.0) -> dict[bytes, Any]:
    """Return the body of the response to a query that must be answered."""
    reply = world.receive(query, ME, address, now)
    assert reply is not None
    message = krpc.decode(reply)
    assert isinstance(message, krpc.Response)
    return message.body


def sample_query(target: bytes = MY_ID) -> bytes:
    """Return a sample_infohashes query."""
    return krpc.sample_infohashes(TID, MY_ID, target)


@pytest.mark.parametrize(
    "query",
    [
        krpc.ping(TID, MY_ID),
        krpc.find_node(TID, MY_ID, b"t" * 20),
        krpc.get_peers(b"xy", MY_ID, b"t" * 20),
        krpc.sample_infohashes(TID, MY_ID, b"t" * 20, want=(b"n4", b"n6"), read_only=True),
        b"d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q4:vote1:t1:z1:y1:qe",
    ],
)
def test_replies_are_canonical_and_name_the_asker(world: World, query: bytes) -> None:
    """Every reply is canonical bencode, echoes the transaction id, and tells the asker its address."""
    asked = krpc.decode(query)
    node = addresses(world, SAMPLES)[0]
    reply = world.receive(query, ME, node, 0.0)

    assert reply is not None
    message = krpc.decode(reply)
    assert isinstance(message, krpc.Response | krpc.Error)
    assert message.tid == asked.tid
    assert message.ip == pack_address(ME)
    assert bencode.encode(bencode.decode(reply)) == reply


def test_storage_is_on_the_closest_living_nodes(world: World) -> None:
    """Each infohash is stored by exactly the 8 living nodes closest to it, found here by sorting them all."""
    living = {id_of(world, node): node for node in addresses(world)}
    population = world._population
    for infohash in random.Random(1).sample(population.infohashes, 60):
        closest = sorted(living, key=lambda node_id: distance(node_id, infohash))[:8]
        place = population.infohashes.index(infohash)
        holders = {
            population.nodes[r][:ID_BYTES] for r, held in enumerate(population.storage) if place in held
        }

        assert holders == set(closest)


def test_get_peers_gives_peers_only_where_they_are_stored(world: World) -> None:
    """A holder gives all peers of the infohash, another node none; both give nodes and a token."""
    truth = next(iter(world.truth()))
    by_distance = sorted(addresses(world), key=lambda node: distance(id_of(world, node), truth.infohash))
    query = krpc.get_peers(TID, MY_ID, truth.infohash)
    holder, stranger = ask(world, by_distance[0], query), ask(world, by_distance[-1], query)

    assert holder[b"values"] == truth.peers
    assert b"values" not in stranger
    assert all(body[b"token"] and body[b"nodes"] for body in (holder, stranger))


def test_an_announced_peer_is_given_to_the_next_who_asks() -> None:
    """announce_peer with this node's token for this address stores the peer; any other token is error 203."""
    world = World(CALM)
    first, second = addresses(world)[:2]
    infohash = b"h" * 20
    token = ask(world, first, krpc.get_peers(TID, MY_ID, infohash))[b"token"]

    ask(world, first, krpc.announce_peer(TID, MY_ID, infohash, 1, token, implied_port=True))
    ask(world, first, krpc.announce_peer(TID, MY_ID, infohash, 7000, token))
    refused = world.receive(krpc.announce_peer(TID, MY_ID, infohash, 7000, token), ME, second, 0.0)

    values = ask(world, first, krpc.get_peers(TID, MY_ID, infohash))[b"values"]
    assert values == [pack_address(ME), pack_address((ME[0], 7000))]
    assert refused is not None
    assert krpc.decode(refused) == krpc.Error(TID, 203, b"Bad token", pack_address(ME), b"SN\0\x01")


def test_answers_are_the_nodes_own_view_sorted(world: World) -> None:
    """Nodes in an answer are 8, closest first, never the answering node, and dead ones are among them."""
    rng = random.Random(2)
    dead = {pack_address(node) for node in addresses(world, DEAD)}
    seen_dead = 0
    for node in addresses(world)[:50]:
        target = rng.randbytes(20)
        nodes = split_nodes(ask(world, node, krpc.find_node(TID, MY_ID, target))[b"nodes"], Family.IPV4)
        distances = [distance(node_id, target) for node_id, _ in nodes]

        assert len(nodes) == 8
        assert all(near < far for near, far in pairwise(distances))
        assert pack_address(node) not in {address for _, address in nodes}
        seen_dead += sum(address in dead for _, address in nodes)
    assert 0.2 < seen_dead / 400 < 0.4


def test_buckets_are_partial_far_away_and_complete_nearby(world: World) -> None:
    """Bucket b holds nodes that share exactly b bits: 8 of many, or all of at most 8."""
    population, views = world._population, world._answers._views
    ids = [node[:ID_BYTES] for node in population.nodes]
    for rank in range(0, len(ids), 30):
        sizes = Counter(common_prefix_bits(ids[rank], other) for other in ids)
        for level in range(20):
            bucket = split_nodes(views.bucket(rank, level), Family.IPV4)

            assert {common_prefix_bits(ids[rank], node_id) for node_id, _ in bucket} <= {level}
            assert len({node_id for node_id, _ in bucket}) == len(bucket) == min(sizes[level], 8)


def test_different_nodes_have_different_views(world: World) -> None:
    """The far bucket of many nodes covers the subtree: no node is left out, none is in most answers."""
    population, views = world._population, world._answers._views
    lower = [rank for rank, number in enumerate(population.ids) if number < 1 << 159]
    upper = len(population.ids) - len(lower)
    named = Counter(node for rank in lower for node in split_nodes(views.bucket(rank, 0), Family.IPV4))

    assert len(named) == upper
    assert max(named.values()) < 0.25 * len(lower)


def look_up(world: World, target: bytes) -> list[bytes]:
    """Return the 8 closest living nodes that asking the closest known one, again and again, leads to."""
    known = {id_of(world, world.bootstrap): world.bootstrap}
    alive: dict[bytes, bool] = {}
    while True:
        best = sorted(known, key=lambda node_id: distance(node_id, target))
        ahead = [node_id for node_id in best if alive.get(node_id, True)][:8]
        following = next((node_id for node_id in ahead if node_id not in alive), None)
        if following is None:
            return ahead
        reply = world.receive(krpc.find_node(TID, MY_ID, target), ME, known[following], 0.0)
        alive[following] = reply is not None
        message = krpc.decode(reply) if reply else None
        if isinstance(message, krpc.Response):
            for node_id, address in split_nodes(message.body[b"nodes"], Family.IPV4):
                known[node_id] = unpack_address(address)


def test_a_lookup_ends_at_the_closest_nodes() -> None:
    """From bootstrap, a plain lookup finds the closest living node always and 95 % of the 8 closest."""
    world = World(WorldConfig(nodes=2000, infohashes=0, dead=0.2, loss=0))
    living = {id_of(world, node) for node in addresses(world)}
    rng = random.Random(3)
    recall = 0
    for _ in range(20):
        target = rng.randbytes(20)
        found = look_up(world, target)
        closest = sorted(living, key=lambda node_id: distance(node_id, target))[:8]
        recall += len(set(found) & set(closest))

        assert found[0] == closest[0]
    assert recall >= 0.95 * 20 * 8


def test_kinds_of_nodes_answer_samples_each_in_its_way(world: World) -> None:
    """Samples, error 204, silence, or a find_node answer; other queries are answered by all but the dead."""
    replies = {
        kind: world.receive(sample_query(), ME, addresses(world, kind)[0], 0.0)
        for kind in (SAMPLES, REFUSES, IGNORES, FALLS_BACK, DEAD)
    }
    decoded = {kind: krpc.decode(reply) for kind, reply in replies.items() if reply is not None}

    assert set(decoded) == {SAMPLES, REFUSES, FALLS_BACK}
    assert isinstance(decoded[REFUSES], krpc.Error)
    assert decoded[REFUSES].code == 204
    assert isinstance(decoded[FALLS_BACK], krpc.Response)
    assert set(decoded[FALLS_BACK].body) == {b"id", b"nodes"}
    ping = krpc.ping(TID, MY_ID)
    assert all(world.receive(ping, ME, node, 0.0) for node in addresses(world))
    assert not any(world.receive(ping, ME, node, 0.0) for node in addresses(world, DEAD))


def test_shares_of_kinds_are_exact() -> None:
    """Dead and BEP 51 shares are met to the node, and the others split in thirds."""
    world = World(WorldConfig(nodes=1000, infohashes=0, dead=0.3, bep51=0.7))
    kinds = Counter(world._population.kinds)

    assert kinds == {DEAD: 300, SAMPLES: 490, REFUSES: 70, IGNORES: 70, FALLS_BACK: 70}


def test_the_bootstrap_node_lives_even_where_nearly_all_are_dead() -> None:
    """A world of dead nodes still has one that answers, at the address that was asked for."""
    world = World(WorldConfig(nodes=10, infohashes=5, dead=1.0, loss=0, bootstrap="127.70.1.2"))

    assert world.bootstrap == ("127.70.1.2", 7001)
    assert b"id" in ask(world, world.bootstrap, krpc.ping(TID, MY_ID))


@pytest.mark.parametrize("nodes", [1, 2, 9])
def test_tiny_worlds_work(nodes: int) -> None:
    """With fewer nodes than a bucket holds, each knows all others and stores everything."""
    world = World(WorldConfig(nodes=nodes, infohashes=3, dead=0, bep51=1, loss=0))
    body = ask(world, world.bootstrap, sample_query())

    assert len(body[b"nodes"]) == 26 * min(nodes - 1, 8)
    assert body[b"num"] == (3 if nodes <= 8 else len(body[b"samples"]) // 20)


def test_a_sample_is_frozen_for_its_interval_and_then_changes() -> None:
    """Whoever asks within the interval gets the same sample; `num` is the true count all the time."""
    world = World(WorldConfig(nodes=50, infohashes=1000, dead=0, bep51=1, loss=0, interval=60))
    node = world.bootstrap
    first, later, after = (ask(world, node, sample_query(), now) for now in (100.0, 159.0, 160.0))
    stored = world._population.storage[rank_of(world, node)]

    assert first[b"samples"] == later[b"samples"] != after[b"samples"]
    assert len(first[b"samples"]) == 20 * 20
    assert {body[b"num"] for body in (first, later, after)} == {len(stored)}
    assert first[b"interval"] == 60


def test_truth_is_what_asking_every_node_finds() -> None:
    """The reachable infohashes are those in somebody's first sample, no more and no less."""
    world = World(WorldConfig(nodes=400, infohashes=3000, loss=0))
    truths = list(world.truth())
    found: set[bytes] = set()
    for node in addresses(world, SAMPLES):
        found.update(split_samples(ask(world, node, sample_query())[b"samples"]) or ())

    assert found == {truth.infohash for truth in truths if truth.reachable}
    assert len(truths) == 3000
    assert 0 < len(found) < 3000


def test_a_crawl_from_bootstrap_reaches_nearly_everything() -> None:
    """The views join up: asking every node named for its neighbourhood and for a random target finds 99 %."""
    world = World(WorldConfig(nodes=1500, infohashes=5000, loss=0))
    reachable = {truth.infohash for truth in world.truth() if truth.reachable}
    known = {id_of(world, world.bootstrap): pack_address(world.bootstrap)}
    waiting, rng = list(known), random.Random(5)
    found: set[bytes] = set()
    while waiting:
        node_id = waiting.pop()
        address = unpack_address(known[node_id])
        for query in (sample_query(node_id), krpc.find_node(TID, MY_ID, rng.randbytes(20))):
            reply = world.receive(query, ME, address, 0.0)
            message = krpc.decode(reply) if reply else None
            if not isinstance(message, krpc.Response):
                continue
            found.update(split_samples(message.body.get(b"samples")) or ())
            for other, where in split_nodes(message.body[b"nodes"], Family.IPV4):
                if other not in known:
                    known[other] = where
                    waiting.append(other)

    assert found <= reachable
    assert len(found) > 0.99 * len(reachable)


def test_loss_is_the_share_of_exchanges_that_fail() -> None:
    """Of many pings to living nodes, `loss` fail, about half of them each way, and all are accounted for."""
    world = World(WorldConfig(nodes=100, infohashes=0, dead=0, loss=0.1))
    nodes = addresses(world)
    for count in range(20_000):
        world.receive(krpc.ping(TID, MY_ID), ME, nodes[count % 100], count / 10)
    traffic = world.traffic

    assert traffic.answered + traffic.queries_lost + traffic.replies_lost == traffic.received == 20_000
    assert traffic.answered == pytest.approx(18_000, abs=200)
    assert traffic.queries_lost == pytest.approx(traffic.replies_lost, abs=200)


def test_every_datagram_is_counted_once() -> None:
    """What was received is stray, malformed, lost, to a dead node, kept silent or answered."""
    world = World(WorldConfig(nodes=100, infohashes=100, loss=0.2))
    rng = random.Random(4)
    everybody = [*addresses(world), *addresses(world, DEAD), ("127.0.0.9", 7001), ("127.64.0.1", 1)]
    queries = [sample_query(), krpc.ping(TID, MY_ID), b"garbage", krpc.response(TID, {b"id": MY_ID})]
    for count in range(3000):
        world.receive(rng.choice(queries), ME, rng.choice(everybody), float(count))
    counts = world.statistics()
    parts = ("stray", "malformed", "queries_lost", "to_dead", "kept_silent", "replies_lost", "answered")

    assert sum(counts[part] for part in parts) == counts["received"] == 3000
    assert all(counts[part] for part in parts)
    assert sum(counts["queries"].values()) == 3000 - counts["stray"] - counts["malformed"]


def test_same_seed_same_answers_in_any_order() -> None:
    """Two worlds of one seed agree whatever the order of questions; another seed disagrees."""
    first, second, other = World(CALM), World(CALM), World(WorldConfig(nodes=300, infohashes=900, seed=2))
    nodes = addresses(first, SAMPLES)
    forth = {node: first.receive(sample_query(), ME, node, 0.0) for node in nodes}
    back = {node: second.receive(sample_query(), ME, node, 0.0) for node in reversed(nodes)}

    assert forth == back
    assert set(addresses(other)) != set(addresses(first))


def test_addresses_are_loopback_and_leave_room_for_real_sockets() -> None:
    """Nodes and peers are in 127.0.0.0/8 with real ports, never in 127.0.0.0/16, each node at its own."""
    world = World(WorldConfig(nodes=5000, infohashes=500))
    nodes = [*addresses(world), *addresses(world, DEAD)]
    peers = [unpack_address(peer) for truth in world.truth() for peer in truth.peers]

    assert len(set(nodes)) == 5000
    assert all(host.startswith("127.") and not host.startswith("127.0.") for host, _ in (*nodes, *peers))
    assert all(port >= 1024 for _, port in peers)
    assert {len(truth.peers) for truth in world.truth()} == {1, 2, 3, 4, 5}


def test_bootstrap_elsewhere_is_refused() -> None:
    """The world does not live outside the loopback network."""
    with pytest.raises(ValueError, match=r"1\.2\.3\.4: the bootstrap node needs an address in 127"):
        World(WorldConfig(bootstrap="1.2.3.4"))


queries = st.builds(
    lambda make, tid, target, want, read_only: make(tid, MY_ID, target, want=want, read_only=read_only),
    st.sampled_from([krpc.find_node, krpc.get_peers, krpc.sample_infohashes]),
    st.binary(min_size=1, max_size=6),
    st.binary(min_size=20, max_size=20),
    st.sampled_from([(), (b"n4",), (b"n6",), (b"n4", b"n6")]),
    st.booleans(),
)


@given(queries)
def test_the_fast_reader_agrees_with_the_decoder(query: bytes) -> None:
    """What is read off the usual shapes is what the full decoder makes of the same bytes."""
    request, message = exchange.read(query), krpc.decode(query)

    assert request is not None
    assert isinstance(message, krpc.Query)
    assert (request.method, request.tid) == (message.method, message.tid)
    assert request.target == message.args.get(b"target", message.args.get(b"info_hash"))


@given(st.binary(max_size=200))
def test_garbage_is_never_answered(data: bytes) -> None:
    """Bytes that are no query are no request."""
    try:
        is_query = isinstance(krpc.decode(data), krpc.Query)
    except krpc.MalformedMessageError:
        is_query = False

    assert is_query or exchange.read(data) is None
