"""Peers heard of from peers (BEP 11), and how much of such hearsay is taken from one of them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from crawler.settings import setting
from crawler.swarm.connection import PeerFault
from crawler.wire.extensions import decode_pex
from crawler.wire.peer import WireError

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class PexConfig:
    """Patience with peer exchange."""

    max_peers: int = setting(50, unit="peers", help="Peers taken from one peer's exchange.", minimum=0)
    max_messages: int = setting(
        6,
        unit="messages",
        help="Exchange messages within a minute; a peer that sends more is dropped.",
        minimum=1,
    )
    window: float = setting(60.0, unit="s", help="The minute of the setting before.", above=0)


class PexInbox:
    """What one peer told of others.

    Args:
        admit: whether a compact address may be dialled at all, such as `compact.is_global`.
        config: the limits.

    Attributes:
        refused: addresses left out, by ``admit`` or because there were enough.
    """

    def __init__(self, admit: Callable[[bytes], bool], config: PexConfig | None = None) -> None:
        self._admit = admit
        self._config = config or PexConfig()
        self._times: deque[float] = deque()
        self._peers: dict[bytes, None] = {}
        self.refused = 0

    @property
    def peers(self) -> tuple[bytes, ...]:
        """All peers taken so far, compact, in their order."""
        return tuple(self._peers)

    def receive(self, payload: bytes, now: float) -> tuple[bytes, ...]:
        """Take a message; return the compact addresses that are new in it.

        Raises:
            PeerFault: ``bad_pex`` or ``pex_flood``.
        """
        while self._times and self._times[0] <= now - self._config.window:
            self._times.popleft()
        if len(self._times) >= self._config.max_messages:
            raise PeerFault("pex_flood")
        self._times.append(now)
        try:
            message = decode_pex(payload, max_peers=self._config.max_peers)
        except WireError as error:
            raise PeerFault(error.reason) from None
        return tuple([peer.address for peer in message.added if self._keep(peer.address)])

    def _keep(self, address: bytes) -> bool:
        if address in self._peers:
            return False
        if len(self._peers) >= self._config.max_peers or not any(address[-2:]) or not self._admit(address):
            self.refused += 1
            return False
        self._peers[address] = None
        return True
