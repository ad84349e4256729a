"""One request to one UDP tracker: BEP 15's time line, ids that age, and datagrams that do not belong."""

from __future__ import annotations

from random import Random

import pytest

from crawler.swarm.tracker_exchange import ConnectionIds, Exchange, Scrape
from crawler.wire import tracker_udp
from crawler.wire.compact import pack_address
from crawler.wire.tracker import AnnounceAnswer, AnnounceRequest, ScrapeCounts, TrackerFailure

TRACKER = pack_address(("9.9.9.9", 6969))
TRACKER6 = pack_address(("2600::9", 6969))
REQUEST = AnnounceRequest(b"a" * 20, b"-XX0001-abcdefghijkl", 6881, left=1)
PEER, PEER6 = pack_address(("1.2.3.4", 6881)), pack_address(("2600::1", 6881))
ID = b"\x01\x02\x03\x04\x05\x06\x07\x08"
CONNECT, ANNOUNCE, SCRAPE = tracker_udp.CONNECT, tracker_udp.ANNOUNCE, tracker_udp.SCRAPE


def make(
    request: AnnounceRequest | Scrape = REQUEST,
    *,
    ids: ConnectionIds | None = None,
    retries: int = 3,
    address: bytes = TRACKER,
) -> Exchange:
    """Return an exchange with the tracker at ``address``."""
    return Exchange(address, request, ConnectionIds() if ids is None else ids, Random(1), retries=retries)


def sent(exchange: Exchange, now: float) -> tuple[bytes, int, int]:
    """Return (connection id, action, transaction) of what goes out at ``now``."""
    data = exchange.data_to_send(now)
    assert data is not None
    connection_id, action, transaction = tracker_udp.read_head(data)
    return connection_id, action, transaction


def connect(exchange: Exchange, now: float) -> None:
    """Let the tracker hand out `ID`."""
    _, action, transaction = sent(exchange, now)
    assert action == CONNECT
    assert exchange.receive_datagram(tracker_udp.encode_connect_reply(transaction, ID), now)


def test_the_time_line_of_bep_15() -> None:
    """Connect at 0, answered at 2; announce at 2, 17 and 47; at 107 the id is too old, so connect again."""
    log: list[tuple[float, int]] = []
    exchange, now = make(), 0.0
    while len(log) < 5:
        if exchange.next_timer() > now:
            assert exchange.data_to_send(exchange.next_timer() - 0.01) is None
            now = exchange.next_timer()
        _, action, transaction = sent(exchange, now)
        log.append((now, action))
        if len(log) == 1:
            now = 2.0
            exchange.receive_datagram(tracker_udp.encode_connect_reply(transaction, ID), now)

    assert log == [(0, CONNECT), (2, ANNOUNCE), (17, ANNOUNCE), (47, ANNOUNCE), (107, CONNECT)]


@pytest.mark.parametrize(
    ("retries", "times"),
    [(0, [0]), (3, [0, 15, 45, 105]), (8, [0, 15, 45, 105, 225, 465, 945, 1905, 3825])],
)
def test_a_silent_tracker_is_given_up(retries: int, times: list[float]) -> None:
    """15·2ⁿ s after each request the next one follows, as often as is set; then it is over, unanswered."""
    exchange, seen, now = make(retries=retries), [], 0.0
    while exchange.data_to_send(now) is not None:
        seen.append(now)
        now = exchange.next_timer()

    assert seen == times
    assert now == times[-1] + 15 * 2**retries
    assert exchange.finished
    assert exchange.answer is None


def test_a_tracker_that_only_connects_is_given_up_too() -> None:
    """Handing out ids for ever without an answer does not keep an exchange alive."""
    exchange, now, announces = make(), 0.0, 0
    while not exchange.finished:
        data = exchange.data_to_send(now)
        if data is None:
            now = max(now, exchange.next_timer())
            continue
        _, action, transaction = tracker_udp.read_head(data)
        announces += action == ANNOUNCE
        if action == CONNECT:
            exchange.receive_datagram(tracker_udp.encode_connect_reply(transaction, ID), now)

    assert announces == 4
    assert now <= 300


def test_announce() -> None:
    """The announce carries the id, and its answer is what the exchange was for."""
    exchange = make()
    connect(exchange, 0)
    connection_id, action, transaction = sent(exchange, 0)
    assert (connection_id, action) == (ID, ANNOUNCE)

    reply = tracker_udp.encode_announce_reply(transaction, 1800, 5, 7, PEER)
    assert exchange.receive_datagram(reply, 1)
    assert exchange.finished
    assert exchange.answer == AnnounceAnswer(interval=1800, leechers=5, seeders=7, peers=(PEER,))
    assert not exchange.receive_datagram(reply, 1)
    assert exchange.data_to_send(1000) is None


def test_over_ipv6_peers_are_of_18_bytes() -> None:
    """The family that the tracker is asked over tells how long a peer is."""
    exchange = make(address=TRACKER6)
    connect(exchange, 0)
    _, _, transaction = sent(exchange, 0)
    exchange.receive_datagram(tracker_udp.encode_announce_reply(transaction, 1800, 0, 1, PEER6), 0)

    assert isinstance(exchange.answer, AnnounceAnswer)
    assert exchange.answer.peers == (PEER6,)


def test_scrape() -> None:
    """A scrape's counts come by position; what a tracker left out is unknown."""
    exchange = make(Scrape((b"a" * 20, b"b" * 20)))
    connect(exchange, 0)
    _, action, transaction = sent(exchange, 0)
    reply = tracker_udp.encode_scrape_reply(transaction, [ScrapeCounts(1, 2, 3)])
    exchange.receive_datagram(reply, 0)

    assert action == SCRAPE
    assert exchange.answer == (ScrapeCounts(1, 2, 3), ScrapeCounts())


def test_ids_are_shared_for_a_minute() -> None:
    """The second exchange with a tracker needs no connect for 60 s; one with another port does."""
    ids = ConnectionIds()
    connect(make(ids=ids), 0)

    assert sent(make(ids=ids), 59.9)[:2] == (ID, ANNOUNCE)
    assert sent(make(ids=ids), 60)[1] == CONNECT
    assert sent(make(ids=ids, address=pack_address(("9.9.9.9", 6970))), 1)[1] == CONNECT


def test_ids_are_bounded() -> None:
    """No more ids are kept than there is room for; the oldest goes."""
    ids = ConnectionIds(capacity=2)
    for number in range(5):
        ids.put(bytes([number]), ID, 0)

    assert len(ids) == 2
    assert ids.get(b"\x00", 0) is None
    assert ids.get(b"\x04", 0) == ID


def test_a_late_answer_to_an_earlier_request_counts() -> None:
    """After a retransmission the answer to the first request is still welcome."""
    exchange = make()
    connect(exchange, 0)
    _, _, first = sent(exchange, 0)
    sent(exchange, 15)
    assert exchange.receive_datagram(tracker_udp.encode_announce_reply(first, 1800, 0, 0, b""), 16)
    assert exchange.finished


@pytest.mark.parametrize("text", ["Connection ID missmatch.\0", "invalid connection id"])
def test_an_id_that_is_not_wanted_is_renewed_once(text: str) -> None:
    """A tracker that was restarted gets a fresh connect; one that still complains has failed."""
    ids = ConnectionIds()
    ids.put(TRACKER, b"outdated", 0)
    exchange = make(ids=ids)
    connection_id, _, transaction = sent(exchange, 1)
    assert connection_id == b"outdated"

    assert exchange.receive_datagram(tracker_udp.encode_error(transaction, text), 1)
    connect(exchange, 1)
    _, _, transaction = sent(exchange, 1)
    exchange.receive_datagram(tracker_udp.encode_error(transaction, text), 1)

    assert exchange.finished
    assert exchange.answer == TrackerFailure(text.rstrip("\0"))


@pytest.mark.parametrize("stage", ["connect", "announce"])
def test_an_error_ends_it(stage: str) -> None:
    """A refusal at either stage is the answer, its text cut to a kilobyte."""
    exchange = make()
    if stage == "announce":
        connect(exchange, 0)
    _, _, transaction = sent(exchange, 0)
    exchange.receive_datagram(tracker_udp.encode_error(transaction, "no" * 2000, longest=4000), 0)

    assert exchange.finished
    assert exchange.answer == TrackerFailure("no" * 512)


def test_what_does_not_belong_is_left_alone() -> None:
    """Wrong transactions, wrong actions, truncated replies and noise change nothing."""
    exchange = make()
    _, _, first = sent(exchange, 0)
    good = tracker_udp.encode_connect_reply(first, ID)
    wrong = [
        b"",
        good[:7],
        good[:15],
        tracker_udp.encode_connect_reply(first ^ 1, ID),
        tracker_udp.encode_announce_reply(first, 1800, 0, 0, b""),
        b"\xff" * 2000,
    ]
    assert not any(exchange.receive_datagram(data, 0) for data in wrong)
    assert exchange.data_to_send(14) is None
    assert exchange.receive_datagram(good + b"longer is legal", 0)

    _, _, second = sent(exchange, 0)
    answer = tracker_udp.encode_announce_reply(second, 1800, 1, 1, PEER)
    wrong = [answer[:19], good, tracker_udp.encode_scrape_reply(second, [ScrapeCounts(1, 1, 1)] * 3)]
    assert not any(exchange.receive_datagram(data, 0) for data in wrong)
    assert exchange.receive_datagram(answer + b"\x01\x02", 0)
    assert isinstance(exchange.answer, AnnounceAnswer)
    assert (exchange.answer.peers, exchange.answer.unusable) == ((PEER,), 1)
