"""Hostile datagrams from a seed: noise, broken packets, bombs.

What can be said of each without a decoder decides what may come back. Nothing that lacks the bytes ``1:y1:q``
is a query, and no packet cut short is a message; neither may ever be answered. A mutant that still has them
may be a query, which is answered like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

QUERY_MARK = b"1:y1:q"
LARGEST_PAYLOAD = 65_507

_ID_A = b"abcdefghij0123456789"
_ID_B = b"mnopqrstuvwxyz123456"

QUERIES = (
    b"d1:ad2:id20:" + _ID_A + b"e1:q4:ping1:t2:aa1:y1:qe",
    b"d1:ad2:id20:" + _ID_A + b"6:target20:" + _ID_B + b"e1:q9:find_node1:t2:aa1:y1:qe",
    b"d1:ad2:id20:" + _ID_A + b"9:info_hash20:" + _ID_B + b"e1:q9:get_peers1:t2:aa1:y1:qe",
    b"d1:ad2:id20:" + _ID_A + b"12:implied_porti1e9:info_hash20:" + _ID_B + b"4:porti6881e"
    b"5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
    b"d1:ad2:id20:" + _ID_A + b"6:target20:" + _ID_B + b"e1:q17:sample_infohashes1:t2:aa1:y1:qe",
)
ANSWERS = (
    b"d1:rd2:id20:" + _ID_B + b"e1:t2:aa1:y1:re",
    b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re",
    b"d1:rd2:id20:" + _ID_A + b"5:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
    b"d1:rd2:id20:" + _ID_A + b"5:nodes9:def456...5:token8:aoeusnthe1:t2:aa1:y1:re",
    b"d1:rd2:id20:" + _ID_B + b"8:intervali600e5:nodes0:3:numi1e7:samples20:" + _ID_A + b"e1:t2:aa1:y1:re",
    b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
)
BOMBS = (
    b"l" * 1472,
    b"d" * 1472,
    b"d1:a" * 368,
    b"l" * 700 + b"e" * 700,
    b"d1:a" + b"l" * 20_000 + b"e" * 20_000 + QUERY_MARK[:5] + b"re",
    b"i" + b"9" * 4_400 + b"e",
    b"d1:ti" + b"9" * 60_000 + b"e1:y1:re",
    b"l" + b"0:" * 30_000 + b"e",
    b"9" * 1_400 + b":",
    b"d1:t999999999999999999999:aa1:y1:re",
    b"d1:ad2:id20:" + _ID_A + b"e1:q4:ping1:t0:1:y1:" + b"r" * 900,
    b"",
)


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(0, 300))


def _bencoded_noise(rng: random.Random) -> bytes:
    tokens = (b"d", b"l", b"e", b"i1e", b"i-0e", b"1:a", b"1:y", b"1:r", b"2:id", b"20:", b"0:", b"03:abc")
    return b"d" + b"".join(rng.choices(tokens, k=rng.randrange(1, 60))) + b"e"


def _flipped(rng: random.Random) -> bytes:
    packet = bytearray(rng.choice(QUERIES + ANSWERS))
    for _ in range(rng.randrange(1, 9)):
        packet[rng.randrange(len(packet))] ^= 1 << rng.randrange(8)
    return bytes(packet)


def _truncated(rng: random.Random) -> bytes:
    packet = rng.choice(QUERIES + ANSWERS)
    return packet[: rng.randrange(len(packet))]


def _spliced(rng: random.Random) -> bytes:
    first, second = rng.choice(ANSWERS), rng.choice(ANSWERS)
    return first[: rng.randrange(len(first))] + second[rng.randrange(len(second)) :]


def _unasked(rng: random.Random) -> bytes:
    return rng.choice(ANSWERS)


def _bomb(rng: random.Random) -> bytes:
    return rng.choice(BOMBS)


def _huge(rng: random.Random) -> bytes:
    size = rng.choice((9_000, LARGEST_PAYLOAD))
    return (b"d1:ad2:id20:" + rng.randbytes(1) * size)[:size]


# The rare ones are dear: 64 KiB fills a receive buffer as 200 small datagrams do.
_KINDS: tuple[tuple[Callable[[random.Random], bytes], int], ...] = (
    (_noise, 200),
    (_bencoded_noise, 200),
    (_flipped, 300),
    (_truncated, 150),
    (_spliced, 100),
    (_unasked, 40),
    (_bomb, 9),
    (_huge, 1),
)


def garbage(rng: random.Random, count: int) -> Iterator[tuple[bytes, bool]]:
    """Yield ``count`` datagrams, each with whether it may be answered because it may still be a query."""
    makers = [maker for maker, _ in _KINDS]
    weights = [weight for _, weight in _KINDS]
    for maker in rng.choices(makers, weights, k=count):
        datagram = maker(rng)
        may_be_query = maker is not _truncated and QUERY_MARK in datagram
        yield datagram, may_be_query
