"""Node ids that are bound to the address they live at (BEP 42), and learning what our own address is.

Both belong together: as soon as enough strangers agree on our external address, the id must be drawn anew
from it, or nodes that verify ids will not keep ours.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

import attrs
import google_crc32c

from crawler.settings import setting
from crawler.wire.compact import ip_of, prefix_of

if TYPE_CHECKING:
    from random import Random

# Which bits of the address count: fewer towards the host, so that one /24 cannot choose from the whole
# keyspace. For IPv6 only the first 64 bits exist. The BEP's prose hashes 8 bytes of an IPv4 address too;
# its vectors and every implementation hash 4.
_MASKS = {4: (4, 0x030F3FFF), 16: (8, 0x0103070F1F3F7FFF)}
_BOUND_BITS = 21


def secure_id(ip: bytes, rng: Random) -> bytes:
    """Return a random node id that BEP 42 allows at ``ip`` (4 or 16 bytes).

    Raises:
        ValueError: if ``ip`` is neither 4 nor 16 bytes.
    """
    last = rng.getrandbits(8)
    head = _bound_bits(ip, last) << 3 | rng.getrandbits(3)
    return head.to_bytes(3, "big") + rng.randbytes(16) + bytes((last,))


def is_secure(node_id: bytes, ip: bytes) -> bool:
    """Tell whether BEP 42 allows ``node_id`` at ``ip``; addresses of local networks allow any id.

    Raises:
        ValueError: if ``ip`` is neither 4 nor 16 bytes.
    """
    if is_exempt(ip):
        return True
    return int.from_bytes(node_id[:3], "big") >> 3 == _bound_bits(ip, node_id[19])


def is_exempt(ip: bytes) -> bool:
    """Tell whether ``ip`` (4 or 16 bytes) is of a local network, where BEP 42 binds nothing.

    Besides the ranges that the BEP lists, these are the carrier-grade NAT range and the local ranges of IPv6,
    which libtorrent exempts as well.
    """
    if len(ip) == 4:  # noqa: PLR2004 - the length of an IPv4 address
        first, second = ip[0], ip[1]
        return (
            first in {10, 127}
            or (first == 172 and second & 0xF0 == 16)  # noqa: PLR2004 - 172.16/12
            or (first == 192 and second == 168)  # noqa: PLR2004 - 192.168/16
            or (first == 169 and second == 254)  # noqa: PLR2004 - 169.254/16
            or (first == 100 and second & 0xC0 == 64)  # noqa: PLR2004 - 100.64/10
        )
    # fe80::/10 and fec0::/10 are neighbours: together they are fe80::/9.
    return ip[0] & 0xFE == 0xFC or (ip[0] == 0xFE and ip[1] & 0x80 != 0) or ip == _LOOPBACK6  # noqa: PLR2004 - fc00::/7


_LOOPBACK6 = bytes(15) + b"\x01"


def _bound_bits(ip: bytes, last: int) -> int:
    """Return the leading bits that an id ending in byte ``last`` must have at ``ip``."""
    try:
        width, mask = _MASKS[len(ip)]
    except KeyError:
        raise ValueError(f"an IP address has 4 or 16 bytes, not {len(ip)}") from None
    masked = int.from_bytes(ip[:width], "big") & mask | (last & 7) << (8 * width - 3)
    checksum: int = google_crc32c.value(masked.to_bytes(width, "big"))
    return checksum >> (32 - _BOUND_BITS)


@attrs.frozen
class IdentityConfig:
    """When the strangers' word on our address is believed."""

    quorum: int = setting(
        20, unit="networks", help="Networks (/24, IPv6 /64) to hear before believing our address.", minimum=1
    )
    max_votes: int = setting(
        200, unit="networks", help="Networks whose latest word is kept; the oldest falls out.", minimum=1
    )
    vote_lifetime: float = setting(
        3600.0, unit="s", help="How long a network's word on our address counts.", above=0
    )
    vote_pause: float = setting(
        0.1, unit="s", help="Once an address is believed in, votes are taken at most this often.", minimum=0
    )

    def __attrs_post_init__(self) -> None:
        if self.quorum > self.max_votes:
            raise ValueError(f"quorum = {self.quorum}: allowed is at most max_votes, {self.max_votes}")


@attrs.frozen
class ExternalAddressStatistics:
    """What an :class:`ExternalAddress` holds (``votes``) and what it made of the votes that came.

    Each was either ``counted``, or ``ignored`` because it is no public address of our family, or ``skipped``
    because it came too soon after the one before.
    """

    votes: int
    counted: int
    ignored: int
    skipped: int


class ExternalAddress:
    """Our own IP address of one family, as the majority of the networks that answered us sees it.

    One network (/24, IPv6 /64) has one vote, its latest, so that a single operator cannot outvote the rest.
    A belief stays until a majority holds another. The window slides: when it is full, the oldest vote falls
    out, whatever it says. Once there is a belief, most votes are skipped unread: a crawl hears thousands a
    second, and a window that lasts some seconds is harder to fill for a liar than one of milliseconds.
    """

    def __init__(self, config: IdentityConfig | None = None) -> None:
        """Start without any belief."""
        self._config = config or IdentityConfig()
        self._votes: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._tally: Counter[bytes] = Counter()
        self._current: bytes | None = None
        self._next_vote = float("-inf")
        self._counted = self._ignored = self._skipped = 0

    @property
    def current(self) -> bytes | None:
        """The address believed in, 4 or 16 bytes, or None while nobody has a majority."""
        return self._current

    def vote(self, observed: bytes, voter: bytes, now: float) -> None:
        """Count what one answer said.

        Args:
            observed: the ``ip`` of an answer: our address as seen, with or without the port.
            voter: compact address of the node that answered; the answer must have matched a query.
            now: seconds.
        """
        if now < self._next_vote:
            self._skipped += 1
            return
        ip = ip_of(observed) if len(observed) in {6, 18} else observed
        if len(ip) != len(voter) - 2 or is_exempt(ip):
            self._ignored += 1
            return
        network = prefix_of(voter)
        self._withdraw(network)
        self._votes[network] = ip, now
        self._tally[ip] += 1
        self._counted += 1
        self._forget_old(now)
        if len(self._votes) >= self._config.quorum and 2 * self._tally[ip] > len(self._votes):
            self._current = ip
        if self._current is not None:
            self._next_vote = now + self._config.vote_pause

    def statistics(self) -> ExternalAddressStatistics:
        """Return what was heard so far."""
        return ExternalAddressStatistics(len(self._votes), self._counted, self._ignored, self._skipped)

    def _withdraw(self, network: bytes) -> None:
        vote = self._votes.pop(network, None)
        if vote is not None:
            self._uncount(vote[0])

    def _forget_old(self, now: float) -> None:
        votes, oldest_allowed = self._votes, now - self._config.vote_lifetime
        while len(votes) > self._config.max_votes or next(iter(votes.values()))[1] < oldest_allowed:
            _, (ip, _) = votes.popitem(last=False)
            self._uncount(ip)

    def _uncount(self, ip: bytes) -> None:
        self._tally[ip] -= 1
        if not self._tally[ip]:
            del self._tally[ip]
