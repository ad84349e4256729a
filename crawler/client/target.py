"""What to look for: an infohash as a person or a program has it, or a magnet link."""

from __future__ import annotations

import re
from typing import Final

from crawler.wire.ids import ID_BYTES, parse_infohash
from crawler.wire.magnet import Magnet, parse_magnet

_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_SHA256_BYTES: Final = 32

Target = str | bytes | bytearray | Magnet
"""Text as `parse_target` takes it, 20 bytes of infohash, 32 of v2 infohash, or a parsed magnet link."""


def parse_target(text: str) -> Magnet:
    """Return what a person asked for: 40 hex or 32 base32 characters, a v2 hash of 64, or a magnet link.

    Raises:
        ValueError: it is none of these; the message is one line for that person.
    """
    word = text.strip()
    if word[:7].lower() == "magnet:":
        return parse_magnet(word)
    if _SHA256.fullmatch(word):
        return Magnet(infohash_v2=bytes.fromhex(word))
    try:
        return Magnet(infohash=parse_infohash(word))
    except ValueError as error:
        raise ValueError(f"{error}, 64 hex for v2, or a magnet link") from None


def as_magnet(target: Target) -> Magnet:
    """Return ``target`` in the form that says most.

    Raises:
        ValueError: text that says nothing, or bytes of another length.
        TypeError: it is none of these.
    """
    if isinstance(target, Magnet):
        return target
    if isinstance(target, str):
        return parse_target(target)
    if not isinstance(target, bytes | bytearray):
        raise TypeError(f"a target is text, bytes or a Magnet, not {type(target).__name__}")
    if len(target) == ID_BYTES:
        return Magnet(infohash=bytes(target))
    if len(target) == _SHA256_BYTES:
        return Magnet(infohash_v2=bytes(target))
    raise ValueError(f"an infohash has {ID_BYTES} or {_SHA256_BYTES} bytes, not {len(target)}")
