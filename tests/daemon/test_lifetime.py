"""How a run ends: by the clock, by a signal, or by whoever says so first."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crawler.daemon.lifetime import Lifetime, RunConfig

if TYPE_CHECKING:
    from trio.testing import MockClock

REAL_SECONDS = 5


def never() -> None:
    """Stand in for an end at once that must not come."""
    raise AssertionError("ended at once")


def test_the_first_reason_is_kept() -> None:
    """A run ends once; what comes later does not change why."""
    lifetime = Lifetime(RunConfig())
    assert not lifetime.over.is_set()
    lifetime.end("reader gone")
    lifetime.end("duration")

    assert lifetime.over.is_set()
    assert lifetime.reason == "reader gone"


async def test_the_clock_ends_the_run(autojump_clock: MockClock) -> None:
    """After its duration the run is over."""
    lifetime = Lifetime(RunConfig(duration=3600.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lifetime.watch_clock)
        await lifetime.over.wait()

    assert trio.current_time() == pytest.approx(3600)
    assert lifetime.reason == "duration"


async def test_without_a_duration_the_clock_ends_nothing(autojump_clock: MockClock) -> None:
    """A duration of 0 is no end at all."""
    lifetime = Lifetime(RunConfig(duration=0.0))
    with trio.move_on_after(1e6):
        await lifetime.watch_clock()
        await lifetime.over.wait()

    assert not lifetime.over.is_set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_run(number: signal.Signals) -> None:
    """SIGINT and SIGTERM let the run end in good order, and are its reason."""
    lifetime = Lifetime(RunConfig())
    with trio.fail_after(REAL_SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(lifetime.watch_signals, never)
            signal.raise_signal(number)
            await lifetime.over.wait()
            nursery.cancel_scope.cancel()

    assert lifetime.reason == number.name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    """Whoever does not want to wait for the end sends another signal, of either kind."""
    lifetime = Lifetime(RunConfig())
    at_once = trio.Event()
    with trio.fail_after(REAL_SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(lifetime.watch_signals, at_once.set)
            signal.raise_signal(signal.SIGTERM)
            await lifetime.over.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert not at_once.is_set()
            signal.raise_signal(number)
            await at_once.wait()

    assert lifetime.reason == "SIGTERM"


async def test_a_signal_while_it_ends_anyway_ends_it_at_once() -> None:
    """When the run is already ending for another reason, the first signal does not wait for that."""
    lifetime = Lifetime(RunConfig())
    at_once = trio.Event()
    lifetime.end("duration")
    with trio.fail_after(REAL_SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(lifetime.watch_signals, at_once.set)
            signal.raise_signal(signal.SIGINT)
            await at_once.wait()

    assert lifetime.reason == "duration"


async def test_afterwards_signals_are_as_before() -> None:
    """The handlers that were there come back with the end of the run."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    lifetime = Lifetime(RunConfig())
    async with trio.open_nursery() as nursery:
        await nursery.start(lifetime.watch_signals, never)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
        nursery.cancel_scope.cancel()

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
