"""How often rumour alone may make us send to one IP address, and how much rumour one network may spread.

Every port of an address is another contact, so whoever lists a victim's address under thousands of ports
would have us knock at all of them, slowly but for ever. A small table of counters, one byte each, allows an
IP address that never answered only so many first contacts in a window. Two addresses may share a counter;
then both get a little less, which is why there are many more counters than contacts in a window.

Whoever makes up addresses where nobody is costs us a query for each. Honest nodes name mostly nodes that we
know already. So of what the nodes of one /24 name together only so many new ones are taken in a window, and
nobody can fill the ledger, or spend the budget, alone.
"""

from __future__ import annotations

from array import array

import attrs

from crawler.settings import setting


@attrs.frozen
class RumoursConfig:
    """How far hearsay carries."""

    contacts_per_ip: int = setting(
        8,
        unit="contacts",
        help="First contacts to one IP address (at any port) in a window.",
        minimum=1,
        maximum=255,
    )
    named_per_prefix: int = setting(
        500,
        unit="nodes",
        help="New nodes taken in a window from what the nodes of one /24 (IPv6: /64) name; more are dropped.",
        minimum=1,
        maximum=65535,
    )
    window: float = setting(600.0, unit="s", help="Length of the window.", above=0)


_COUNTERS = 1 << 22
_NAMERS = 1 << 20


class RumourGuard:
    """Counts first contacts per IP address, and the new nodes that each network names.

    Attributes:
        refused: first contacts that were not made.
        names_refused: new nodes that were not taken.
    """

    def __init__(self, config: RumoursConfig) -> None:
        """Start with every count at zero. Python's keyed hash of bytes makes the slots unpredictable."""
        self._config = config
        self._counts = bytearray(_COUNTERS)
        self._named = array("H", bytes(2 * _NAMERS))
        self._since = float("-inf")
        self.refused = 0
        self.names_refused = 0

    def allows(self, ip: bytes, now: float) -> bool:
        """Count one first contact to ``ip``; False, and a count, when there were enough."""
        self._begin_window(now)
        slot = hash(ip) % _COUNTERS
        if self._counts[slot] >= self._config.contacts_per_ip:
            self.refused += 1
            return False
        self._counts[slot] += 1
        return True

    def takes(self, namer: bytes, new: int, now: float) -> int:
        """Count ``new`` nodes named by the network ``namer``, a prefix; return how many of them to take."""
        self._begin_window(now)
        slot = hash(namer) % _NAMERS
        taken = min(new, self._config.named_per_prefix - self._named[slot])
        self._named[slot] += taken
        self.names_refused += new - taken
        return taken

    def _begin_window(self, now: float) -> None:
        if now - self._since > self._config.window:
            self._counts = bytearray(_COUNTERS)
            self._named = array("H", bytes(2 * _NAMERS))
            self._since = now
