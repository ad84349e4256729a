"""How long to wait for an answer: a deadline that follows the round-trip times seen.

The estimator is RFC 6298's (smoothed mean plus four times the smoothed deviation), because answers of a
whole network spread far more than those of one path; the result is kept between two settings.
"""

from __future__ import annotations

import attrs


@attrs.define(eq=False)
class RttEstimator:
    """Smoothed round-trip time and the timeout that follows from it, both in seconds."""

    initial: float
    shortest: float
    longest: float
    smoothed: float | None = None
    deviation: float = 0.0
    timeout: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.timeout = self.initial

    def measured(self, rtt: float) -> None:
        """Take one round-trip time of a query that was sent once."""
        smoothed = self.smoothed
        if smoothed is None:
            self.smoothed = rtt
            self.deviation = rtt / 2
        else:
            error = rtt - smoothed
            self.smoothed = smoothed + error * 0.125
            self.deviation += ((error if error >= 0 else -error) - self.deviation) * 0.25
        timeout = self.smoothed + 4 * self.deviation
        self.timeout = min(max(timeout, self.shortest), self.longest)
