"""Bencode: canonical out; in, what real nodes send, and nothing that two readers would read differently."""

from __future__ import annotations

from typing import Any

import pytest

from crawler.wire import bencode
from crawler.wire.bencode import BencodeError

# Each case is read by the strict decoder first, and again without it.
DECODERS = [True, False]


@pytest.fixture(params=DECODERS, ids=["compiled", "tolerant"])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the compiled decoder has the first go."""
    monkeypatch.setattr(bencode, "_COMPILED", request.param)
    return bool(request.param)


def test_the_compiled_decoder_is_there() -> None:
    """On the platforms that we test, fastbencode's compiled module is loaded and used."""
    assert bencode._COMPILED


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, b"i0e"),
        (-7, b"i-7e"),
        (b"", b"0:"),
        (b"spam", b"4:spam"),
        ([], b"le"),
        ((b"a", 1), b"l1:ai1ee"),
        ({}, b"de"),
        ({b"b": 1, b"a": [b"x"]}, b"d1:al1:xe1:bi1ee"),
        ({b"aa": 1, b"b": 2, b"a": 3}, b"d1:ai3e2:aai1e1:bi2ee"),
    ],
)
def test_encoding_is_canonical(value: object, expected: bytes) -> None:
    """Integers have no leading zeros and keys are sorted as raw bytes."""
    assert bencode.encode(value) == expected


@pytest.mark.parametrize("value", ["text", 1.5, None, {1: b"x"}, {"a": 1}, [object()]])
def test_encoding_what_bencode_has_not_is_our_fault(value: object) -> None:
    """A value that bencode cannot say raises TypeError, which nobody catches."""
    with pytest.raises(TypeError):
        bencode.encode(value)


def test_encoding_a_cycle_ends() -> None:
    """A value that holds itself is refused instead of eating all memory."""
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(RecursionError):
        bencode.encode(cycle)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"le", []),
        (b"de", {}),
        (b"l4:spami42ei-1e0:e", [b"spam", 42, -1, b""]),
        (b"d1:ad1:bl1:cee1:zi0ee", {b"a": {b"b": [b"c"]}, b"z": 0}),
        (b"li9223372036854775807ei-9223372036854775808ee", [2**63 - 1, -(2**63)]),
        (b"l10:0123456789e", [b"0123456789"]),
        (b"d12:implied_porti1ee", {b"implied_port": 1}),
        (b"l120:" + b"x" * 120 + b"e", [b"x" * 120]),
        (b"ld1:al6:aaaaaa6:bbbbbbee18:" + b"x" * 18 + b"e", [{b"a": [b"a" * 6, b"b" * 6]}, b"x" * 18]),
    ],
)
def test_canonical_values_are_read(data: bytes, expected: object) -> None:
    """Either decoder gives the same value for what is canonical."""
    assert bencode.decode(data) == expected


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"d1:bi1e1:ai2ee", {b"b": 1, b"a": 2}, id="row 5: unsorted keys"),
        pytest.param(b"li007ee", [7], id="row 7: leading zeros of an integer"),
        pytest.param(b"li-0ee", [0], id="row 7: minus zero"),
        pytest.param(b"l003:abce", [b"abc"], id="row 7: leading zeros of a length"),
        pytest.param(b"l03:abce", [b"abc"], id="row 7: one leading zero of a length"),
        pytest.param(b"d01:ai1ee", {b"a": 1}, id="row 7: leading zeros of a key's length"),
        pytest.param(b"d1:ai1ee\0\0\0", {b"a": 1}, id="row 8: trailing zeros"),
        pytest.param(b"d1:ai1eed1:bi2ee", {b"a": 1}, id="row 8: a second value"),
    ],
)
def test_soft_errors_are_tolerated(data: bytes, expected: object) -> None:
    """What real nodes get wrong without harm is read as they meant it."""
    assert bencode.decode(data) == expected


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"e", id="an end"),
        pytest.param(b"x", id="no token"),
        pytest.param(b"d1:ai1e1:ai2ee", id="row 7: duplicate key"),
        pytest.param(b"d1:bi1e1:ai1e1:bi2ee", id="row 7: duplicate key among unsorted ones"),
        pytest.param(b"d1:ai1e", id="row 8: cut off in a dict"),
        pytest.param(b"l1:a", id="cut off in a list"),
        pytest.param(b"l5:abe", id="cut off in a string"),
        pytest.param(b"l5:abcde", id="cut off after a string"),
        pytest.param(b"li5", id="cut off in an integer"),
        pytest.param(b"l5", id="cut off in a length"),
        pytest.param(b"l12", id="cut off in a longer length"),
        pytest.param(b"d1", id="cut off in a key"),
        pytest.param(b"d1:a", id="cut off after a key"),
        pytest.param(b"d1:ae", id="a key without a value"),
        pytest.param(b"di1ei2ee", id="an integer as key"),
        pytest.param(b"dlei2ee", id="a list as key"),
        pytest.param(b"lie", id="an integer without digits"),
        pytest.param(b"liee", id="an integer without digits in a list"),
        pytest.param(b"li-ee", id="only a sign"),
        pytest.param(b"li+5ee", id="a plus"),
        pytest.param(b"li 5ee", id="white space"),
        pytest.param(b"li1_0ee", id="an underscore"),
        pytest.param(b"li--5ee", id="two signs"),
        pytest.param(b"li5.0ee", id="a fraction"),
        pytest.param(b"l-1:ae", id="a negative length"),
        pytest.param(b"l1_0:0123456789e", id="an underscore in a length"),
        pytest.param(b"l 1:ae", id="white space before a length"),
        pytest.param(b"l1 :ae", id="white space after a length"),
        pytest.param(b"l/:e", id="a byte just below the digits"),
        pytest.param(b"l/1:e", id="a byte just below the digits, then one"),
        pytest.param(b"l:e", id="a byte just above the digits"),
        pytest.param(b"l99999999999999999999:e", id="a huge length"),
        pytest.param(b"li9223372036854775808ee", id="an integer above int64"),
        pytest.param(b"li-9223372036854775809ee", id="an integer below int64"),
        pytest.param(b"d1:al" + b"i" + b"9" * 5000 + b"eee", id="more digits than Python would parse"),
        pytest.param(b"d1:ai" + b"9" * 900 + b"ee", id="hundreds of digits"),
    ],
)
def test_hard_errors_raise_the_one_error(data: bytes) -> None:
    """What is broken or ambiguous raises BencodeError, whichever decoder sees it."""
    with pytest.raises(BencodeError):
        bencode.decode(data)


@pytest.mark.usefixtures("compiled")
def test_depth_is_sixteen() -> None:
    """Sixteen nested containers are read, seventeen refused."""
    value = bencode.decode(b"l" * 16 + b"e" * 16)
    assert bencode.encode(value) == b"l" * 16 + b"e" * 16
    with pytest.raises(BencodeError):
        bencode.decode(b"l" * 17 + b"e" * 17)


@pytest.mark.usefixtures("compiled")
def test_length_is_capped() -> None:
    """A datagram of the longest length is read, a longer one refused."""
    padding = bencode.MAX_DATAGRAM - len(b"l5000:e")
    data = b"l%d:%be" % (padding, b"x" * padding)
    assert bencode.decode(data) == [b"x" * padding]
    with pytest.raises(BencodeError):
        bencode.decode(data + b"x")


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("unit", [b"le", b"de", b"i0e", b"0:", b"3:abc", b"003:abc", b"6:abcdef"])
@pytest.mark.parametrize("tail", [b"", b"1:a0:", b"1:a0:e!"])
def test_token_floods_are_refused(unit: bytes, tail: bytes) -> None:
    """More tokens than any message has are refused, before or after the strict decoder."""
    with pytest.raises(BencodeError):
        bencode.decode(b"d1:bl" + unit * 800 + b"e" + tail + b"e")


def test_integers_are_checked_by_whoever_reads_them() -> None:
    """decode_datagram leaves huge integers to its caller, as checking each costs the hot path."""
    data = b"d1:ai99999999999999999999ee"
    assert bencode.decode_datagram(data) == {b"a": 99999999999999999999}
    with pytest.raises(BencodeError, match="64 bits"):
        bencode.decode(data)
