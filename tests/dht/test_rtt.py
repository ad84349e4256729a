from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.dht.rtt import BOUNDS, RttEstimator

RTTS = st.lists(st.floats(0, 30), min_size=1, max_size=60)


def estimator() -> RttEstimator:
    return RttEstimator(initial=2.0, shortest=1.0, longest=10.0)


def test_before_any_measurement_the_initial_timeout_holds() -> None:
    """A node that has not seen an answer yet waits as long as the settings say."""
    assert estimator().timeout == 2.0


def test_figures_of_rfc_6298() -> None:
    """Mean, deviation and timeout are those of RFC 6298 §2, worked out by hand."""
    rtt = estimator()
    rtt.measured(1.0)
    assert (rtt.smoothed, rtt.deviation, rtt.timeout) == (1.0, 0.5, 3.0)

    rtt.measured(2.0)
    assert rtt.deviation == pytest.approx(0.75 * 0.5 + 0.25 * 1.0)
    assert rtt.smoothed == pytest.approx(0.875 * 1.0 + 0.125 * 2.0)
    assert rtt.timeout == pytest.approx(1.125 + 4 * 0.625)


@given(RTTS)
def test_timeout_stays_between_its_settings(rtts: list[float]) -> None:
    """No sequence of answers drives the timeout below the shortest or above the longest."""
    rtt = estimator()
    for each in rtts:
        rtt.measured(each)
        assert 1.0 <= rtt.timeout <= 10.0


@given(RTTS)
def test_mean_stays_among_what_was_seen(rtts: list[float]) -> None:
    """The smoothed mean never leaves the range of the round-trip times, nor the deviation their spread."""
    rtt = estimator()
    for each in rtts:
        rtt.measured(each)
    assert rtt.smoothed is not None
    assert min(rtts) - 1e-9 <= rtt.smoothed <= max(rtts) + 1e-9
    assert -1e-9 <= rtt.deviation <= max(rtts) + 1e-9


@given(st.floats(0.3, 2.4))
def test_steady_answers_bring_the_timeout_down_to_them(steady: float) -> None:
    """With answers that always take the same time, the timeout converges to it, or to the shortest."""
    rtt = estimator()
    for each in (9.0, *[steady] * 200):
        rtt.measured(each)
    assert rtt.timeout == pytest.approx(max(steady, 1.0), rel=0.01)


def test_a_slower_network_is_waited_for() -> None:
    """When answers become slow, the timeout is above them after a handful."""
    rtt = estimator()
    for each in [0.05] * 100 + [3.0] * 5:
        rtt.measured(each)
    assert rtt.timeout > 3.0


@given(RTTS)
def test_every_time_is_in_its_group(rtts: list[float]) -> None:
    """Each group counts the times up to its bound that are beyond the bound before."""
    rtt = estimator()
    for each in rtts:
        rtt.measured(each)
    edges = (-1.0, *BOUNDS, float("inf"))
    groups = pairwise(edges)
    assert rtt.counts == [sum(low < each <= high for each in rtts) for low, high in groups]
    assert rtt.total == pytest.approx(sum(rtts))
