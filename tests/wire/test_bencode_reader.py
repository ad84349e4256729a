"""Reading long documents: exact to the byte, bounded, and of one mind with the strict decoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire import bencode
from crawler.wire.bencode_document import decode_dict, decode_strict
from crawler.wire.bencode_reader import BencodeReader, BencodeReadError

BENCODE = st.recursive(
    st.integers(-(2**60), 2**60) | st.binary(max_size=12),
    lambda child: st.lists(child, max_size=4) | st.dictionaries(st.binary(max_size=6), child, max_size=4),
    max_leaves=20,
)


@given(value=BENCODE, tail=st.binary(max_size=3))
def test_the_reader_skips_exactly_one_value(value: object, tail: bytes) -> None:
    """Whatever is well-formed is skipped to its last byte, and no further."""
    data = bencode.encode(value)
    reader = BencodeReader(data + tail)

    reader.skip()

    assert reader.position == len(data)


@given(value=BENCODE, cut=st.floats(0, 1, exclude_max=True))
def test_the_reader_refuses_what_is_cut_off(value: object, cut: float) -> None:
    """No proper beginning of a value passes for a value."""
    data = bencode.encode(value)

    with pytest.raises(BencodeReadError, match="not_bencode"):
        BencodeReader(data[: int(cut * len(data))]).skip()


@given(value=BENCODE)
def test_the_reader_builds_what_was_encoded(value: object) -> None:
    """A value read is the value written."""
    assert BencodeReader(bencode.encode(value)).value() == value


@given(data=st.binary(max_size=30) | st.text("dlei0123456789:-a", max_size=30).map(str.encode))
def test_what_the_strict_decoder_takes_the_reader_takes_too(data: bytes) -> None:
    """Anything canonical reads the same both ways; anything else is a value or the one error."""
    strict = decode_strict(data, 50)
    try:
        found = BencodeReader(data).value()
    except BencodeReadError:
        found = None

    assert strict is None or found == strict


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"d1:bi1e1:ai2ee", {b"a": 2, b"b": 1}),
        (b"d1:ai1e1:ai2ee", {b"a": 2}),
        (b"i007e", 7),
        (b"i-0e", 0),
        (b"03:abc", b"abc"),
        (b"le trailing", []),
        (b"li" + b"9" * 21 + b"ee", [None]),
    ],
)
def test_what_is_tolerated(data: bytes, value: object) -> None:
    """Key order, repeats, leading zeros, a tail and overlong integers are no reason to give up."""
    assert BencodeReader(data).value() == value


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"x", b"i", b"ie", b"i-e", b"i+1e", b"i1_0e", b"i 1e", b"i" + b"1" * 65 + b"e"),
        *(b"1", b"1:", b"-1:a", b"1 :a", b"99999999999:a", b"\xb2:ab"),
        *(b"d1:ae", b"di1ei1ee", b"dlee", b"d1:a", b"l", b"l1:"),
    ],
)
def test_what_is_refused(data: bytes) -> None:
    """Every other deviation is the one error, read or skipped, bare or inside a list."""
    for document in (data, b"l" + data):
        with pytest.raises(BencodeReadError, match="not_bencode"):
            BencodeReader(document).value()
        with pytest.raises(BencodeReadError, match="not_bencode"):
            BencodeReader(document).skip()


def test_depth_is_bounded() -> None:
    """As deep as allowed, and not one level deeper, whether entered, read or skipped."""
    deep = b"l" * 5 + b"e" * 5

    assert BencodeReader(deep, max_depth=5).value() == [[[[[]]]]]
    BencodeReader(deep, max_depth=5).skip()
    for read in (BencodeReader.value, BencodeReader.skip):
        with pytest.raises(BencodeReadError, match="too_deep"):
            read(BencodeReader(deep, max_depth=4))
    reader = BencodeReader(deep, max_depth=5)
    for _ in reader.items():
        assert reader.value() == [[[[]]]]
        with pytest.raises(BencodeReadError, match="not_bencode"):
            reader.value()
        break


def test_tokens_are_bounded() -> None:
    """The budget of a document counts what is read and what is skipped."""
    document = b"l" + b"0:" * 9 + b"e"

    BencodeReader(document, max_tokens=10).skip()
    for read in (BencodeReader.value, BencodeReader.skip):
        with pytest.raises(BencodeReadError, match="too_many_tokens"):
            read(BencodeReader(document, max_tokens=9))


def test_large_values_are_skipped_instead() -> None:
    """A value beyond its own budget is None, and reading goes on right behind it."""
    reader = BencodeReader(b"l" + b"d0:lee" * 9 + b"e3:abc")

    assert reader.value(10) is None
    assert reader.value() == b"abc"


@pytest.mark.parametrize("data", [b"", b"le", b"i1e", b"1:a", b"d", b"d" * 20 + b"e" * 20])
def test_only_dicts_are_dicts(data: bytes) -> None:
    """Where a dict is wanted, nothing else will do."""
    with pytest.raises(BencodeReadError):
        decode_dict(data)
    assert decode_dict(b"d1:b0:1:a0:e") == {b"a": b"", b"b": b""}
