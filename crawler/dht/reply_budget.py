"""How much we answer: the bound on what strangers can make us send, to them or to whoever they pretend to be.

UDP sources can be forged, so every answer is a gift to a possible victim. Three limits hold together: answers
per source (IPv4 address, IPv6 /64), answers overall, and bytes overall. Each is a token bucket, kept as one
number, the time at which the bucket will be full again (GCRA). Over any of them we are silent.

Worst-case memory: one table of ``max_sources`` entries of about 250 bytes, 16 MiB at the default.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

from crawler.settings import setting

_IPV4_COMPACT = 6

_ROUNDING = 1e-6
"""Seconds forgiven to float arithmetic, so that a burst of n is n at any value of the clock."""


@attrs.frozen
class ReplyBudgetConfig:
    """What may be spent on answers."""

    source_rate: float = setting(
        2.0, unit="replies/s", help="Answers to one source (IPv4 address, IPv6 /64).", above=0
    )
    source_burst: int = setting(10, unit="replies", help="Answers to one source at once.", minimum=1)
    total_rate: float = setting(2000.0, unit="replies/s", help="Answers to all sources together.", above=0)
    total_burst: int = setting(2000, unit="replies", help="Answers to all sources at once.", minimum=1)
    byte_rate: float = setting(400_000.0, unit="B/s", help="Bytes of answers to all sources.", above=0)
    byte_burst: int = setting(
        400_000, unit="B", help="Bytes of answers to all sources at once.", minimum=1024
    )
    max_sources: int = setting(
        65_536, unit="sources", help="Sources remembered; the longest silent one is forgotten.", minimum=1
    )


@attrs.frozen
class ReplyBudgetStatistics:
    """What became of the queries: ``received`` = ``answered`` + the three kinds of dropped.

    ``bytes_in`` and ``bytes_out`` are of the answered ones; ``forgotten`` counts sources that fell out of
    the table.
    """

    received: int
    answered: int
    dropped_source: int
    dropped_total: int
    dropped_bytes: int
    bytes_in: int
    bytes_out: int
    sources: int
    forgotten: int

    @property
    def dropped(self) -> int:
        """Queries left unanswered, for whatever reason."""
        return self.dropped_source + self.dropped_total + self.dropped_bytes


class ReplyBudget:
    """Decides which queries are answered. Every call of :meth:`allow` that says yes has spent."""

    def __init__(self, config: ReplyBudgetConfig) -> None:
        """Start with all buckets full."""
        self._full_at: OrderedDict[bytes, float] = OrderedDict()
        self._forgotten = 0
        self.reconfigure(config)
        self._total_full_at = float("-inf")
        self._bytes_full_at = float("-inf")
        self._answered = self._dropped_source = self._dropped_total = self._dropped_bytes = 0
        self._bytes_in = self._bytes_out = 0

    def reconfigure(self, config: ReplyBudgetConfig) -> None:
        """Obey ``config`` from now on; what was spent stays spent."""
        self._config = config
        self._step = 1 / config.source_rate
        self._source_slack = (config.source_burst - 1) / config.source_rate + _ROUNDING
        self._total_slack = (config.total_burst - 1) / config.total_rate + _ROUNDING
        self._forget()

    def refuses(self, source: bytes, now: float) -> bool:
        """Tell, before any work is done, that a query can only be dropped; True counts it as dropped.

        A caller that gets False goes on to compose its answer and asks :meth:`allow`.
        """
        prefix = _prefix(source)
        if self._full_at.get(prefix, now) - now > self._source_slack:
            # Who hammers stays in the table, or would be forgiven as soon as others push him out.
            self._full_at.move_to_end(prefix)
            self._dropped_source += 1
            return True
        if self._total_full_at - now > self._total_slack:
            self._dropped_total += 1
            return True
        return False

    def allow(self, source: bytes, size_in: int, size_out: int, now: float) -> bool:
        """Tell whether an answer may be sent, and if so, spend it.

        Args:
            source: compact address of the querier.
            size_in: bytes of the query.
            size_out: bytes of the answer.
            now: seconds.
        """
        if self.refuses(source, now):
            return False
        byte_rate, byte_burst = self._config.byte_rate, self._config.byte_burst
        bytes_full_at = max(self._bytes_full_at, now) + size_out / byte_rate
        if (bytes_full_at - now) * byte_rate > byte_burst:
            self._dropped_bytes += 1
            return False
        self._bytes_full_at = bytes_full_at
        self._total_full_at = max(self._total_full_at, now) + 1 / self._config.total_rate
        self._spend_source(source, now)
        self._answered += 1
        self._bytes_in += size_in
        self._bytes_out += size_out
        return True

    def statistics(self) -> ReplyBudgetStatistics:
        """Return what became of the queries so far."""
        dropped = self._dropped_source + self._dropped_total + self._dropped_bytes
        return ReplyBudgetStatistics(
            received=self._answered + dropped,
            answered=self._answered,
            dropped_source=self._dropped_source,
            dropped_total=self._dropped_total,
            dropped_bytes=self._dropped_bytes,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            sources=len(self._full_at),
            forgotten=self._forgotten,
        )

    def _spend_source(self, source: bytes, now: float) -> None:
        prefix = _prefix(source)
        self._full_at[prefix] = max(self._full_at.get(prefix, now), now) + self._step
        self._full_at.move_to_end(prefix)
        self._forget()

    def _forget(self) -> None:
        """Let the longest silent sources go until the rest has room."""
        while len(self._full_at) > self._config.max_sources:
            self._full_at.popitem(last=False)
            self._forgotten += 1


def _prefix(source: bytes) -> bytes:
    return source[:4] if len(source) == _IPV4_COMPACT else source[:8]
