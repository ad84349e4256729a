"""Connection ids of a UDP tracker: proof that whoever asks receives what is sent to its address (BEP 15).

An id says when it was issued, and signs that together with the IP, so nothing is stored per client. Not the
port: a NAT may change it, and what must be proved is who would be flooded.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

LIFETIME: Final = 120
"""Seconds for which an id is good (BEP 15)."""

_KEY_BYTES: Final = 16
_STAMPS: Final = 1 << 16
_SIGNATURE_BYTES: Final = 6
_ID: Final = Struct(f">H{_SIGNATURE_BYTES}s")
_WRITE, _READ = _ID.pack, _ID.unpack
_SECOND: Final = Struct(">q").pack


class ConnectionIds:
    """Issues and checks connection ids. ``rng`` must be unguessable in the wild (``SystemRandom``)."""

    def __init__(self, rng: Random) -> None:
        """Draw the key."""
        self._keyed = blake2b(key=rng.randbytes(_KEY_BYTES), digest_size=_SIGNATURE_BYTES)

    def issue(self, ip: bytes, now: float) -> bytes:
        """Return the 8 bytes with which ``ip`` (4 or 16 bytes) may ask for `LIFETIME` seconds."""
        second = int(now)
        return _WRITE(second % _STAMPS, self._sign(ip, second))

    def valid(self, connection_id: bytes, ip: bytes, now: float) -> bool:
        """Whether ``connection_id`` was issued to ``ip`` at most `LIFETIME` seconds ago."""
        second = int(now)
        stamp, said = _READ(connection_id)
        age = (second - stamp) % _STAMPS
        return age <= LIFETIME and hmac.compare_digest(self._sign(ip, second - age), said)

    def _sign(self, ip: bytes, second: int) -> bytes:
        signature = self._keyed.copy()
        signature.update(_SECOND(second) + ip)
        return signature.digest()
