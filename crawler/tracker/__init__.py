"""A BitTorrent tracker, for programs and tests; the `tracker` command runs the same one.

    async with SimpleTracker() as tracker:
        await swarm_that_announces_to(tracker.udp_url, tracker.http_url)
        print(tracker.swarm_count(), tracker.get_peers("957b901faa247ca200f4284b142b796166bdc9a3"))

Everything runs under Trio. The daemon knows nothing of this package.
"""

from __future__ import annotations

from crawler.net.http import ExtraMissingError
from crawler.swarm.registry import RegistryBounds
from crawler.swarm.tracker_policy import TrackerPolicy
from crawler.tracker.server import ListenError, TrackerServer, TrackerSettings
from crawler.tracker.simple import SimpleTracker

__all__ = [
    "ExtraMissingError",
    "ListenError",
    "RegistryBounds",
    "SimpleTracker",
    "TrackerPolicy",
    "TrackerServer",
    "TrackerSettings",
]
