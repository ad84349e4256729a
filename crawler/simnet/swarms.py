"""The peers of each infohash: those that the seed gave it, and those that visitors announced to a node."""

from __future__ import annotations

import hashlib
from typing import Final

MAX_ANNOUNCED: Final = 200_000
"""Announced (node, infohash, peer) triples kept; later ones are answered but not kept, and counted."""
_RECORD_BYTES: Final = 5
_LOWEST_PORT: Final = 1024
_PORTS: Final = 65536 - _LOWEST_PORT
_TOKEN_BYTES: Final = 8


class Swarms:
    """Peers by infohash, as compact IPv4 addresses from 127.1.0.0 up, with ports from 1024.

    Args:
        seed: gives each infohash its peers.
        largest: an infohash has from 1 to this many peers.

    Attributes:
        announced: peers stored by announce_peer.
        announces_dropped: announces not stored because ``MAX_ANNOUNCED`` was reached.
    """

    def __init__(self, seed: int, largest: int) -> None:
        self.announced = 0
        self.announces_dropped = 0
        self._largest = largest
        self._chance = hashlib.shake_128(f"{seed}/peers/".encode())
        self._tokens = hashlib.blake2b(f"{seed}/tokens/".encode(), digest_size=_TOKEN_BYTES)
        self._announced: dict[tuple[int, bytes], dict[bytes, None]] = {}

    def peers_of(self, infohash: bytes) -> list[bytes]:
        """Return the peers that the seed gave to an infohash of this world."""
        chance = self._chance.copy()
        chance.update(infohash)
        drawn = chance.digest(1 + _RECORD_BYTES * self._largest)
        end = 1 + _RECORD_BYTES * (1 + drawn[0] % self._largest)
        return [_peer(drawn[start : start + _RECORD_BYTES]) for start in range(1, end, _RECORD_BYTES)]

    def announced_to(self, rank: int, infohash: bytes) -> list[bytes]:
        """Return the peers that were announced to node ``rank``."""
        return list(self._announced.get((rank, infohash), ()))

    def announce(self, rank: int, infohash: bytes, peer: bytes) -> None:
        """Store a peer at node ``rank``, for as long as the world lasts."""
        peers = self._announced.get((rank, infohash), {})
        if peer in peers:
            return
        if self.announced >= MAX_ANNOUNCED:
            self.announces_dropped += 1
            return
        self.announced += 1
        peers[peer] = None
        self._announced[rank, infohash] = peers

    def token(self, rank: int, ip: bytes, infohash: bytes) -> bytes:
        """Return the token that node ``rank`` gives to ``ip`` for ``infohash``; it never expires."""
        state = self._tokens.copy()
        state.update(b"%d/%b%b" % (rank, ip, infohash))
        return state.digest()


def _peer(drawn: bytes) -> bytes:
    port = _LOWEST_PORT + int.from_bytes(drawn[3:5], "big") % _PORTS
    return bytes((127, 1 + drawn[0] % 254, drawn[1], drawn[2])) + port.to_bytes(2, "big")
