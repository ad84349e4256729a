"""The life of a run: sockets, stages and sink in one nursery, from the first datagram to the last line.

End (duration over, SIGINT, SIGTERM, reader gone): asking stops, answers on their way are awaited a moment,
outlet and sink are drained, the state is saved. A crash of our own code leaves by the nursery.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import trio

from crawler import log
from crawler.daemon import building, signalling
from crawler.daemon.run import save_state
from crawler.monitoring import serving, status
from crawler.net.udp import NetworkConfig, open_socket
from crawler.records import Record
from crawler.sinks.base import ReaderGoneError
from crawler.wire.compact import format_address, pack_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.config import Config
    from crawler.daemon.run import Run
    from crawler.net.dht import DatagramSocket
    from crawler.net.http import HttpServer
    from crawler.state.directory import StateDirectory

_CHANNEL_BATCHES = 64
_HEARTBEAT = 5.0
_LIVE_LINE = 0.5
_LAST_ANSWERS = 1.0
_READER_GONE = "reader gone"
_TROUBLE = {
    "bootstrap.host_not_global",
    "bootstrap.host_unresolved",
    "crawler.address_not_available",
    "http.exposed",
    "http.failed",
    "seen.not_saved",
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
    "state.not_locked",
}
_DETAIL = {"http.request"}


async def run(
    config: Config,
    *,
    open_socket: Callable[[str, NetworkConfig], DatagramSocket] = open_socket,
    reload: Callable[[], Config] | None = None,
) -> int:
    """Crawl until the end of the run; returns the exit code, 1 when lines were left unwritten.

    Args:
        config: everything that is set.
        open_socket: opens the socket for one listen address; tests put a simulated network here.
        reload: reads the configuration again, from the same sources, for SIGHUP; may raise ConfigError.

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

        assembled = building.assemble(config, sender, open_and_keep, _say(logger), opened)
        server = serving.build(assembled, _say(logger), opened)
        async with trio.open_nursery() as nursery:
            await nursery.start(
                signalling.watch_signals,
                signalling.actions(assembled, reload, partial(_counters, assembled), logger),
                name="signals",
            )
            await _run(assembled, nursery, receiver, logger, server)
            nursery.cancel_scope.cancel()
    lost, reason = assembled.shared.outlet.lines_held, assembled.lifetime.reason
    if lost:
        logger.warning("crawler.lines_not_written", lines=lost)
    logger.info("crawler.stopped", reason=reason, **_counters(assembled))
    # A reader that has left wants no more lines.
    return int(bool(lost) and reason != _READER_GONE)


async def _run(
    run: Run,
    nursery: trio.Nursery,
    receiver: trio.MemoryReceiveChannel[list[Record]],
    logger: Any,
    server: HttpServer | None,
) -> None:
    lifetime = run.lifetime
    await nursery.start(lifetime.watch_signals, nursery.cancel_scope.cancel, name="end")
    nursery.start_soon(_write, run, receiver, name="sink")
    for station in run.stations:
        address = format_address(pack_address(station.endpoint.socket.local))
        await nursery.start(station.endpoint.run, name=f"endpoint {address}")
        logger.info(
            "crawler.listening",
            address=address,
            node_id=station.node.id.hex(),
        )
    if server is not None:
        await serving.serve(server, nursery, _say(logger))
    nursery.start_soon(_ask, run, name="asking")
    nursery.start_soon(lifetime.watch_clock, name="clock")
    nursery.start_soon(_report, run, logger, name="status")
    nursery.start_soon(run.keeper.run, name="seen")
    if run.state is not None:
        nursery.start_soon(_keep_state, run, run.state, logger, name="state")
        nursery.start_soon(_note_settled, run, logger, name="ledger")
        nursery.start_soon(_beat, run.state, serving.address_of(server), name="heartbeat")
    await lifetime.over.wait()
    logger.info("crawler.stopping", reason=lifetime.reason)
    await _drain(run, logger)


async def _ask(run: Run) -> None:
    """Run all stages that ask, until `Run.asking` is cancelled."""
    with run.asking:
        async with trio.open_nursery() as nursery:
            for station in run.stations:
                station.start_asking(nursery)
            if run.lookups is not None:
                nursery.start_soon(run.lookups.run, name="lookups")
            if run.fetching is not None:
                nursery.start_soon(run.fetching.fetcher.run, name="fetches")
                for listener in run.fetching.listeners:
                    nursery.start_soon(listener.run, name="listener")
            if run.trackers is not None:
                nursery.start_soon(run.trackers.run, name="trackers")


async def _write(run: Run, receiver: trio.MemoryReceiveChannel[list[Record]]) -> None:
    try:
        await run.sink.run(receiver)
    except ReaderGoneError:
        run.lifetime.end(_READER_GONE)
    finally:
        run.sink_done.set()


async def _drain(run: Run, logger: Any) -> None:
    """Ask no more; let in what is on its way, write it, save the state."""
    run.asking.cancel()
    with trio.move_on_after(run.shared.config.run.drain_timeout):
        with trio.move_on_after(_LAST_ANSWERS):
            while any(len(station.node.transactions) for station in run.stations):  # noqa: ASYNC110 - they know no Event
                await trio.sleep(0.05)
        for station in run.stations:
            station.endpoint.give_up()
        async with trio.open_nursery() as nursery:
            # Not after the output, which may be waiting for a disk that is full.
            if run.state is not None:
                nursery.start_soon(_save_state, run, run.state, logger)
            await run.shared.outlet.finish()
            await run.sink_done.wait()
            await run.keeper.step()


async def _report(run: Run, logger: Any) -> None:
    """Show the live line on a terminal, else log all counters now and then."""
    terminal = log.terminal()
    interval = run.shared.config.run.status_interval
    line = status.LiveLine()
    while terminal.is_there:
        await trio.sleep(_LIVE_LINE)
        run.clock.set()
        terminal.show(line.text(_counters(run)))
    while True:
        await trio.sleep(interval or 60.0)
        run.clock.set()
        if interval:
            logger.info("crawler.status", **_counters(run))


def _counters(run: Run) -> dict[str, Any]:
    return status.collect(run, trio.current_time())


async def _beat(state: StateDirectory, address: str) -> None:
    while True:
        # Whoever checks our health notices a heart that stopped; the crawl need not.
        with contextlib.suppress(OSError):
            state.beat(address)
        await trio.sleep(_HEARTBEAT)


async def _keep_state(run: Run, state: StateDirectory, logger: Any) -> None:
    while True:
        await trio.sleep(run.shared.config.state.save_interval)
        await _save_state(run, state, logger)


async def _note_settled(run: Run, logger: Any) -> None:
    """Note who may be asked again when, so that a kill lets nobody be asked too soon."""
    in_trouble = False
    while True:
        await trio.sleep(run.shared.config.state.note_interval)
        try:
            for parts in run.families.values():
                if parts.keeper is not None:
                    await parts.keeper.note(run.clock.offset)
            in_trouble = False
        except OSError as error:
            if not in_trouble:
                logger.warning("state.not_noted", problem=str(error))
            in_trouble = True


async def _save_state(run: Run, state: StateDirectory, logger: Any) -> None:
    try:
        await save_state(run, state)
    except OSError as error:
        logger.warning("state.not_saved", problem=str(error))


def _say(logger: Any) -> Callable[..., None]:
    """Return what the parts tell events to: each becomes a log line, trouble a warning."""

    def say(event: str, **fields: Any) -> None:
        tell = logger.warning if event in _TROUBLE else logger.debug if event in _DETAIL else logger.info
        tell(event, **fields)

    return say
