"""How long to wait for an answer: a deadline that follows the round-trip times seen.

The estimator is RFC 6298's (smoothed mean plus four times the smoothed deviation), because answers of a
whole network spread far more than those of one path; the result is kept between two settings. Beside it, how
many round-trip times were how long, for whoever watches.
"""

from __future__ import annotations

from bisect import bisect_left

import attrs

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds, in seconds, of the groups in which round-trip times are counted."""


@attrs.define(eq=False)
class RttEstimator:
    """Smoothed round-trip time and the timeout that follows from it, both in seconds.

    Attributes:
        counts: how many round-trip times were in each group of `BOUNDS`, and last, how many were beyond.
        total: the sum of all, in seconds.
    """

    initial: float
    shortest: float
    longest: float
    smoothed: float | None = None
    deviation: float = 0.0
    timeout: float = attrs.field(init=False)
    counts: list[int] = attrs.field(factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.timeout = self.initial

    def measured(self, rtt: float) -> None:
        """Take one round-trip time of a query that was sent once."""
        self.counts[bisect_left(BOUNDS, rtt)] += 1
        self.total += rtt
        smoothed = self.smoothed
        if smoothed is None:
            smoothed, deviation = rtt, rtt / 2
        else:
            error = rtt - smoothed
            smoothed += error * 0.125
            deviation = self.deviation
            deviation += ((error if error >= 0 else -error) - deviation) * 0.25
        self.smoothed, self.deviation = smoothed, deviation
        timeout = smoothed + 4 * deviation
        # Compared by hand, for every answer passes here: min and max take longer than all the rest.
        if timeout < self.shortest:
            timeout = self.shortest
        elif timeout > self.longest:
            timeout = self.longest
        self.timeout = timeout
