"""The `tracker` command: a tracker that runs until it is stopped, with the daemon's manners."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations when the program runs
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
import structlog
import trio
from cyclopts import Group, Parameter

from crawler import log
from crawler.commands.client import FINE, flag
from crawler.commands.complaint import refuse
from crawler.net.udp import has_ipv6
from crawler.tracker import ExtraMissingError, ListenError, TrackerServer, TrackerSettings
from crawler.wire.compact import format_address, pack_address
from crawler.wire.ids import parse_infohash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from crawler.config import Config
    from crawler.wire.compact import Address

EVERYWHERE: Final = ("0.0.0.0:6969", "[::]:6969")
_LIVE_SECONDS: Final = 1.0
_MOST_ALLOWED: Final = 64 << 20

_WHERE = Group("Where it is asked", sort_key=1)
_ANSWERS = Group("What is answered", sort_key=2)
_BOUNDS = Group("What it keeps", sort_key=3)
_LOG = Group("Log (on stderr), and who watches", sort_key=4)
_SETTINGS = Group("Other settings", sort_key=5)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class TrackerFlags:
    """The flags of the command: text as it was typed, since `config` judges it like any source."""

    udp: Annotated[list[str] | None, flag(_WHERE, "ADDR:PORT", "over UDP here; repeat for more")] = None
    http: Annotated[
        list[str] | None,
        flag(_WHERE, "ADDR:PORT", "over HTTP here; repeat for more"),
    ] = None
    trusted_proxy: Annotated[
        list[str] | None,
        flag(_WHERE, "IP", "believe the X-Forwarded-For of this proxy; repeat for more"),
    ] = None
    interval: Annotated[
        str | None, flag(_ANSWERS, "SECONDS", "clients are to announce this often (1800)")
    ] = None
    max_numwant: Annotated[
        str | None, flag(_ANSWERS, "PEERS", "give at most so many, of each family (200)")
    ] = None
    ip_rate: Annotated[
        str | None, flag(_ANSWERS, "REQUESTS_PER_S", "answer so many to one IP address or /64 (50)")
    ] = None
    ip_burst: Annotated[str | None, flag(_ANSWERS, "REQUESTS", "and so many at once (500)")] = None
    allow: Annotated[
        str | None,
        flag(_ANSWERS, "FILE", "serve only the infohashes in FILE, one a line; SIGHUP reads it again"),
    ] = None
    lifetime: Annotated[
        str | None, flag(_BOUNDS, "SECONDS", "forget who is silent for so long (2.2 intervals)")
    ] = None
    max_swarms: Annotated[str | None, flag(_BOUNDS, "SWARMS", "know at most so many (200000)")] = None
    max_peers: Annotated[
        str | None, flag(_BOUNDS, "PEERS", "hold at most so many; about 160 bytes each (2000000)")
    ] = None
    metrics: Annotated[
        str | None,
        flag(_LOG, "ADDR:PORT", "serve /metrics and /stats here (wherever --http is)"),
    ] = None
    log_level: Annotated[
        str | None, flag(_LOG, "LEVEL", "debug, info, warning, error or critical (info)")
    ] = None
    log_format: Annotated[
        str | None, flag(_LOG, "FORMAT", "console for people, json for machines (console)")
    ] = None
    status_interval: Annotated[
        str | None,
        flag(_LOG, "SECONDS", "log all counters this often (60), 0: never; a terminal has a live line"),
    ] = None
    config: Annotated[Path | None, flag(_SETTINGS, "FILE", "read settings from this TOML file")] = None

    def configuration(self) -> Config:
        """Return all settings, those of the flags among them.

        Raises:
            ConfigError: one line that names what is wrong and what is allowed.
        """
        from crawler import config  # noqa: PLC0415 - it imports the whole daemon

        given = attrs.asdict(self, filter=lambda field, value: field.name != "config" and value is not None)
        flags = {f"--{name.replace('_', '-')}": value for name, value in given.items()}
        return config.load(self.config, os.environ, flags, where=config.TRACKER_FLAGS)


_NO_FLAGS: Final = TrackerFlags()


def tracker(flags: TrackerFlags = _NO_FLAGS) -> int:
    """Run a tracker until it is stopped."""
    try:
        config = flags.configuration()
        settings = settings_in(config)
    except ValueError as error:
        return refuse(error)
    with log.started(config.log):
        try:
            return trio.run(_run, config, settings)
        except (ListenError, ExtraMissingError) as error:
            problem = error
    return refuse(problem)


def settings_in(config: Config) -> TrackerSettings:
    """Return what a configuration says of the tracker, its list of infohashes read.

    Raises:
        ValueError: that list cannot be read.
    """
    server = config.tracker_server
    return TrackerSettings(
        config.tracker_policy,
        config.tracker_memory,
        attrs.evolve(config.http, max_connections=server.max_connections),
        trusted_proxies=frozenset(pack_address((ip, 0))[:-2] for ip in server.trusted_proxies),
        allowed=None if server.allow is None else read_allowed(server.allow),
    )


def read_allowed(path: Path) -> frozenset[bytes]:
    """Return the infohashes in a file, one a line; empty lines and those that begin with # are left out.

    Raises:
        ValueError: it cannot be read, is too long, or a line is no infohash.
    """
    try:
        if path.stat().st_size > _MOST_ALLOWED:
            raise ValueError(f"infohashes in {path}: more than {_MOST_ALLOWED} bytes")
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"infohashes in {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"infohashes in {path}: not text") from None
    found = set()
    for number, line in enumerate(lines, 1):
        word = line.strip()
        if word and not word.startswith("#"):
            try:
                found.add(parse_infohash(word))
            except ValueError as error:
                raise ValueError(f"infohashes in {path}, line {number}: {error}") from None
    return frozenset(found)


async def _run(config: Config, settings: TrackerSettings) -> int:
    logger = structlog.get_logger()
    where = config.tracker_server
    # What is asked for must be there; of what is not, IPv6 may be missing.
    everywhere = EVERYWHERE if has_ipv6() else EVERYWHERE[:1]
    anywhere = () if where.udp or where.http else everywhere
    server = TrackerServer(
        udp=where.udp or anywhere,
        http=where.http or anywhere,
        pages=where.metrics,
        settings=settings,
        rng=random.SystemRandom(),
        on_event=logger.error,
    )
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    wanted = [signal.Signals[name] for name in names if hasattr(signal, name)]
    with trio.open_signal_receiver(*wanted) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            pages = {"metrics": _words([server.pages])} if server.pages else {}
            logger.info("tracker.listening", udp=_words(server.udp), http=_words(server.http), **pages)
            nursery.start_soon(_report, server, config.run.status_interval, logger)
            stopped_by = await _obey(signals, server, where.allow, logger)
            logger.info("tracker.stopping", reason=stopped_by.name)
            nursery.cancel_scope.cancel()
    logger.info("tracker.stopped", **server.figures())
    return FINE


async def _obey(
    signals: AsyncIterator[int], server: TrackerServer, allow: Path | None, logger: Any
) -> signal.Signals:
    """Tell all counters, or read the list again, as signals ask for; return the one that ends the tracker."""
    async for number in signals:
        got = signal.Signals(number)
        if got in {signal.SIGINT, signal.SIGTERM}:
            return got
        if got.name == "SIGUSR1":
            logger.info("tracker.status", **server.figures())
        elif allow is not None:
            await _read_again(server, allow, logger)
    raise AssertionError("signals never end")


async def _read_again(server: TrackerServer, allow: Path, logger: Any) -> None:
    try:
        server.doorman.allowed = await trio.to_thread.run_sync(read_allowed, allow)
    except ValueError as error:
        logger.warning("tracker.allow_not_read", problem=str(error))
    else:
        logger.info("tracker.allow_read", infohashes=len(server.doorman.allowed))


async def _report(server: TrackerServer, interval: float, logger: Any) -> None:
    """Show the live line on a terminal, else log all counters now and then."""
    terminal = log.terminal()
    last = 0
    while terminal.is_there:
        await trio.sleep(_LIVE_SECONDS)
        figures = server.figures()
        asked = sum(carrier["received"] for carrier in figures["carriers"].values())
        terminal.show(live_line(figures, asked - last))
        last = asked
    while interval:
        await trio.sleep(interval)
        logger.info("tracker.status", **server.figures())


def live_line(figures: Mapping[str, Any], requests: int) -> str:
    """Return the line for a terminal; ``requests`` came within the last second."""
    carriers = figures["carriers"].values()
    refused = sum(sum(carrier["refused"].values()) + sum(carrier["dropped"].values()) for carrier in carriers)
    return (
        f"{figures['registry']['swarms']:,} swarms  {figures['registry']['peers']:,} peers"
        f"  {requests:,} requests/s  {sum(c['answered'].get('announce', 0) for c in carriers):,} announces"
        f"  {refused:,} refused or dropped"
    )


def _words(addresses: list[Address]) -> list[str]:
    return [format_address(pack_address(address)) for address in addresses]
