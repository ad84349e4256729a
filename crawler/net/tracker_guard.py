"""Where trackers may be: a name is resolved once, and the very address that was judged is connected to.

Tracker URLs come from strangers, so each could point into our own network (SSRF). Nothing but the addresses
that `Guard.addresses` returns is ever sent to, for redirects too; a name that changes its address between two
looks gains nothing, because there is no second look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from crawler.net.resolve import ResolveError, resolve
from crawler.wire.compact import Family, is_global

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawler.wire.tracker_url import TrackerUrl

_SYSTEM_PORTS: Final = 1024
_WEB_PORTS: Final = frozenset({80, 443})
_MULTICAST, _MULTICAST6 = 224, 0xFF


class TrackerError(Exception):
    """A tracker did not give what it was asked for: a remote fault, for the caller to count.

    Attributes:
        reason: a short token to count by.
        text: what the tracker said, hostile; empty when it said nothing.
        retry_in: seconds after which it wants to be asked again (BEP 31); None when it did not say.
        hopeless: whether the URL, the name or the address is of no use at all, for now.
    """

    def __init__(
        self, reason: str, *, text: str = "", retry_in: float | None = None, hopeless: bool = False
    ) -> None:
        super().__init__(f"{reason}: {text}" if text else reason)
        self.reason = reason
        self.text = text
        self.retry_in = retry_in
        self.hopeless = hopeless


class Guard:
    """The judge of addresses.

    Args:
        allow_private: let addresses that are not global pass too, for tests and closed networks.
        timeout: seconds that the resolver is waited for.
    """

    def __init__(self, *, allow_private: bool = False, timeout: float = 10.0) -> None:
        self._allow_private = allow_private
        self._timeout = timeout

    async def addresses(self, url: TrackerUrl, families: Iterable[Family]) -> dict[Family, list[bytes]]:
        """Resolve the host of ``url``; return the compact addresses that may be connected to, by family.

        Raises:
            TrackerError: ``unresolved`` or ``forbidden_address``: there is none.
        """
        found: dict[Family, list[bytes]] = {}

        async def look_up(family: Family) -> None:
            try:
                found[family] = await resolve(url.place, family, timeout=self._timeout)
            except ResolveError:
                found[family] = []

        async with trio.open_nursery() as nursery:
            for family in families:
                nursery.start_soon(look_up, family)
        permitted = {
            family: kept for family, known in found.items() if (kept := list(filter(self.permits, known)))
        }
        if not permitted:
            raise TrackerError("forbidden_address" if any(found.values()) else "unresolved", hopeless=True)
        return permitted

    def permits(self, address: bytes) -> bool:
        """Whether anything may be sent to a compact address."""
        if not self._allow_private:
            return is_global(address)
        # Even in a private network nobody is at 0/8, at multicast or reserved addresses, at :: or ff00::/8.
        if not any(address[-2:]):
            return False
        if len(address) == Family.IPV4.address_bytes:
            return 0 < address[0] < _MULTICAST
        return address[0] != _MULTICAST6 and any(address[:-2])

    def permits_peer(self, address: bytes) -> bool:
        """Whether a peer that a tracker named may be at a compact address.

        On ports below 1024 other than those of the web it is nobody's BitTorrent.
        """
        port = int.from_bytes(address[-2:], "big")
        return (port >= _SYSTEM_PORTS or port in _WEB_PORTS) and self.permits(address)
