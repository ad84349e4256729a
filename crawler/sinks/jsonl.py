"""JSON lines to a file, or to whatever takes bytes: one write and one sync per batch of whole lines.

Lines gather for a second, or until there are enough of them; what comes while the disk is busy goes out with
the next batch, so that a slow disk gets larger batches instead of a longer queue. Everything that may block
happens in a thread. A batch that failed is tried again, slower and slower, while the channel fills and the
crawl pauses: lines wait, they are not dropped. What a try means is the target's to know.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from crawler.sinks.base import ReaderGoneError, SinkError, SinkStatistics
from crawler.sinks.config import STDOUT, OutputConfig, place_of
from crawler.sinks.disk import Disk
from crawler.sinks.file import DurableFile, LockedError
from crawler.sinks.segments import Segments
from crawler.sinks.target import Pipe, Stream, standard_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.records import Record
    from crawler.sinks.target import Target

_READER_GONE = {errno.EPIPE, errno.EINVAL} if sys.platform == "win32" else {errno.EPIPE}
_TICK = 0.25  # seconds between two looks at the file while lines gather, or none come
_HOUSEKEEPING = 1.0  # seconds between two looks for closed files
_MOST_LINES = 8192  # of one batch, if it may not gather more anyway


class JsonlSink:
    """Appends records as JSON lines to one target."""

    def __init__(
        self,
        target: str,
        config: OutputConfig,
        on_event: Callable[..., None],
        *,
        disk: Disk | None = None,
        wall_clock: Callable[[], float] = time.time,
        on_written: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the output.

        Args:
            target: a path, ``jsonl:PATH`` or ``-``.
            config: the output section.
            on_event: called as ``on_event(name, **fields)`` with what the log should know, from any thread.
            disk: makes the system's calls.
            wall_clock: seconds since 1970.
            on_written: called when lines were acknowledged.

        Raises:
            SinkError: it cannot be opened.
        """
        self.path = place_of(target)
        self._config = config
        self._on_event = on_event
        self._on_written = on_written
        self._segments: Segments | None = None
        self._target = self._open(disk or Disk(), wall_clock)
        self._lines_in = self.lines_written = 0
        self._writes = self._failures = self._alarms = self._lines_rewritten = 0
        self._trouble = ""
        self._looked_at = -math.inf
        self._busy = False
        self._nudge = trio.Event()

    async def run(self, records: trio.MemoryReceiveChannel[list[Record]]) -> None:
        """Write every record of ``records`` until it is closed, then return.

        Raises:
            ReaderGoneError: the output is a pipe that nobody reads any more.
        """
        gone: ReaderGoneError | None = None
        async with records, trio.open_nursery() as nursery:
            if self._segments is not None:
                nursery.start_soon(self._keep_house, self._segments)
            try:
                await self._write_until_end(records)
            except ReaderGoneError as error:
                # Kept, since the nursery would wrap it in a group.
                gone = error
            nursery.cancel_scope.cancel()
        if gone is not None:
            raise gone

    def reopen(self) -> None:
        """Follow a file that was renamed: at once, or when its disk lets go."""
        self._target.reopen()
        self._nudge.set()

    def statistics(self) -> SinkStatistics:
        """Return the counts so far."""
        target = self._target.counters
        segments = self._segments.counters if self._segments is not None else None
        return SinkStatistics(
            lines_in=self._lines_in,
            lines_written=self.lines_written,
            lines_held=self._lines_in - self.lines_written,
            bytes_written=target.bytes_written,
            writes=self._writes,
            failures=self._failures,
            alarms=self._alarms + target.alarms,
            lines_rewritten=self._lines_rewritten,
            torn=target.torn,
            reopened=target.reopened,
            rotated=target.rotated,
            compressed=segments.compressed if segments else 0,
            compress_failures=segments.compress_failures if segments else 0,
            segments_deleted=segments.deleted if segments else 0,
            trouble=self._trouble,
        )

    def close(self) -> None:
        """Close the file; standard output stays open, and so does what a thread still hangs in."""
        if self._segments is not None:
            self._segments.stopped = True
        if not self._busy:
            self._target.close()

    def _open(self, disk: Disk, wall_clock: Callable[[], float]) -> Target:
        if self.path == STDOUT:
            return standard_output(disk)
        try:
            if disk.is_pipe(self.path):
                return Pipe(disk, self.path, self._on_event)
            fd = disk.open_to_append(self.path)
            if not stat.S_ISREG(disk.stat(fd).st_mode):
                return Stream(disk, fd, ours=True)
            disk.close(fd)
            # Where a link leads, so that the file is renamed and not the link.
            path = os.path.realpath(self.path)
            self._segments = Segments(path, self._config, wall_clock, self._on_event)
            file = DurableFile(path, self._segments, disk, self._on_event)
            file.open()
        except LockedError as error:
            raise SinkError(
                f"cannot write to {self.path}: another process is writing it, and two would mix their lines"
            ) from error
        except OSError as error:
            problem = error.strerror or os.strerror(error.errno or 0)
            raise SinkError(f"cannot open {self.path} for writing: {problem}") from error
        return file

    async def _write_until_end(self, records: trio.MemoryReceiveChannel[list[Record]]) -> None:
        while batch := await self._gather(records):
            data = b"".join([record.lines() for record in batch])
            lines = sum(map(len, batch))
            await self._commit(data, lines)
            self._acknowledge(batch, lines)

    def _acknowledge(self, batch: list[Record], lines: int) -> None:  # noqa: ARG002 - tests want to know which
        self.lines_written += lines
        self._writes += 1
        self._trouble = ""
        self._on_written()

    async def _gather(self, records: trio.MemoryReceiveChannel[list[Record]]) -> list[Record]:
        """Return the next batch; an empty one when the channel has ended."""
        batch = await self._next(records, math.inf)
        lines = sum(map(len, batch))
        most = max(_MOST_LINES, self._config.max_batch)
        until = trio.current_time() + self._config.flush_interval
        while batch and lines < most:
            try:
                more = (
                    await self._next(records, until)
                    if lines < self._config.max_batch
                    else records.receive_nowait()
                )
            except (trio.EndOfChannel, trio.WouldBlock):
                break
            if not more:
                break
            batch += more
            lines += sum(map(len, more))
        self._lines_in += lines
        return batch

    async def _next(self, records: trio.MemoryReceiveChannel[list[Record]], until: float) -> list[Record]:
        """Return what comes next, a list of our own; empty at the end, or at ``until``. Tend the file too."""
        while True:
            with trio.move_on_at(min(until, max(self._looked_at + _TICK, trio.current_time()))):
                try:
                    return list(await records.receive())
                except trio.EndOfChannel:
                    return []
            if trio.current_time() >= until:
                return []
            await self._tend()

    async def _tend(self) -> None:
        """Look after the file when nothing is written."""
        alarms = self._target.counters.alarms
        try:
            await self._in_thread(partial(self._target.tend, trio.current_time()))
        except OSError as error:
            self._be_in_trouble(error, alarms)
        else:
            self._trouble = ""
        self._looked_at = trio.current_time()

    async def _commit(self, data: bytes, lines: int) -> None:
        pause = self._config.retry_first
        rewrites, alarms = self._target.counters.rewrites, self._target.counters.alarms
        while True:
            try:
                await self._in_thread(partial(self._target.commit, data, trio.current_time()))
            except OSError as error:
                if error.errno in _READER_GONE:
                    raise ReaderGoneError from error
                self._be_in_trouble(error, alarms)
                await self._rest(pause)
                pause = min(pause * 2, self._config.retry_longest)
            else:
                self._lines_rewritten += lines * (self._target.counters.rewrites - rewrites)
                self._looked_at = trio.current_time()
                return

    def _be_in_trouble(self, error: OSError, alarms: int) -> None:
        """Note why no line is accepted; one alarm for as long, but for the target's own since ``alarms``."""
        self._alarms += not self._trouble and self._target.counters.alarms == alarms
        self._trouble = _problem(error)

    async def _rest(self, pause: float) -> None:
        """Say what is wrong and wait before the next attempt, unless somebody asks for it."""
        self._failures += 1
        self._on_event("sink.write_failed", path=self.path, problem=self._trouble, retry_in=pause)
        self._nudge = trio.Event()
        with trio.move_on_after(pause):
            await self._nudge.wait()

    async def _in_thread(self, call: Callable[[], Any]) -> None:
        # Abandoned, since the end of the run must not wait for a disk that hangs; until the call is over the
        # descriptor must stay ours, or somebody else's file would get its number and our lines.
        self._busy = True
        await trio.to_thread.run_sync(self._and_then_idle, call, abandon_on_cancel=True)

    def _and_then_idle(self, call: Callable[[], Any]) -> None:
        try:
            call()
        finally:
            self._busy = False

    async def _keep_house(self, segments: Segments) -> None:
        """Compress and delete closed files, off the way of the lines."""
        limiter = trio.CapacityLimiter(1)
        rotated = -1
        while True:
            if self._target.counters.rotated != rotated:
                rotated = self._target.counters.rotated
                await trio.to_thread.run_sync(segments.keep_house, limiter=limiter, abandon_on_cancel=True)
            await trio.sleep(_HOUSEKEEPING)


def _problem(error: OSError) -> str:
    return error.strerror or os.strerror(error.errno or 0)
