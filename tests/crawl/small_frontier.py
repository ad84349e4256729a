"""A ledger as the tests want it: few places, and times that are easy to reckon with."""

from __future__ import annotations

import attrs

from crawler.crawl.frontier import FrontierConfig

SHORTEST = 60.0
SILENT_REST = 300.0
MUTE_REST = 900.0
RETRY = 4.0


def small(capacity: int) -> FrontierConfig:
    """Return a configuration with a capacity below what a person may set."""
    with attrs.validators.disabled():
        return FrontierConfig(
            capacity=capacity,
            shortest_interval=SHORTEST,
            silent_rest=SILENT_REST,
            mute_rest=MUTE_REST,
            retry_after=RETRY,
        )
