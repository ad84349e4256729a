"""Whose samples are worth taking: what came of the infohashes that each neighbourhood gave (index poisoning).

Samples are claims. A node may name infohashes that nobody has, new ones at every question, and each would
cost a line, a question and perhaps twenty more. So what is found out about them is put to the account of the
/24 (IPv6: /64) that gave them: a *hit* when peers, or with --metadata verified metadata, were found, a *miss*
when the giver itself knew no peer or all its peers were dead. From that follows:

* Costly lookups are made at once only for what came from where a hit came from before, and that is fetched
  first.
* Who has fewer hits than chance allows after enough verdicts has lost its credit: its samples are dropped
  unread, but for one answer in so many, by which it may earn the credit back.
* Nobody may give more than so many new infohashes in a window, whatever comes of them.

No clock and no chance in here: time is an argument.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from crawler.settings import setting

_IPV4_BYTES: Final = 6
_IPV4_PREFIX: Final = 3
_IPV6_PREFIX: Final = 8


@attrs.frozen
class CreditConfig:
    """When a /24 (IPv6: /64) that gives infohashes nobody has is not listened to any more."""

    min_verdicts: int = setting(
        200, unit="infohashes", help="Followed up before a neighbourhood can lose its credit.", minimum=1
    )
    min_hits: float = setting(
        0.01,
        unit="",
        help="Share of them that must lead to peers, or with --metadata to metadata; 0: no credit is lost.",
        minimum=0,
        maximum=1,
    )
    probe_every: int = setting(
        20, unit="answers", help="Of those without credit, one in so many is taken all the same.", minimum=1
    )
    max_new: int = setting(
        5000, unit="infohashes", help="New ones taken from one neighbourhood in a window.", minimum=1
    )
    window: float = setting(3600.0, unit="s", help="Length of the window.", above=0)
    max_tracked: int = setting(
        65_536,
        unit="neighbourhoods",
        help="With an account; the one that was judged longest ago is forgotten.",
        minimum=1,
    )
    max_followed: int = setting(
        100_000,
        unit="infohashes",
        help="Being fetched whose giver is remembered; the oldest is forgotten.",
        minimum=1,
    )


@attrs.define(eq=False)
class Account:
    """What came of what one neighbourhood gave, and how many of its answers were dropped since the last."""

    hits: int = 0
    verdicts: int = 0
    dropped: int = 0


@attrs.frozen
class CreditStatistics:
    """Neighbourhoods with an account and without credit, and how often one lost its credit or regained it."""

    accounts: int
    without: int
    lost: int
    regained: int


class Credit:
    """The accounts.

    Args:
        config: limits.
        verified: whether only verified metadata counts as a hit; else peers do.

    """

    def __init__(self, config: CreditConfig, *, verified: bool) -> None:
        self._lost = 0
        self._regained = 0
        self._config = config
        self._verified = verified
        self._accounts: dict[bytes, Account] = {}
        self._bad: dict[bytes, Account] = {}
        self._givers: dict[bytes, bytes] = {}
        self._new: Counter[bytes] = Counter()
        self._window_ends = float("-inf")

    def statistics(self) -> CreditStatistics:
        """Return how many neighbourhoods have what."""
        return CreditStatistics(len(self._accounts), len(self._bad), self._lost, self._regained)

    def trusts(self, address: bytes) -> bool:
        """Whether the neighbourhood of compact ``address`` has not lost its credit."""
        return not self._bad or _prefix(address) not in self._bad

    def takes_answer(self, address: bytes) -> bool:
        """Whether the samples in one answer of the node at ``address`` are to be read at all."""
        account = self._bad.get(_prefix(address)) if self._bad else None
        if account is None:
            return True
        account.dropped += 1
        if account.dropped < self._config.probe_every:
            return False
        account.dropped = 0
        return True

    def room_for_new(self, address: bytes, now: float) -> int:
        """Return how many new infohashes may be taken from the node at ``address``."""
        if now >= self._window_ends or len(self._new) > self._config.max_tracked:
            self._new.clear()
            self._window_ends = now + self._config.window
        return max(self._config.max_new - self._new[_prefix(address)], 0)

    def gave_new(self, address: bytes, count: int) -> None:
        """``count`` new infohashes were taken from the node at ``address``."""
        self._new[_prefix(address)] += count

    def has_hits(self, address: bytes) -> bool:
        """Whether anything that the neighbourhood of ``address`` gave was a hit."""
        account = self._accounts.get(_prefix(address))
        return account is not None and account.hits > 0

    def named_peers(self, address: bytes, infohash: bytes) -> None:
        """The node at ``address`` gave ``infohash`` and named peers for it."""
        if not self._verified:
            self._judge(_prefix(address), hit=True)
            return
        self._givers[infohash] = _prefix(address)
        if len(self._givers) > self._config.max_followed:
            del self._givers[next(iter(self._givers))]

    def named_nobody(self, address: bytes) -> None:
        """The node at ``address`` gave an infohash and then knew no peer that has it."""
        self._judge(_prefix(address), hit=False)

    def doubts(self, infohash: bytes) -> bool:
        """Whether ``infohash`` was given by a neighbourhood that was never right before."""
        giver = self._givers.get(infohash)
        if giver is None:
            return False
        account = self._accounts.get(giver)
        return account is None or not account.hits

    def fetched(self, infohash: bytes) -> None:
        """The metadata of ``infohash`` was fetched and verified."""
        giver = self._givers.pop(infohash, None)
        if giver is not None:
            self._judge(giver, hit=True)

    def all_dead(self, infohash: bytes) -> bool:
        """All known peers of ``infohash`` are dead; return whether others are worth a lookup now."""
        giver = self._givers.get(infohash)
        if giver is None:
            return True
        return self._judge(giver, hit=False).hits > 0

    def _judge(self, prefix: bytes, *, hit: bool) -> Account:
        account = self._accounts.pop(prefix, None) or Account()
        self._accounts[prefix] = account
        if len(self._accounts) > self._config.max_tracked:
            oldest = next(iter(self._accounts))
            del self._accounts[oldest]
            self._bad.pop(oldest, None)
        account.hits += hit
        account.verdicts += 1
        bad = (
            account.verdicts >= self._config.min_verdicts
            and account.hits < account.verdicts * self._config.min_hits
        )
        if bad and prefix not in self._bad:
            self._bad[prefix] = account
            self._lost += 1
        elif not bad and self._bad.pop(prefix, None) is not None:
            self._regained += 1
        return account


def _prefix(address: bytes) -> bytes:
    return address[:_IPV4_PREFIX] if len(address) == _IPV4_BYTES else address[:_IPV6_PREFIX]
