from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.dht.events import Sighting
from crawler.dht.peers import PeerStore, PeerStoreConfig
from crawler.dht.responder import MAX_REPLY_BYTES, Answer, Responder, ResponderConfig
from crawler.dht.routing import RoutingConfig, RoutingTable
from crawler.dht.scrape_filter import filter_of
from crawler.dht.tokens import Tokens
from crawler.wire import krpc
from crawler.wire.bencode import decode as decode_bencode
from crawler.wire.bencode import encode
from crawler.wire.compact import Family, pack_address

OWN = b"mnopqrstuvwxyz123456"
ASKER = b"abcdefghij0123456789"
TARGET = b"mnopqrstuvwxyz123456"
SOURCE = pack_address(("45.1.2.3", 6881))
SOURCE6 = pack_address(("2a00:1:2:3::4", 6881))
NOW = 100.0

# BEP 5's example queries, byte for byte.
PING = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"
FIND_NODE = b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe"
GET_PEERS = b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe"
ANNOUNCE = (
    b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e"
    b"5:token8:%se1:q13:announce_peer1:t2:aa1:y1:qe"
)
V = b"1:v4:" + krpc.CLIENT_VERSION
IP = b"2:ip6:" + SOURCE


@attrs.frozen
class World:
    """A responder and what it answers from."""

    responder: Responder
    tables: dict[Family, RoutingTable]
    store: PeerStore
    tokens: Tokens

    def ask(self, query: krpc.Query | bytes, source: bytes = SOURCE, now: float = NOW) -> Answer:
        if isinstance(query, bytes):
            decoded = krpc.decode(query)
            assert isinstance(decoded, krpc.Query)
            query = decoded
        return self.responder.answer(query, source, now)

    def body(self, query: krpc.Query | bytes, source: bytes = SOURCE, now: float = NOW) -> dict[bytes, Any]:
        reply = self.ask(query, source, now).reply
        assert reply is not None
        assert len(reply) <= MAX_REPLY_BYTES
        message = krpc.decode(reply)
        assert isinstance(message, krpc.Response)
        assert message.ip == source
        assert message.id == self.responder.own_id
        return message.body

    def error(self, query: krpc.Query | bytes, source: bytes = SOURCE) -> int:
        answer = self.ask(query, source)
        assert answer.reply is not None
        message = krpc.decode(answer.reply)
        assert isinstance(message, krpc.Error)
        assert message.ip == source
        return message.code


def world(
    *,
    nodes: int = 20,
    nodes6: int | None = 20,
    allow_private: bool = False,
    own_id: bytes = OWN,
    **limits: int,
) -> World:
    rng = random.Random(0)
    counts = {Family.IPV4: nodes} | ({} if nodes6 is None else {Family.IPV6: nodes6})
    tables = {family: RoutingTable(own_id, RoutingConfig(), rng=rng) for family in counts}
    for family, count in counts.items():
        for number in range(count):
            ip = bytes((46, number, 1, 1)) if family is Family.IPV4 else bytes((42, 0, number)) + bytes(13)
            tables[family].heard(rng.randbytes(20), ip + b"\x1a\xe1", 0.0)
    store, tokens = PeerStore(PeerStoreConfig(**limits), rng), Tokens(rng)
    responder = Responder(own_id, tables, store, tokens, ResponderConfig(), allow_private=allow_private)
    return World(responder, tables, store, tokens)


def query(method: bytes, args: dict[bytes, Any], tid: bytes = b"aa") -> krpc.Query:
    return krpc.Query(tid, method, ASKER, {b"id": ASKER} | args, read_only=False, version=None)


def token_for(ours: World, info_hash: bytes, source: bytes = SOURCE) -> bytes:
    token = ours.body(query(b"get_peers", {b"info_hash": info_hash}), source)[b"token"]
    assert isinstance(token, bytes)
    return token


def closest(ours: World, family: Family, target: bytes = TARGET) -> bytes:
    return b"".join(node.compact for node in ours.tables[family].closest(target, 8, now=NOW))


def test_published_ping() -> None:
    """BEP 5's ping gets exactly the published answer, with our version and the asker's address added."""
    assert world().ask(PING) == Answer(
        b"d" + IP + b"1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa" + V + b"1:y1:re"
    )


def test_published_find_node() -> None:
    """BEP 5's find_node gets the closest eight good nodes, in the published layout."""
    ours = world(own_id=b"0123456789abcdefghij")

    assert ours.ask(FIND_NODE) == Answer(
        b"d"
        + IP
        + b"1:rd2:id20:0123456789abcdefghij5:nodes208:"
        + closest(ours, Family.IPV4)
        + b"e1:t2:aa"
        + V
        + b"1:y1:re"
    )


def test_published_get_peers() -> None:
    """BEP 5's get_peers gets nodes, a token and the known peers; it is a sighting of the infohash."""
    ours = world(own_id=b"abcdefghij0123456788")
    for ip in ("1.2.3.4", "5.6.7.8"):
        ours.store.announce(TARGET, pack_address((ip, 80)), NOW)
    token = ours.tokens.issue(SOURCE[:4], TARGET, NOW)

    assert ours.ask(GET_PEERS) == Answer(
        b"d"
        + IP
        + b"1:rd2:id20:abcdefghij01234567885:nodes208:"
        + closest(ours, Family.IPV4)
        + b"5:token8:"
        + token
        + b"6:valuesl6:\x01\x02\x03\x04\0P6:\x05\x06\x07\x08\0Pee1:t2:aa"
        + V
        + b"1:y1:re",
        Sighting(TARGET, "get_peers", SOURCE, None),
    )


def test_published_announce() -> None:
    """BEP 5's announce with our token is accepted and gives the UDP port, as implied_port asks."""
    ours = world()
    source = pack_address(("45.1.2.3", 51413))
    token = ours.tokens.issue(source[:4], TARGET, NOW)

    assert ours.ask(ANNOUNCE % token, source) == Answer(
        b"d2:ip6:" + source + b"1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa" + V + b"1:y1:re",
        Sighting(TARGET, "announce", source, source),
    )
    assert ours.body(GET_PEERS)[b"values"] == [source]


def test_token_of_a_reply_opens_the_announce() -> None:
    """Whoever asked may announce the port it names, and is then found by others."""
    ours = world()
    token = token_for(ours, TARGET)
    announce = query(b"announce_peer", {b"info_hash": TARGET, b"port": 7000, b"token": token})
    peer = pack_address(("45.1.2.3", 7000))

    answer = ours.ask(announce)

    assert answer.sighting == Sighting(TARGET, "announce", SOURCE, peer)
    assert ours.body(GET_PEERS, pack_address(("46.7.7.7", 1111)))[b"values"] == [peer]


@pytest.mark.parametrize("port", [0, -1, 65536, 2**40, b"6881", None, [1]])
def test_announce_needs_a_port(port: object) -> None:
    """A port that is none is a protocol error and nothing is stored, unless the port is implied."""
    ours = world()
    args = {b"info_hash": TARGET, b"token": token_for(ours, TARGET), b"port": port}

    assert ours.error(query(b"announce_peer", args)) == 203
    assert not ours.store.has(TARGET)
    assert ours.ask(query(b"announce_peer", args | {b"implied_port": 1})).sighting is not None
    assert ours.body(GET_PEERS)[b"values"] == [SOURCE]


def test_announce_needs_our_token() -> None:
    """Without a token, or with one for another IP, infohash or time, an announce is a protocol error."""
    ours = world()
    token = token_for(ours, TARGET)
    args = {b"info_hash": TARGET, b"port": 6881}
    stale = query(b"announce_peer", args | {b"token": token})

    for wrong in (None, b"", 7, [token], token[:-1], bytes(8), b"aoeusnth"):
        assert ours.error(query(b"announce_peer", args | {b"token": wrong})) == 203
    assert ours.error(query(b"announce_peer", args | {b"token": token_for(ours, ASKER)})) == 203
    assert ours.error(stale, pack_address(("45.1.2.4", 6881))) == 203
    late = ours.ask(stale, now=NOW + 660)
    assert late.reply is not None
    assert isinstance(krpc.decode(late.reply), krpc.Error)
    assert late.sighting is None
    assert not ours.store.has(TARGET)


def test_token_is_withheld_only_when_full() -> None:
    """Only a new infohash in a full store gets no token; a refused announce is still a sighting."""
    ours = world(max_infohashes=1)
    announce = query(b"announce_peer", {b"info_hash": ASKER, b"port": 1, b"token": token_for(ours, ASKER)})
    ours.store.announce(TARGET, SOURCE, NOW)

    assert b"token" in ours.body(GET_PEERS)
    assert b"token" not in ours.body(query(b"get_peers", {b"info_hash": ASKER}))
    assert ours.error(announce) == 202
    sighting = ours.ask(announce).sighting
    assert sighting is not None
    assert sighting.infohash == ASKER


def test_seed_flag_is_stored() -> None:
    """A seed that says so is left out for who wants no seeds (BEP 33)."""
    ours = world()
    args = {b"info_hash": TARGET, b"port": 1, b"token": token_for(ours, TARGET), b"seed": 1}
    ours.ask(query(b"announce_peer", args))

    assert b"values" in ours.body(query(b"get_peers", {b"info_hash": TARGET, b"noseed": 0}))
    assert b"values" not in ours.body(query(b"get_peers", {b"info_hash": TARGET, b"noseed": 1}))


def test_scrape() -> None:
    """Filters come only when asked for, and only for an infohash that is held (BEP 33)."""
    ours = world()
    scrape = query(b"get_peers", {b"info_hash": TARGET, b"scrape": 1})
    assert not {b"BFsd", b"BFpe"} & ours.body(scrape).keys()
    ours.store.announce(TARGET, SOURCE, NOW, seed=True)

    assert not {b"BFsd", b"BFpe"} & ours.body(GET_PEERS).keys()
    body = ours.body(scrape)
    assert (body[b"BFsd"], body[b"BFpe"]) == (filter_of([SOURCE[:4]]), filter_of([]))


def test_sample_infohashes() -> None:
    """Samples, their number and the interval are always there, an empty sample too (BEP 51)."""
    ours = world()
    sample = query(b"sample_infohashes", {b"target": TARGET})
    empty = ours.body(sample)
    ours.store.announce(TARGET, SOURCE, NOW)
    one = ours.body(sample)

    assert (empty[b"samples"], empty[b"num"], empty[b"interval"]) == (b"", 0, 300)
    assert (one[b"samples"], one[b"num"], one[b"interval"]) == (TARGET, 1, 300)
    assert one[b"nodes"] == closest(ours, Family.IPV4)


@pytest.mark.parametrize(
    ("want", "source", "keys"),
    [
        (None, SOURCE, {b"nodes"}),
        (None, SOURCE6, {b"nodes6"}),
        ([b"n4"], SOURCE6, {b"nodes"}),
        ([b"n6"], SOURCE, {b"nodes6"}),
        ([b"n6", b"n4"], SOURCE, {b"nodes", b"nodes6"}),
        ([b"n4", b"n4", b"n5", 7, [b"n6"]], SOURCE6, {b"nodes"}),
        ([], SOURCE, {b"nodes"}),
        ([b"x"], SOURCE6, {b"nodes6"}),
        (b"n6", SOURCE, {b"nodes"}),
        (6, SOURCE, {b"nodes"}),
        ({b"n6": 1}, SOURCE, {b"nodes"}),
    ],
)
@pytest.mark.parametrize("method", [b"find_node", b"get_peers", b"sample_infohashes"])
def test_want(method: bytes, want: object, source: bytes, keys: set[bytes]) -> None:
    """Nodes are of the wanted families; without a usable want, of the transport's (BEP 32)."""
    ours = world()
    args: dict[bytes, Any] = {b"target": TARGET, b"info_hash": TARGET}
    body = ours.body(query(method, args if want is None else args | {b"want": want}), source)

    assert body.keys() & {b"nodes", b"nodes6"} == keys
    for family in Family:
        if family.nodes_key in keys:
            assert closest(ours, family).startswith(body[family.nodes_key])
            assert len(body[family.nodes_key]) % family.node_bytes == 0


def test_family_that_is_off() -> None:
    """Nodes of a family that we do not serve are an empty string."""
    assert (
        world(nodes6=None).body(query(b"find_node", {b"target": TARGET, b"want": [b"n6"]}))[b"nodes6"] == b""
    )


def test_values_are_of_the_transport_family() -> None:
    """Peers of the other family are not given, whatever is wanted (BEP 32)."""
    ours = world()
    peer6 = pack_address(("2a00:9::9", 9))
    ours.store.announce(TARGET, SOURCE, NOW)
    ours.store.announce(TARGET, peer6, NOW)
    both = query(b"get_peers", {b"info_hash": TARGET, b"want": [b"n4", b"n6"]})

    assert ours.body(both)[b"values"] == [SOURCE]
    assert ours.body(both, SOURCE6)[b"values"] == [peer6]


def test_only_good_nodes_are_handed_out() -> None:
    """Nodes that have gone questionable are not given to others."""
    assert world().body(FIND_NODE, now=5000.0)[b"nodes"] == b""


@pytest.mark.parametrize("key", [b"target", b"info_hash"])
def test_unknown_method_with_a_target(key: bytes) -> None:
    """An unknown method that has a target is answered as find_node."""
    ours = world()

    assert ours.body(query(b"get", {key: TARGET})) == {b"id": OWN, b"nodes": closest(ours, Family.IPV4)}
    assert ours.responder.statistics().other == 1


@pytest.mark.parametrize("args", [{}, {b"target": b"short"}, {b"info_hash": 5}, {b"target": [TARGET]}])
def test_unknown_method_without_a_target(args: dict[bytes, Any]) -> None:
    """An unknown method without a target is error 204."""
    assert world().error(query(b"vote", args)) == 204


@pytest.mark.parametrize(
    "bad",
    [
        query(b"find_node", {}),
        query(b"find_node", {b"target": TARGET[:-1]}),
        query(b"find_node", {b"info_hash": TARGET}),
        query(b"get_peers", {b"info_hash": 12}),
        query(b"get_peers", {b"target": TARGET}),
        query(b"announce_peer", {b"port": 1}),
        query(b"sample_infohashes", {b"target": [TARGET]}),
        b"d1:ad2:id3:abce1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
        b"d1:q4:ping1:t2:aa1:y1:qe",
    ],
)
def test_bad_arguments(bad: krpc.Query | bytes) -> None:
    """A query whose arguments are missing or no ids is a protocol error and no sighting."""
    ours = world()

    assert ours.error(bad) == 203
    assert ours.ask(bad).sighting is None


def test_error_is_canonical() -> None:
    """An error echoes the transaction id, names the asker's address and is in canonical form."""
    reply = world().ask(query(b"nonsense", {}, tid=b"\0\xff\x01\x02\x03")).reply

    assert reply == (b"d1:eli204e14:method unknowne" + IP + b"1:t5:\0\xff\x01\x02\x03" + V + b"1:y1:ee")


@pytest.mark.parametrize(
    "source",
    [
        pack_address(("45.1.2.3", 0)),
        pack_address(("2a00::1", 0)),
        pack_address(("127.0.0.1", 6881)),
        pack_address(("192.168.1.1", 6881)),
        pack_address(("224.0.0.1", 6881)),
        pack_address(("255.255.255.255", 6881)),
        pack_address(("::1", 6881)),
        pack_address(("fe80::1", 6881)),
    ],
)
@pytest.mark.parametrize("packet", [PING, GET_PEERS, b"d1:ade1:q4:ping1:t2:aa1:y1:qe"])
def test_silence_towards_martians(source: bytes, packet: bytes) -> None:
    """Port 0 and addresses that are not of the public internet get no answer, not even an error."""
    ours = world()

    assert ours.ask(packet, source) == Answer(None, None)
    assert ours.responder.statistics().silent == 1


def test_private_addresses_when_allowed() -> None:
    """In a private network its addresses are answered, but port 0 never is."""
    ours = world(allow_private=True)

    assert ours.ask(PING, pack_address(("127.0.0.1", 6881))).reply is not None
    assert ours.ask(PING, pack_address(("127.0.0.1", 0))).reply is None


def test_silence_towards_our_own_id() -> None:
    """A query that carries our own id is a mirror's."""
    ours = world(own_id=ASKER)

    assert ours.ask(PING) == Answer(None, None)
    ours.responder.own_id = OWN
    assert ours.ask(PING).reply is not None


def test_read_only_askers_are_answered() -> None:
    """A read-only node is answered like any other (BEP 43)."""
    read_only = krpc.decode(krpc.ping(b"aaaa", ASKER, read_only=True))
    assert isinstance(read_only, krpc.Query)
    assert read_only.read_only

    assert world().body(read_only) == {b"id": OWN}


@pytest.mark.parametrize("source", [SOURCE, SOURCE6])
@pytest.mark.parametrize("want", [[], [b"n4", b"n6"]])
@pytest.mark.parametrize("scrape", [0, 1])
@pytest.mark.parametrize("tid", [b"a", bytes(32)])
def test_fullest_reply_fits(source: bytes, want: list[bytes], scrape: int, tid: bytes) -> None:
    """However much is asked for, a reply has at most 1024 bytes, and still nodes and peers of use."""
    ours = busy_world()
    body = ours.body(
        query(b"get_peers", {b"info_hash": ASKER, b"want": want, b"scrape": scrape}, tid), source
    )

    assert b"token" in body
    assert (b"BFsd" in body) == bool(scrape)
    assert all(body[key] for key in (b"nodes", b"nodes6") if key in body)
    if not (want and scrape):
        assert body[b"values"]
    assert len(body.get(b"values", [])) <= (50 if source is SOURCE else 16)


def test_statistics_count_every_query_once() -> None:
    """Every query is in exactly one count."""
    ours = world()
    for packet in (PING, PING, FIND_NODE, GET_PEERS, ANNOUNCE % b"aoeusnth"):
        ours.ask(packet)
    ours.ask(query(b"sample_infohashes", {b"target": TARGET}))
    ours.ask(query(b"get", {b"target": TARGET}))
    ours.ask(query(b"put", {}))
    ours.ask(PING, pack_address(("10.0.0.1", 1)))

    assert attrs.asdict(ours.responder.statistics()) == {
        "ping": 2,
        "find_node": 1,
        "get_peers": 1,
        "announce_peer": 0,
        "sample_infohashes": 1,
        "other": 1,
        "errors_202": 0,
        "errors_203": 1,
        "errors_204": 1,
        "silent": 1,
    }


SCALARS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=25), st.just(ASKER))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=4), inner, max_size=3),
)
KEYS = [
    b"id",
    b"target",
    b"info_hash",
    b"want",
    b"token",
    b"port",
    b"implied_port",
    b"scrape",
    b"noseed",
    b"seed",
]
METHODS = [
    b"ping",
    b"find_node",
    b"get_peers",
    b"announce_peer",
    b"sample_infohashes",
    b"get",
    b"put",
    b"\xff",
]


def busy_world() -> World:
    """Return a world with more peers of both families than a reply holds, for the infohash ``ASKER``."""
    ours = world(max_per_ip=1000)
    for number in range(100):
        ours.store.announce(ASKER, bytes((47, 1, 1, number, 0, 80)), NOW)
        ours.store.announce(ASKER, bytes((42, 9, number)) + bytes(13) + b"\0\x50", NOW)
    return ours


BUSY = busy_world()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(METHODS),
    st.dictionaries(st.sampled_from(KEYS), VALUES),
    st.binary(min_size=1, max_size=32),
    st.sampled_from([SOURCE, SOURCE6]),
)
def test_any_query_gets_a_small_canonical_reply(
    method: bytes, args: dict[bytes, Any], tid: bytes, source: bytes
) -> None:
    """Any query gets one reply of at most 1024 bytes: canonical, its own id echoed, no crash."""
    given_id = args.get(b"id")
    asker = given_id if isinstance(given_id, bytes) and len(given_id) == 20 else b""
    reply = BUSY.ask(krpc.Query(tid, method, asker, args, read_only=False, version=None), source).reply

    assert reply is not None
    assert len(reply) <= MAX_REPLY_BYTES
    message = decode_bencode(reply)
    assert isinstance(message, dict)
    assert encode(message) == reply
    assert message[b"t"] == tid
    assert message[b"ip"] == source
    assert message[b"y"] in {b"r", b"e"}
    if message[b"y"] == b"r":
        assert message[b"r"][b"id"] == OWN
        assert all(len(value) == len(source) for value in message[b"r"].get(b"values", []))
