"""Which peers failed us lately, so that the next job that names one does not wait for it again.

A peer that can't be reached, or breaks the protocol, is of no use to any job; one that does not have this
torrent may well have another. So a failure is kept under the peer's address, or under address and infohash.
Both are forgotten after a while, and the oldest first when there are too many. An IP address where one port
after the other fails is left alone as a whole: somebody is naming it who wants it to be dialled.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from crawler.settings import setting
from crawler.wire.compact import ip_of

ABOUT_THE_TORRENT: Final = frozenset(
    {
        "closed",
        "closed_in_handshake",
        "deadline",
        "no_metadata",
        "rejected",
        "reset",
        "reset_in_handshake",
    }
)
"""Reasons that tell something about one infohash at this peer, not about the peer."""


@attrs.frozen
class FailuresConfig:
    """How long failures of peers are remembered, and how many."""

    lifetime: float = setting(300.0, unit="s", help="A peer that failed is left alone for so long.", above=0)
    max_tracked: int = setting(
        100_000, unit="failures", help="Failures remembered; the oldest is forgotten.", minimum=1
    )
    max_per_ip: int = setting(
        16, unit="failures", help="An IP address with so many failed ports is left alone.", minimum=1
    )


class Failures:
    """The memory of failed peers.

    Args:
        config: its limits.
        spread: False lifts the limit per IP address, for tests and closed networks.

    Attributes:
        evicted: failures forgotten before their time.
    """

    def __init__(self, config: FailuresConfig, *, spread: bool = True) -> None:
        self._config = config
        self._spread = spread
        self._until: dict[bytes, float] = {}
        self._per_ip: Counter[bytes] = Counter()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._until)

    def add(self, peer: bytes, infohash: bytes, reason: str, now: float) -> None:
        """Remember that the compact address ``peer`` failed for ``reason``, when asked for ``infohash``."""
        self._expire(now)
        key = peer + infohash if reason in ABOUT_THE_TORRENT else peer
        if self._until.pop(key, None) is None and key == peer:
            self._per_ip[ip_of(peer)] += 1
        # The lifetime is the same for all, so the order of the dict is the order of the ends.
        self._until[key] = now + self._config.lifetime
        if len(self._until) > self._config.max_tracked:
            self.evicted += 1
            self._forget(next(iter(self._until)))

    def knows(self, peer: bytes, infohash: bytes, now: float) -> bool:
        """Whether dialling ``peer`` for ``infohash`` would be in vain, as far as is remembered."""
        self._expire(now)
        if peer in self._until or peer + infohash in self._until:
            return True
        return self._spread and self._per_ip.get(ip_of(peer), 0) >= self._config.max_per_ip

    def _expire(self, now: float) -> None:
        while self._until and self._until[key := next(iter(self._until))] <= now:
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        del self._until[key]
        if len(key) <= _LONGEST_ADDRESS:
            ip = ip_of(key)
            self._per_ip[ip] -= 1
            if not self._per_ip[ip]:
                del self._per_ip[ip]


_LONGEST_ADDRESS: Final = 18
