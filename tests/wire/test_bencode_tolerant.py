"""The tolerant decoder's budget: every message that the DHT knows fits, and nothing costs without end."""

from __future__ import annotations

import random
from typing import Any

import pytest

from crawler.wire import bencode, krpc
from crawler.wire.bencode_tolerant import BencodeError, decode_tolerant

_bytes = random.Random(4).randbytes
FAMILIES_OF_NODES = {b"nodes": _bytes(208), b"nodes6": _bytes(304)}


def reply(**body: Any) -> bytes:
    """A response with this body, an id and our address."""
    named = {key.encode(): value for key, value in body.items()}
    return krpc.response(_bytes(4), {b"id": _bytes(20), **named}, _bytes(18))


def reversed_keys(message: bytes) -> bytes:
    """The same message with its envelope in reverse order."""
    envelope = bencode.decode(message)
    assert isinstance(envelope, dict)
    return (
        b"d" + b"".join(bencode.encode(k) + bencode.encode(v) for k, v in reversed(envelope.items())) + b"e"
    )


LARGE_MESSAGES = {
    "sample answer": reply(interval=21600, nodes=_bytes(208), num=123456, p=51413, samples=_bytes(400)),
    "sample answer, both families": reply(
        interval=21600, nodes=_bytes(208), nodes6=_bytes(304), num=123456, p=51413, samples=_bytes(320)
    ),
    "50 peers": reply(nodes=_bytes(208), p=51413, token=_bytes(20), values=[_bytes(6) for _ in range(50)]),
    "60 peers": reply(nodes=_bytes(208), token=_bytes(8), values=[_bytes(6) for _ in range(60)]),
    "16 peers of IPv6": reply(nodes6=_bytes(304), token=_bytes(8), values=[_bytes(18) for _ in range(16)]),
    "scrape": reply(nodes=_bytes(208), BFpe=_bytes(256), BFsd=_bytes(256), token=_bytes(8)),
    "100 peers, both families": reply(
        nodes=_bytes(208),
        nodes6=_bytes(304),
        p=51413,
        token=_bytes(20),
        values=[_bytes(6) for _ in range(100)],
    ),
    "100 peers of IPv6": reply(nodes6=_bytes(304), token=_bytes(8), values=[_bytes(18) for _ in range(100)]),
    "50 peers and scrape": reply(
        nodes=_bytes(208), BFpe=_bytes(256), BFsd=_bytes(256), token=_bytes(8), values=[_bytes(6)] * 50
    ),
    "20 nodes of both families": reply(nodes=_bytes(520), nodes6=_bytes(760), token=_bytes(8)),
    "announce": krpc.announce_peer(
        _bytes(6), _bytes(20), _bytes(20), 51413, _bytes(20), implied_port=True, seed=True, read_only=True
    ),
}


@pytest.mark.parametrize("name", LARGE_MESSAGES)
def test_the_largest_messages_fit(name: str) -> None:
    """Every kind of large message is read although its envelope is unsorted, and to the same values."""
    message = LARGE_MESSAGES[name]
    assert bencode.decode(reversed_keys(message)) == decode_tolerant(message)
    assert bencode.decode(message + b"\0") == bencode.decode(message)


@pytest.mark.parametrize("address_bytes", [6, 18])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_runs_of_peers_are_read_whole(address_bytes: int, count: int) -> None:
    """A list of peers keeps its entries and their order, and so does what follows them."""
    peers: list[object] = [_bytes(address_bytes) for _ in range(count)]
    for rest in ([], [b"tail"], [b"x" * 5], [b"y" * 24 if address_bytes == 6 else b"y" * 6], [1, []]):
        assert decode_tolerant(bencode.encode([*peers, *rest])) == [*peers, *rest]


@pytest.mark.parametrize(
    "data", [b"l6:abcde", b"l6:abcdef6:abc", b"l18:abc", b"l6", b"l1", b"l18", b"l6:abcdef"]
)
def test_runs_of_peers_that_are_cut_off_raise(data: bytes) -> None:
    """A run that the datagram cuts off raises the one error."""
    with pytest.raises(BencodeError):
        decode_tolerant(data)


@pytest.mark.parametrize("data", [b"i5e", b"3:abc", b"", b"x"])
def test_a_message_is_a_container(data: bytes) -> None:
    """A bare number or string is no message, so the tolerant decoder does not begin to read it."""
    with pytest.raises(BencodeError, match="neither"):
        decode_tolerant(data)


@pytest.mark.parametrize("budget", [1, 2, 5, 10])
def test_the_budget_ends_the_work(budget: int) -> None:
    """Whatever is left to read, a spent budget ends it."""
    for data in (b"l" * 16, b"d1:a" * 16, b"l" + b"6:abcdef" * 100 + b"e", b"l" + b"i10e" * 100 + b"e"):
        with pytest.raises(BencodeError, match="too many tokens"):
            decode_tolerant(data, budget)


def test_a_run_of_peers_has_its_price() -> None:
    """A datagram of nothing but peers ends within the budget too."""
    with pytest.raises(BencodeError, match="too many tokens"):
        decode_tolerant(b"l" + b"6:abcdef" * 600 + b"e")
