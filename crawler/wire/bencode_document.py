"""Bencoded payloads of some kilobytes as plain values: compiled and strict first, then tolerant.

For what comes over TCP; datagrams, which come by the thousand and hostile, have `bencode`. The strict decoder
builds whatever it is given, so how long a payload it may see is for the caller to bound.
"""

from __future__ import annotations

from types import BuiltinFunctionType
from typing import Final

from fastbencode import bdecode  # type: ignore[attr-defined] # typed, but exports nothing by name

from crawler.wire.bencode_reader import BencodeReader, BencodeReadError

# Without its compiled module fastbencode is slower and laxer than our own reader, so it is left out.
_COMPILED: Final = isinstance(bdecode, BuiltinFunctionType)


def decode_strict(data: bytes, max_depth: int) -> object | None:
    """Return the value in ``data``, or None if it is not canonical bencode and nothing else."""
    if not _COMPILED:
        return None
    try:
        found: object = bdecode(data, max_depth=max_depth)
    except (ValueError, RecursionError):
        return None
    return found


def decode_dict(data: bytes, *, max_depth: int = 8, max_tokens: int = 1000) -> dict[bytes, object]:
    """Return the dict that ``data`` begins with; an integer of more than 20 digits may be None in it.

    Raises:
        BencodeReadError: it begins with anything else, or with a dict beyond the limits.
    """
    found = decode_strict(data, max_depth)
    if found is None:
        found = BencodeReader(data, max_depth=max_depth, max_tokens=max_tokens).value(max_tokens)
    if not isinstance(found, dict):
        raise BencodeReadError("not_bencode")
    return found
