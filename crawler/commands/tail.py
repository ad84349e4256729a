"""The `tail` command: a file of records as it grows, through rotation, compression and emptying."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
import trio
from cyclopts import Parameter

from crawler.commands.choosing import (
    CHOICE,
    OUTPUT,
    ConfigFlag,
    SinceFlag,
    TypeFlag,
    VerboseFlag,
    problem,
    selection,
    settings,
    standard_input,
)
from crawler.commands.client import FINE, SIGNALLED, flag
from crawler.commands.complaint import refuse
from crawler.commands.plain_output import PlainOutput, ReaderGoneError
from crawler.commands.record_text import record_text
from crawler.commands.screen import Screen
from crawler.commands.text import table, visible
from crawler.reading.follow import Follower
from crawler.reading.lines import LineStream, Piece, UnreadableError, is_packed
from crawler.reading.record_line import Tally, head_of, printable
from crawler.records import RECORD_TYPES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from crawler.reading.config import ReadingConfig
    from crawler.reading.record_line import Selection

FAILED: Final = 1
_LAST_LINES: Final = 10
_SHOWN: Final = 300  # bytes of a line that is no record
_WORDS: Final = {
    "missing": "waiting for {path}",
    "emptied": "{path}: it was emptied; reading it from its start",
    "unreadable": "cannot read {path}: {problem}",
    "gone": "{path}: it was deleted before it was read",
}

FileArgument = Annotated[
    str,
    Parameter(
        name="FILE",
        allow_leading_hyphen=True,
        help="an output of dht-crawler, or a closed or compressed one; - is stdin",
    ),
]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class TailFlags:
    """What is to be shown, and how."""

    lines: Annotated[
        int | None,
        Parameter(
            name=["--lines", "-n"],
            group=CHOICE,
            metavar="N",
            help=f"begin with the last N such records of FILE ({_LAST_LINES})",
            negative=(),
            show_default=False,
        ),
    ] = None
    from_start: Annotated[bool, flag(CHOICE, "", "begin with all of FILE")] = False
    since: SinceFlag = None
    type: TypeFlag = None
    no_follow: Annotated[bool, flag(CHOICE, "", "stop at the end of FILE")] = False
    json: Annotated[bool, flag(OUTPUT, "", "the lines themselves (unless on a terminal)")] = False
    pretty: Annotated[bool, flag(OUTPUT, "", "a line for people each (on a terminal)")] = False
    verbose: VerboseFlag = False
    config: ConfigFlag = None

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ValueError: one line that names the flags.
        """
        begins = {"--lines": self.lines is not None, "--from-start": self.from_start, "--since": self.since}
        said = [name for name, is_said in begins.items() if is_said]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} each say where to begin; give one of them")
        if self.lines is not None and self.lines < 0:
            raise ValueError(f"--lines {self.lines}: allowed is a whole number from 0 on")
        if self.json and self.pretty:
            raise ValueError("--json and --pretty are two ways to write one record; give one of them")


_NO_FLAGS: Final = TailFlags()


def tail(file: FileArgument, /, *, flags: TailFlags = _NO_FLAGS) -> int:
    """Show the records of a file as they come."""
    try:
        if file.startswith("--"):
            raise ValueError(f"Unknown option: {file}; a file of that name is ./{file}")  # noqa: TRY301 - as the others
        flags.check()
        wanted = selection(flags.type, flags.since)
        reading = settings(flags.config).reading
        output = PlainOutput()
        show = _Show(flags, wanted, reading, output)
        source = _open(file, flags, wanted, reading, show)
    except (ValueError, UnreadableError) as error:
        return refuse(error)
    except OSError as error:
        return refuse(f"cannot read {file}: {problem(error)}")
    with contextlib.closing(source):
        return trio.run(_run, source, show, reading, flags)


class _Stream:
    """Stdin, a pipe or a compressed file: read once, from its start; ``last`` keeps the end of it alone."""

    def __init__(self, source: Any, reading: ReadingConfig, *, last: int | None, wanted: Selection) -> None:
        self._source = source
        self._stream = LineStream(source, reading)
        self._wanted = wanted
        self._kept: deque[bytes] | None = None if last is None else deque(maxlen=last)

    def step(self) -> Piece:
        piece = self._stream.read()
        if self._kept is not None:
            self._kept += filter(self._wanted.admits_line, piece.lines)
            piece.lines = list(self._kept) if self._stream.ended else []
        return piece

    @property
    def ended(self) -> bool:
        return self._stream.ended

    def rest(self) -> list[bytes]:
        return []

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


class _Show:
    """Turns lines into output and counts them; its calls may block, so they are made in a thread."""

    def __init__(
        self, flags: TailFlags, wanted: Selection, reading: ReadingConfig, output: PlainOutput
    ) -> None:
        self.screen = Screen(verbose=flags.verbose)
        self.tally = Tally(RECORD_TYPES, reading.max_distinct)
        self.output = output
        self.failed = False
        self._wanted = wanted
        self._verbose = flags.verbose
        self._pretty = flags.pretty or (output.is_terminal and not flags.json)
        dumb = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self._coloured = output.is_terminal and not dumb

    def lines(self, piece: Piece) -> None:
        """Write those that are wanted."""
        self.tally.overlong += piece.overlong
        shown = []
        for line in piece.lines:
            head = head_of(line)
            if head is None:
                self.tally.malformed += 1
                if self._verbose:
                    start = line[:_SHOWN].decode(errors="backslashreplace")
                    self.screen.remark(f"no record: {visible(start)}{'…' * (len(line) > _SHOWN)}")
            elif self._wanted.admits(head):
                self.tally.add(head)
                shown.append(record_text(line, coloured=self._coloured) if self._pretty else printable(line))
        if shown:
            self.output.write(shown)

    def event(self, name: str, **fields: str) -> None:
        """Say what became of the file: always when records may be missing, else with --verbose."""
        self.failed = self.failed or name in {"unreadable", "gone"}
        if words := _WORDS.get(name):
            said = {key: visible(value) for key, value in fields.items()}
            self.screen.remark("dht-crawler: " + words.format(**said))
        else:
            self.screen.event(name, **fields)

    def summary(self) -> None:
        """Tell on stderr what it was."""
        for line in table(self.tally.rows()):
            self.screen.remark(line)


def _open(
    file: str, flags: TailFlags, wanted: Selection, reading: ReadingConfig, show: _Show
) -> _Stream | Follower:
    """Return what reads the file.

    Raises:
        OSError: it can't be read, or is not there and not waited for.
        UnreadableError: it can't be unpacked.
    """
    count = None if flags.from_start or flags.since else _LAST_LINES if flags.lines is None else flags.lines
    if file == "-":
        return _Stream(standard_input(), reading, last=flags.lines, wanted=wanted)
    try:
        opened = open(file, "rb", buffering=0)  # noqa: PTH123, SIM115 - the stream's, as long as the process is
    except FileNotFoundError:
        if flags.no_follow:
            raise
    else:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            return _Stream(opened, reading, last=flags.lines, wanted=wanted)
        packed = is_packed(opened.read(4))
        opened.seek(0)
        if packed:
            return _Stream(opened, reading, last=count, wanted=wanted)
        opened.close()
    place = None if count is None else lambda it: it.go_to_last(count, wanted.admits_line)
    return Follower(file, reading, show.event, place=place, since=wanted.since or None)


async def _run(source: _Stream | Follower, show: _Show, reading: ReadingConfig, flags: TailFlags) -> int:
    ended_by: list[int] = []
    reader_gone = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_signals, signals, ended_by.append, nursery.cancel_scope)
            try:
                await _pump(source, show, reading, follow=not flags.no_follow)
            except ReaderGoneError:
                reader_gone = True
            except (OSError, UnreadableError) as error:
                said = problem(error) if isinstance(error, OSError) else str(error)
                show.event("unreadable", path="the rest", problem=said)
            nursery.cancel_scope.cancel()
    if reader_gone:
        return FINE
    show.summary()
    if ended_by:
        return SIGNALLED + ended_by[0]
    return FAILED if show.failed else FINE


async def _pump(source: _Stream | Follower, show: _Show, reading: ReadingConfig, *, follow: bool) -> None:
    """Show what there is, and then what comes.

    Raises:
        ReaderGoneError: nobody reads it.
        OSError: it can't be read or shown any further.
        UnreadableError: it is damaged.
    """

    def step() -> bool:
        piece = source.step()
        show.lines(piece)
        return piece.busy

    while True:
        # Abandoned when somebody wants the end: a pipe may be full, a disk may hang.
        if await trio.to_thread.run_sync(step, abandon_on_cancel=True):
            continue
        if isinstance(source, _Stream) or not follow:
            break
        if not show.output.has_reader():
            raise ReaderGoneError
        await trio.sleep(reading.poll_interval)
    await trio.to_thread.run_sync(lambda: show.lines(Piece(source.rest())), abandon_on_cancel=True)


async def _watch_signals(
    signals: AsyncIterator[int], note: Callable[[int], None], scope: trio.CancelScope
) -> None:
    async for number in signals:
        note(number)
        scope.cancel()
        return
