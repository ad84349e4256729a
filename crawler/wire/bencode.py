"""Bencode for datagrams: a compiled strict decoder first, a bounded tolerant one of our own for what it refuses.

The strict decoder (fastbencode) reads a good answer in a microsecond and refuses most garbage as fast, but takes
30 µs for a datagram stuffed with empty lists and more for huge integers. So a datagram that is long, or that has
more ends than a message of the DHT could need, goes to the bounded decoder at once. Encoding is canonical.
"""

from __future__ import annotations

from types import BuiltinFunctionType
from typing import Any

import fastbencode

from crawler.wire.bencode_tolerant import INT64_MAX, INT64_MIN, MAX_DEPTH, BencodeError, decode_tolerant

__all__ = ["MAX_DATAGRAM", "BencodeError", "decode", "decode_datagram", "encode"]

MAX_DATAGRAM = 5 * 1024
"""Longer input is refused unread: what mldht receives at most; BEP 32 asks for 1024 bytes."""

# The strict decoder's worst case within these is about 5 µs. BEP 32 sends at most 1024 bytes.
_STRICT_BYTES = 1024
_UNCOUNTED_BYTES = 160
_STRICT_ENDS = 48

# Without its compiled module fastbencode is slower and laxer than our own decoder.
_COMPILED = isinstance(fastbencode.bdecode, BuiltinFunctionType)
_strict = fastbencode.bdecode


def decode(data: bytes) -> object:
    """The value of one datagram: bytes, int, list or dict with byte keys.

    Unsorted keys, leading zeros and trailing bytes are accepted; duplicate keys are refused. Integers are within
    int64, nesting within 16, length within `MAX_DATAGRAM`.

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
    if _COMPILED and size <= _STRICT_BYTES and (size <= _UNCOUNTED_BYTES or data.count(b"e") <= _STRICT_ENDS):
        try:
            return _strict(data, max_depth=MAX_DEPTH)
        except (ValueError, RecursionError):
            pass
    elif size > MAX_DATAGRAM:
        raise BencodeError("too long")
    return decode_tolerant(data)


def encode(value: object) -> bytes:
    """Canonical bencode of bytes, ints, lists, tuples and dicts with byte keys (BEP 3), sorted.

    Raises:
        TypeError: the value holds anything else: a fault of our own.
    """
    return fastbencode.bencode(value, max_depth=MAX_DEPTH)


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
