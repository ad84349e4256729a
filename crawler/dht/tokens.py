"""Write tokens: proof that whoever announces has received our answer at that address (BEP 5).

A token is a keyed hash of the asker's IP and the infohash, so nothing is stored per asker. The key changes
every rotation and the one before it stays valid, so a token lives for one to two rotations.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import TYPE_CHECKING

import attrs

from crawler.settings import setting

if TYPE_CHECKING:
    from random import Random

TOKEN_BYTES = 8
"""Short: jech/dht cannot store tokens of 40 bytes."""

_KEY_BYTES = 16


@attrs.frozen
class TokenConfig:
    """How long a token lives."""

    rotate: float = setting(
        300.0,
        unit="s",
        help="A new token secret is drawn this often; the one before it stays valid.",
        above=0,
    )


class Tokens:
    """Issues and checks write tokens. ``rng`` must be unguessable in the wild (``SystemRandom``)."""

    def __init__(self, rng: Random, config: TokenConfig | None = None) -> None:
        """Draw the first secrets; rotations count from the first use."""
        self._rng = rng
        self._rotate = (config or TokenConfig()).rotate
        self._secret = rng.randbytes(_KEY_BYTES)
        self._previous = rng.randbytes(_KEY_BYTES)
        self._next_rotation: float | None = None

    def issue(self, ip: bytes, info_hash: bytes, now: float) -> bytes:
        """Return the token with which ``ip`` (4 or 16 bytes) may announce ``info_hash``."""
        self._rotate_if_due(now)
        return _sign(self._secret, ip, info_hash)

    def valid(self, token: bytes, ip: bytes, info_hash: bytes, now: float) -> bool:
        """Tell whether ``token`` was issued to ``ip`` for ``info_hash`` at most two rotations ago."""
        self._rotate_if_due(now)
        # Both are compared always, in constant time: how long we take tells nothing about a secret.
        current = hmac.compare_digest(token, _sign(self._secret, ip, info_hash))
        previous = hmac.compare_digest(token, _sign(self._previous, ip, info_hash))
        return current or previous

    def _rotate_if_due(self, now: float) -> None:
        if self._next_rotation is None:
            self._next_rotation = now + self._rotate
        if now < self._next_rotation:
            return
        overslept = now >= self._next_rotation + self._rotate
        self._previous = self._rng.randbytes(_KEY_BYTES) if overslept else self._secret
        self._secret = self._rng.randbytes(_KEY_BYTES)
        # Counted from the rotation that was due, not from now, so that no token outlives two rotations.
        self._next_rotation += self._rotate * ((now - self._next_rotation) // self._rotate + 1)


def _sign(secret: bytes, ip: bytes, info_hash: bytes) -> bytes:
    return blake2b(ip + info_hash, digest_size=TOKEN_BYTES, key=secret).digest()
