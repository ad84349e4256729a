"""The bounded decoder for what the strict one refuses: written to be cheap on hostile input first of all.

Real nodes send unsorted keys, leading zeros and trailing bytes (krpc.md §11 rows 5, 7, 8), so these are accepted
here; duplicate keys are not, as two readers would see two messages. Work is bounded by a budget of tokens, not by
the length of the datagram: a list's run of equal-sized peers, which a match at C speed takes in one step, costs a
quarter of a token per entry, anything else costs one. Nesting is bounded by a depth and needs no recursion.
"""

from __future__ import annotations

import re
import struct
from typing import Any

MAX_TOKENS = 56
MAX_DEPTH = 16

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
# Leading zeros are tolerated, so a number may be longer than its value, but not without end.
_MAX_NUMBER = 24
_MAX_LENGTH_DIGITS = 8

_DICT, _INT, _LIST, _END, _ZERO, _NINE, _COLON = b"dile09:"
_PEER_RUN = re.compile(rb"(?:6:.{6}){2,}|(?:18:.{18}){2,}", re.DOTALL)
_PEERS4 = struct.Struct("2x6s").iter_unpack
_PEERS6 = struct.Struct("3x18s").iter_unpack


class BencodeError(ValueError):
    """These bytes are not bencode that we are willing to read: the one error of decoding."""


def decode_tolerant(data: bytes) -> object:
    """The first bencoded value in `data`; what follows it is ignored.

    Raises:
        BencodeError: the value is broken, cut off, too deep, too long in tokens, or holds a duplicate key.
    """
    try:
        return _decode(data)
    except IndexError:
        raise BencodeError("cut off") from None


def _decode(data: bytes) -> object:
    """As `decode_tolerant`, but input that ends where a token should begin raises IndexError."""
    parents: list[tuple[Any, bytes | None]] = []
    container: Any = None
    key: bytes | None = None
    in_dict = False
    position = 0
    budget = MAX_TOKENS
    while budget > 0:
        budget -= 1
        byte = data[position]
        value: Any
        if _ZERO <= byte <= _NINE:
            value, position = _read_string(data, position)
            if in_dict and key is None:
                if value in container:
                    raise BencodeError("duplicate key")
                key = value
                continue
        elif byte == _END and container is not None and key is None:
            position += 1
            value = container
            container, key = parents.pop()
            in_dict = container.__class__ is dict
        elif in_dict and key is None:
            raise BencodeError("a key is no string")
        elif byte == _INT:
            value, position = _read_int(data, position)
        elif byte in (_DICT, _LIST):
            parents.append((container, key))
            if len(parents) > MAX_DEPTH:
                raise BencodeError("too deep")
            in_dict = byte == _DICT
            container, position = ({}, position + 1) if in_dict else _open_list(data, position + 1)
            budget -= len(container) >> 2
            key = None
            continue
        else:
            raise BencodeError("not the start of a value")
        if key is not None:
            container[key] = value
            key = None
        elif container is None:
            return value
        else:
            container.append(value)
    raise BencodeError("too many tokens")


def _read_string(data: bytes, position: int) -> tuple[bytes, int]:
    """The byte string whose length starts at `position`, and where it ends."""
    colon = data.find(b":", position, position + _MAX_LENGTH_DIGITS + 1)
    digits = data[position:colon]
    start = colon + 1
    if start == 0 or not digits.isdigit():
        raise BencodeError("a length is no number")
    end = start + int(digits)
    if end > len(data):
        raise BencodeError("cut off")
    return data[start:end], end


def _read_int(data: bytes, position: int) -> tuple[int, int]:
    """The integer whose ``i`` is at `position`, and where it ends."""
    end = data.find(b"e", position + 1, position + _MAX_NUMBER + 2)
    text = data[position + 1 : end]
    digits = text[1:] if text[:1] == b"-" else text
    if end < 0 or not digits.isdigit():
        raise BencodeError("an integer is no number")
    value = int(text)
    if not INT64_MIN <= value <= INT64_MAX:
        raise BencodeError("an integer exceeds 64 bits")
    return value, end + 1


def _open_list(data: bytes, position: int) -> tuple[list[bytes], int]:
    """The run of peers that a list begins with, perhaps empty, and where it ends."""
    run = _PEER_RUN.match(data, position)
    if run is None:
        return [], position
    end = run.end()
    reader = _PEERS4 if data[position + 1] == _COLON else _PEERS6
    return [entry for (entry,) in reader(data[position:end])], end
