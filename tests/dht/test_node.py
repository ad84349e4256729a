from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from crawler.dht import node as node_module
from crawler.dht.events import Answered, PingWanted, Refused, Sighting, TimedOut
from crawler.dht.identity import ExternalAddress, IdentityConfig
from crawler.dht.node import Node
from crawler.dht.peers import PeerStore, PeerStoreConfig
from crawler.dht.reply_budget import ReplyBudget, ReplyBudgetConfig
from crawler.dht.responder import Responder, ResponderConfig
from crawler.dht.routing import RoutingConfig, RoutingTable
from crawler.dht.tokens import Tokens
from crawler.dht.transactions import Transactions, TransactionsConfig
from crawler.wire import krpc
from crawler.wire.bencode import encode
from crawler.wire.compact import Family, ip_of, pack_address

if TYPE_CHECKING:
    from crawler.wire.compact import Address

OURS: Address = ("45.1.1.1", 6881)
THEIRS: Address = ("45.2.2.2", 6882)
OTHER: Address = ("45.3.3.3", 6883)
OUR_ID = b"o" * 20
THEIR_ID = b"t" * 20
OTHER_ID = b"x" * 20
PRIVATE = [("10.0.0.1", 6881), ("127.0.0.1", 6881), ("192.168.1.1", 6881), ("224.0.0.1", 6881)]
PRIVATE6 = [("::1", 6881), ("fe80::1", 6881), ("fd00::1", 6881), ("::ffff:45.1.2.3", 6881)]


def make(
    own_id: bytes = OUR_ID,
    family: Family = Family.IPV4,
    *,
    allow_private: bool = False,
    budget: ReplyBudgetConfig | None = None,
    quorum: int = 3,
) -> Node:
    rng = random.Random(own_id)
    table = RoutingTable(own_id, RoutingConfig(), rng=rng, exempt_ip_limits=allow_private)
    responder = Responder(
        own_id,
        {family: table},
        PeerStore(PeerStoreConfig(), rng),
        Tokens(rng),
        ResponderConfig(),
        allow_private=allow_private,
    )
    return Node(
        family,
        table=table,
        transactions=Transactions(TransactionsConfig(), rng),
        responder=responder,
        reply_budget=ReplyBudget(budget or ReplyBudgetConfig()),
        external=ExternalAddress(IdentityConfig(quorum=quorum)),
        allow_private=allow_private,
    )


def ask(ours: Node, address: Address = THEIRS, now: float = 0.0, context: object = None) -> bytes:
    """Open a ping; returns its id."""
    return ours.open_query(address, pack_address(address), b"ping", "owner", context, now)


def pong(tid: bytes, node_id: bytes = THEIR_ID, **body: Any) -> bytes:
    return krpc.response(tid, {b"id": node_id, **{key.encode(): value for key, value in body.items()}})


def is_silent(ours: Node) -> bool:
    """Tell whether nothing came of what the node was given."""
    return not ours.take_events() and not ours.take_replies()


def sources(ours: Node) -> set[bytes]:
    return {node.address for node in ours.table}


def test_an_answer_reaches_its_owner_and_the_table() -> None:
    """The right answer is one event with the time it took, and proves its sender to the table."""
    ours = make()
    tid = ask(ours, now=1.0, context="why")
    ours.receive_datagram(pong(tid), THEIRS, 1.25)

    (event,) = ours.take_events()
    assert isinstance(event, Answered)
    assert (event.transaction.owner, event.transaction.context, event.rtt) == ("owner", "why", 0.25)
    assert event.response.id == THEIR_ID
    assert [(node.id, node.address) for node in ours.table] == [(THEIR_ID, pack_address(THEIRS))]
    assert ours.transactions.rtt.smoothed == 0.25
    assert (ours.counters.answers, ours.counters.queries_sent, ours.counters.sent) == (1, 1, {b"ping": 1})
    assert is_silent(ours)


def test_forged_answers_are_dropped_and_counted() -> None:
    """A wrong id, host or port, an answer too late, and a second one, change nothing but a counter."""
    ours = make()
    tid = ask(ours)
    for data, source in (
        (pong(bytes(4)), THEIRS),
        (pong(tid + b"\0"), THEIRS),
        (pong(tid), OTHER),
        (pong(tid), (THEIRS[0], 1)),
        (krpc.error(tid, 201, b"no"), OTHER),
    ):
        ours.receive_datagram(data, source, 0.5)
    assert ours.counters.dropped == {"response_unmatched": 4, "error_unmatched": 1}
    assert is_silent(ours)
    assert len(ours.table) == 0

    ours.receive_datagram(pong(tid), THEIRS, 0.6)
    assert len(ours.take_events()) == 1
    ours.receive_datagram(pong(tid, OTHER_ID), THEIRS, 0.7)
    late = ask(ours, OTHER, 0.7)
    ours.receive_datagram(pong(late), OTHER, 10.8)
    assert ours.counters.dropped["response_unmatched"] == 6
    assert is_silent(ours)
    assert sources(ours) == {pack_address(THEIRS)}


def test_an_error_is_a_refusal() -> None:
    """A KRPC error in answer to our query reaches the owner with its code, and is no member's proof."""
    ours = make()
    ours.receive_datagram(krpc.error(ask(ours), 202, b"later"), THEIRS, 0.5)
    (event,) = ours.take_events()
    assert isinstance(event, Refused)
    assert (event.error.code, event.error.message) == (202, b"later")
    assert (ours.counters.refusals, len(ours.table)) == (1, 0)


def test_silence_is_a_timeout_once() -> None:
    """Past the deadline the owner is told, the table too, and only once."""
    ours = make()
    ours.receive_datagram(pong(ask(ours)), THEIRS, 0.5)
    ours.take_events()
    ask(ours, now=1.0, context="why")
    ours.handle_timer(2.0)
    assert is_silent(ours)
    ours.handle_timer(11.1)
    (event,) = ours.take_events()
    assert isinstance(event, TimedOut)
    assert event.transaction.context == "why"
    assert [node.failures for node in ours.table] == [1]
    ours.handle_timer(30.0)
    assert is_silent(ours)
    assert ours.counters.timeouts == 1


@pytest.mark.parametrize("refused", [False, True])
def test_a_late_answer_counts(refused: bool) -> None:
    """An answer after the timeout is an event as well, and is counted as late."""
    ours = make()
    tid = ask(ours)
    ours.handle_timer(3.0)
    assert [type(event) for event in ours.take_events()] == [TimedOut]
    ours.receive_datagram(krpc.error(tid, 201, b"") if refused else pong(tid), THEIRS, 5.0)
    assert [type(event) for event in ours.take_events()] == [Refused if refused else Answered]
    assert (ours.counters.timeouts, ours.counters.late_answers) == (1, 1)
    ours.handle_timer(20.0)
    assert is_silent(ours)


def test_a_mirror_is_nobody() -> None:
    """Whoever answers under our own id, or asks under it, is a reflector: no member, no reply, no ping."""
    ours = make()
    ours.receive_datagram(pong(ask(ours), OUR_ID), THEIRS, 0.5)
    assert [type(event) for event in ours.take_events()] == [TimedOut]
    ours.receive_datagram(krpc.ping(b"aa", OUR_ID), THEIRS, 0.6)
    assert ours.counters.dropped == {"response_with_our_id": 1, "query_with_our_id": 1}
    assert is_silent(ours)
    assert len(ours.table) == 0


def test_a_mirror_that_is_late_is_told_once() -> None:
    """A query that has timed out does not time out again because a reflector answers it."""
    ours = make()
    tid = ask(ours)
    ours.handle_timer(3.0)
    assert len(ours.take_events()) == 1
    ours.receive_datagram(pong(tid, OUR_ID), THEIRS, 4.0)
    assert is_silent(ours)
    assert ours.counters.timeouts == 1


def test_port_0_is_answered_by_nobody() -> None:
    """A query that claims to come from port 0 gets no reply, private networks allowed or not."""
    for allow_private in (False, True):
        ours = make(allow_private=allow_private)
        ours.receive_datagram(krpc.ping(b"aa", THEIR_ID), (THEIRS[0], 0), 0.0)
        assert is_silent(ours)
        assert ours.counters.dropped == {"query_from_port_0": 1}


@pytest.mark.parametrize("source", PRIVATE + PRIVATE6)
def test_private_addresses_only_where_allowed(source: Address) -> None:
    """Queries from addresses that are not of the public internet are dropped, unless that is allowed."""
    family = Family.IPV6 if ":" in source[0] else Family.IPV4
    query = krpc.ping(b"aa", THEIR_ID)
    ours = make(family=family)
    ours.receive_datagram(query, source, 0.0)
    assert is_silent(ours)
    assert ours.counters.dropped == {"query_from_private_address": 1}

    allowing = make(family=family, allow_private=True)
    allowing.receive_datagram(query, source, 0.0)
    assert allowing.take_replies() == [
        (krpc.response(b"aa", {b"id": OUR_ID}, pack_address(source)), source),
    ]
    assert list(allowing.take_events()) == [PingWanted(THEIR_ID, pack_address(source))]


def test_a_stranger_who_asks_is_worth_a_ping_but_no_place() -> None:
    """A querier is never entered, only named for a ping; a member that asks is not named."""
    ours = make()
    ours.receive_datagram(krpc.ping(b"aa", THEIR_ID), THEIRS, 0.0)
    assert list(ours.take_events()) == [PingWanted(THEIR_ID, pack_address(THEIRS))]
    assert len(ours.table) == 0

    ours.receive_datagram(pong(ask(ours)), THEIRS, 0.5)
    ours.take_events()
    ours.receive_datagram(krpc.ping(b"ab", THEIR_ID), THEIRS, 1.0)
    assert not ours.take_events()
    ours.receive_datagram(krpc.ping(b"ac", OTHER_ID), THEIRS, 1.0)
    assert list(ours.take_events()) == [PingWanted(OTHER_ID, pack_address(THEIRS))]


def test_read_only_nodes_are_answered_and_left_alone() -> None:
    """A querier that marks itself read-only gets its reply and no ping (BEP 43)."""
    ours = make()
    ours.receive_datagram(krpc.ping(b"aa", THEIR_ID, read_only=True), THEIRS, 0.0)
    assert len(ours.take_replies()) == 1
    assert not ours.take_events()


def test_a_query_without_an_id_is_told_so() -> None:
    """A querier without a valid id gets error 203 and no ping."""
    ours = make()
    ours.receive_datagram(encode({b"t": b"aa", b"y": b"q", b"q": b"ping", b"a": {b"id": b"x"}}), THEIRS, 0.0)
    ((reply, _),) = ours.take_replies()
    error = krpc.decode(reply)
    assert isinstance(error, krpc.Error)
    assert error.code == 203
    assert not ours.take_events()


def test_garbage_is_never_answered() -> None:
    """What is no message moves one counter, named for what is wrong with it."""
    ours = make()
    for data in (b"", b"hello", b"d", b"de", b"d1:t0:1:y1:qe", encode({b"t": b"aa", b"y": b"x"})):
        ours.receive_datagram(data, THEIRS, 0.0)
    assert is_silent(ours)
    assert sum(ours.counters.dropped.values()) == ours.counters.datagrams_in == 6
    assert all(reason.startswith("malformed_") for reason in ours.counters.dropped)


def test_one_source_gets_so_many_replies() -> None:
    """A flood from one source is answered up to the budget; what it named past that is not even noted."""
    ours = make()
    for number in range(1000):
        infohash = number.to_bytes(20, "big")
        ours.receive_datagram(krpc.get_peers(b"aa", THEIR_ID, infohash), THEIRS, number / 1000)
    replies, events = ours.take_replies(), ours.take_events()
    assert len(replies) == ours.counters.replies == 10 + 1
    assert ours.counters.dropped == {"reply_over_budget": 1000 - 11}
    assert sum(isinstance(event, Sighting) for event in events) == 11
    assert ours.counters.bytes_out == sum(len(reply) for reply, _ in replies)


def test_all_sources_together_get_so_many_bytes() -> None:
    """Many sources at once are answered up to the budget of bytes; the rest is counted."""
    ours = make(budget=ReplyBudgetConfig(byte_burst=1024, byte_rate=1.0))
    for number in range(100):
        ours.receive_datagram(krpc.ping(b"aa", THEIR_ID), (f"45.9.{number}.1", 6881), 0.0)
    replies = ours.take_replies()
    assert 0 < sum(len(reply) for reply, _ in replies) <= 1024
    assert ours.counters.dropped == {"reply_over_budget": 100 - len(replies)}


def test_a_flood_of_queries_does_not_push_outcomes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody takes the events, what strangers cause is dropped and counted, our own outcomes never."""
    monkeypatch.setattr(node_module, "_MAX_EVENTS", 10)
    ours = make()
    tids = [ask(ours, (f"45.7.{number}.1", 6881)) for number in range(20)]
    ours.receive_datagram(pong(tids[0], b"a" * 20), ("45.7.0.1", 6881), 0.1)
    for number in range(50):
        ours.receive_datagram(krpc.ping(b"aa", THEIR_ID), (f"45.8.{number}.1", 6881), 0.2)
    ours.handle_timer(9.0)
    events = ours.take_events()
    assert sum(isinstance(event, Answered | TimedOut) for event in events) == 20
    assert len(events) == 10 + 19
    assert ours.counters.dropped == {"events_full": 50 - 9}


def test_a_questionable_member_is_named_for_a_ping() -> None:
    """When a newcomer meets a full bucket of members long silent, the longest silent is to be pinged."""
    ours = make()
    for number in range(9):
        where = (f"45.{number + 10}.1.1", 6881)
        ours.receive_datagram(pong(ask(ours, where), bytes((number,)) + bytes(19)), where, 1.0 + number / 10)
    ours.take_events()
    where = ("45.99.1.1", 6881)
    ours.receive_datagram(pong(ask(ours, where, 2000.0), bytes((30,)) + bytes(19)), where, 2000.1)
    named = [event for event in ours.take_events() if isinstance(event, PingWanted)]
    assert [event.address for event in named] == [pack_address(("45.10.1.1", 6881))]


@pytest.mark.parametrize("with_port", [True, False])
def test_learns_its_address_from_answers(with_port: bool) -> None:
    """The `ip` of matched answers from enough networks tells our address; unmatched ones have no vote."""
    ours = make()
    seen = pack_address(OURS) if with_port else ip_of(pack_address(OURS))
    lie = krpc.response(bytes(4), {b"id": THEIR_ID}, pack_address(OTHER))
    for number in range(40):
        where = (f"45.{number + 10}.1.1", 6881)
        message = {b"r": {b"id": number.to_bytes(20, "big")}, b"t": ask(ours, where), b"y": b"r", b"ip": seen}
        ours.receive_datagram(encode(message), where, 0.5)
        for _ in range(3):
            ours.receive_datagram(lie, where, 0.5)
    assert ours.external.current == ip_of(pack_address(OURS))


def test_goes_by_another_id_when_told() -> None:
    """After a change replies carry the new id, members are kept, and the new id is what a mirror shows."""
    ours = make()
    ours.receive_datagram(pong(ask(ours)), THEIRS, 0.5)
    ours.take_events()
    ours.change_id(OTHER_ID, 1.0)
    assert ours.id == OTHER_ID
    assert sources(ours) == {pack_address(THEIRS)}
    ours.receive_datagram(krpc.ping(b"aa", OUR_ID), THEIRS, 1.0)
    ((reply, _),) = ours.take_replies()
    message = krpc.decode(reply)
    assert isinstance(message, krpc.Response)
    assert message.id == OTHER_ID
    ours.take_events()
    ours.receive_datagram(krpc.ping(b"aa", OTHER_ID), THEIRS, 1.0)
    assert is_silent(ours)
