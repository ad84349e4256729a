"""The TCP side of a run: the fetch that dials peers, and the listeners for peers that dial us.

Beside `station`, which is the UDP side: there is one fetch for a run and one listener for each socket.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.crawl.fetch import Fetcher, FetchSections
from crawler.crawl.lookup_queue import Wanted, Why
from crawler.net.calls import LinkCalls
from crawler.net.peer_listener import PeerListener
from crawler.net.peers import PeerClient
from crawler.settings.sources import ConfigError
from crawler.swarm.assembly import MemoryBudget
from crawler.swarm.serving import MetadataCache
from crawler.wire.compact import Family, format_address, pack_address
from crawler.wire.ids import random_peer_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crawler.config import Config
    from crawler.daemon.station import Shared, Station


@attrs.define(eq=False)
class Fetching:
    """What a run has on the TCP side."""

    fetcher: Fetcher
    client: PeerClient
    cache: MetadataCache | None
    listeners: list[PeerListener]


def build(shared: Shared, stations: Sequence[Station]) -> Fetching | None:
    """Build the fetch and join it to the stages that find peers; None when it is not wanted.

    Raises:
        ConfigError: a listener cannot be opened.
    """
    config = shared.config
    if not config.fetch.enabled:
        return None
    peer_id = random_peer_id(shared.secure_rng)
    cache = MetadataCache(config.serve.max_bytes) if config.serve.enabled else None
    listeners = [] if cache is None else _open_listeners(config, stations, peer_id, cache)
    client = PeerClient(
        partial(random_peer_id, shared.secure_rng),
        budget=MemoryBudget(config.memory),
        dht_port=stations[0].endpoint.socket.local[1],
        allow_private=config.network.allow_private,
        peers=config.peers,
        connection=config.connection,
        metadata=config.metadata,
    )

    def seek(infohash: bytes) -> None:
        if shared.credit.all_dead(infohash):
            shared.lookup_queue.want(Wanted(infohash, Why.ALL_DEAD))
        else:
            fetcher.sought(infohash, trio.current_time())

    fetcher = Fetcher(
        FetchSections(config.fetch, config.failures, config.pex, config.metainfo),
        LinkCalls(client),
        shared.outlet,
        seek=seek,
        admit=_admit(stations),
        spread=not config.network.allow_private,
        cache=cache,
    )
    fetcher.jobs.doubts = shared.credit.doubts
    fetcher.on_verified = shared.credit.fetched
    fetcher.paused = lambda: all(station.pace.uplink_lost for station in stations)
    shared.desk.on_peers = fetcher.offer
    return Fetching(fetcher, client, cache, listeners)


def _admit(stations: Sequence[Station]) -> Callable[[bytes], bool]:
    """Return the judge of addresses: one that a socket of its family may contact."""
    by_family = {station.parts.family: station.endpoint for station in reversed(stations)}

    def admit(address: bytes) -> bool:
        endpoint = by_family.get(Family.of(address))
        return endpoint is not None and endpoint.may_contact(address)

    return admit


def _open_listeners(
    config: Config, stations: Sequence[Station], peer_id: bytes, cache: MetadataCache
) -> list[PeerListener]:
    """Listen for peers at the TCP port of each socket's UDP port."""
    listeners: list[PeerListener] = []
    for station in stations:
        listen = format_address(pack_address(station.endpoint.socket.local))
        try:
            listener = PeerListener(
                listen,
                peer_id,
                cache,
                config=config.listener,
                connection=config.connection,
                serving=config.serve,
            )
        except OSError as error:
            raise ConfigError(f"cannot listen on {listen} for peers (TCP): {error.strerror}") from error
        listeners.append(listener)
    return listeners
