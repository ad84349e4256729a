from __future__ import annotations

import random
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.crawl.seen import Seen, SeenConfig

LEAST = 1000


def seen(capacity: int = LEAST, recent: int = LEAST, error_rate: float = 1e-6) -> Seen:
    return Seen(SeenConfig(capacity=capacity, recent=recent, error_rate=error_rate))


def infohash(number: int) -> bytes:
    return number.to_bytes(20, "big")


def many(start: int, stop: int) -> list[bytes]:
    return [infohash(number) for number in range(start, stop)]


def remembered(ours: Seen) -> int:
    return len(ours._recent) + len(ours._leaving)


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
def test_handover_loses_nothing_at_any_batch_size(size: int) -> None:
    """Whatever the size of a batch, and so wherever the handovers fall, nothing comes back as new."""
    ours = seen(capacity=20_000)
    for start in range(0, 10_000, size):
        batch = many(start, start + size)
        assert ours.sift(batch) == batch
        assert ours.sift(batch) == []
        if start % 97 < size:
            assert ours.sift(many(max(start - 1500, 0), start)) == []
    assert ours.sift(many(0, 10_000)) == []


def test_handover_keeps_up_with_a_batch_larger_than_the_exact_memory() -> None:
    """Even a batch of five times the exact memory loses nothing when the next ones follow at once."""
    ours = seen(capacity=20_000)
    for start, stop in ((0, 5000), (5000, 6000), (6000, 7000)):
        assert len(ours.sift(many(start, stop))) == stop - start
    assert ours.sift(many(0, 7000)) == []


def test_handover_goes_little_by_little() -> None:
    """No call hands over the whole exact memory at once, which would stop the crawl for a second."""
    rng = random.Random(4)
    ours, largest = seen(capacity=50_000, recent=5000), 0
    for number in range(0, 40_000, 100):
        leaving = len(ours._leaving)
        ours.sift(many(number, number + rng.choice([1, 20, 70, 100])))
        if len(ours._leaving) < leaving:
            largest = max(largest, leaving - len(ours._leaving))
    assert ours._in_young > 10_000
    assert largest <= 200


def test_memory_is_bounded() -> None:
    """The exact memory holds no more than its setting and one batch, and there are never three filters."""
    ours = seen(capacity=2000, recent=1000)
    for number in range(0, 30_000, 100):
        ours.sift(many(number, number + 100))
        assert remembered(ours) <= 1000 + 100
        assert ours._in_young <= 2000


def test_the_latest_are_known_for_certain() -> None:
    """Through many generations, what was seen among the latest capacity less recent is never new."""
    rng = random.Random(9)
    ours, latest = seen(capacity=4000, recent=1000), OrderedDict[int, None]()
    for _ in range(3000):
        batch = [rng.randrange(40_000) for _ in range(rng.randrange(1, 30))]
        fresh = set(ours.sift(map(infohash, batch)))
        for number in batch:
            assert number not in latest or infohash(number) not in fresh
        for number in batch:
            latest[number] = None
            latest.move_to_end(number)
        while len(latest) > 3000:
            latest.popitem(last=False)
    assert ours.generations_forgotten > 3


def test_the_forgotten_are_new_again_and_those_seen_meanwhile_are_not() -> None:
    """After two generations an infohash is reported again, unless it was seen in between."""
    ours = seen(capacity=2000, recent=1000)
    ours.sift(many(0, 100))
    for number in range(1000, 21_000, 20):
        ours.sift(many(number, number + 20))
        assert ours.sift(many(0, 50)) == []
    assert ours.generations_forgotten >= 2
    assert ours.sift(many(50, 100)) == many(50, 100)


@pytest.mark.parametrize("generations", [1, 2])
def test_errors_are_as_rare_as_stated(generations: int) -> None:
    """With both generations full, a new infohash passes for known no more often than the error rate says."""
    rng = random.Random(17)
    ours = seen(capacity=10_000, recent=1000, error_rate=0.01)
    for _ in range(generations * 10_000 // 20):
        ours.sift([rng.randbytes(20) for _ in range(20)])
    wrong = sum(ours._knew(rng.randbytes(20)) for _ in range(40_000))
    assert wrong <= 40_000 * 0.01 * 1.15


def test_no_error_at_all_before_the_exact_memory_is_full() -> None:
    """A short crawl loses nothing to chance: the filters are not even made."""
    rng = random.Random(2)
    ours = seen(capacity=2000, recent=2000, error_rate=0.01)
    batch = [rng.randbytes(20) for _ in range(1990)]
    assert ours.sift(batch) == batch
    assert ours._young is None


def test_an_exact_memory_larger_than_a_generation_is_refused() -> None:
    """What leaves the exact memory must fit into one generation, or it would be forgotten on arrival."""
    with pytest.raises(ValueError, match="recent"):
        SeenConfig(capacity=2000, recent=2001)
