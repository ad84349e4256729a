"""What a tracker tells its clients, however they ask: intervals, how many peers, and who is turned away."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final
from zlib import crc32

import attrs

from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

_PREFIX_BYTES: Final = 8
_STRANGER_BYTES: Final = 2
STRANGERS: Final = 1 << 8 * _STRANGER_BYTES
"""How many strangers are told apart."""


@attrs.frozen
class TrackerPolicy:
    """How `dht-crawler tracker` answers."""

    interval: int = setting(
        1800, unit="s", help="Clients are told to announce again after this.", minimum=1, maximum=86_400
    )
    min_interval: int = setting(
        60, unit="s", help="Clients are told not to announce sooner than this (HTTP).", minimum=0
    )
    numwant: int = setting(
        50, unit="peers", help="Peers given to a client that does not say how many it wants.", minimum=0
    )
    max_numwant: int = setting(
        200,
        unit="peers",
        help="Peers given at most, of each family; over UDP no more than fit one packet.",
        minimum=0,
        maximum=2000,
    )
    ip_rate: float = setting(
        50.0, unit="requests/s", help="Requests answered to one IP address (IPv6: /64).", above=0
    )
    ip_burst: float = setting(
        500.0, unit="requests", help="Requests answered to one IP address (/64) at once.", minimum=1
    )
    max_tracked: int = setting(
        200_000,
        unit="addresses",
        help="Addresses whose rate is remembered; past it newcomers are turned away.",
        minimum=1000,
    )

    def peers_for(self, numwant: int | None) -> int:
        """How many peers a client gets that asked for ``numwant``; None and less than none leave it to us."""
        wanted = self.numwant if numwant is None or numwant < 0 else numwant
        return min(wanted, self.max_numwant)


@attrs.define
class TrackerCounters:
    """What one carrier was asked: received = answered + refused + dropped.

    Attributes:
        received: requests, or datagrams.
        answered: by kind: connect, announce, scrape.
        refused: those that were told why they get no answer, by reason.
        dropped: those that were met with silence, by reason.
        bytes_in: of datagrams.
        bytes_out: of replies.
    """

    received: int = 0
    answered: Counter[str] = attrs.field(factory=Counter)
    refused: Counter[str] = attrs.field(factory=Counter)
    dropped: Counter[str] = attrs.field(factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0


@attrs.define
class Doorman:
    """Who may ask for what, the same for every carrier.

    Whoever has not proved its address has a budget apart, or a forged source could use up somebody's. Those
    budgets are shared by chance among so many that forging more sources than can be told apart locks out
    nobody.

    Attributes:
        hold: takes a request from the budget of an IP (4 bytes, or the 8 of a /64) at a time, and returns 0,
            or the seconds until there is one.
        hold_stranger: the same for two bytes that tell strangers apart.
        allowed: the only infohashes that are served; None for all.
    """

    hold: Callable[[bytes, float], float]
    hold_stranger: Callable[[bytes, float], float]
    allowed: AbstractSet[bytes] | None = None

    def wait(self, ip: bytes, now: float) -> float:
        """Seconds that ``ip`` (4 or 16 bytes) must wait; 0 takes a request from its budget."""
        return self.hold(ip[:_PREFIX_BYTES], now)

    def wait_stranger(self, ip: bytes, now: float) -> float:
        """The same for an ``ip`` that anybody may have written on a datagram."""
        return self.hold_stranger(crc32(ip[:_PREFIX_BYTES]).to_bytes(4, "big")[:_STRANGER_BYTES], now)

    def serves(self, infohash: bytes) -> bool:
        """Whether the tracker is for ``infohash``."""
        return self.allowed is None or infohash in self.allowed
