"""Which tracker is announced to when, and as what: BEP 12's tiers, intervals, events, and patience."""

from __future__ import annotations

from random import Random

import pytest

from crawler.swarm.announce import AnnounceConfig, Announcer, Due
from crawler.wire.tracker import NEVER, AnnounceAnswer, Event

CONFIG = AnnounceConfig()
ANSWER = AnnounceAnswer(interval=900)


def make(*tiers: list[str], all_tiers: bool = False, seed: int = 1) -> Announcer:
    """Return the announcer of a torrent with these tiers, at time 0."""
    return Announcer(tiers, CONFIG, Random(seed), 0.0, all_tiers=all_tiers)


def take(announcer: Announcer, now: float) -> Due:
    """Take the one announce that is due."""
    [due] = announcer.take_due(now)
    return due


def test_the_first_that_answers_is_enough() -> None:
    """Failing trackers are passed over at once, in order of tiers, and the rest is left alone."""
    announcer = make(["udp://a"], ["udp://b"], ["udp://c"])

    first = take(announcer, 0)
    assert announcer.take_due(0) == []
    announcer.failed(first, 3)
    second = take(announcer, 3)
    announcer.answered(second, ANSWER, 4)

    assert (first.url, second.url) == ("udp://a", "udp://b")
    assert announcer.take_due(903.9) == []
    assert announcer.next_timer() == 904


def test_each_announce_begins_at_the_first_tier() -> None:
    """When the second tier answered, the next announce tries the first one again, if its rest is over."""
    announcer = make(["udp://a"], ["udp://b"])
    announcer.failed(take(announcer, 0), 0)
    announcer.answered(take(announcer, 0), ANSWER, 0)

    assert take(announcer, 900).url == "udp://a"


def test_who_answered_goes_to_the_front_of_its_tier() -> None:
    """Within a tier the one that works is asked first from then on (BEP 12)."""
    announcer = make(["udp://a", "udp://b", "udp://c"])
    urls = []
    for _ in range(2):
        due = take(announcer, 0)
        urls.append(due.url)
        announcer.failed(due, 0)
    last = take(announcer, 0)
    announcer.answered(last, ANSWER, 0)

    assert sorted([*urls, last.url]) == ["udp://a", "udp://b", "udp://c"]
    # The others' rest is long over by then.
    assert take(announcer, 10_000).url == last.url


def test_a_tier_is_shuffled_once() -> None:
    """The order within a tier is drawn, so that not everybody asks the same tracker first."""
    firsts = {take(make(["udp://a", "udp://b", "udp://c"], seed=seed), 0).url for seed in range(20)}

    assert firsts == {"udp://a", "udp://b", "udp://c"}


def test_all_tiers_are_independent() -> None:
    """With all_tiers each tier has its own announces, intervals and failures."""
    announcer = make(["udp://a"], ["udp://b"], all_tiers=True)

    a, b = announcer.take_due(0)
    assert {a.url, b.url} == {"udp://a", "udp://b"}
    announcer.answered(a, AnnounceAnswer(interval=600), 0)
    announcer.failed(b, 0)
    assert announcer.take_due(0) == []

    assert 45 <= announcer.next_timer() <= 75
    again = take(announcer, 75)
    assert (again.url, again.event) == (b.url, Event.STARTED)
    announcer.answered(again, AnnounceAnswer(interval=6000), 75)
    assert take(announcer, 600).url == a.url


def test_events_over_a_life() -> None:
    """Events are started until it is heard, then none; completed once; stopped to those that know us."""
    announcer = make(["udp://a"], ["udp://b"], all_tiers=True)
    a, b = announcer.take_due(0)
    announcer.answered(a, AnnounceAnswer(interval=900, tracker_id=b"id"), 0)
    announcer.failed(b, 0, retry_in=NEVER)
    assert (a.event, a.tracker_id) == (Event.STARTED, None)

    second = take(announcer, 900)
    announcer.answered(second, ANSWER, 900)
    assert (second.event, second.tracker_id, second.seed) == (Event.NONE, b"id", False)

    announcer.complete(1000)
    announcer.complete(1001)
    third = take(announcer, 1001)
    announcer.answered(third, ANSWER, 1001)
    assert (third.event, third.seed) == (Event.COMPLETED, True)

    fourth = take(announcer, 1901)
    assert fourth.event is Event.NONE
    [goodbye] = announcer.stop()
    assert (goodbye.url, goodbye.event, goodbye.tracker_id) == ("udp://a", Event.STOPPED, b"id")
    announcer.answered(fourth, ANSWER, 1902)
    assert announcer.take_due(1e9) == []
    assert announcer.next_timer() == float("inf")


def test_completion_during_an_announce_is_told_next() -> None:
    """An announce that was on its way when the download completed does not count as having said so."""
    announcer = make(["udp://a"])
    first = take(announcer, 0)
    announcer.complete(1)
    announcer.answered(first, ANSWER, 2)

    second = take(announcer, 2)
    assert second.event is Event.COMPLETED


def test_a_seed_from_the_start_never_completes() -> None:
    """Who had everything at the first announce did not complete anything."""
    announcer = make(["udp://a"])
    announcer.complete(0)
    first = take(announcer, 0)
    announcer.answered(first, ANSWER, 0)

    assert (first.event, first.seed) == (Event.STARTED, True)
    assert take(announcer, 900).event is Event.NONE


@pytest.mark.parametrize(
    ("interval", "min_interval", "rest"),
    [
        (900, None, 900),
        (None, None, 1800),
        (0, None, 60),
        (5, 3, 60),
        (900, 1200, 1200),
        (900, 30, 900),
        (2**31 - 1, None, 86_400),
        (900, 2**31 - 1, 86_400),
    ],
)
def test_intervals_are_kept_within_reason(
    interval: int | None, min_interval: int | None, rest: float
) -> None:
    """A tracker's interval and min interval both count, but never below a minute or beyond a day."""
    announcer = make(["udp://a"])
    announcer.answered(take(announcer, 0), AnnounceAnswer(interval=interval, min_interval=min_interval), 10)

    assert announcer.next_timer() == 10 + rest


def test_failures_are_retried_ever_later() -> None:
    """Rests double from a minute to an hour, spread by a quarter; one answer makes up for all of them."""
    announcer, now, rests = make(["udp://a"]), 0.0, []
    for _ in range(12):
        announcer.failed(take(announcer, now), now)
        assert announcer.take_due(now) == []
        rests.append(announcer.next_timer() - now)
        now = announcer.next_timer()

    for number, rest in enumerate(rests):
        usual = 60 * 2**number
        assert min(0.75 * usual, 0.75 * 3600) <= rest <= min(1.25 * usual, 3600), number
    assert len(set(rests[:5])) == 5
    announcer.answered(take(announcer, now), ANSWER, now)
    announcer.failed(take(announcer, now + 900), now + 900)
    announcer.take_due(now + 900)
    assert announcer.next_timer() <= now + 900 + 75


@pytest.mark.parametrize(
    ("retry_in", "hopeless", "rest"),
    [
        (300.0, False, 300),
        (1.0, False, 60),
        (1e12, False, 86_400),
        (NEVER, False, 21_600),
        (None, True, 21_600),
    ],
)
def test_retry_in_is_obeyed(retry_in: float | None, hopeless: bool, rest: float) -> None:
    """A tracker says when to come again; never, or a name that cannot be used, is six hours (BEP 31)."""
    announcer = make(["udp://a"])
    announcer.failed(take(announcer, 0), 0, retry_in=retry_in, hopeless=hopeless)

    assert announcer.take_due(0) == []
    assert announcer.next_timer() == rest


def test_no_trackers_is_no_work() -> None:
    """A torrent without trackers is never due."""
    announcer = make([], all_tiers=True)

    assert announcer.take_due(0) == []
    assert announcer.next_timer() == float("inf")
    assert announcer.stop() == []
