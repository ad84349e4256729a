"""The memory of infohashes against a plain set: what is new, what is forgotten when, how often it errs."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.crawl.seen import Seen, SeenConfig
from crawler.crawl.seen_slices import Slices, filter_from

LEAST = 1000
KEY = b"k" * 32
HOUR = 3600.0


def seen(capacity: int = LEAST, recent: int = LEAST, error_rate: float = 1e-6, **settings: Any) -> Seen:
    return Seen(SeenConfig(capacity=capacity, recent=recent, error_rate=error_rate, **settings), KEY)


def infohash(number: int) -> bytes:
    return number.to_bytes(20, "big")


def many(start: int, stop: int) -> list[bytes]:
    return [infohash(number) for number in range(start, stop)]


def test_reports_what_is_new_in_its_order_once() -> None:
    """New infohashes come back in the order given, each once; known ones never."""
    ours = seen()
    assert ours.sift(many(3, 6)) == many(3, 6)
    assert ours.sift([infohash(5), infohash(9), infohash(3), infohash(1), infohash(9)]) == [
        infohash(9),
        infohash(1),
    ]
    assert ours.sift(many(1, 2)) == []
    assert ours.sift([]) == []
    assert infohash(9) in ours
    assert infohash(2) not in ours
    assert ours.total == 5


@given(st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=30))
def test_is_a_set_while_little_was_seen(batches: list[list[int]]) -> None:
    """Below its capacity it decides exactly as a plain set does, for batches with repeats too."""
    ours, model = seen(), set[int]()
    for batch in batches:
        fresh = list(dict.fromkeys(number for number in batch if number not in model))
        assert ours.sift(map(infohash, batch)) == [infohash(number) for number in fresh]
        model.update(batch)
    assert ours.total == len(model)


@pytest.mark.parametrize("size", [1, 7, 20, 64, 65, 100, 999, 1000, 1001, 2500])
def test_nothing_is_lost_between_the_set_and_the_filters(size: int) -> None:
    """Whatever the size of a batch, and so wherever the set is changed for another, nothing is new twice."""
    ours = seen(capacity=20_000)
    for start in range(0, 10_000, size):
        batch = many(start, start + size)
        assert ours.sift(batch) == batch
        assert ours.sift(batch) == []
        if start % 97 < size:
            assert ours.sift(many(max(start - 1500, 0), start)) == []
    assert ours.sift(many(0, 10_000)) == []


def test_the_set_leaves_little_by_little() -> None:
    """No call drops the whole set of recent infohashes at once when it is full, nor puts it into a filter."""
    rng = random.Random(4)
    ours, left, filled = seen(capacity=500_000, recent=5000), [0], [0]
    for number in range(0, 40_000, 100):
        leaving, lacking = len(ours._leaving), sum(each.lacking for each in ours.slices.live)
        ours.sift(many(number, number + rng.choice([1, 20, 70, 100])))
        left.append(leaving - len(ours._leaving))
        filled.append(lacking - sum(each.lacking for each in ours.slices.live))
    assert 0 < max(left) <= 200
    assert 0 < max(filled) <= 200
    assert sum(each.lacking for each in ours.slices.live) == 0


def test_a_short_crawl_loses_nothing_to_chance() -> None:
    """Until the set is full for the first time nothing is asked of filters, however badly they would err."""
    rng = random.Random(2)
    ours = seen(capacity=500_000, recent=2000, error_rate=0.01)
    batch = [rng.randbytes(20) for _ in range(1990)]
    assert ours.sift(batch) == batch
    assert ours.sift(batch) == []
    assert not ours.slices.live[0].filter
    ours.sift([rng.randbytes(20) for _ in range(20)])
    ours.sift([rng.randbytes(20)])
    assert ours.slices.live[0].filter
    assert ours.sift(batch) == []


@pytest.mark.parametrize("first", [0, 1, 500, 1200])
def test_the_beginning_ends_when_its_slice_is_too_old(first: int) -> None:
    """What the set alone knows passes into the filter, and is forgotten in its time like all others."""
    ours = seen(capacity=500_000, recent=2000, resighting=1.0)
    ours.sift(many(0, first))
    ours.advance(0.0)
    ours.advance(HOUR / 8)
    assert ours.sift(many(0, 1300)) == many(first, 1300)
    ours.advance(HOUR / 8 + 2)
    assert ours.sift(many(0, 1300)) == []
    ours.advance(HOUR * 9 / 8)
    assert ours.sift(many(0, 1300)) == many(0, first)


def test_memory_is_bounded_by_the_settings() -> None:
    """The set holds no more than its setting and one batch, the filters no more than the formula says."""
    ours = seen(capacity=12_000, recent=1000)
    for number in range(0, 60_000, 100):
        ours.sift(many(number, number + 100))
        assert len(ours._recent) + len(ours._leaving) <= 1000 + 100
        assert sum(each.capacity for each in ours.slices.live) <= 12_000 * 13 / 12 + 8
        assert len(ours.slices.live) <= 16
    assert ours.slices.size == pytest.approx(4.316 * 13_000, rel=0.06)


def test_memory_grows_with_what_was_found() -> None:
    """Made for a hundred million, it takes what a million needs as long as there are no more."""
    ours = seen(capacity=100_000_000)
    assert ours.slices.size == 0
    ours.sift(many(0, 20))
    assert ours.slices.size < 5_000_000


def test_the_latest_are_known_and_the_others_forgotten() -> None:
    """The latest `capacity` infohashes emitted are known; what came well before them is new again."""
    rng = random.Random(9)
    ours, emitted = seen(capacity=3000, recent=1000), dict[int, int]()
    total = 0
    for _ in range(3000):
        batch = list(dict.fromkeys(rng.randrange(40_000) for _ in range(rng.randrange(1, 30))))
        fresh = {int.from_bytes(each, "big") for each in ours.sift(map(infohash, batch))}
        for number in batch:
            if number in emitted and total - emitted[number] <= 3000 - 30:
                assert number not in fresh
            if number not in emitted or total - emitted[number] >= 3000 * 13 // 12 + 60:
                assert number in fresh
            if number in fresh:
                emitted[number], total = total, total + 1
    assert ours.slices.slices_forgotten > 3
    assert ours.total == total
    assert ours.slices.count + ours.slices.forgotten == total


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 900), st.lists(st.integers(0, 60), max_size=8)), max_size=60))
def test_resighting_keeps_its_time(steps: list[tuple[float, list[int]]]) -> None:
    """An infohash is never emitted again within the time set, and always an eighth and two ticks after."""
    ours, emitted, now, tick = seen(resighting=1.0), dict[int, float](), 1e9, 2.0
    for pause, numbers in steps:
        for _ in range(int(pause / tick) + 1):
            now += tick
            ours.advance(now)
        fresh = {int.from_bytes(each, "big") for each in ours.sift(map(infohash, numbers))}
        for number in dict.fromkeys(numbers):
            age = now - emitted.get(number, 0.0)
            if age < HOUR:
                assert number not in fresh
            if age > HOUR * 9 / 8 + 2 * tick:
                assert number in fresh
            if number in fresh:
                emitted[number] = now


def test_resighting_needs_no_state_of_its_own_over_a_restart() -> None:
    """What is restored is forgotten when it would have been; a clock that was set back only delays that."""
    config = SeenConfig(capacity=LEAST, recent=LEAST, resighting=1.0)
    ours = Slices(config, KEY)
    ours.take(many(0, 10))
    ours.advance(1000.0)
    ours.advance(1000.0 + HOUR / 8)
    ours.take(many(10, 20))
    again = Slices(config, KEY)
    again.restore([attrs.evolve(each) for each in ours.live], 500.0)
    again.advance(500.0 + HOUR - 1)
    assert again.take(many(0, 20)) == []
    again.advance(500.0 + HOUR)
    assert again.take(many(0, 20)) == many(0, 10)


@pytest.mark.parametrize("resighting", [0.0, 1.0])
def test_errors_are_as_rare_as_stated(resighting: float) -> None:
    """With as many slices as there may be, new infohashes pass for known no more often than the rate says."""
    rng = random.Random(17)
    ours = seen(capacity=12_000, recent=1000, error_rate=0.01, resighting=resighting)
    wrong = tried = 0
    for step in range(60_000 // 20):
        ours.advance(step * 1.2)
        ours.sift([rng.randbytes(20) for _ in range(20)])
        if step > 1000:
            tried += 40
            wrong += sum(rng.randbytes(20) in ours.slices for _ in range(40))
    assert len(ours.slices.live) >= 9
    assert 0 < wrong <= tried * 0.01


def test_the_key_decides() -> None:
    """Under another key the same infohashes set other bits, so nobody who lacks it can choose collisions."""
    one, other = (Slices(SeenConfig(capacity=10_000), key * 32) for key in (b"a", b"b"))
    for each in (one, other):
        each.take(many(0, 50))
    assert one.live[0].filter.save_bytes() != other.live[0].filter.save_bytes()
    again = filter_from(one.live[0].filter.save_bytes())
    assert all(one._hash(each) in again for each in many(0, 50))
    assert not any(other._hash(each) in again for each in many(0, 50))


def test_only_what_will_be_saved_is_kept_for_it() -> None:
    """Without a keeper nothing gathers; with one, each new infohash waits once, at the slice that took it."""
    idle, kept = seen(), Seen(SeenConfig(capacity=LEAST), KEY, keeps_unsaved=True)
    for each in (idle, kept):
        each.sift(many(0, 200))
        each.sift(many(100, 300))
    assert not any(each.unsaved for each in idle.slices.live)
    waiting = [each for slice_ in kept.slices.live for each in slice_.unsaved]
    assert waiting == many(0, 300)
    assert [len(each.unsaved) for each in kept.slices.live] == [each.count for each in kept.slices.live]


@pytest.mark.parametrize("values", [{"capacity": 10**12}, {"error_rate": 1e-300}])
def test_what_no_machine_has_is_refused(values: dict[str, Any]) -> None:
    """A capacity or an error rate for which there is no memory is bad input, not the end of the process."""
    with pytest.raises(ValueError, match=next(iter(values))):
        SeenConfig(**values)
