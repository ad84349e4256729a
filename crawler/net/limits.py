"""What we allow ourselves: queries, new destinations and bytes per second, overall, per IP and per /24.

All are token buckets in GCRA form (one float per key: the time at which the bucket is full again), so a limit
costs a dict look-up. Time is an argument, on Trio's clock, and tests run a day in seconds. Tables that grow
with the number of addresses are two generations swapped once an entry can no longer matter: no sweep.
"""

from __future__ import annotations

from collections import Counter

import attrs

from crawler.settings import setting


@attrs.frozen
class LimitsConfig:
    """Budgets of everything we ask; replies to others have their own ([reply_budget])."""

    max_rate: float = setting(
        100.0, unit="queries/s", help="All queries together. 100 is safe behind a home router.", above=0
    )
    burst: float = setting(
        0.25, unit="s", help="How many seconds' worth of the rate may be sent at once.", above=0
    )
    max_new_destinations: float = setting(
        0.0,
        unit="addresses/s",
        help="Addresses not talked to lately that may be contacted (routers remember each); 0: as max_rate.",
        minimum=0,
    )
    destination_memory: float = setting(
        120.0,
        unit="s",
        help="How long an address counts as talked to lately (a router's UDP timeout).",
        above=0,
    )
    max_bytes_out: float = setting(
        0.0, unit="bytes/s", help="Bytes of queries sent; 0: 400 for each query of max_rate.", minimum=0
    )
    max_bytes_in: float = setting(
        0.0,
        unit="bytes/s",
        help="Bytes received before asking pauses; 0: 1500 for each of max_rate.",
        minimum=0,
    )
    ip_rate: float = setting(1.0, unit="queries/s", help="Queries to one IP address.", above=0)
    ip_burst: float = setting(5.0, unit="queries", help="Queries to one IP address at once.", minimum=1)
    prefix_rate: float = setting(4.0, unit="queries/s", help="Queries to one /24 (IPv6: /64).", above=0)
    prefix_burst: float = setting(20.0, unit="queries", help="Queries to one /24 (/64) at once.", minimum=1)
    max_tracked: int = setting(
        500_000,
        unit="addresses",
        help="Addresses each per-address limit remembers; past it we wait.",
        minimum=1000,
    )


_LONGEST_DEBT = 5.0
"""Seconds for which what has come in may keep us from asking: a flood stops us only while it lasts."""


class Bucket:
    """One token bucket: ``rate`` tokens a second, at most ``depth`` saved up; may be overdrawn by a debt."""

    def __init__(self, rate: float, depth: float) -> None:
        """Start full. ``depth`` is at least one token, so that a slow rate still lets one through."""
        self.set_rate(rate, depth)
        self._full_at = float("-inf")

    def set_rate(self, rate: float, depth: float) -> None:
        """Change the rate from now on (a reload)."""
        self.rate = rate
        self._depth = max(depth, 1.0)

    def available(self, now: float) -> float:
        """Tokens that may be taken at ``now``; negative while a debt is being paid off."""
        return self._depth - max(self._full_at - now, 0.0) * self.rate

    def take(self, tokens: float, now: float) -> None:
        """Take ``tokens``, into debt if need be."""
        self._full_at = max(self._full_at, now) + tokens / self.rate

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until ``tokens`` are available."""
        missing = tokens - self.available(now)
        return max(missing / self.rate, 0.0)


class KeyedBuckets:
    """A token bucket per key, for as many keys as ``capacity`` in two generations."""

    def __init__(self, rate: float, burst: float, capacity: int) -> None:
        """Every unknown key has a full bucket."""
        self.set_rate(rate, burst, capacity)
        self._young: dict[bytes, float] = {}
        self._old: dict[bytes, float] = {}
        self._swapped = float("-inf")

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def set_rate(self, rate: float, burst: float, capacity: int) -> None:
        """Change the rate, the burst and the capacity from now on (a reload)."""
        self._step = 1.0 / rate
        self._slack = (burst - 1.0) / rate
        self._capacity = capacity
        self._lifetime = burst / rate

    def take(self, key: bytes, now: float) -> float:
        """Take a token from ``key`` and return 0, or return the seconds until it has one."""
        swap_at = self._swapped + self._lifetime
        if now >= swap_at:
            self._old, self._young, self._swapped = self._young, {}, now
        young = self._young
        full_at = young.get(key)
        if full_at is None:
            if len(young) >= self._capacity:
                # Full: whoever is not in this generation waits until it may be swapped out.
                return swap_at - now
            full_at = self._old.get(key)
            if full_at is None:
                young[key] = now + self._step
                return 0.0
        lacking = full_at - now - self._slack
        if lacking > 0:
            return lacking
        young[key] = (full_at if full_at > now else now) + self._step  # noqa: FURB136 - twice as fast as max
        return 0.0

    def give_back(self, key: bytes) -> None:
        """Put back the token just taken from ``key``."""
        self._young[key] -= self._step


class RecentDestinations:
    """Which addresses were contacted within the last ``memory`` seconds, or up to twice as long ago."""

    def __init__(self, memory: float, capacity: int) -> None:
        """Remember nothing yet."""
        self.set_memory(memory, capacity)
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        self._swapped = float("-inf")

    def set_memory(self, memory: float, capacity: int) -> None:
        """Change how long and how many are remembered from now on (a reload)."""
        self._memory = memory
        self._capacity = capacity

    def knows(self, address: bytes, now: float) -> bool:
        """Whether ``address`` was contacted within the memory; surely not after twice as long."""
        self._age(now)
        return address in self._young or address in self._old

    def add(self, address: bytes, now: float) -> None:
        """Remember ``address``; a full memory forgets its older half early and errs towards waiting."""
        self._age(now)
        if len(self._young) >= self._capacity:
            self._old, self._young, self._swapped = self._young, set(), now
        self._young.add(address)

    def _age(self, now: float) -> None:
        age = now - self._swapped
        if age > 2 * self._memory:
            self._old, self._young, self._swapped = set(), set(), now
        elif age > self._memory:
            self._old, self._young, self._swapped = self._young, set(), self._swapped + self._memory


class QueryBudget:
    """Whether a query may be sent now, and if not, for how long it must wait."""

    def __init__(self, config: LimitsConfig) -> None:
        """Start with every bucket full."""
        self.held_back: Counter[str] = Counter()
        self._ips = KeyedBuckets(config.ip_rate, config.ip_burst, config.max_tracked)
        self._prefixes = KeyedBuckets(config.prefix_rate, config.prefix_burst, config.max_tracked)
        self._recent = RecentDestinations(config.destination_memory, config.max_tracked)
        self._queries = Bucket(config.max_rate, config.max_rate * config.burst)
        self._destinations = Bucket(1, 1)
        self._out = Bucket(1, 1)
        self._in = Bucket(1, 1)
        self.reconfigure(config)

    def reconfigure(self, config: LimitsConfig) -> None:
        """Obey ``config`` from now on; what was spent stays spent."""
        self._ips.set_rate(config.ip_rate, config.ip_burst, config.max_tracked)
        self._prefixes.set_rate(config.prefix_rate, config.prefix_burst, config.max_tracked)
        self._recent.set_memory(config.destination_memory, config.max_tracked)
        fresh = config.max_new_destinations or config.max_rate
        # Without a limit of its own it could never bind before the overall rate: then it is not even counted.
        self._limits_destinations = fresh < config.max_rate
        bytes_out = config.max_bytes_out or 400 * config.max_rate
        bytes_in = config.max_bytes_in or 1500 * config.max_rate
        self._queries.set_rate(config.max_rate, config.max_rate * config.burst)
        self._destinations.set_rate(fresh, fresh * config.burst)
        self._out.set_rate(bytes_out, bytes_out * config.burst)
        self._in.set_rate(bytes_in, bytes_in * max(config.burst, 1.0))

    def available(self, now: float) -> int:
        """Whole queries that the overall budgets allow at ``now``."""
        if self._in.available(now) <= 0 or self._out.available(now) <= 0:
            self.held_back["bytes"] += 1
            return 0
        return max(int(self._queries.available(now)), 0)

    def wait(self, now: float) -> float:
        """Seconds until :meth:`available` is at least 1."""
        return max(self._queries.wait(1, now), self._in.wait(1, now), self._out.wait(1, now))

    def hold(self, address: bytes, now: float) -> float:
        """Seconds that a query to compact ``address`` must wait; 0 takes it from the budgets per address.

        What is sent then is taken from the overall budgets by :meth:`sent`.
        """
        ip = address[:-2]
        prefix = address[:3] if len(ip) == 4 else address[:8]  # noqa: PLR2004 - /24, /64
        wait = self._ips.take(ip, now)
        if wait:
            self.held_back["ip"] += 1
            return wait
        wait = self._prefixes.take(prefix, now)
        if wait:
            self.held_back["prefix"] += 1
            self._ips.give_back(ip)
            return wait
        if self._limits_destinations:
            wait = self._admit_destination(address, now)
            if wait:
                self._ips.give_back(ip)
                self._prefixes.give_back(prefix)
                return wait
        return 0.0

    def _admit_destination(self, address: bytes, now: float) -> float:
        """Seconds until ``address`` may be contacted; 0 takes it from the budget if it is a new one."""
        if not self._recent.knows(address, now):
            wait = self._destinations.wait(1, now)
            if wait:
                self.held_back["new_destination"] += 1
                return wait
            self._destinations.take(1, now)
        self._recent.add(address, now)
        return 0.0

    def sent(self, queries: int, size: int, now: float) -> None:
        """Account for ``queries`` that left, of ``size`` bytes together."""
        self._queries.take(queries, now)
        self._out.take(size, now)

    def received(self, size: int, now: float) -> None:
        """Account for ``size`` bytes that came in, up to a debt of a few seconds: anybody may send to us."""
        bucket = self._in
        bucket.take(min(size, bucket.available(now) + _LONGEST_DEBT * bucket.rate), now)
