"""Node ids and infohashes: 20 raw bytes on a ring of 160 bits; and peer ids, as many bytes with our mark.

Arithmetic on ids and the one way a person may write an infohash. What makes an id *secure* for an address
(BEP 42) is policy of a node and lives in `dht/identity`.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

ID_BYTES = 20
ID_BITS = 8 * ID_BYTES
CLIENT_ID = b"-DC0100-"
"""How peer ids tell the client: two letters and a version (BEP 20)."""

_HEX = re.compile(r"[0-9A-Fa-f]{40}", re.ASCII)
_BASE32 = re.compile(r"[A-Za-z2-7]{32}", re.ASCII)


def distance(a: bytes, b: bytes) -> int:
    """The XOR of two ids as an unsigned integer (BEP 5); smaller is closer."""
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


def common_prefix_bits(a: bytes, b: bytes) -> int:
    """How many leading bits two ids share: 0 to 160, 160 only for equal ids."""
    return ID_BITS - (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()


def random_id(rng: Random) -> bytes:
    """Twenty random bytes."""
    return rng.randbytes(ID_BYTES)


def random_peer_id(rng: Random) -> bytes:
    """Twenty bytes as whom we talk to peers and trackers: our client's mark, and the rest random (BEP 20)."""
    return CLIENT_ID + rng.randbytes(ID_BYTES - len(CLIENT_ID))


def random_id_near(base: bytes, bits: int, rng: Random) -> bytes:
    """An id that shares at least the first `bits` bits with `base`; the rest is random.

    Raises:
        ValueError: `bits` is outside 0..160.
    """
    if not 0 <= bits <= ID_BITS:
        raise ValueError(f"an id has 0 to {ID_BITS} bits to share, not {bits}")
    free = ID_BITS - bits
    kept = int.from_bytes(base, "big") >> free << free
    return (kept | rng.getrandbits(free)).to_bytes(ID_BYTES, "big")


def parse_infohash(text: str) -> bytes:
    """The 20 bytes that a person wrote as 40 hex digits or 32 base32 characters, in either case.

    White space around it is allowed.

    Raises:
        ValueError: anything else; the message is one line for that person.
    """
    word = text.strip()
    if _HEX.fullmatch(word):
        return bytes.fromhex(word)
    if _BASE32.fullmatch(word):
        return base64.b32decode(word.upper())
    shown = word if len(word) <= 2 * ID_BYTES else word[: 2 * ID_BYTES] + "…"
    raise ValueError(f"not an infohash: {shown!r} ({len(word)} characters); 40 hex or 32 base32 are needed")
