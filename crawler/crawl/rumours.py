"""How often rumour alone may make us send to one IP address.

Every port of an address is another contact, so whoever lists a victim's address under thousands of ports
would have us knock at all of them, slowly but for ever. A small table of counters, one byte each, allows an
IP address that never answered only so many first contacts in a window. Two addresses may share a counter;
then both get a little less, which is why there are many more counters than contacts in a window.
"""

from __future__ import annotations

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
    window: float = setting(600.0, unit="s", help="Length of the window.", above=0)


_COUNTERS = 1 << 22


class RumourGuard:
    """Counts first contacts per IP address."""

    def __init__(self, config: RumoursConfig) -> None:
        """Start with every count at zero. Python's keyed hash of bytes makes the slots unpredictable."""
        self._config = config
        self._counts = bytearray(_COUNTERS)
        self._since = float("-inf")
        self.refused = 0

    def allows(self, ip: bytes, now: float) -> bool:
        """Count one first contact to ``ip``; False, and a count, when there were enough."""
        if now - self._since > self._config.window:
            self._counts = bytearray(_COUNTERS)
            self._since = now
        slot = hash(ip) % _COUNTERS
        if self._counts[slot] >= self._config.contacts_per_ip:
            self.refused += 1
            return False
        self._counts[slot] += 1
        return True
