from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.dht.events import Answered, PingWanted, Refused, Sighting, TimedOut
from crawler.dht.identity import ExternalAddress
from crawler.dht.node import Node
from crawler.dht.peers import PeerStore, PeerStoreConfig
from crawler.dht.reply_budget import ReplyBudget, ReplyBudgetConfig
from crawler.dht.responder import Responder, ResponderConfig
from crawler.dht.routing import RoutingConfig, RoutingTable
from crawler.dht.tokens import Tokens
from crawler.dht.transactions import Transactions, TransactionsConfig
from crawler.wire import krpc
from crawler.wire.bencode import encode
from crawler.wire.compact import Family, ip_of, pack_address, split_nodes, split_peers, split_samples

if TYPE_CHECKING:
    from crawler.wire.compact import Address

OURS: Address = ("45.1.1.1", 6881)
THEIRS: Address = ("45.2.2.2", 6882)
OTHER: Address = ("45.3.3.3", 6883)
NOBODYS: list[Address] = [("10.0.0.1", 6881), ("127.0.0.1", 6881), ("224.0.0.1", 6881), (THEIRS[0], 0)]
OUR_ID = b"o" * 20
THEIR_ID = b"t" * 20
OTHER_ID = b"x" * 20
HASH = b"h" * 20


def make(own_id: bytes = OUR_ID, family: Family = Family.IPV4, *, allow_private: bool = False) -> Node:
    rng = random.Random(own_id)
    table = RoutingTable(own_id, RoutingConfig(), rng=rng, exempt_ip_limits=allow_private)
    store, tokens = PeerStore(PeerStoreConfig(), rng), Tokens(rng)
    responder = Responder(
        own_id, {family: table}, store, tokens, ResponderConfig(), allow_private=allow_private
    )
    return Node(
        family,
        table=table,
        transactions=Transactions(TransactionsConfig(), rng),
        responder=responder,
        reply_budget=ReplyBudget(ReplyBudgetConfig()),
        external=ExternalAddress(),
        allow_private=allow_private,
    )


def ask(ours: Node, address: Address = THEIRS, now: float = 0.0, context: object = None) -> bytes:
    """Open a ping; returns its id."""
    return ours.open_query(address, pack_address(address), b"ping", "owner", context, now)


def pong(tid: bytes, node_id: bytes = THEIR_ID, **body: Any) -> bytes:
    return krpc.response(tid, {b"id": node_id, **{key.encode(): value for key, value in body.items()}})


@attrs.define
class Wire:
    """Two or more nodes and what is on the way between them."""

    nodes: dict[Address, Node]
    now: float = 100.0
    datagrams: list[tuple[bytes, Address, Address]] = attrs.field(factory=list)

    def send(self, source: Address, target: Address, build: Any) -> None:
        """Let ``source`` ask ``target``; ``build`` makes the datagram of id and node id."""
        asker = self.nodes[source]
        tid = asker.open_query(target, pack_address(target), b"any", None, None, self.now)
        self.datagrams.append((build(tid, asker.id), source, target))

    def run(self) -> None:
        """Deliver until nothing is on the way, a tenth of a second each."""
        while self.datagrams:
            data, source, target = self.datagrams.pop(0)
            self.now += 0.1
            receiver = self.nodes[target]
            receiver.receive_datagram(data, source, self.now)
            self.datagrams += [(reply, target, asker) for reply, asker in receiver.take_replies()]

    def ask(self, source: Address, target: Address, build: Any) -> dict[bytes, Any]:
        """Ask and return the body of the answer."""
        self.send(source, target, build)
        self.run()
        answered = [event for event in self.nodes[source].take_events() if isinstance(event, Answered)]
        assert len(answered) == 1
        return answered[0].response.body


@pytest.mark.parametrize("family", Family)
def test_a_whole_acquaintance(family: Family) -> None:
    """Two nodes meet, prove each other, store and find a peer, and sample, over a wire of bytes only."""
    hosts = ("45.1.1.1", "45.2.2.2", "45.3.3.3")
    if family is Family.IPV6:
        hosts = ("2a00:1::1", "2a00:2::1", "2a00:3::1")
    one, two, three = ((host, 6881) for host in hosts)
    wire = Wire({one: make(OUR_ID, family), two: make(THEIR_ID, family), three: make(OTHER_ID, family)})

    assert wire.ask(one, two, krpc.ping)[b"id"] == THEIR_ID
    assert list(wire.nodes[two].take_events()) == [PingWanted(OUR_ID, pack_address(one))]
    wire.ask(two, one, krpc.ping)
    wire.nodes[one].take_events()
    wire.ask(two, three, krpc.ping)

    found = wire.ask(one, two, lambda tid, own: krpc.find_node(tid, own, OTHER_ID))
    assert (OTHER_ID, pack_address(three)) in split_nodes(found[family.nodes_key], family)

    body = wire.ask(one, two, lambda tid, own: krpc.get_peers(tid, own, HASH))
    assert b"values" not in body
    token = body[b"token"]
    wire.ask(one, two, lambda tid, own: krpc.announce_peer(tid, own, HASH, 5555, token))
    peer = ip_of(pack_address(one)) + (5555).to_bytes(2, "big")
    sightings = [event for event in wire.nodes[two].take_events() if isinstance(event, Sighting)]
    assert sightings == [
        Sighting(HASH, "get_peers", pack_address(one), None),
        Sighting(HASH, "announce", pack_address(one), peer),
    ]

    body = wire.ask(three, two, lambda tid, own: krpc.get_peers(tid, own, HASH))
    assert split_peers(body[b"values"], family) == [peer]
    body = wire.ask(three, two, lambda tid, own: krpc.sample_infohashes(tid, own, HASH))
    assert split_samples(body[b"samples"]) == (HASH,)

    wire.send(three, two, lambda tid, own: krpc.announce_peer(tid, own, HASH, 5555, token))
    wire.run()
    (refused,) = [event for event in wire.nodes[three].take_events() if isinstance(event, Refused)]
    assert refused.error.code == 203
    for node in wire.nodes.values():
        assert not node.counters.dropped
        assert len(node.transactions) == 0


VALUES = st.one_of(
    st.integers(-(1 << 70), 1 << 70),
    st.binary(max_size=30),
    st.sampled_from([THEIR_ID, OUR_ID, HASH, b"ping", b"get_peers", b"\0" * 26]),
    st.lists(st.binary(max_size=20), max_size=3),
)
KEYS = (
    b"id target info_hash nodes nodes6 values token port implied_port seed noseed scrape want samples "
    b"interval num"
).split()
BODIES = st.builds(
    dict.__or__,
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
    st.sampled_from([{}, {b"id": THEIR_ID}, {b"id": OTHER_ID}, {b"id": OUR_ID}]),
)
TIDS = st.one_of(st.just(b"TID4"), st.just(b"TID4"), st.binary(max_size=40))
EXTRAS = {b"ip": VALUES, b"ro": VALUES, b"v": VALUES}
METHODS = [b"ping", b"find_node", b"get_peers", b"announce_peer", b"sample_infohashes", b"vote"]
QUERIES = st.fixed_dictionaries(
    {b"t": TIDS, b"y": st.just(b"q"), b"q": st.sampled_from(METHODS), b"a": BODIES}, optional=EXTRAS
)
RESPONSES = st.fixed_dictionaries({b"t": TIDS, b"y": st.just(b"r"), b"r": BODIES}, optional=EXTRAS)
MESSAGES = st.one_of(
    QUERIES,
    RESPONSES,
    st.fixed_dictionaries(
        {b"t": TIDS, b"y": st.sampled_from([b"q", b"r", b"e", b"x"])},
        optional={
            b"q": st.one_of(st.sampled_from(METHODS), VALUES),
            b"a": st.one_of(BODIES, VALUES),
            b"r": st.one_of(BODIES, VALUES),
            b"e": st.one_of(st.tuples(st.integers(0, 300), st.binary(max_size=9)).map(list), VALUES),
            **EXTRAS,
        },
    ),
)


def spoil(data: bytes, place: int, value: int) -> bytes:
    """Return ``data`` with one byte changed."""
    at = place % len(data)
    return data[:at] + bytes((value,)) + data[at + 1 :]


DATAGRAMS = st.one_of(
    st.binary(max_size=100),
    MESSAGES.map(encode),
    st.builds(spoil, MESSAGES.map(encode), st.integers(0, 1 << 16), st.integers(0, 255)),
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(DATAGRAMS, st.sampled_from([THEIRS, OTHER, *NOBODYS])), max_size=12),
    st.booleans(),
)
def test_no_datagram_raises_and_each_is_accounted_for(
    datagrams: list[tuple[bytes, Address]], allow_private: bool
) -> None:
    """Any bytes from anywhere are a query, an answer, a refusal or a counted drop, and we live on."""
    ours = make(allow_private=allow_private)
    for number, (data, source) in enumerate(datagrams):
        tid = ask(ours, source if source[1] else THEIRS, float(number))
        ours.receive_datagram(data.replace(b"TID4", tid), source, number + 0.5)
    counters = ours.counters
    replies = ours.take_replies()
    assert all(len(reply) <= 1024 and where[1] for reply, where in replies)
    assert len(replies) == counters.replies <= counters.queries_in
    not_queries = sum(
        count
        for reason, count in counters.dropped.items()
        if reason.startswith(("malformed", "response", "error"))
    )
    accounted = counters.queries_in + counters.answers + counters.refusals + not_queries
    assert accounted == counters.datagrams_in == len(datagrams)
    ours.take_events()
    ours.receive_datagram(krpc.ping(b"zz", THEIR_ID), ("45.77.7.7", 7777), 1e6)
    assert len(ours.take_replies()) == 1


@pytest.mark.parametrize("seed", range(10))
def test_every_query_of_ours_ends_once(seed: int) -> None:
    """In a lossy world each query is answered, refused or timed out, and the counters add up to it."""
    rng = random.Random(seed)
    ours, now, told = make(), 0.0, list[Any]()
    tids: dict[bytes, Address] = {}
    for _ in range(400):
        now += rng.expovariate(5.0)
        roll = rng.random()
        if roll < 0.5:
            where = (f"45.{rng.randrange(40)}.1.1", 6881)
            tids[ask(ours, where, now)] = where
        elif roll < 0.8 and tids:
            tid = rng.choice(sorted(tids))
            where = tids.pop(tid) if rng.random() < 0.9 else OTHER
            kind = rng.random()
            refusal = krpc.error(tid, 201, b"")
            data = refusal if kind < 0.2 else pong(tid, OUR_ID if kind < 0.3 else rng.randbytes(20))
            ours.receive_datagram(data, where, now)
        else:
            ours.handle_timer(now)
        told += [event for event in ours.take_events() if not isinstance(event, PingWanted)]
    counters = ours.counters
    in_flight = len(ours.transactions)
    ended = counters.answers + counters.refusals + counters.timeouts - counters.late_answers
    assert counters.queries_sent == ended + in_flight
    assert sum(isinstance(event, Answered) for event in told) == counters.answers
    assert sum(isinstance(event, Refused) for event in told) == counters.refusals
    assert sum(isinstance(event, TimedOut) for event in told) == counters.timeouts
    firsts = {event.transaction.tid for event in told}
    assert len(firsts) == counters.queries_sent - in_flight
