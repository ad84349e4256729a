"""The composition root: sockets, stages, sink and the one nursery that they all run in.

Start: outputs and sockets are opened first, so that a mistake is one clear line and nothing is sent yet.
End (duration over, SIGINT, SIGTERM, reader gone): asking stops, answers on their way are awaited a moment,
outlet and sink are drained, the state is saved. A crash of our own code leaves by the nursery.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import structlog
import trio

from crawler import log, status
from crawler.config import ConfigError
from crawler.crawl import ledger
from crawler.crawl.frontier import Frontier
from crawler.crawl.outlet import Outlet
from crawler.crawl.rumours import RumourGuard
from crawler.crawl.seen import Seen
from crawler.dht.peers import PeerStore
from crawler.dht.tokens import Tokens
from crawler.lifetime import Lifetime
from crawler.net.limits import QueryBudget
from crawler.net.udp import NetworkConfig, open_socket
from crawler.records import Record
from crawler.sinks.base import ReaderGoneError, SinkError
from crawler.sinks.outputs import Outputs
from crawler.state import StateDirectory
from crawler.station import FamilyParts, Shared, Station
from crawler.wire.compact import Family, format_address, is_global, pack_address
from crawler.wire.ids import ID_BYTES, random_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.config import Config
    from crawler.net.dht import DatagramSocket


_CHANNEL_BATCHES = 64
_HEARTBEAT = 5.0
_LIVE_LINE = 0.5
_LONGEST_REST = 2 * 86400.0
_LAST_ANSWERS = 1.0
_GC_THRESHOLDS = (100_000, 20, 50)
_TROUBLE = {
    "bootstrap.host_not_global",
    "bootstrap.host_unresolved",
    "crawler.address_not_available",
    "sink.disk_failed",
    "sink.not_locked",
    "sink.not_opened_yet",
    "sink.overflow",
    "sink.reader_gone",
    "sink.reopen_failed",
    "sink.rotate_failed",
    "sink.segment_deleted",
    "sink.segment_failed",
    "sink.torn_line",
    "sink.write_failed",
    "state.damaged",
}
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


@attrs.define(eq=False)
class WallClock:
    """Trio's time to epoch seconds; set anew now and then, since the system's clock may be corrected."""

    offset: float = 0.0

    def set(self) -> None:
        """Compare the two clocks."""
        self.offset = time.time() - trio.current_time()

    def __call__(self, now: float) -> float:
        """Return the epoch seconds of Trio's ``now``."""
        return now + self.offset


@attrs.define(eq=False)
class Run:
    """What one run is made of."""

    shared: Shared
    stations: list[Station]
    families: dict[Family, FamilyParts]
    sink: Outputs
    state: StateDirectory | None
    clock: WallClock
    lifetime: Lifetime
    began: float
    sink_done: trio.Event = attrs.field(factory=trio.Event)

    def status(self) -> dict[str, Any]:
        """Return all counters."""
        return status.collect(self.stations, self.shared, self.sink, trio.current_time(), self.began)


async def run(
    config: Config, *, open_socket: Callable[[str, NetworkConfig], DatagramSocket] = open_socket
) -> int:
    """Crawl until the end of the run; returns the exit code.

    Args:
        config: everything that is set.
        open_socket: opens the socket for one listen address; tests put a simulated network here.

    Raises:
        ConfigError: an output or a socket cannot be opened; one line for a person.
    """
    logger = structlog.get_logger()
    sender, receiver = trio.open_memory_channel[list[Record]](_CHANNEL_BATCHES)
    with contextlib.ExitStack() as opened:

        def open_and_keep(listen: str, network: NetworkConfig) -> DatagramSocket:
            socket = open_socket(listen, network)
            opened.callback(socket.close)
            return socket

        assembled = _assemble(config, sender, open_and_keep, _say(logger), opened)
        async with trio.open_nursery() as nursery:
            await _run(assembled, nursery, receiver, logger)
            nursery.cancel_scope.cancel()
    lost = assembled.shared.outlet.lines_held
    if lost:
        logger.warning("crawler.lines_not_written", lines=lost)
    logger.info("crawler.stopped", reason=assembled.lifetime.reason, **assembled.status())
    return 0


async def _run(
    run: Run, nursery: trio.Nursery, receiver: trio.MemoryReceiveChannel[list[Record]], logger: Any
) -> None:
    lifetime = run.lifetime
    await nursery.start(lifetime.watch_signals, nursery.cancel_scope.cancel)
    await nursery.start(_reopen_on_hangup, run.sink)
    nursery.start_soon(_write, run, receiver, name="sink")
    for station in run.stations:
        await nursery.start(station.run)
        logger.info(
            "crawler.listening",
            address=format_address(pack_address(station.endpoint.socket.local)),
            node_id=station.node.id.hex(),
        )
    nursery.start_soon(lifetime.watch_clock)
    nursery.start_soon(_report, run, logger, name="status")
    if run.state is not None:
        nursery.start_soon(_keep_state, run, run.state, logger, name="state")
        nursery.start_soon(_beat, run.state, name="heartbeat")
    await lifetime.over.wait()
    logger.info("crawler.stopping", reason=lifetime.reason)
    await _drain(run, logger)


async def _write(run: Run, receiver: trio.MemoryReceiveChannel[list[Record]]) -> None:
    try:
        await run.sink.run(receiver)
    except ReaderGoneError:
        run.lifetime.end("reader gone")
    finally:
        run.sink_done.set()


async def _reopen_on_hangup(
    sink: Outputs, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """At SIGHUP, where there is one, follow outputs that were renamed."""
    if not hasattr(signal, "SIGHUP"):
        task_status.started()
        return
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            sink.reopen()


async def _drain(run: Run, logger: Any) -> None:
    """Ask no more; let in what is on its way, write it, save the state."""
    for station in run.stations:
        station.asking.cancel()
    with trio.move_on_after(run.shared.config.run.drain_timeout):
        with trio.move_on_after(_LAST_ANSWERS):
            while any(len(station.node.transactions) for station in run.stations):  # noqa: ASYNC110 - they know no Event
                await trio.sleep(0.05)
        async with trio.open_nursery() as nursery:
            # Not after the output, which may be waiting for a disk that is full.
            if run.state is not None:
                nursery.start_soon(_save_state, run, run.state, logger)
            await run.shared.outlet.finish()
            await run.sink_done.wait()


async def _report(run: Run, logger: Any) -> None:
    """Show the live line on a terminal, else log all counters now and then."""
    terminal = log.terminal()
    interval = run.shared.config.run.status_interval
    line = status.LiveLine()
    while terminal.is_there:
        await trio.sleep(_LIVE_LINE)
        run.clock.set()
        terminal.show(line.text(run.status()))
    while True:
        await trio.sleep(interval or 60.0)
        run.clock.set()
        if interval:
            logger.info("crawler.status", **run.status())


async def _beat(state: StateDirectory) -> None:
    while True:
        # Whoever checks our health notices a heart that stopped; the crawl need not.
        with contextlib.suppress(OSError):
            state.beat()
        await trio.sleep(_HEARTBEAT)


async def _keep_state(run: Run, state: StateDirectory, logger: Any) -> None:
    while True:
        await trio.sleep(run.shared.config.state.save_interval)
        await _save_state(run, state, logger)


async def _save_state(run: Run, state: StateDirectory, logger: Any) -> None:
    run.clock.set()
    now = trio.current_time()
    ids = {station.listen: station.node.id for station in run.stations}
    try:
        await state.save("ids", [ids])
        for family, parts in run.families.items():
            good = [
                node.address
                for station in run.stations
                if station.parts is parts
                for node in station.node.table.good_nodes(now)
            ]
            name = family.name.lower()
            await state.save(f"nodes.{name}", [good or list(parts.saved_nodes)])
            await state.save(f"ledger.{name}", ledger.to_pieces(parts.frontier, run.clock.offset))
    except OSError as error:
        logger.warning("state.not_saved", problem=str(error))


def _assemble(
    config: Config,
    channel: trio.MemorySendChannel[list[Record]],
    open_socket: Callable[[str, NetworkConfig], DatagramSocket],
    on_event: Callable[..., None],
    opened: contextlib.ExitStack,
) -> Run:
    """Open everything and join it; ``opened`` closes what was opened."""
    clock = WallClock()
    clock.set()
    # What must not be guessed (ids of transactions, tokens, nodes) is drawn from the system.
    rng, secure = random.Random(), random.SystemRandom()
    state = _open_state(config, on_event)
    try:
        sink = Outputs(config.output, on_event)
    except SinkError as error:
        raise ConfigError(str(error)) from error
    opened.callback(sink.close)
    shared = Shared(
        config=config,
        budget=QueryBudget(config.limits),
        seen=Seen(config.seen),
        outlet=Outlet(config.outlet, channel, clock, lambda: sink.lines_settled),
        store=PeerStore(config.peer_store, rng),
        tokens=Tokens(secure, config.tokens),
        rng=rng,
        secure_rng=secure,
        on_event=on_event,
    )
    families: dict[Family, FamilyParts] = {}
    stations = _build_stations(shared, families, state, open_socket, clock.offset)
    # Nearly everything that is allocated lives for one answer or for hours; looking for cycles among the
    # hours' worth of contacts every few thousand answers would cost a tenth of the crawl.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    return Run(
        shared=shared,
        stations=stations,
        families=families,
        sink=sink,
        state=state,
        clock=clock,
        lifetime=Lifetime(config.run),
        began=trio.current_time(),
    )


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


def _open_state(config: Config, on_event: Callable[..., None]) -> StateDirectory | None:
    if not config.state.directory:
        return None
    try:
        return StateDirectory(Path(config.state.directory), on_event)
    except OSError as error:
        raise ConfigError(f"cannot use {config.state.directory} for the state: {error.strerror}") from error


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
    if state is not None:
        name = family.name.lower()
        saved = [
            node
            for piece in state.load(f"nodes.{name}")
            if isinstance(piece, list)
            for node in piece
            if isinstance(node, bytes) and len(node) == family.address_bytes
        ]
        try:
            ledger.restore(
                frontier,
                state.load(f"ledger.{name}"),
                wall_minus_now,
                admits=partial(_may_restore, family, private=shared.config.network.allow_private),
                latest=trio.current_time() + _LONGEST_REST,
            )
        except ledger.LedgerFormError as error:
            state.discard(f"ledger.{name}", str(error))
    return FamilyParts(family, frontier, RumourGuard(shared.config.rumours), saved)


def _may_restore(family: Family, address: bytes, *, private: bool) -> bool:
    """Whether a saved contact fits this run; an earlier one may have been let into a private network."""
    return len(address) == family.address_bytes and (private or is_global(address))


def _say(logger: Any) -> Callable[..., None]:
    """Return what the parts tell events to: each becomes a log line, trouble a warning."""

    def say(event: str, **fields: Any) -> None:
        (logger.warning if event in _TROUBLE else logger.info)(event, **fields)

    return say
