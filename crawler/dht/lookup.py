"""The iterative lookup (Kademlia §2.3, BEP 5) as a state machine: whom to ask next, and when it is over.

`advance` names the next contacts to ask; the outcomes come back through `answered` and `failed`. A contact
that keeps us waiting past the short timeout frees its slot but may still answer: a late answer counts, and
decrements nothing twice. The lookup is over when the k closest contacts that are not known to be dead have
all answered, or nothing is left to ask.

It never asks a node twice, asks at most one contact of an IP and two of a /24 (one /64), and keeps only the
closest candidates, so that a liar's flood of neighbours costs memory and queries up to a bound.
"""

from __future__ import annotations

import enum
from bisect import insort
from typing import TYPE_CHECKING

import attrs

from crawler.settings import setting
from crawler.wire.compact import ip_of, prefix_of
from crawler.wire.ids import distance

if TYPE_CHECKING:
    from collections.abc import Iterable


@attrs.frozen
class LookupConfig:
    """How wide and how patient a lookup is."""

    closest: int = setting(
        8, unit="nodes", help="The lookup ends when this many closest nodes answered.", minimum=1
    )
    parallel: int = setting(4, unit="queries", help="Queries of one lookup in flight (alpha).", minimum=1)
    candidates: int = setting(
        100,
        unit="nodes",
        help="Closest candidates not asked yet that a lookup remembers; farther ones are dropped.",
        minimum=8,
    )
    short_timeout: float = setting(
        1.0, unit="s", help="After this a silent node frees its slot; its late answer still counts.", above=0
    )
    max_queries: int = setting(64, unit="queries", help="The most one lookup may ask.", minimum=1)
    per_prefix: int = setting(
        2, unit="nodes", help="Candidates from one /24 (IPv6 /64) that a lookup accepts.", minimum=1
    )


class Contact(enum.Enum):
    """Where a candidate stands."""

    NOT_CONTACTED = enum.auto()
    WAITING = enum.auto()
    UNRESPONSIVE = enum.auto()
    FAILED = enum.auto()
    SUCCEEDED = enum.auto()


@attrs.define(eq=False)
class Candidate:
    """One node that a lookup knows of; ``hop`` counts the answers that led to it."""

    id: bytes
    address: bytes
    hop: int
    state: Contact = Contact.NOT_CONTACTED
    asked: float = 0.0


class Lookup:
    """One search for the nodes closest to ``target``."""

    def __init__(self, target: bytes, config: LookupConfig, *, spread: bool = True) -> None:
        """Start with no candidate; ``spread=False`` lifts the caps per IP and /24 (private networks)."""
        self.target = target
        self.queries = 0
        self.hops = 0
        self._config = config
        self._spread = spread
        self._ranked: list[tuple[int, bytes]] = []
        self._candidates: dict[bytes, Candidate] = {}
        self._ips: set[bytes] = set()
        self._prefixes: dict[bytes, int] = {}
        self._in_flight = 0

    def learn(self, nodes: Iterable[tuple[bytes, bytes]], hop: int = 0) -> None:
        """Take (id, compact address) pairs as candidates, as far as there is room for closer ones.

        Those that were asked are kept whatever comes, or they might be asked again.
        """
        for node_id, address in nodes:
            if address in self._candidates or not self._admits(address):
                continue
            rank = (distance(node_id, self.target), address)
            not_asked = len(self._ranked) - self.queries
            if not_asked >= self._config.candidates and not self._evict_farther_than(rank):
                continue
            insort(self._ranked, rank)
            self._candidates[address] = Candidate(node_id, address, hop)
            ip, prefix = ip_of(address), prefix_of(address)
            self._ips.add(ip)
            self._prefixes[prefix] = self._prefixes.get(prefix, 0) + 1

    def advance(self, now: float) -> list[tuple[bytes, bytes]]:
        """Return the (id, compact address) pairs to ask now; each counts as asked from here on."""
        self._release_slow(now)
        chosen = []
        for candidate in self._frontier():
            if self._in_flight >= self._config.parallel or self.queries >= self._config.max_queries:
                break
            if candidate.state is Contact.NOT_CONTACTED:
                candidate.state, candidate.asked = Contact.WAITING, now
                self._in_flight += 1
                self.queries += 1
                chosen.append((candidate.id, candidate.address))
        return chosen

    def answered(self, address: bytes, node_id: bytes, nodes: Iterable[tuple[bytes, bytes]]) -> None:
        """The contact at ``address`` answered as ``node_id`` and named ``nodes``."""
        candidate = self._settle(address, Contact.SUCCEEDED)
        if candidate is None:
            return
        if node_id != candidate.id:
            self._ranked.remove((distance(candidate.id, self.target), address))
            candidate.id = node_id
            insort(self._ranked, (distance(node_id, self.target), address))
        self.hops = max(self.hops, candidate.hop + 1)
        self.learn(nodes, candidate.hop + 1)

    def failed(self, address: bytes) -> None:
        """The contact at ``address`` refused or stayed silent to the end."""
        self._settle(address, Contact.FAILED)

    def next_timer(self) -> float | None:
        """When :meth:`advance` may have more to ask though nothing was heard, or None."""
        waiting = [c.asked for c in self._candidates.values() if c.state is Contact.WAITING]
        return min(waiting) + self._config.short_timeout if waiting else None

    @property
    def done(self) -> bool:
        """Whether the closest live candidates have all answered, or nothing can be asked any more."""
        pending = {Contact.WAITING, Contact.UNRESPONSIVE}
        spent = self.queries >= self._config.max_queries
        for candidate in self._frontier():
            if candidate.state in pending or (candidate.state is Contact.NOT_CONTACTED and not spent):
                return False
        return True

    def closest(self) -> list[Candidate]:
        """Return the closest nodes that answered, nearest first."""
        answered = [
            self._candidates[address]
            for _, address in self._ranked
            if self._candidates[address].state is Contact.SUCCEEDED
        ]
        return answered[: self._config.closest]

    def _frontier(self) -> list[Candidate]:
        """The k closest candidates that are not known to be dead."""
        alive: list[Candidate] = []
        for _, address in self._ranked:
            candidate = self._candidates[address]
            if candidate.state is not Contact.FAILED:
                alive.append(candidate)
                if len(alive) == self._config.closest:
                    break
        return alive

    def _release_slow(self, now: float) -> None:
        for candidate in self._candidates.values():
            # The same sum as in next_timer: a difference may round to less at the very moment it names.
            if candidate.state is Contact.WAITING and now >= candidate.asked + self._config.short_timeout:
                candidate.state = Contact.UNRESPONSIVE
                self._in_flight -= 1

    def _settle(self, address: bytes, state: Contact) -> Candidate | None:
        candidate = self._candidates.get(address)
        if candidate is None or candidate.state not in {Contact.WAITING, Contact.UNRESPONSIVE}:
            return None
        if candidate.state is Contact.WAITING:
            self._in_flight -= 1
        candidate.state = state
        return candidate

    def _admits(self, address: bytes) -> bool:
        if not self._spread:
            return True
        if ip_of(address) in self._ips:
            return False
        return self._prefixes.get(prefix_of(address), 0) < self._config.per_prefix

    def _evict_farther_than(self, rank: tuple[int, bytes]) -> bool:
        """Make room by forgetting the farthest candidate not asked yet, if it is farther than ``rank``."""
        for place in range(len(self._ranked) - 1, -1, -1):
            farthest = self._ranked[place]
            if farthest <= rank:
                break
            address = farthest[1]
            if self._candidates[address].state is Contact.NOT_CONTACTED:
                del self._ranked[place], self._candidates[address]
                self._ips.discard(ip_of(address))
                self._prefixes[prefix_of(address)] -= 1
                return True
        return False
