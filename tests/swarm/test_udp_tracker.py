"""The server's half of BEP 15, packet by packet: honest clients, liars, and everything else that may come."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.net.limits import KeyedBuckets
from crawler.swarm.connection_ids import LIFETIME, ConnectionIds
from crawler.swarm.registry import Registry, RegistryBounds
from crawler.swarm.tracker_policy import STRANGERS, Doorman, TrackerPolicy
from crawler.swarm.udp_tracker import LONGEST_REPLY, UdpTracker
from crawler.wire import tracker_udp as wire
from crawler.wire.compact import Family, pack_address
from crawler.wire.tracker import AnnounceAnswer, AnnounceRequest, Event, ScrapeCounts, TrackerFailure

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

SWARM, PEER_ID = b"s" * 20, b"-XX0001-abcdefghijkl"
A, B, C6 = (pack_address((host, 4000)) for host in ("1.2.3.4", "5.6.7.8", "2001:db8::1"))


def tracker(
    *,
    hold: Callable[[bytes, float], float] = lambda _ip, _now: 0.0,
    hold_stranger: Callable[[bytes, float], float] = lambda _key, _now: 0.0,
    allowed: AbstractSet[bytes] | None = None,
    max_numwant: int = 200,
) -> UdpTracker:
    rng = random.Random(5)
    config = TrackerPolicy(interval=900, max_numwant=max_numwant)
    doorman = Doorman(hold, hold_stranger, allowed)
    return UdpTracker(Registry(RegistryBounds(), rng), config, doorman, ConnectionIds(rng))


def connected(server: UdpTracker, source: bytes, now: float = 0.0) -> bytes:
    reply = server.answer(wire.encode_connect(7), source, now)
    assert reply is not None
    found = wire.decode_connect_reply(reply, 7)
    assert isinstance(found, bytes)
    return found


def announce(
    server: UdpTracker, source: bytes, *, now: float = 0.0, port: int = 6881, **said: object
) -> AnnounceAnswer | TrackerFailure:
    request = AnnounceRequest(SWARM, PEER_ID, port, **said)  # type: ignore[arg-type] # as the test says
    data = wire.encode_announce(request, connected(server, source, now), 9)
    reply = server.answer(data, source, now)
    assert reply is not None
    return wire.decode_announce_reply(reply, 9, Family.of(source))


def scrape(server: UdpTracker, source: bytes, *hashes: bytes) -> object:
    reply = server.answer(wire.encode_scrape(hashes, connected(server, source), 9), source, 0.0)
    assert reply is not None
    return wire.decode_scrape_reply(reply, 9, len(hashes))


def test_two_clients_find_each_other() -> None:
    """Connect, announce and scrape work as BEP 15 says; the source's IP and the stated port are the peer."""
    server = tracker()

    assert announce(server, A, left=0, event=Event.STARTED) == AnnounceAnswer(900, seeders=1, leechers=0)
    second = announce(server, B, left=5, event=Event.STARTED, port=51413)
    assert second == AnnounceAnswer(900, seeders=1, leechers=1, peers=(pack_address(("1.2.3.4", 6881)),))
    first = announce(server, A, left=0)
    assert isinstance(first, AnnounceAnswer)
    assert first.peers == (pack_address(("5.6.7.8", 51413)),)
    assert scrape(server, C6, SWARM, b"?" * 20) == (ScrapeCounts(1, 0, 1), ScrapeCounts(0, 0, 0))
    assert server.counters.answered == {"connect": 4, "announce": 3, "scrape": 1}


def test_families_are_answered_apart_and_counted_together() -> None:
    """A client over IPv6 gets peers of IPv6, 18 bytes each, and the size of the whole swarm."""
    server = tracker()
    announce(server, A, left=0)
    announce(server, C6, left=1)

    answer = announce(server, C6, left=1, port=2)

    other = pack_address(("2001:db8::1", 6881))
    assert answer == AnnounceAnswer(900, seeders=1, leechers=2, peers=(other,))


@pytest.mark.parametrize("source", [A, C6])
def test_a_huge_numwant_gets_one_packet(source: bytes) -> None:
    """Whoever wants two thousand million peers gets what fits one packet."""
    server = tracker(max_numwant=2000)
    for port in range(1, 400):
        server._registry.announce(SWARM, source[:-2] + port.to_bytes(2, "big"), 2, 0, 0.0, seed=False)
    request = AnnounceRequest(SWARM, PEER_ID, 6881, numwant=2**31 - 1)

    reply = server.answer(wire.encode_announce(request, connected(server, source), 9), source, 0.0)

    assert reply is not None
    assert LONGEST_REPLY - 18 < len(reply) <= LONGEST_REPLY


def test_ids_are_bound_to_address_and_time() -> None:
    """A connection id is good for two minutes and for the address that it was sent to, from any port."""
    server = tracker()
    request = AnnounceRequest(SWARM, PEER_ID, 6881)
    data = wire.encode_announce(request, connected(server, A, 1000.0), 9)
    elsewhere = pack_address(("1.2.3.5", 4000))

    def action(source: bytes, now: float) -> int:
        reply = server.answer(data, source, now)
        assert reply is not None
        return reply[3]

    assert action(A, 1000.0 + LIFETIME) == wire.ANNOUNCE
    assert action(pack_address(("1.2.3.4", 9)), 1060.0) == wire.ANNOUNCE
    assert action(elsewhere, 1000.0) == wire.ERROR
    assert action(A, 1001.0 + LIFETIME) == wire.ERROR
    assert action(A, 999.0) == wire.ERROR
    # The stamp in an id goes round; the signature tells rounds apart.
    assert action(A, 1000.0 + 65_536) == wire.ERROR


def test_no_bit_of_an_id_can_be_changed() -> None:
    """Each of the 64 ids that differ from a good one in a bit is refused."""
    ids = ConnectionIds(random.Random(1))
    good = int.from_bytes(ids.issue(b"abcd", 5000.0), "big")

    assert ids.valid(good.to_bytes(8, "big"), b"abcd", 5000.0)
    assert not any(ids.valid((good ^ 1 << bit).to_bytes(8, "big"), b"abcd", 5000.0) for bit in range(64))


def test_bad_requests_of_the_proved_are_told_why() -> None:
    """Who has proved its address learns what is wrong: a torn announce, an empty scrape, a forged action."""
    server = tracker(allowed={b"t" * 20})
    good = connected(server, A)
    announced = wire.encode_announce(AnnounceRequest(SWARM, PEER_ID, 1), good, 9)

    for data, text in [
        (announced[:97], b"at least 98 bytes"),
        (good + announced[8:16], b"at least 98 bytes"),
        (good + bytes.fromhex("0000000200000009"), b"1 to 74 infohashes"),
        (good + bytes.fromhex("0000000200000009") + bytes(75 * 20), b"1 to 74 infohashes"),
        (good + bytes.fromhex("0000000300000009"), b"unknown action"),
        (good + bytes.fromhex("ffffffff00000009") + bytes(82), b"unknown action"),
        (announced, b"does not serve"),
        (wire.encode_scrape([b"t" * 20, SWARM], good, 9), b"does not serve"),
    ]:
        reply = server.answer(data, A, 0.0)
        assert reply is not None
        assert reply.startswith(bytes.fromhex("0000000300000009"))
        assert text in reply


@pytest.mark.parametrize(
    ("data", "source", "reason"),
    [
        (b"", A, "too_short"),
        (wire.encode_connect(1)[:15], A, "too_short"),
        (bytes(16), A, "no_protocol_id"),
        (b"\0" + wire.encode_connect(1), A, "bad_connection_id"),
        (bytes.fromhex("00000417271019800000000100000009"), A, "bad_connection_id"),
        (wire.encode_connect(1), A[:4] + bytes(2), "port_zero"),
    ],
)
def test_what_is_no_request_is_met_with_silence(data: bytes, source: bytes, reason: str) -> None:
    """Truncated and forged packets from the unproved, and those from port 0, get nothing back, counted."""
    server = tracker()

    assert server.answer(data, source, 0.0) is None
    assert server.counters.dropped == {reason: 1}


def test_who_asks_too_often_is_met_with_silence() -> None:
    """Beyond its rate an IP gets nothing; the budget is asked with the IPv4 address, or the /64."""
    asked = []

    def hold(ip: bytes, _now: float) -> float:
        asked.append(ip)
        return 1.0

    server = tracker(hold=hold)
    for source in (A, C6):
        request = wire.encode_scrape([SWARM], connected(server, source), 9)
        assert server.answer(request, source, 0.0) is None

    assert asked == [A[:4], C6[:8]]
    assert server.counters.dropped == {"over_rate": 2}


def test_a_forged_source_uses_up_nobodys_budget() -> None:
    """However much is sent in a client's name, what it sends itself with its connection id is answered."""
    limited = KeyedBuckets(1.0, 5.0, 1000).take
    server = tracker(hold=limited, hold_stranger=KeyedBuckets(1.0, 5.0, STRANGERS).take)
    good = connected(server, A)
    data = wire.encode_announce(AnnounceRequest(SWARM, PEER_ID, 6881), good, 9)
    forged = wire.encode_announce(AnnounceRequest(SWARM, PEER_ID, 6881), b"whatever", 9)

    told = [server.answer(packet, A, 0.0) for packet in (wire.encode_connect(7), forged) * 50]
    assert sum(reply is not None for reply in told) == 4
    assert server.counters.dropped == {"strangers_over_rate": 96}
    answers = [server.answer(data, A, 0.0) for _ in range(6)]
    assert [reply is not None and reply[3] == wire.ANNOUNCE for reply in answers] == [True] * 5 + [False]
    assert server.counters.dropped["over_rate"] == 1


def test_a_flood_of_forged_sources_locks_out_nobody() -> None:
    """After a packet each from more sources than are remembered, a newcomer still gets its connection id."""
    server = tracker(hold_stranger=KeyedBuckets(50.0, 500.0, STRANGERS).take)
    for number in range(2 * STRANGERS):
        server.answer(wire.encode_connect(7), number.to_bytes(4, "big") + b"\x1a\xe1", 0.0)
    connected(server, pack_address(("203.0.113.9", 4000)))
    connected(server, C6)


HEADS = st.sampled_from([wire.PROTOCOL_ID, bytes(8), b"\xff" * 8]) | st.binary(min_size=8, max_size=8)
PACKETS = st.one_of(
    st.binary(max_size=120),
    st.builds(
        lambda head, action, tid, rest: head + action.to_bytes(4, "big") + tid + rest,
        HEADS,
        st.integers(0, 4) | st.just(2**32 - 1),
        st.binary(min_size=4, max_size=4),
        st.binary(max_size=200) | st.integers(0, 2000).map(bytes),
    ),
)


@given(packets=st.lists(PACKETS, min_size=1, max_size=20), source=st.sampled_from([A, C6]))
@settings(max_examples=500, deadline=None)
def test_a_forged_source_gets_no_more_than_was_sent(packets: list[bytes], source: bytes) -> None:
    """Whatever somebody sends who never received an id, the reply has no more bytes than the request."""
    server = tracker()
    for port in range(1, 100):
        server._registry.announce(SWARM, source[:-2] + port.to_bytes(2, "big"), 2, 0, 0.0, seed=False)
    for data in packets:
        reply = server.answer(data, source, 50.0)
        assert reply is None or len(reply) <= len(data)
    counters = server.counters
    told = counters.answered.total() + counters.refused.total() + counters.dropped.total()
    assert counters.received == told == len(packets)
    assert counters.bytes_out <= counters.bytes_in == sum(map(len, packets))
    assert server._registry.peer_count == 99
