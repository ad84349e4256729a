from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.dht.tokens import TOKEN_BYTES, TokenConfig, Tokens

IP = bytes((45, 1, 2, 3))
HASH = b"mnopqrstuvwxyz123456"
MINUTE = 60.0


def tokens(seed: int = 0) -> Tokens:
    return Tokens(random.Random(seed))


@settings(deadline=None)
@given(st.integers(0, 99), st.floats(0, 1e6), st.floats(0, 5 * MINUTE, exclude_max=True))
def test_honest_token_is_accepted(seed: int, issued: float, age: float) -> None:
    """A token is accepted for at least five minutes, whenever it was issued."""
    ours = tokens(seed)
    ours.issue(IP, HASH, 0.0)
    token = ours.issue(IP, HASH, issued)

    assert len(token) == TOKEN_BYTES
    assert ours.valid(token, IP, HASH, issued + age)


@settings(deadline=None)
@given(st.integers(0, 99), st.floats(0, 1e6), st.floats(10.001 * MINUTE, 1e6))
def test_old_token_is_refused(seed: int, issued: float, age: float) -> None:
    """A token is worthless after two rotations, however long nobody asked in between."""
    ours = tokens(seed)
    ours.issue(IP, HASH, 0.0)
    token = ours.issue(IP, HASH, issued)

    assert not ours.valid(token, IP, HASH, issued + age)


def test_old_token_is_refused_under_steady_use() -> None:
    """A token from before two rotations is refused though tokens are issued all the time."""
    ours = tokens()
    token = ours.issue(IP, HASH, 0.0)
    verdicts = [ours.valid(token, IP, HASH, second) for second in range(0, 1200, 10)]

    assert all(verdicts[:60])
    assert not any(verdicts[60:])


@settings(deadline=None)
@given(st.binary(min_size=4, max_size=4), st.binary(min_size=20, max_size=20))
def test_token_is_bound_to_ip_and_infohash(ip: bytes, info_hash: bytes) -> None:
    """A token replayed from another IP or for another infohash is refused."""
    ours = tokens()
    token = ours.issue(IP, HASH, 0.0)

    assert ours.valid(token, ip, HASH, 1.0) == (ip == IP)
    assert ours.valid(token, IP, info_hash, 1.0) == (info_hash == HASH)


def test_no_forgery_is_accepted() -> None:
    """Of all single bit flips, all other lengths and many random tokens, none is accepted."""
    ours, rng = tokens(), random.Random(1)
    token = ours.issue(IP, HASH, 0.0)
    flipped = [(int.from_bytes(token, "big") ^ 1 << bit).to_bytes(8, "big") for bit in range(64)]
    cut = [token[:length] for length in range(8)] + [token + b"\0", token * 2, b"aoeusnth"]
    drawn = [rng.randbytes(8) for _ in range(10_000)]

    assert not any(ours.valid(forged, IP, HASH, 1.0) for forged in flipped + cut + drawn)


def test_other_process_other_secret() -> None:
    """Tokens of one run are worthless in the next, and every run of one seed is the same."""
    token = tokens(1).issue(IP, HASH, 0.0)

    assert not tokens(2).valid(token, IP, HASH, 0.0)
    assert tokens(1).valid(token, IP, HASH, 0.0)


def test_rotation_is_a_setting() -> None:
    """With another rotation, tokens live for one to two of those."""
    ours = Tokens(random.Random(0), TokenConfig(rotate=10.0))
    token = ours.issue(IP, HASH, 0.0)

    assert ours.valid(token, IP, HASH, 19.0)
    assert not ours.valid(token, IP, HASH, 20.0)
