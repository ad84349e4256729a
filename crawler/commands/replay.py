"""The `replay` command: old files of records into a sink, with all that the daemon's sinks promise."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import sys
from functools import partial
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
    UntilFlag,
    VerboseFlag,
    problem,
    selection,
    settings,
    standard_input,
)
from crawler.commands.client import FINE, SIGNALLED, flag
from crawler.commands.complaint import refuse
from crawler.commands.progress import Progress
from crawler.commands.screen import Screen
from crawler.commands.text import table, visible
from crawler.reading.lines import LineStream, UnreadableError
from crawler.reading.record_line import Distinct, Tally, head_of, printable
from crawler.records import RECORD_TYPES, LinesRead, Record
from crawler.sinks.base import ReaderGoneError, SinkError
from crawler.sinks.config import STDOUT, place_of
from crawler.sinks.outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from crawler.config import Config
    from crawler.reading.config import ReadingConfig
    from crawler.reading.lines import Piece
    from crawler.reading.record_line import Selection

NOT_ALL: Final = 1
_IN_FLIGHT: Final = 2  # pieces that wait for the sink
_SHOWN: Final = 300  # bytes of a line that is no record
_TROUBLE: Final = frozenset(
    f"sink.{what}"
    for what in ("write_failed", "disk_failed", "overflow", "torn_line", "rotate_failed", "not_opened_yet")
)

FilesArgument = Annotated[
    str,
    Parameter(
        name="FILE",
        allow_leading_hyphen=True,
        help="files of records in order, gzip and zstd ones too; - is stdin",
    ),
]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ReplayFlags:
    """Which records go where."""

    into: Annotated[
        list[str],
        Parameter(
            group=OUTPUT,
            metavar="SINK",
            help="as --out of the daemon: a path, or - for stdout; repeat for more",
            negative=(),
            allow_leading_hyphen=True,
        ),
    ]
    since: SinceFlag = None
    until: UntilFlag = None
    type: TypeFlag = None
    dedupe: Annotated[bool, flag(CHOICE, "", "each infohash record once, as far as memory goes")] = False
    verbose: VerboseFlag = False
    config: ConfigFlag = None


def replay(*file: FilesArgument, flags: ReplayFlags) -> int:
    """Send files of records to a sink."""
    try:
        wanted = selection(flags.type, flags.since, flags.until)
        config = settings(flags.config, out=flags.into)
        inputs = _checked(file, config)
        screen = Screen(verbose=flags.verbose)
        outputs = Outputs(config.output, partial(_tell, screen), waits_for_all=True)
    except (ValueError, UnreadableError, SinkError) as error:
        return refuse(error)
    reader = _Reader(inputs, wanted, config.reading, screen, dedupe=flags.dedupe)
    with contextlib.closing(outputs), contextlib.closing(reader):
        return trio.run(_Run(reader, outputs, screen, config.run.drain_timeout).run)


@attrs.frozen
class _Input:
    """One file to be read, and its size when that is known."""

    name: str
    size: int | None


def _checked(names: Sequence[str], config: Config) -> list[_Input]:
    """Return the inputs, all of which can be read, and none of which would be written.

    Raises:
        ValueError: one line that names the file.
        UnreadableError: nothing here can unpack it.
    """
    if not names:
        raise ValueError("FILE is missing: at least one file to replay, or - for stdin")
    written = [_identity(place_of(target), sys.stdout) for target in config.output.path]
    inputs = []
    for name in names:
        if name.startswith("--"):
            raise ValueError(f"Unknown option: {name}; a file of that name is ./{name}")
        if _identity(name, sys.stdin) in written:
            raise ValueError(f"{name} is what --into writes to; a file cannot be replayed into itself")
        if name == STDOUT:
            inputs.append(_Input(name, None))
            continue
        try:
            inputs.append(_looked_at(name, config))
        except UnreadableError as error:
            raise UnreadableError(f"cannot read {name}: {error}") from None
        except OSError as error:
            raise ValueError(f"cannot read {name}: {problem(error)}") from None
    return inputs


def _looked_at(name: str, config: Config) -> _Input:
    """Return an input that can be opened, and unpacked as far as can be told.

    Raises:
        OSError: it can't be opened.
        UnreadableError: nothing here can unpack it.
    """
    if not stat.S_ISREG(os.stat(name).st_mode):  # noqa: PTH116 - as fstat below
        return _Input(name, None)  # a pipe: what is taken from it now would be missing later
    with open(name, "rb", buffering=0) as opened:  # noqa: PTH123 - without a buffer, as it is read later
        LineStream(opened, config.reading)
        return _Input(name, os.fstat(opened.fileno()).st_size)


def _identity(name: str, standard: Any) -> object:
    """Return what tells a regular file from all others, something else for what is none."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        info = os.fstat(standard.fileno()) if name == STDOUT else os.stat(name)  # noqa: PTH116 - as fstat
        if stat.S_ISREG(info.st_mode):
            return info.st_dev, info.st_ino
    return object()


class _Reader:
    """Reads the files in order and turns them into records; calls may block, so they are made in a thread."""

    def __init__(
        self, inputs: list[_Input], wanted: Selection, config: ReadingConfig, screen: Screen, *, dedupe: bool
    ) -> None:
        self.tally = Tally(RECORD_TYPES, config.max_distinct)
        self.repeated = self.unknown = 0
        self.failed = False
        self.total = None if any(one.size is None for one in inputs) else sum(one.size or 0 for one in inputs)
        self._inputs = iter(inputs)
        self._wanted = wanted
        self._config = config
        self._screen = screen
        self._seen = Distinct(config.max_distinct) if dedupe else None
        self._stream: LineStream | None = None
        self._name = ""
        self._bytes_before = self._skipped_before = 0
        self._opened = contextlib.ExitStack()

    @property
    def bytes_taken(self) -> int:
        """How much of the files was read, as they are on the disk."""
        return self._bytes_before + (self._stream.bytes_taken if self._stream else 0)

    def next(self) -> LinesRead | None:
        """Return the next records, perhaps none; None at the end of all files."""
        try:
            stream = self._stream or self._open_next()
            if stream is None:
                return None
            piece = stream.read()
        except (OSError, UnreadableError) as error:
            self.failed = True
            said = problem(error) if isinstance(error, OSError) else str(error)
            self._screen.remark(
                f"dht-crawler: cannot read {visible(self._name)} any further: {visible(said)}"
            )
            self._close()
            return LinesRead(b"", 0)
        chosen = self._chosen(piece)
        if stream.ended:
            self._close()
        return LinesRead(b"".join(chosen), len(chosen))

    def close(self) -> None:
        """Let go of the file."""
        self._opened.close()

    @property
    def skipped(self) -> int:
        """How many lines were no records that a sink takes."""
        return self.tally.malformed + self.tally.overlong + self.unknown

    def rows(self) -> list[tuple[str, str]]:
        """Return what there is to tell of what was read."""
        rows = self.tally.rows()
        if self.unknown:
            rows.append(("unknown", f"{self.unknown:,} records of other types, skipped"))
        if self._seen is not None:
            more = ", perhaps not all" if self._seen.forgot else ""
            rows.append(("repeated", f"{self.repeated:,} infohash records left out{more}"))
        return rows

    def _chosen(self, piece: Piece) -> list[bytes]:
        self.tally.overlong += piece.overlong
        chosen = []
        for line in piece.lines:
            head = head_of(line)
            if head is None:
                self.tally.malformed += 1
                start = line[:_SHOWN].decode(errors="backslashreplace")
                self._screen.event("no record", file=self._name, line=start)
            elif head.type not in RECORD_TYPES:
                self.unknown += 1
            elif self._wanted.admits(head):
                if self._seen and head.type == "infohash" and not self._seen.add(head.infohash):
                    self.repeated += 1
                    continue
                self.tally.add(head)
                chosen.append(printable(line).encode() + b"\n")
        return chosen

    def _open_next(self) -> LineStream | None:
        one = next(self._inputs, None)
        if one is None:
            return None
        self._name = one.name
        if one.name == STDOUT:
            source: Any = standard_input()
        else:
            source = self._opened.enter_context(_open_wherever(one.name))
        self._stream = LineStream(source, self._config)
        return self._stream

    def _close(self) -> None:
        """Go on to the next file, and say what was left out of this one."""
        if self.skipped > self._skipped_before:
            more = self.skipped - self._skipped_before
            words = (
                "1 line that is no record was" if more == 1 else f"{more:,} lines that are no records were"
            )
            self._screen.remark(f"dht-crawler: {visible(self._name)}: {words} skipped")
        self._skipped_before = self.skipped
        self._bytes_before = self.bytes_taken
        self._stream = None
        self._opened.close()


def _open_wherever(name: str) -> Any:
    """Open a file that may have been compressed by its owner a moment ago."""
    for suffix in ("", ".gz", ".zst"):
        with contextlib.suppress(FileNotFoundError):
            return open(name + suffix, "rb", buffering=0)  # noqa: PTH123 - the stream takes large pieces
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


class _Run:
    """From the files to the sink, and how it ended."""

    def __init__(self, reader: _Reader, outputs: Outputs, screen: Screen, patience: float) -> None:
        self._reader = reader
        self._outputs = outputs
        self._screen = screen
        self._patience = patience  # seconds, with a sink that is to finish
        self._sent = 0
        self._signal = 0
        self._reader_gone = False

    async def run(self) -> int:
        """Do it and return the exit code."""
        reading = trio.CancelScope()
        sender, receiver = trio.open_memory_channel[list[Record]](_IN_FLIGHT)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_signals, signals, reading, nursery.cancel_scope)
                nursery.start_soon(self._show_progress)
                nursery.start_soon(self._read, sender, reading)
                await self._write(receiver)
                nursery.cancel_scope.cancel()
        self._screen.take_off()
        return self._finish()

    async def _read(self, sender: trio.MemorySendChannel[list[Record]], scope: trio.CancelScope) -> None:
        with scope, sender, contextlib.suppress(trio.BrokenResourceError):
            while (
                record := await trio.to_thread.run_sync(self._reader.next, abandon_on_cancel=True)
            ) is not None:
                if record:
                    await sender.send([record])
                    self._sent += len(record)

    async def _write(self, receiver: trio.MemoryReceiveChannel[list[Record]]) -> None:
        try:
            await self._outputs.run(receiver)
        except ReaderGoneError:
            self._reader_gone = True

    async def _show_progress(self) -> None:
        progress = Progress(self._screen, self._reader.total)
        while True:
            progress.show(trio.current_time(), self._reader.bytes_taken, self._outputs.lines_durable)
            await trio.sleep(progress.pause)

    async def _watch_signals(
        self, signals: AsyncIterator[int], reading: trio.CancelScope, everything: trio.CancelScope
    ) -> None:
        """Stop reading at the first signal; wait no longer for the sink at the second, or when it dawdles."""
        async for number in signals:
            self._signal = number
            reading.cancel()
            break
        with trio.move_on_after(self._patience):
            await anext(signals)
        everything.cancel()

    def _finish(self) -> int:
        """Tell what came of it and return the exit code."""
        counts = self._outputs.statistics()
        # Of several outputs each is to have all, even where the reader of one is gone.
        written = min(one.lines_written for one in self._outputs.each().values())
        if not self._reader_gone:
            rows = [
                *self._reader.rows(),
                ("written", f"{written:,} of {self._sent:,}, acknowledged by the disk"),
            ]
            if counts.trouble:
                rows.append(("trouble", visible(counts.trouble)))
            for line in table(rows):
                self._screen.remark(line)
        if self._signal:
            return SIGNALLED + self._signal
        return FINE if written == self._sent and not self._reader.failed else NOT_ALL


def _tell(screen: Screen, name: str, **fields: Any) -> None:
    """Say what a sink reports: always when lines wait or are in danger, else with --verbose."""
    if name in _TROUBLE:
        said = "  ".join(f"{key}={visible(str(value))}" for key, value in fields.items())
        screen.remark(f"dht-crawler: {name}  {said}")
    else:
        screen.event(name, **fields)
