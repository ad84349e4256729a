"""Ids: distance, prefixes, randomness from an argument, and the ways a person may write an infohash."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire import ids

IDS = st.binary(min_size=20, max_size=20)


def test_distance_is_the_xor_as_a_number() -> None:
    """Distance is BEP 5's XOR metric, read big endian."""
    assert ids.distance(bytes(20), bytes(19) + b"\x05") == 5
    assert ids.distance(b"\x80" + bytes(19), bytes(20)) == 1 << 159


@given(IDS, IDS, IDS)
def test_distance_is_a_metric(a: bytes, b: bytes, c: bytes) -> None:
    """Distance is zero only to itself, symmetric, and obeys the triangle inequality."""
    assert (ids.distance(a, b) == 0) == (a == b)
    assert ids.distance(a, b) == ids.distance(b, a)
    assert ids.distance(a, c) <= ids.distance(a, b) + ids.distance(b, c)


def test_common_prefix_counts_leading_bits() -> None:
    """Shared bits run from 0, for opposite first bits, to 160, for equal ids."""
    assert ids.common_prefix_bits(bytes(20), b"\x80" + bytes(19)) == 0
    assert ids.common_prefix_bits(bytes(20), b"\x00\x01" + bytes(18)) == 15
    assert ids.common_prefix_bits(bytes(20), bytes(20)) == ids.ID_BITS


def test_random_ids_come_from_the_rng() -> None:
    """The same seed gives the same id, another seed another one, each of 20 bytes."""
    assert ids.random_id(random.Random(1)) == ids.random_id(random.Random(1))
    assert ids.random_id(random.Random(1)) != ids.random_id(random.Random(2))
    assert len(ids.random_id(random.Random(1))) == ids.ID_BYTES


@given(IDS, st.integers(0, 160), st.integers())
def test_random_id_near_keeps_the_prefix(base: bytes, bits: int, seed: int) -> None:
    """An id near another shares at least the bits asked for."""
    near = ids.random_id_near(base, bits, random.Random(seed))
    assert len(near) == ids.ID_BYTES
    assert ids.common_prefix_bits(base, near) >= bits


def test_random_id_near_leaves_the_rest_to_chance() -> None:
    """The first free bit comes up both ways, so the whole range below the prefix is covered."""
    rng = random.Random(3)
    shared = {ids.common_prefix_bits(bytes(20), ids.random_id_near(bytes(20), 7, rng)) for _ in range(100)}
    assert 7 in shared
    assert len(shared) > 1


@pytest.mark.parametrize("bits", [-1, 161])
def test_random_id_near_refuses_what_an_id_cannot_share(bits: int) -> None:
    """A number of bits outside 0..160 is our own fault and raises."""
    with pytest.raises(ValueError, match="0 to 160"):
        ids.random_id_near(bytes(20), bits, random.Random(1))


@given(IDS)
def test_parse_infohash_reads_what_people_write(infohash: bytes) -> None:
    """Forty hex digits and 32 base32 characters are read in either case, with white space around."""
    base32 = base64.b32encode(infohash).decode()
    for text in (infohash.hex(), infohash.hex().upper(), base32, base32.lower(), f" {infohash.hex()}\n"):
        assert ids.parse_infohash(text) == infohash


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 39,
        "a" * 41,
        "g" * 40,
        "1" * 32,
        "a" * 31,
        "\u0131" * 32,
        "\u0663" * 40,
        "aa " * 13 + "a",
        "0x" + "a" * 38,
    ],
)
def test_parse_infohash_refuses_the_rest_in_one_line(text: str) -> None:
    """What is neither form raises one line that says which forms there are."""
    with pytest.raises(ValueError, match="40 hex or 32 base32") as caught:
        ids.parse_infohash(text)
    assert "\n" not in str(caught.value)


def test_peer_ids_tell_the_client_and_nothing_else() -> None:
    """A peer id begins as BEP 20 has it, and twelve bytes of chance follow."""
    rng = random.Random(1)
    drawn = {ids.random_peer_id(rng) for _ in range(100)}

    assert {(len(one), one[:8]) for one in drawn} == {(20, b"-DC0100-")}
    assert len({one[8:] for one in drawn}) == 100


def test_parse_infohash_does_not_repeat_a_novel() -> None:
    """The message quotes only the beginning of long input."""
    with pytest.raises(ValueError, match="40 hex") as caught:
        ids.parse_infohash("x" * 5000)
    assert len(str(caught.value)) < 150
