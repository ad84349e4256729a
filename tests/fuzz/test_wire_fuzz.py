"""Hostile bytes against wire/: they decode or raise the one error, and two decoders never disagree."""

from __future__ import annotations

import random
from typing import Any

import pytest
from fastbencode import bdecode  # type: ignore[attr-defined] # typed, but exports nothing by name
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawler.wire import bencode, compact, krpc
from crawler.wire.bencode_tolerant import BencodeError, decode_tolerant

SCALARS = (
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40) | st.sampled_from([b"x" * 6, b"y" * 18, 0, 1])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=12), inner, max_size=4),
    max_leaves=10,
)
CONTAINERS = st.lists(VALUES, max_size=4) | st.dictionaries(st.binary(max_size=12), VALUES, max_size=4)
# Bytes that look like bencode are far likelier to get deep into a decoder than noise.
TOKENS = st.lists(
    st.sampled_from(
        [b"d", b"l", b"e", b"i0e", b"i-5e", b"i", b"0:", b"1:a", b"1:b", b"6:abcdef", b"18:", b"03:abc"]
    )
    | st.sampled_from(
        [b"1:y1:r", b"1:t2:aa", b"1:rd2:id20:abcdefghij0123456789e", b"9999:", b"i99e", b"-", b":"]
    )
    | st.binary(max_size=3),
    max_size=40,
).map(b"".join)
HOSTILE = st.binary(max_size=200) | TOKENS | TOKENS.map(lambda tail: b"d" + tail + b"e")


def strictly(data: bytes) -> tuple[bool, Any]:
    """What fastbencode makes of it: whether it reads it, and what it reads."""
    try:
        return True, bdecode(data, max_depth=16)
    except (ValueError, RecursionError):
        return False, None


@given(HOSTILE)
@example(b"l" * 1472)
@example(b"d" * 1472)
@example(b"d" + b"9" * 5000 + b":")
@example(b"i" + b"9" * 5000 + b"e")
def test_any_bytes_decode_or_raise_the_one_error(data: bytes) -> None:
    """No bytes make either entry of the decoders raise anything but its one error."""
    for decode, error in ((bencode.decode, BencodeError), (krpc.decode, krpc.MalformedMessageError)):
        try:
            decode(data)
        except error:
            continue


@given(HOSTILE)
def test_the_tolerant_decoder_raises_the_one_error(data: bytes) -> None:
    """Without the strict decoder before it, the tolerant one keeps the same promise."""
    try:
        decode_tolerant(data)
    except BencodeError:
        return


@given(VALUES)
def test_what_is_encoded_decodes_to_itself(value: object) -> None:
    """Decoding is the inverse of encoding, and canonical bytes encode to themselves."""
    data = bencode.encode(value)
    assert bencode.decode(data) == value
    assert bencode.encode(bencode.decode(data)) == data


@given(CONTAINERS)
def test_the_decoders_agree_on_canonical_input(value: object) -> None:
    """The tolerant decoder reads what the strict one reads, types included."""
    data = bencode.encode(value)
    mine = decode_tolerant(data, budget=10_000)
    assert mine == value
    assert repr(mine) == repr(strictly(data)[1])


@given(TOKENS.map(lambda tail: b"d" + tail + b"e") | TOKENS.map(lambda tail: b"l" + tail + b"e"))
def test_the_tolerant_decoder_accepts_all_that_the_strict_one_does(data: bytes) -> None:
    """Whatever fastbencode reads, the tolerant decoder reads to the same value."""
    read, value = strictly(data)
    if read:
        assert decode_tolerant(data, budget=10_000) == value


@given(CONTAINERS, st.binary(max_size=20))
def test_trailing_bytes_change_nothing(value: object, tail: bytes) -> None:
    """What follows a message has no influence on it."""
    data = bencode.encode(value)
    assert decode_tolerant(data + tail, budget=10_000) == value


@given(CONTAINERS, st.data())
def test_a_message_that_is_cut_off_is_refused(value: object, data: st.DataObject) -> None:
    """No proper prefix of a message is a message."""
    whole = bencode.encode(value)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(BencodeError):
        decode_tolerant(part, budget=10_000)


@given(VALUES)
def test_the_splitters_take_any_value(value: object) -> None:
    """Nodes, peers and samples of any type are split or refused, never an exception."""
    for family in compact.Family:
        for node_id, address in compact.split_nodes(value, family):
            assert (len(node_id), len(address)) == (20, family.address_bytes)
        assert all(len(peer) in (6, 18) for peer in compact.split_peers(value, family))
    assert all(len(sample) == 20 for sample in compact.split_samples(value) or ())


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_mutated_messages_decode_or_raise_the_one_error(seed: int) -> None:
    """Real messages with bytes changed, dropped and doubled do no harm, and answers keep their promises."""
    rng = random.Random(seed)
    body: dict[bytes, Any] = {
        b"id": rng.randbytes(20),
        b"nodes": rng.randbytes(208),
        b"num": 5,
        b"samples": rng.randbytes(60),
    }
    body[b"values"] = [rng.randbytes(6) for _ in range(9)]
    originals = (
        krpc.response(rng.randbytes(4), body, rng.randbytes(6)),
        krpc.get_peers(
            rng.randbytes(4), rng.randbytes(20), rng.randbytes(20), want=(b"n4", b"n6"), scrape=True
        ),
        krpc.error(rng.randbytes(4), 203, b"Protocol Error"),
    )
    for _ in range(100):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 3)] = rng.choice(
                [b"", b"e", b"d", b"l", b"i1e", b"0:", rng.randbytes(2)]
            )
        try:
            message = krpc.decode(bytes(data))
        except krpc.MalformedMessageError:
            continue
        assert 1 <= len(message.tid) <= 32
        if isinstance(message, krpc.Response):
            assert len(message.id) == 20
