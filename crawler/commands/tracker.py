"""The `tracker` command: a tracker that runs until it is stopped, with the daemon's manners."""

from __future__ import annotations

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
from crawler.log import LogConfig
from crawler.tracker import (
    ExtraMissingError,
    ListenError,
    RegistryBounds,
    TrackerPolicy,
    TrackerServer,
    TrackerSettings,
)
from crawler.wire.compact import format_address, pack_address, parse_address
from crawler.wire.ids import parse_infohash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from crawler.wire.compact import Address

EVERYWHERE: Final = "0.0.0.0:6969"
_LIVE_SECONDS: Final = 1.0
_MOST_ALLOWED: Final = 64 << 20

_WHERE = Group("Where it is asked", sort_key=1)
_ANSWERS = Group("What is answered", sort_key=2)
_BOUNDS = Group("What it keeps", sort_key=3)
_LOG = Group("Log (on stderr)", sort_key=4)
_POLICY, _KEPT = TrackerPolicy(), RegistryBounds()


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class TrackerFlags:
    """The flags of the command; `settings` judges them."""

    udp: Annotated[list[str] | None, flag(_WHERE, "ADDR:PORT", "over UDP here; repeat for more")] = None
    http: Annotated[
        list[str] | None,
        flag(_WHERE, "ADDR:PORT", "over HTTP here: /announce, /scrape, /stats, /metrics; repeat for more"),
    ] = None
    trusted_proxy: Annotated[
        list[str] | None,
        flag(_WHERE, "IP", "believe the X-Forwarded-For of this proxy; repeat for more"),
    ] = None
    interval: Annotated[
        int, flag(_ANSWERS, "SECONDS", f"clients are to announce this often ({_POLICY.interval})")
    ] = _POLICY.interval
    max_numwant: Annotated[
        int, flag(_ANSWERS, "PEERS", f"give at most so many, of each family ({_POLICY.max_numwant})")
    ] = _POLICY.max_numwant
    ip_rate: Annotated[
        float,
        flag(_ANSWERS, "REQUESTS_PER_S", f"answer so many to one IP address or /64 ({_POLICY.ip_rate:g})"),
    ] = _POLICY.ip_rate
    ip_burst: Annotated[float, flag(_ANSWERS, "REQUESTS", f"and so many at once ({_POLICY.ip_burst:g})")] = (
        _POLICY.ip_burst
    )
    allow: Annotated[
        Path | None,
        flag(_ANSWERS, "FILE", "serve only the infohashes in FILE, one a line; SIGHUP reads it again"),
    ] = None
    lifetime: Annotated[
        float | None, flag(_BOUNDS, "SECONDS", "forget who is silent for so long (2.2 intervals)")
    ] = None
    max_swarms: Annotated[int, flag(_BOUNDS, "SWARMS", f"know at most so many ({_KEPT.max_swarms})")] = (
        _KEPT.max_swarms
    )
    max_peers: Annotated[
        int, flag(_BOUNDS, "PEERS", f"hold at most so many; about 160 bytes each ({_KEPT.max_peers})")
    ] = _KEPT.max_peers
    log_level: Annotated[str, flag(_LOG, "LEVEL", "debug, info, warning, error or critical (info)")] = "info"
    log_format: Annotated[str, flag(_LOG, "FORMAT", "console for people, json for machines (console)")] = (
        "console"
    )
    status_interval: Annotated[
        float,
        flag(_LOG, "SECONDS", "log all counters this often (60), 0: never; a terminal has a live line"),
    ] = 60.0

    def settings(self) -> TrackerSettings:
        """Return what was asked for, checked.

        Raises:
            ValueError: one line that names what is wrong and what is allowed.
        """
        for name, addresses in (("--udp", self.udp), ("--http", self.http)):
            for address in addresses or ():
                _checked(name, address)
        if not self.status_interval >= 0:
            raise ValueError(f"--status-interval = {self.status_interval:g}: allowed is at least 0")
        policy = TrackerPolicy(
            interval=self.interval,
            max_numwant=self.max_numwant,
            ip_rate=self.ip_rate,
            ip_burst=self.ip_burst,
        )
        lifetime = 2.2 * self.interval if self.lifetime is None else self.lifetime
        return TrackerSettings(
            policy,
            RegistryBounds(lifetime=lifetime, max_swarms=self.max_swarms, max_peers=self.max_peers),
            trusted_proxies=frozenset(map(_ip, self.trusted_proxy or ())),
            allowed=None if self.allow is None else read_allowed(self.allow),
        )


_NO_FLAGS: Final = TrackerFlags()


def tracker(flags: TrackerFlags = _NO_FLAGS) -> int:
    """Run a tracker until it is stopped."""
    try:
        settings = flags.settings()
        logging = LogConfig(level=flags.log_level, format=flags.log_format)
    except ValueError as error:
        return refuse(error)
    with log.started(logging):
        try:
            return trio.run(_run, flags, settings)
        except (ListenError, ExtraMissingError) as error:
            problem = error
    return refuse(problem)


def read_allowed(path: Path) -> frozenset[bytes]:
    """Return the infohashes in a file, one a line; empty lines and those that begin with # are left out.

    Raises:
        ValueError: it cannot be read, is too long, or a line is no infohash.
    """
    try:
        if path.stat().st_size > _MOST_ALLOWED:
            raise ValueError(f"--allow {path}: more than {_MOST_ALLOWED} bytes")
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"--allow {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--allow {path}: not text") from None
    found = set()
    for number, line in enumerate(lines, 1):
        word = line.strip()
        if word and not word.startswith("#"):
            try:
                found.add(parse_infohash(word))
            except ValueError as error:
                raise ValueError(f"--allow {path}, line {number}: {error}") from None
    return frozenset(found)


async def _run(flags: TrackerFlags, settings: TrackerSettings) -> int:
    logger = structlog.get_logger()
    nowhere = not flags.udp and not flags.http
    server = TrackerServer(
        udp=tuple(flags.udp or ([EVERYWHERE] if nowhere else [])),
        http=tuple(flags.http or ([EVERYWHERE] if nowhere else [])),
        settings=settings,
        rng=random.SystemRandom(),
        on_event=logger.error,
    )
    wanted = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    with trio.open_signal_receiver(*wanted) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            logger.info("tracker.listening", udp=_words(server.udp), http=_words(server.http))
            nursery.start_soon(_report, server, flags.status_interval, logger)
            stopped_by = await _obey(signals, server, flags.allow, logger)
            logger.info("tracker.stopping", reason=stopped_by.name)
            nursery.cancel_scope.cancel()
    logger.info("tracker.stopped", **server.figures())
    return FINE


async def _obey(
    signals: AsyncIterator[int], server: TrackerServer, allow: Path | None, logger: Any
) -> signal.Signals:
    """Read the list again at each SIGHUP, and return the signal that ends the tracker."""
    async for number in signals:
        got = signal.Signals(number)
        if got in {signal.SIGINT, signal.SIGTERM}:
            return got
        if allow is None:
            continue
        try:
            server.doorman.allowed = await trio.to_thread.run_sync(read_allowed, allow)
        except ValueError as error:
            logger.warning("tracker.allow_not_read", problem=str(error))
        else:
            logger.info("tracker.allow_read", infohashes=len(server.doorman.allowed))
    raise AssertionError("signals never end")


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


def _checked(name: str, address: str) -> None:
    try:
        parse_address(address)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _ip(text: str) -> bytes:
    try:
        return pack_address((text, 0))[:-2]
    except ValueError:
        raise ValueError(f"--trusted-proxy {text}: an IP address is needed") from None
