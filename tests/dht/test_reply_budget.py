from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.dht.reply_budget import ReplyBudget, ReplyBudgetConfig

SOURCE = bytes((45, 1, 2, 3)) + b"\x1a\xe1"

# Payload bytes of a query and of its largest reply, by method (the 1024 B are the limit of any reply).
SIZES = {"ping": (65, 72), "find_node": (95, 300), "get_peers": (98, 1024), "sample_infohashes": (104, 760)}


def source(number: int) -> bytes:
    return number.to_bytes(4, "big") + b"\x1a\xe1"


def granted(budget: ReplyBudget, asker: bytes, now: float, times: int = 1, size: int = 100) -> int:
    return sum(budget.allow(asker, 100, size, now) for _ in range(times))


@pytest.mark.parametrize("start", [0.0, 0.1, 12345.678, 1.7e9 + 0.3])
def test_burst_then_rate(start: float) -> None:
    """One source gets its burst of 10 at once, then 2/s, at any value of the clock."""
    budget = ReplyBudget(ReplyBudgetConfig())

    assert granted(budget, SOURCE, start, times=50) == 10
    assert granted(budget, SOURCE, start + 0.4, times=50) == 0
    assert granted(budget, SOURCE, start + 0.51, times=50) == 1
    assert granted(budget, SOURCE, start + 2.01, times=50) == 3
    assert granted(budget, SOURCE, start + 3600, times=50) == 10


def test_ipv6_sources_are_64s() -> None:
    """Hosts of one IPv6 /64 share a budget, ports of one host do too, and other /64s have their own."""
    budget = ReplyBudget(ReplyBudgetConfig())
    network = bytes.fromhex("2a00145040010081")

    hosts = [network + host.to_bytes(8, "big") + host.to_bytes(2, "big") for host in range(50)]
    assert sum(budget.allow(host, 100, 100, 0.0) for host in hosts) == 10
    assert budget.allow(bytes.fromhex("2a00145040010082") + bytes(8) + b"\0\1", 100, 100, 0.0)


@pytest.mark.parametrize("method", sorted(SIZES))
def test_one_source_cannot_be_amplified(method: str) -> None:
    """1,000 queries/s for a minute from one source get 2/s and less bytes than they brought."""
    budget = ReplyBudget(ReplyBudgetConfig())
    size_in, size_out = SIZES[method]
    for tick in range(60_000):
        budget.allow(SOURCE, size_in, size_out, tick / 1000)

    statistics = budget.statistics()
    assert statistics.received == 60_000 == statistics.answered + statistics.dropped
    assert statistics.answered == pytest.approx(10 + 2 * 60, abs=1)
    assert statistics.bytes_out <= 60_000 * size_in


def test_many_sources_stay_within_the_global_budget() -> None:
    """5,000 sources at once get no more bytes than the byte budget, within 5 %, and no more than 2,000/s."""
    budget = ReplyBudget(ReplyBudgetConfig())
    rng = random.Random(3)
    for tick in range(100_000):
        size_in, size_out = SIZES[rng.choice(sorted(SIZES))]
        budget.allow(source(rng.randrange(5000)), size_in, size_out, tick / 10_000)

    statistics = budget.statistics()
    assert statistics.answered + statistics.dropped == statistics.received == 100_000
    assert statistics.bytes_out <= 1.05 * 400_000 * (10 + 1)
    assert statistics.dropped_bytes > 0


def test_total_rate_holds_for_small_replies() -> None:
    """Replies overall keep to 2,000/s after the burst, though their bytes would fit."""
    budget = ReplyBudget(ReplyBudgetConfig(total_burst=100))
    asked = [budget.allow(source(number), 60, 60, number / 5000) for number in range(20_000)]

    assert sum(asked) == pytest.approx(2000 * 4 + 100, rel=0.01)
    assert budget.statistics().dropped_total == 20_000 - sum(asked)


def test_reply_that_is_dropped_costs_nothing() -> None:
    """A reply that one limit forbids leaves the other budgets as they were."""
    budget = ReplyBudget(ReplyBudgetConfig(byte_burst=1024, byte_rate=100.0))

    assert granted(budget, SOURCE, 0.0, size=1000) == 1
    assert granted(budget, SOURCE, 0.0, times=5, size=1000) == 0
    assert granted(budget, SOURCE, 0.0, times=50, size=1) == 9


def test_table_of_sources_is_bounded() -> None:
    """Beyond its capacity the longest silent source is forgotten and counted."""
    budget = ReplyBudget(ReplyBudgetConfig(max_sources=100))
    for number in range(150):
        budget.allow(source(number), 60, 60, 0.0)

    statistics = budget.statistics()
    assert (statistics.sources, statistics.forgotten) == (100, 50)


def test_who_hammers_is_not_forgotten() -> None:
    """A source over its budget is not forgiven because many others pass through the table."""
    budget = ReplyBudget(ReplyBudgetConfig(max_sources=100, source_burst=1))
    budget.allow(SOURCE, 60, 60, 0.0)
    for number in range(2000):
        budget.allow(source(number), 60, 60, 0.1)

        assert not budget.allow(SOURCE, 60, 60, 0.1)


def test_refusal_before_work_is_counted_once() -> None:
    """Asking before composing an answer counts what it refuses, and only that."""
    budget = ReplyBudget(ReplyBudgetConfig(source_burst=1, total_burst=2))

    assert not budget.refuses(SOURCE, 0.0)
    assert budget.allow(SOURCE, 60, 60, 0.0)
    assert budget.refuses(SOURCE, 0.0)
    assert budget.allow(source(1), 60, 60, 0.0)
    assert budget.refuses(source(2), 0.0)
    statistics = budget.statistics()
    assert (statistics.received, statistics.answered) == (4, 2)
    assert (statistics.dropped_source, statistics.dropped_total) == (1, 1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(20, 1024), st.floats(0, 0.2)), max_size=200))
def test_conservation(queries: list[tuple[int, int, float]]) -> None:
    """Whatever comes, every query is answered or dropped, and no window exceeds burst and rate."""
    config = ReplyBudgetConfig(
        source_rate=3.0, source_burst=2, total_rate=10.0, total_burst=5, byte_burst=2000
    )
    budget, now, answered = ReplyBudget(config), 0.0, 0
    for number, size, pause in queries:
        now += pause
        answered += budget.allow(source(number), 50, size, now)

    statistics = budget.statistics()
    assert statistics.received == len(queries) == statistics.answered + statistics.dropped
    assert statistics.answered == answered <= 5 + 10 * now + 1


def test_a_reload_counts_at_once() -> None:
    """New rates and bursts hold from the next answer on, and a smaller table forgets the longest silent."""
    budget = ReplyBudget(ReplyBudgetConfig(source_burst=10))
    for number in range(100):
        assert granted(budget, source(number), 0.0) == 1
    budget.reconfigure(ReplyBudgetConfig(source_rate=1.0, source_burst=3, max_sources=40))

    assert (budget.statistics().sources, budget.statistics().forgotten) == (40, 60)
    assert granted(budget, SOURCE, 1.0, times=50) == 3
    assert granted(budget, SOURCE, 2.01, times=50) == 1
    budget.reconfigure(ReplyBudgetConfig(total_rate=1.0, total_burst=5))
    assert sum(granted(budget, source(number), 100.0) for number in range(200, 250)) == 5
