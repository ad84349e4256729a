"""How a run is put together, from what an earlier one saved too.

Outputs and sockets are opened first, so that a mistake is one clear line and nothing is sent yet. What a run
then does, from its first datagram to its last line, is `app`'s.
"""

from __future__ import annotations

import errno
import gc
import os
import random
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from crawler.crawl.credit import Credit
from crawler.crawl.frontier import Frontier
from crawler.crawl.lookup_queue import LookupQueue, Wanted, Why
from crawler.crawl.lookups import PeerLookups
from crawler.crawl.outlet import Outlet
from crawler.crawl.rumours import RumourGuard
from crawler.crawl.seen import Seen
from crawler.crawl.seen_slices import KEY_BYTES
from crawler.crawl.sightings import Sightings
from crawler.crawl.swarm_report import PeersDesk
from crawler.daemon import fetching, tracking
from crawler.daemon.allocator import give_back_large_blocks
from crawler.daemon.lifetime import Lifetime
from crawler.daemon.run import Run, WallClock
from crawler.daemon.station import FamilyParts, Shared, Station
from crawler.dht.peers import PeerStore
from crawler.dht.tokens import Tokens
from crawler.net.limits import QueryBudget
from crawler.settings.sources import ConfigError
from crawler.sinks.base import SinkError
from crawler.sinks.outputs import Outputs
from crawler.state.directory import StateDirectory
from crawler.state.ledger_keeper import LedgerKeeper
from crawler.state.seen_keeper import SeenKeeper, found_since
from crawler.state.slice_files import SliceFiles
from crawler.wire.compact import Family, is_global
from crawler.wire.ids import ID_BYTES, random_id

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from crawler.config import Config
    from crawler.daemon.fetching import Fetching
    from crawler.net.dht import DatagramSocket
    from crawler.net.udp import NetworkConfig
    from crawler.records import Record
    from crawler.state.slice_files import Stored

_LONGEST_REST = 2 * 86400.0
_LONGEST_TURN = 0.0002
_GC_THRESHOLDS = (100_000, 20, 50)
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


def assemble(
    config: Config,
    channel: trio.MemorySendChannel[list[Record]],
    open_socket: Callable[[str, NetworkConfig], DatagramSocket],
    on_event: Callable[..., None],
    opened: contextlib.ExitStack,
) -> Run:
    """Open everything and join it.

    Args:
        config: everything that is set.
        channel: to the sink.
        open_socket: opens the socket for one listen address.
        on_event: is told of what people should know, for the log.
        opened: closes what was opened.

    Raises:
        ConfigError: something cannot be opened.
    """
    give_back_large_blocks()
    clock = WallClock()
    clock.set()
    state = _open_state(config, on_event, opened)
    sink = _open_sink(config, on_event)
    opened.callback(sink.close)
    outlet = Outlet(config.outlet, channel, clock, lambda: sink.lines_settled)
    keeper, seen, found = _open_seen(config, outlet, sink, state, on_event)
    opened.callback(keeper.close)
    shared = _share(config, outlet, seen, on_event)
    families: dict[Family, FamilyParts] = {}
    stations = _build_stations(shared, families, state, open_socket, clock.offset)
    lookups = _build_lookups(shared, stations)
    _restore_waiting(shared, stations, state, found)
    tcp_side = _build_fetching(shared, stations, lookups, state, clock.offset)
    _collect_garbage_rarely()
    let_the_loop_go_first()
    return Run(
        shared=shared,
        stations=stations,
        families=families,
        lookups=lookups,
        fetching=tcp_side,
        trackers=tracking.build(shared, stations),
        sink=sink,
        keeper=keeper,
        state=state,
        clock=clock,
        lifetime=Lifetime(config.run),
        began=trio.current_time(),
    )


def _open_seen(
    config: Config,
    outlet: Outlet,
    sink: Outputs,
    state: StateDirectory | None,
    on_event: Callable[..., None],
) -> tuple[SeenKeeper, Seen, list[bytes]]:
    """Return the memory of infohashes with what an earlier run knew, its keeper, and what that found last."""
    files: SliceFiles | None = None
    key: bytes | None = None
    stored: list[Stored] = []
    if config.state.directory:
        directory = Path(config.state.directory) / "seen"
        try:
            files = SliceFiles(directory, on_event)
            key, stored = files.load()
        except OSError as error:
            raise ConfigError(f"cannot use {directory} for the state: {error.strerror}") from error
    seen = Seen(config.seen, key or os.urandom(KEY_BYTES), keeps_unsaved=files is not None)
    keeper = SeenKeeper(
        config.seen,
        seen,
        files,
        lines_in=lambda: outlet.lines_in,
        lines_durable=lambda: sink.lines_durable,
        wall_clock=outlet.wall_clock,
        on_event=on_event,
    )
    found = _found_last(stored, state)
    keeper.restore(stored, outlet.wall_clock(trio.current_time()))
    if stored:
        on_event("seen.restored", infohashes=seen.slices.count, slices=len(seen.slices.live))
    return keeper, seen, found


def _found_last(stored: list[Stored], state: StateDirectory | None) -> list[bytes]:
    """Return what an earlier run found after it last saved what waits for peers, all if it never did."""
    if state is None:
        return []
    never: list[object] | None = None if state.has("ids") else []
    return found_since(stored, next(iter(state.load("found")), never))


def _share(config: Config, outlet: Outlet, seen: Seen, on_event: Callable[..., None]) -> Shared:
    # What must not be guessed (ids of transactions, tokens, nodes) is drawn from the system.
    rng, secure = random.Random(), random.SystemRandom()
    return Shared(
        config=config,
        budget=QueryBudget(config.limits),
        seen=seen,
        credit=Credit(config.credit, verified=config.fetch.enabled),
        sightings=Sightings(config.sightings),
        outlet=outlet,
        desk=PeersDesk(config.locate.max_peers, outlet),
        lookup_queue=LookupQueue(config.locate.max_lookups_waiting),
        store=PeerStore(config.peer_store, rng),
        tokens=Tokens(secure, config.tokens),
        rng=rng,
        secure_rng=secure,
        on_event=on_event,
    )


def _open_sink(config: Config, on_event: Callable[..., None]) -> Outputs:
    try:
        return Outputs(config.output, on_event)
    except SinkError as error:
        raise ConfigError(str(error)) from error


def let_the_loop_go_first() -> None:
    """Have threads that compute give way to the loop within a fifth of a millisecond.

    Each datagram's system call lets go of the interpreter. With Python's own 5 ms a thread that reads an info
    dict of 10 MiB would take it each time, and one batch of datagrams would last until all of it is read.
    """
    sys.setswitchinterval(_LONGEST_TURN)


def _collect_garbage_rarely() -> None:
    """Let Python look for cycles less often.

    Nearly everything that is allocated lives for one answer or for hours; looking for cycles among the hours'
    worth of contacts every few thousand answers would cost a tenth of the crawl.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _build_stations(
    shared: Shared,
    families: dict[Family, FamilyParts],
    state: StateDirectory | None,
    open_socket: Callable[[str, NetworkConfig], DatagramSocket],
    wall_minus_now: float,
) -> list[Station]:
    """Open every socket and build its station; what a family's sockets share is put into ``families``."""
    ids = _saved_ids(state)
    stations = []
    for listen, socket in _open_sockets(shared.config.network, open_socket, shared.on_event):
        family = Family.IPV6 if ":" in socket.local[0] else Family.IPV4
        if family not in families:
            families[family] = _family_parts(shared, family, state, wall_minus_now)
        # The same address is there twice when port 0 picks one each; an id has only one home.
        node_id = ids.pop(listen, None) or random_id(shared.secure_rng)
        stations.append(Station(shared, families[family], listen, socket, node_id))
    return stations


def _build_lookups(shared: Shared, stations: list[Station]) -> PeerLookups | None:
    config = shared.config
    searchers = [searcher for station in stations if (searcher := station.searcher) is not None]
    if not searchers:
        return None
    return PeerLookups(config.locate, config.lookup, shared.lookup_queue, shared.desk, searchers)


def _restore_waiting(
    shared: Shared, stations: list[Station], state: StateDirectory | None, found: list[bytes]
) -> None:
    """Put back what an earlier run left waiting for peers, and what it ``found`` since it saved that."""
    if state is None or not shared.config.locate.enabled:
        return
    locators = [station.locator for station in stations if station.locator is not None]
    for piece in state.load("locate"):
        if not shared.lookup_queue.restore(piece):
            any(locator.restore(piece) for locator in locators)
    for infohash in found:
        shared.lookup_queue.want(Wanted(infohash, Why.UNKNOWN))


def _build_fetching(
    shared: Shared,
    stations: list[Station],
    lookups: PeerLookups | None,
    state: StateDirectory | None,
    wall_minus_now: float,
) -> Fetching | None:
    """Build the TCP side, and put back the jobs that an earlier run left."""
    built = fetching.build(shared, stations)
    if built is None:
        return None
    fetcher = built.fetcher
    if lookups is not None:
        lookups.on_end = fetcher.sought
    shared.lookup_queue.on_drop = lambda infohash: fetcher.sought(infohash, trio.current_time())
    if state is not None:
        try:
            fetcher.restore(state.load("fetch"), wall_minus_now)
        except ValueError as error:
            state.discard("fetch", str(error))
    return built


def _open_sockets(
    config: NetworkConfig,
    open_socket: Callable[[str, NetworkConfig], DatagramSocket],
    on_event: Callable[..., None],
) -> list[tuple[str, DatagramSocket]]:
    """Bind every listen address; one of a family that this machine lacks is left out if another works."""
    opened = []
    for listen in config.listen:
        try:
            opened.append((listen, open_socket(listen, config)))
        except OSError as error:
            if error.errno not in _NO_SUCH_FAMILY or len(config.listen) == 1:
                raise ConfigError(f"cannot listen on {listen}: {error.strerror or error}") from error
            on_event("crawler.address_not_available", address=listen, problem=error.strerror)
    if not opened:
        raise ConfigError(f"cannot listen on any of {', '.join(config.listen)}")
    return opened


def _open_state(
    config: Config, on_event: Callable[..., None], opened: contextlib.ExitStack
) -> StateDirectory | None:
    if not config.state.directory:
        return None
    try:
        state = StateDirectory(Path(config.state.directory), on_event)
        opened.enter_context(state.exclusive())
    except BlockingIOError as error:
        problem = "another process is using it, and two would spoil it"
        raise ConfigError(f"cannot use {config.state.directory} for the state: {problem}") from error
    except OSError as error:
        raise ConfigError(f"cannot use {config.state.directory} for the state: {error.strerror}") from error
    return state


def _saved_ids(state: StateDirectory | None) -> dict[str, bytes]:
    pieces = state.load("ids") if state is not None else []
    ids = pieces[0] if pieces and isinstance(pieces[0], dict) else {}
    return {
        listen: node_id
        for listen, node_id in ids.items()
        if isinstance(node_id, bytes) and len(node_id) == ID_BYTES
    }


def _family_parts(
    shared: Shared, family: Family, state: StateDirectory | None, wall_minus_now: float
) -> FamilyParts:
    frontier = Frontier(shared.config.frontier, shared.rng)
    saved: list[bytes] = []
    keeper = None
    if state is not None:
        name = family.name.lower()
        saved = [
            node
            for piece in state.load(f"nodes.{name}")
            if isinstance(piece, list)
            for node in piece
            if isinstance(node, bytes) and len(node) == family.address_bytes
        ]
        keeper = LedgerKeeper(state, f"ledger.{name}", frontier, shared.config.state.max_unnoted)
        keeper.restore(
            wall_minus_now,
            admits=partial(_may_restore, family, private=shared.config.network.allow_private),
            latest=trio.current_time() + _LONGEST_REST,
        )
    return FamilyParts(family, frontier, RumourGuard(shared.config.rumours), saved, keeper)


def _may_restore(family: Family, address: bytes, *, private: bool) -> bool:
    """Whether a saved contact fits this run; an earlier one may have been let into a private network."""
    return len(address) == family.address_bytes and (private or is_global(address))
