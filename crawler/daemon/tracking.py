"""The trackers of a run: who asks them, and which stage that belongs to.

Beside `fetching`, which is the TCP side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawler.crawl.trackers import TrackerStage
from crawler.net.tracker_http import TrackerSupportError
from crawler.net.trackers import TrackerClient
from crawler.settings.sources import ConfigError
from crawler.wire.compact import ip_of
from crawler.wire.tracker_url import parse_tracker_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawler.daemon.station import Shared, Station


def build(shared: Shared, stations: Sequence[Station]) -> TrackerStage | None:
    """Build the stage and join it to those that find infohashes; None when no tracker is named.

    Raises:
        ConfigError: what it takes to ask an HTTP tracker is not installed.
    """
    config = shared.config
    if not config.trackers.urls:
        return None
    client = TrackerClient(
        config.tracker_client,
        shared.secure_rng,
        allow_private=config.network.allow_private,
        own_ips=lambda: _own_ips(stations),
        sources={station.parts.family: station.endpoint.socket.local[0] for station in reversed(stations)},
    )
    urls = {url.text: url for url in map(parse_tracker_url, config.trackers.urls)}.values()
    try:
        for url in urls:
            client.check_support(url)
    except TrackerSupportError as error:
        raise ConfigError(f"[trackers] urls: {error}") from error
    stage = TrackerStage(
        config.trackers,
        config.announces,
        urls,
        client,
        desk=shared.desk,
        outlet=shared.outlet,
        rng=shared.secure_rng,
        port=stations[0].endpoint.socket.local[1],
    )
    stage.paused = lambda: all(station.pace.uplink_lost for station in stations)
    shared.on_new = stage.found
    for station in stations:
        station.sampler.on_new = stage.found
    return stage


def _own_ips(stations: Sequence[Station]) -> set[bytes]:
    """Return our addresses: those that we are bound to, and as other nodes see us (BEP 42)."""
    bound = {ip_of(address) for station in stations for address in station.endpoint.own_addresses}
    return bound | {ip for station in stations if (ip := station.node.external.current) is not None}
