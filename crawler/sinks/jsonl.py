"""JSON lines to a file or to stdout: one write per batch of whole lines.

A file is opened for appending, so that the kernel puts each write at the end whatever else happens to the
file. A write that was cut short is finished; one that failed is tried again, slower and slower, while the
channel fills and the crawl pauses: lines wait, they are not dropped. Writes run in a thread, because a full
disk or a reader that does not read may hold them up for as long as it likes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.settings import setting
from crawler.sinks.base import ReaderGoneError, SinkError, SinkStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.records import Record

STDOUT = "-"

_READER_GONE = {errno.EPIPE, errno.EINVAL} if sys.platform == "win32" else {errno.EPIPE}


@attrs.frozen
class OutputConfig:
    """Where the records go and how they are batched."""

    path: str = setting(
        "peers.jsonl", unit="", help='File that records are appended to; "-" writes to standard output.'
    )
    flush_interval: float = setting(
        0.25, unit="s", help="The longest a line waits for others to be written with it.", above=0
    )
    max_batch: int = setting(
        4096, unit="lines", help="A batch of so many lines is written at once.", minimum=1
    )
    retry_first: float = setting(
        1.0, unit="s", help="Pause after a failed write; doubles each time.", above=0
    )
    retry_longest: float = setting(60.0, unit="s", help="The longest pause after a failed write.", above=0)


class JsonlSink:
    """Appends records as JSON lines to one file descriptor."""

    def __init__(self, config: OutputConfig, on_event: Callable[..., None]) -> None:
        """Open the output; ``on_event(name, **fields)`` is told of trouble, for the log.

        Raises:
            SinkError: when it cannot be opened.
        """
        self._config = config
        self._on_event = on_event
        self._fd = _open(config.path)
        self._lines_in = self._lines_written = 0
        self._bytes_written = self._writes = self._failures = 0

    async def run(self, records: trio.MemoryReceiveChannel[list[Record]]) -> None:
        """Write every record of ``records`` until it is closed, then return.

        Raises:
            ReaderGoneError: the output is a pipe that nobody reads any more.
        """
        async with records:
            while True:
                batch = await self._gather(records)
                if not batch:
                    return
                data = b"".join([record.lines() for record in batch])
                lines = sum(len(record) for record in batch)
                await self._write_all(data)
                self._lines_written += lines

    def statistics(self) -> SinkStatistics:
        """Return the counts so far."""
        return SinkStatistics(
            lines_in=self._lines_in,
            lines_written=self._lines_written,
            lines_held=self._lines_in - self._lines_written,
            bytes_written=self._bytes_written,
            writes=self._writes,
            failures=self._failures,
        )

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._config.path != STDOUT:
            os.close(self._fd)

    async def _gather(self, records: trio.MemoryReceiveChannel[list[Record]]) -> list[Record]:
        """Return the next batch; an empty one when the channel has ended."""
        try:
            batch = list(await records.receive())
        except trio.EndOfChannel:
            return []
        lines = sum(len(record) for record in batch)
        with trio.move_on_after(self._config.flush_interval):
            while lines < self._config.max_batch:
                try:
                    more = await records.receive()
                except trio.EndOfChannel:
                    break
                batch += more
                lines += sum(len(record) for record in more)
        self._lines_in += lines
        return batch

    async def _write_all(self, data: bytes) -> None:
        pause = self._config.retry_first
        rest = memoryview(data)
        while rest:
            try:
                written = await trio.to_thread.run_sync(os.write, self._fd, rest, abandon_on_cancel=True)
            except OSError as error:
                if error.errno in _READER_GONE:
                    raise ReaderGoneError from error
                self._failures += 1
                self._on_event(
                    "sink.write_failed",
                    path=self._config.path,
                    problem=os.strerror(error.errno or 0),
                    retry_in=pause,
                )
                await trio.sleep(pause)
                pause = min(pause * 2, self._config.retry_longest)
                continue
            self._writes += 1
            self._bytes_written += written
            rest = rest[written:]


def _open(path: str) -> int:
    if path == STDOUT:
        return _stdout_fd()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags, 0o644)
    except OSError as error:
        raise SinkError(f"cannot open {path} for writing: {os.strerror(error.errno or 0)}") from error


def _stdout_fd() -> int:
    if sys.stdout is None:
        raise SinkError("cannot write to standard output: it is closed")
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return sys.stdout.fileno()
    return 1
