"""Bencode for datagrams: a compiled strict decoder first, a bounded tolerant one of our own after it.

The strict decoder (fastbencode) reads a good answer in a microsecond and refuses most garbage as fast, but
a datagram stuffed with empty lists takes it 30 µs, and huge integers more. So a datagram that is long, or
that has more ends of containers than a message of the DHT could need, goes to the bounded decoder at once,
and so does what the strict one refuses. Encoding is canonical.
"""

from __future__ import annotations

from types import BuiltinFunctionType
from typing import Any

from fastbencode import bdecode, bencode  # type: ignore[attr-defined] # typed, but exports nothing by name

from crawler.wire.bencode_tolerant import (
    BUDGET,
    INT64_MAX,
    INT64_MIN,
    MAX_DEPTH,
    BencodeError,
    decode_tolerant,
)

__all__ = ["MAX_DATAGRAM", "BencodeError", "decode", "decode_datagram", "encode"]

MAX_DATAGRAM = 5 * 1024
"""Longer input is refused unread: what mldht receives at most; BEP 32 asks for 1024 bytes."""

# What the strict decoder may be given, so that it takes 8 µs at worst. What ends in "e" costs it most, then
# the entries of dicts. BEP 32 sends at most 1024 bytes, and a message of the DHT has about ten ends.
_STRICT_BYTES = 1024
_UNCOUNTED_BYTES, _UNCOUNTED_STRING_BYTES = 160, 768
_STRICT_ENDS, _STRICT_STRINGS = 24, 128
# What it refused gets what is left of the budget: each string has cost a sixth of a unit. 60 peers still fit.
_STRINGS_A_UNIT, _SECOND_STRINGS = 6, 100

# Without its compiled module fastbencode is slower and laxer than our own decoder, so it is left out.
_COMPILED = isinstance(bdecode, BuiltinFunctionType)


def decode(data: bytes) -> object:
    """The value of one datagram: bytes, int, list or dict with byte keys.

    Unsorted keys, leading zeros and trailing bytes are accepted, duplicate keys refused. Integers are within
    int64, nesting is within 16, and a datagram longer than `MAX_DATAGRAM` is refused.

    Raises:
        BencodeError: anything else.
    """
    value = decode_datagram(data)
    _require_int64(value)
    return value


def decode_datagram(data: bytes) -> Any:
    """As `decode`, but integers may have as many digits as a datagram holds: check those that you read.

    The check of every value costs a third of the decoding, and KRPC reads few integers.

    Raises:
        BencodeError: as `decode`.
    """
    size = len(data)
    cheap = size <= _UNCOUNTED_BYTES or (
        size <= _STRICT_BYTES
        and data.count(b"e") <= _STRICT_ENDS
        and (size <= _UNCOUNTED_STRING_BYTES or data.count(b":") <= _STRICT_STRINGS)
    )
    if cheap and _COMPILED:
        try:
            return bdecode(data, max_depth=MAX_DEPTH)
        except (ValueError, RecursionError):
            pass
        strings = data.count(b":")
        if strings > _SECOND_STRINGS:
            raise BencodeError("too many strings")
        return decode_tolerant(data, BUDGET - strings // _STRINGS_A_UNIT)
    if size > MAX_DATAGRAM:
        raise BencodeError("too long")
    return decode_tolerant(data)


def encode(value: object) -> bytes:
    """Canonical bencode of bytes, ints, lists, tuples and dicts with byte keys (BEP 3), sorted.

    Raises:
        TypeError: the value holds anything else: a fault of our own.
    """
    encoded: bytes = bencode(value, max_depth=MAX_DEPTH)
    return encoded


def _require_int64(value: object) -> None:
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise BencodeError("an integer exceeds 64 bits")
    elif isinstance(value, list):
        for item in value:
            _require_int64(item)
    elif isinstance(value, dict):
        for item in value.values():
            _require_int64(item)
