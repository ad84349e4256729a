"""The bounded decoder for what the strict one refuses, made to be cheap on hostile input first of all.

Real nodes send unsorted keys, leading zeros and trailing bytes (krpc.md §11 rows 5, 7, 8), so these are
accepted here. Duplicate keys are not: two readers would see two messages. Work is bounded by a budget, not
by the length of the datagram: a unit is the time of a short string, some 0.13 µs, and whatever takes longer
costs more units. A list of equal-sized peers is read at C speed and costs less. Depth is bounded, and needs
no recursion.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BUDGET = 60
"""Units for one datagram: 100 peers, nodes of both families and a token take 58."""

MAX_DEPTH = 16

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

# Leading zeros are tolerated, so a number may be longer than any sane value, but not without end.
_INT_DIGITS = 24
_LENGTH_DIGITS = 5

# Prices in units, on top of the one for every value.
_KEY = 1
_TWO_DIGITS, _MORE_DIGITS = 2, 3
_SHORT_INT, _LONG_INT = 1, 3
_CONTAINER = 1
_PEERS_A_UNIT = 6

_DICT, _INT, _END, _ZERO, _NINE, _COLON = b"die09:"
_OPENERS, _CONTAINERS = b"dl", (b"d", b"l")
_PEER_STARTS = b"61"


class BencodeError(ValueError):
    """These bytes are not bencode that we are willing to read: the one error of decoding."""


def decode_tolerant(data: bytes, budget: int = BUDGET) -> Any:
    """The dict or list that `data` begins with; what follows it is ignored.

    Raises:
        BencodeError: it is something else, broken, cut off, too deep, too dear, or a dict has a key twice.
    """
    if data[:1] not in _CONTAINERS:
        raise BencodeError("neither a dict nor a list")
    try:
        return _decode(data, budget)
    except IndexError:
        # A string that reaches past the end is found out like this too: the token after it is not there.
        raise BencodeError("cut off") from None


# One loop with all that is short inlined: a call per token would cost a third more, and so shrink the budget.
def _decode(data: bytes, budget: int) -> Any:  # noqa: C901, PLR0912 - for the reason above
    parents: list[tuple[Any, bytes, bool]] = []
    container: Any = None
    key, in_dict, position = b"", False, 0
    while budget > 0:
        budget -= 1
        byte = data[position]
        if byte == _END:
            value, position = container, position + 1
            container, key, in_dict = parents.pop()
            if not parents:
                return value
        else:
            if in_dict:
                budget -= _KEY
                if data[position + 1] == _COLON and _ZERO <= byte <= _NINE:
                    start, position = position + 2, position + 2 + byte - _ZERO
                else:
                    start, position = _string_bounds(data, position)
                    budget -= _MORE_DIGITS
                key = data[start:position]
                if key in container:
                    raise BencodeError("duplicate key")
                byte = data[position]
            if byte <= _NINE:
                if data[position + 1] == _COLON and byte >= _ZERO:
                    start, position = position + 2, position + 2 + byte - _ZERO
                elif data[position + 2] == _COLON and data[position : position + 2].isdigit():
                    start, position = position + 3, position + 3 + 10 * byte + data[position + 1] - 11 * _ZERO
                    budget -= _TWO_DIGITS
                else:
                    start, position = _string_bounds(data, position)
                    budget -= _MORE_DIGITS
                value = data[start:position]
            elif byte == _INT:
                value, position, price = _read_int(data, position)
                budget -= price
            elif byte in _OPENERS and len(parents) < MAX_DEPTH:
                parents.append((container, key, in_dict))
                in_dict = byte == _DICT
                container, position, price = _open(data, position, budget)
                budget -= price
                continue
            else:
                raise BencodeError("too deep, or not the start of a value")
        if in_dict:
            container[key] = value
        else:
            container.append(value)
    raise BencodeError("too many tokens")


def _string_bounds(data: bytes, position: int) -> tuple[int, int]:
    """Where the bytes of the string start and end whose length is written at `position`."""
    colon = data.find(b":", position, position + _LENGTH_DIGITS + 1)
    digits = data[position:colon]
    if colon < 0 or not digits.isdigit():
        raise BencodeError("a length is no number")
    return colon + 1, colon + 1 + int(digits)


def _read_int(data: bytes, position: int) -> tuple[int, int, int]:
    """The integer whose ``i`` is at `position`, where it ends, and its price."""
    digit = data[position + 1] - _ZERO
    if data[position + 2] == _END and 0 <= digit <= 9:  # noqa: PLR2004 - the highest digit
        return digit, position + 3, _SHORT_INT
    end = data.find(b"e", position + 1, position + _INT_DIGITS + 2)
    text = data[position + 1 : end]
    digits = text[1:] if text[:1] == b"-" else text
    if end < 0 or not digits.isdigit():
        raise BencodeError("an integer is no number")
    value = int(text)
    if not INT64_MIN <= value <= INT64_MAX:
        raise BencodeError("an integer exceeds 64 bits")
    return value, end + 1, _LONG_INT


def _open(data: bytes, position: int, budget: int) -> tuple[Any, int, int]:
    """The container that opens at `position` with the peers it begins with, where to go on, and its price."""
    if data[position] == _DICT:
        return {}, position + 1, _CONTAINER
    position += 1
    if data[position] not in _PEER_STARTS:
        return [], position, _CONTAINER
    peers, position = _read_peers(data, position, max(budget, 0) * _PEERS_A_UNIT)
    return peers, position, _CONTAINER + len(peers) // _PEERS_A_UNIT


def _read_peers(data: bytes, position: int, limit: int) -> tuple[list[bytes], int]:
    """The compact addresses of one family that follow each other from `position` on, and where they end."""
    head = data[position : position + 3]
    if head[:2] == b"6:":
        prefix, size, unit = b"6:", 8, "2x6s"
    elif head == b"18:":
        prefix, size, unit = b"18:", 21, "3x18s"
    else:
        return [], position
    count = min(limit, (len(data) - position) // size)
    for offset, byte in enumerate(prefix):
        # One column of the table that the run is; C code tells how far it holds the prefix's byte.
        column = data[position + offset : position + count * size : size]
        count -= len(column.lstrip(bytes((byte,))))
    end = position + count * size
    return list(_unpacker(unit, count)(data[position:end])), end


@cache
def _unpacker(unit: str, count: int) -> Callable[[bytes], tuple[bytes, ...]]:
    """Unpacks `count` units at a time: a third of the time of one after another. Bounded by the budget."""
    return struct.Struct(unit * count).unpack
