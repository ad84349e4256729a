"""How each visitor of the simulated network behaves: does it keep to intervals and to one query a second?

Visitors are told apart by IP address, as the nodes of the real network do. The books tell a *repeat* (the
node's answer had reached the visitor and its interval was not over) from a *retry* (the answer was lost on
the way), which only the world can know.
"""

from __future__ import annotations

from array import array
from typing import Final

import attrs

MAX_VISITORS: Final = 16
"""Visitors with books of their own; later ones are served but only counted in ``visitors_untracked``."""
_SECONDS_PER_QUERY: Final = 1.0
_BURST: Final = 5
"""BitTorrent nodes ban who asks much faster than one query a second with bursts of 5."""
_NEVER: Final = -1e18


@attrs.define
class Conduct:
    """What was counted, over all visitors."""

    sample_repeats: int = 0
    """sample_infohashes to a node whose last answer had arrived and whose interval was not over."""
    sample_retries: int = 0
    """sample_infohashes to a node after the last exchange with it was lost."""
    over_rate: int = 0
    """Queries beyond one a second, burst 5, from one visitor to one node."""
    visitors: int = 0
    visitors_untracked: int = 0
    """Queries from visitors that came after the books were full."""


class _Books:
    """One visitor's history with every node."""

    def __init__(self, nodes: int) -> None:
        self.free_at = array("d", [_NEVER]) * nodes
        """When the interval of the node's last delivered sample is over."""
        self.lost = bytearray(nodes)
        """1 where the last sample exchange was lost."""
        self.ready_at = array("d", [_NEVER]) * nodes
        """GCRA: when the node would be asked next at exactly the allowed rate."""


class Etiquette:
    """The books on all visitors of a world of ``nodes`` nodes whose samples last ``interval`` seconds."""

    def __init__(self, nodes: int, interval: float) -> None:
        self.conduct = Conduct()
        self._nodes = nodes
        self._interval = interval
        self._books: dict[bytes, _Books] = {}

    def asked(self, visitor: bytes, rank: int, now: float) -> None:
        """Note any query of ``visitor`` (an IP address) to node ``rank``."""
        books = self._books.get(visitor) or self._open(visitor)
        if books is None:
            self.conduct.visitors_untracked += 1
            return
        ready = books.ready_at[rank]
        if ready - now > _SECONDS_PER_QUERY * (_BURST - 1):
            self.conduct.over_rate += 1
        else:
            books.ready_at[rank] = max(ready, now) + _SECONDS_PER_QUERY

    def sampled(self, visitor: bytes, rank: int, now: float, *, delivered: bool) -> None:
        """Note a sample_infohashes query to a node that speaks BEP 51, and whether its answer will arrive."""
        books = self._books.get(visitor)
        if books is None:
            return
        if books.free_at[rank] > now:
            self.conduct.sample_repeats += 1
        elif books.lost[rank]:
            self.conduct.sample_retries += 1
        books.lost[rank] = not delivered
        if delivered:
            books.free_at[rank] = now + self._interval

    def _open(self, visitor: bytes) -> _Books | None:
        if len(self._books) >= MAX_VISITORS:
            return None
        self.conduct.visitors += 1
        books = self._books[visitor] = _Books(self._nodes)
        return books
