from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.crawl.rings import CELLS, CellRing, Wheel

# Mostly three busy cells, so that they collide, and any cell now and then.
CELL = st.one_of(st.sampled_from([0, 7, 255]), st.integers(0, CELLS - 1))
MOMENTS = st.floats(0, 1e9, allow_nan=False)


def drain(ring: CellRing[str]) -> str:
    return "".join(ring.pop() for _ in range(len(ring)))


def test_cells_take_turns() -> None:
    """A cell with many items gets one turn a round, like one with few."""
    ring: CellRing[str] = CellRing()
    for item in "aaaaa":
        ring.push(1, item)
    for item in "bb":
        ring.push(2, item)
    ring.push(3, "c")
    assert len(ring) == 8
    assert drain(ring) == "abcabaaa"


def test_an_empty_ring_says_so() -> None:
    """There is nothing to take from an empty ring, neither at first nor again."""
    ring: CellRing[str] = CellRing()
    for _ in range(2):
        assert not ring
        with pytest.raises(IndexError):
            ring.pop()
        ring.push(5, "x")
        assert ring.pop() == "x"


@given(st.lists(st.one_of(CELL, st.none()), max_size=200))
def test_ring_is_fair_and_loses_nothing(steps: list[int | None]) -> None:
    """Each cell is a queue; between two turns of one cell, every cell that held something had one."""
    ring: CellRing[tuple[int, int]] = CellRing()
    model: dict[int, deque[int]] = {}
    waiting_since: dict[int, set[int]] = {}
    for number, step in enumerate([*steps, *[None] * len(steps)]):
        if step is not None:
            ring.push(step, (step, number))
            model.setdefault(step, deque()).append(number)
            continue
        if not any(model.values()):
            assert len(ring) == 0
            continue
        cell, taken = ring.pop()
        assert model[cell].popleft() == taken
        # Nobody who was waiting when this cell had its last turn is still waiting for his.
        assert not {each for each in waiting_since.get(cell, set()) if model[each]}
        for others in waiting_since.values():
            others.discard(cell)
        waiting_since[cell] = {each for each, queue in model.items() if queue and each != cell}
        assert len(ring) == sum(map(len, model.values()))
    assert len(ring) == 0


@given(st.lists(st.tuples(MOMENTS, MOMENTS), max_size=60))
def test_wheel_is_never_early_and_at_most_a_second_late(plan: list[tuple[float, float]]) -> None:
    """Turned at any moments, it gives each item once: not before it is due, not a second after."""
    wheel: Wheel[int] = Wheel()
    waiting: dict[int, float] = {}
    moments = sorted(moment for moment, _ in plan)
    for number, (now, (_, due)) in enumerate(zip(moments, plan, strict=True)):
        for item in wheel.turn(now):
            assert waiting.pop(item) <= now
        assert all(now < due + 1 for due in waiting.values())
        wheel.put(due, number)
        waiting[number] = max(due, now)
    assert sorted(wheel.turn(2e9)) == sorted(waiting)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.lists(st.floats(-2, 5), min_size=60))
def test_wheel_keeps_its_word_from_one_tick_to_the_next(pauses: list[float], delays: list[float]) -> None:
    """In small steps, items due in the past or the very next moment come out within a second as well."""
    wheel: Wheel[float] = Wheel()
    waiting: list[float] = []
    now = 1000.0
    for pause, delay in zip(pauses, delays, strict=False):
        now += pause
        for due in wheel.turn(now):
            assert due <= now
            waiting.remove(due)
        assert all(now < due + 1 for due in waiting)
        wheel.put(now + delay, max(now + delay, now))
        waiting.append(max(now + delay, now))


def test_wheel_gives_the_earliest_seconds_first() -> None:
    """After a long sleep the items come in the order of their seconds, however far apart."""
    wheel: Wheel[str] = Wheel()
    wheel.turn(100.0)
    for due, item in ((500.0, "c"), (100.5, "a"), (1e7, "d"), (101.5, "b")):
        wheel.put(due, item)
    assert wheel.turn(100.9) == []
    assert wheel.turn(2e7) == ["a", "b", "c", "d"]
    assert wheel.turn(3e7) == []


def test_wheel_does_not_turn_twice_in_a_second() -> None:
    """What is put in a second that has been turned comes out in the next, not in the same again."""
    wheel: Wheel[str] = Wheel()
    assert wheel.turn(10.0) == []
    wheel.put(9.0, "past")
    wheel.put(10.0, "now")
    assert wheel.turn(10.99) == []
    assert wheel.turn(11.0) == ["past", "now"]
