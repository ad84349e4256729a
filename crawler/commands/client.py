"""What every command that joins the DHT for a while has in common: its flags, its ends, its exit codes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Final, Protocol, TypeVar

import attrs
import trio
from cyclopts import Group, Parameter

from crawler.client.magnet_trackers import PATIENCE
from crawler.client.node import ANY_PORT, DEFAULT_BOOTSTRAP, ListenError, open_node
from crawler.client.tracking import open_trackers
from crawler.commands.complaint import refuse
from crawler.commands.screen import Screen
from crawler.commands.text import clock
from crawler.net.resolve import split_host_port
from crawler.wire.compact import is_global, pack_address, parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from crawler.client import LookupResult, Node
    from crawler.net.trackers import TrackerClient

FINE, NOT_FOUND, SIGNALLED = 0, 1, 128
DEFAULT_TIMEOUT: Final = 60.0
_LIVE_SECONDS: Final = 0.2
_MAX_PORT: Final = 65_535
_Means = TypeVar("_Means")

OUTPUT = Group("Output", sort_key=1)
_NETWORK = Group("Network", sort_key=2)

TargetArgument = Annotated[
    str,
    Parameter(
        name="TARGET", help="infohash (40 hex or 32 base32 characters, or 64 hex for v2) or magnet link"
    ),
]
"""What to look for, as the first word of a command."""


def flag(group: Group, metavar: str, text: str) -> Parameter:
    """Return a flag that is off or empty unless given."""
    return Parameter(group=group, metavar=metavar, help=text, negative=(), show_default=False)


NoTrackersFlag = Annotated[bool, flag(_NETWORK, "", "do not ask the trackers that the magnet link names")]
TrackerTimeoutFlag = Annotated[
    float, flag(_NETWORK, "SECONDS", f"wait so long for those trackers ({PATIENCE:g})")
]
PortFlag = Annotated[int, flag(_NETWORK, "PORT", "send from this UDP port (any free one)")]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ClientFlags:
    """The flags that all of these commands take."""

    json: Annotated[bool, flag(OUTPUT, "", "one JSON object a line")] = False
    verbose: Annotated[bool, flag(OUTPUT, "", "say on stderr who was asked and what came of it")] = False
    timeout: Annotated[float, flag(_NETWORK, "SECONDS", f"give up after this time ({DEFAULT_TIMEOUT:g})")] = (
        DEFAULT_TIMEOUT
    )
    bootstrap: Annotated[
        list[str] | None, flag(_NETWORK, "HOST:PORT", "ask these for the way in; repeat for more")
    ] = None
    listen: Annotated[
        list[str] | None,
        flag(_NETWORK, "ADDR:PORT", "send from here; once per family (0.0.0.0:0, [::]:0)"),
    ] = None
    allow_private: Annotated[
        bool, flag(_NETWORK, "", "contact private and loopback addresses too; for tests")
    ] = False

    def options(self, port: int = 0, tracker_timeout: float = PATIENCE) -> Options:
        """Return what was asked for, checked; ``port`` is for the sockets unless --listen says where.

        Raises:
            ValueError: one line that names the flag and what is allowed.
        """
        _check_seconds("--timeout", self.timeout)
        _check_seconds("--tracker-timeout", tracker_timeout)
        check_port("--port", port, minimum=0)
        if port and self.listen:
            raise ValueError("--port and --listen both say where to send from; give one of them")
        hosts = tuple(self.bootstrap or DEFAULT_BOOTSTRAP)
        for host in hosts:
            _check_host(host, allow_private=self.allow_private)
        return Options(
            json=self.json,
            verbose=self.verbose,
            timeout=self.timeout,
            bootstrap=hosts,
            listen=tuple(self.listen or [address.replace(":0", f":{port}") for address in ANY_PORT]),
            allow_private=self.allow_private,
            tracker_timeout=tracker_timeout,
        )


NO_FLAGS: Final = ClientFlags()


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class TrackerFlags:
    """The flags of commands that ask trackers and nobody else."""

    json: Annotated[bool, flag(OUTPUT, "", "one JSON object a line")] = False
    timeout: Annotated[float, flag(_NETWORK, "SECONDS", f"give up after this time ({DEFAULT_TIMEOUT:g})")] = (
        DEFAULT_TIMEOUT
    )
    allow_private: Annotated[
        bool, flag(_NETWORK, "", "contact private and loopback addresses too; for tests")
    ] = False

    def options(self) -> Options:
        """Return what was asked for, checked; raises as `ClientFlags.options`."""
        return ClientFlags(json=self.json, timeout=self.timeout, allow_private=self.allow_private).options()


NO_TRACKER_FLAGS: Final = TrackerFlags()


@attrs.frozen(kw_only=True)
class Options:
    """Flags after they were checked."""

    json: bool
    verbose: bool
    timeout: float
    bootstrap: tuple[str, ...]
    listen: tuple[str, ...]
    allow_private: bool
    tracker_timeout: float


class Job(Protocol):
    """What a command does with a node."""

    async def run(self) -> None:
        """Do it, writing results as they come."""

    def live(self) -> str:
        """Return what there is to tell while it runs."""

    def finish(self, ending: Ending) -> int:
        """Write what came of it and return the exit code."""


@attrs.define
class Ending:
    """How a job came to its end: by itself, unless one of these is set."""

    timeout: float | None = None
    signal: signal.Signals | None = None

    @property
    def word(self) -> str:
        """One word for programs: complete, timeout or interrupted."""
        return "interrupted" if self.signal else "timeout" if self.timeout is not None else "complete"

    def rows(self) -> list[tuple[str, str]]:
        """Return the line for people that says what may be missing, if anything may."""
        if self.signal:
            return [("stopped", f"by {self.signal.name}, before the end")]
        if self.timeout is not None:
            return [("stopped", f"by --timeout {self.timeout:g}, before the end")]
        return []


def check_port(name: str, port: int, *, minimum: int = 1) -> None:
    """Refuse what is no port.

    Raises:
        ValueError: one line for a person.
    """
    if not minimum <= port <= _MAX_PORT:
        raise ValueError(f"{name} = {port}: allowed is {minimum} to {_MAX_PORT}")


def run_job(options: Options, make: Callable[[Node, Screen], Job]) -> int:
    """Join the DHT, run the job that ``make`` makes, and return the exit code."""

    def join(screen: Screen) -> AbstractAsyncContextManager[Node]:
        return open_node(
            bootstrap=options.bootstrap,
            listen=options.listen,
            allow_private=options.allow_private,
            tracker_timeout=options.tracker_timeout,
            on_event=screen.event,
        )

    try:
        return trio.run(_run, options, join, make)
    except ListenError as error:
        return refuse(error)


def run_tracker_job(options: Options, make: Callable[[TrackerClient, Screen], Job]) -> int:
    """Run the job that ``make`` makes, which asks trackers, without joining the DHT; return the exit code."""

    def join(_screen: Screen) -> AbstractAsyncContextManager[TrackerClient]:
        return open_trackers(allow_private=options.allow_private)

    return trio.run(_run, options, join, make)


def remark_if_cut_off(screen: Screen, node: Node, lookup: LookupResult) -> None:
    """Say why, when nobody in the DHT answered."""
    if not lookup.nodes_answered:
        problems = "; ".join(node.seeds.problems) or "no bootstrap node has answered yet"
        screen.remark(f"dht-crawler: no node of the DHT answered: {problems}")


async def _run(
    options: Options,
    join: Callable[[Screen], AbstractAsyncContextManager[_Means]],
    make: Callable[[_Means, Screen], Job],
) -> int:
    screen, ending = Screen(json=options.json, verbose=options.verbose), Ending()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with join(screen) as means:
            job = make(means, screen)
            await _run_job(job, options, screen, ending, signals)
            screen.take_off()
            code = job.finish(ending)
    if ending.signal:
        return SIGNALLED + ending.signal
    if screen.trouble:
        screen.remark(f"dht-crawler: error: cannot write to standard output: {screen.trouble}")
        return NOT_FOUND
    return FINE if screen.reader_gone else code


async def _run_job(
    job: Job, options: Options, screen: Screen, ending: Ending, signals: AsyncIterator[int]
) -> None:
    """Run the job until its own end, a signal, its time is over, or nobody reads any more."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_signals, signals, ending, nursery.cancel_scope)
        nursery.start_soon(_show_live, job, screen)
        screen.on_reader_gone = nursery.cancel_scope.cancel
        if screen.reader_gone:
            nursery.cancel_scope.cancel()
        with trio.move_on_after(options.timeout) as patience:
            await job.run()
        if patience.cancelled_caught:
            ending.timeout = options.timeout
        nursery.cancel_scope.cancel()


async def _watch_signals(signals: AsyncIterator[int], ending: Ending, scope: trio.CancelScope) -> None:
    async for number in signals:
        ending.signal = signal.Signals(number)
        scope.cancel()
        return


async def _show_live(job: Job, screen: Screen) -> None:
    began = trio.current_time()
    while screen.has_live_line:
        screen.live(f"{clock(trio.current_time() - began)}  {job.live()}")
        await trio.sleep(_LIVE_SECONDS)


def _check_seconds(name: str, seconds: float) -> None:
    """Refuse what is no time to wait."""
    if not seconds > 0:
        raise ValueError(f"{name} = {seconds:g}: allowed is a number of seconds above 0")


def _check_host(text: str, *, allow_private: bool) -> None:
    """Refuse what is no ``HOST:PORT``, and literals that would never be contacted."""
    try:
        split_host_port(text)
    except ValueError as error:
        raise ValueError(f"--bootstrap: {error}") from None
    literal = _literal(text)
    if literal is not None and not (allow_private or is_global(literal)):
        raise ValueError(
            f"--bootstrap {text} is no address of the public Internet; --allow-private permits it"
        )


def _literal(text: str) -> bytes | None:
    """Return ``text`` as a compact address, None if it is a name."""
    try:
        return pack_address(parse_address(text))
    except ValueError:
        return None
