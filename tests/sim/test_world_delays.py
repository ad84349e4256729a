"""The queue that makes answers take their time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from crawler.simnet.delays import RESOLUTION, DelayQueue, Journeys


def test_items_come_out_when_due_and_not_before() -> None:
    """Nothing leaves early, nothing stays more than two slots too long, order is by time."""
    queue: DelayQueue[str] = DelayQueue()
    queue.add(1.5, "second")
    queue.add(1.0, "first")

    assert (queue.take(0.9999), len(queue)) == ([], 2)
    assert queue.take(1.0 + 2 * RESOLUTION) == ["first"]
    assert queue.take(9.0) == ["second"]
    assert queue.next_due == float("inf")


@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=50))
def test_waking_at_the_next_due_time_always_brings_something(times: list[float]) -> None:
    """Whoever sleeps until ``next_due`` finds an item then, so that no loop turns without time going on."""
    queue: DelayQueue[float] = DelayQueue()
    for due in times:
        queue.add(due, due)
    taken: list[float] = []
    while len(queue):
        now = queue.next_due
        batch = queue.take(now)
        assert batch
        assert all(due <= now <= due + 2 * RESOLUTION for due in batch)
        taken += batch

    assert sorted(taken) == sorted(times)


def test_journeys_differ_by_no_more_than_the_jitter() -> None:
    """Round trips are spread evenly around the mean."""
    journeys = Journeys(0.1, 0.25, random.Random(1))
    durations = [journeys.duration() for _ in range(2000)]

    assert 0.075 <= min(durations) < 0.08
    assert 0.12 < max(durations) <= 0.125
