"""What a JSONL sink writes to. Here the simple kinds: a pipe, a terminal, a device or standard output.

The calls of a target may block, so they are made in a thread, one at a time. Nothing can be asked of a stream
but that it takes what is written: it has no size, no name to follow, and syncing it means nothing.
"""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import TYPE_CHECKING, Protocol

import attrs

from crawler.sinks.base import SinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.sinks.disk import Disk


@attrs.define
class TargetCounters:
    """What happened to a target since it was opened; see `SinkStatistics`."""

    bytes_written: int = 0
    alarms: int = 0
    rewrites: int = 0
    torn: int = 0
    reopened: int = 0
    rotated: int = 0


class Target(Protocol):
    """Where a sink writes."""

    counters: TargetCounters

    def commit(self, data: bytes, now: float) -> None:
        """Write ``data`` at ``now``, seconds that only grow, and return when it is as safe as it can be.

        After an error the same ``data`` must be given again, until it has gone through.

        Raises:
            OSError: it is not there yet.
        """

    def tend(self, now: float) -> None:
        """Do what is due with nothing to write."""

    def reopen(self) -> None:
        """At the next call, look at once whether the file was renamed."""

    def close(self) -> None:
        """Let go."""


class Stream:
    """A descriptor that takes bytes, and no more is known of it."""

    def __init__(self, disk: Disk, fd: int, *, ours: bool) -> None:
        """Write to ``fd``, which is closed at the end if it is ``ours``."""
        self.counters = TargetCounters()
        self._disk = disk
        self._fd = fd
        self._ours = ours
        self._done = 0

    def commit(self, data: bytes, now: float) -> None:  # noqa: ARG002 - a stream is never too old
        """Write ``data``, from where the last attempt at it stopped."""
        view = memoryview(data)
        while self._done < len(view):
            taken = self._disk.write(self._fd, view[self._done :])
            self._done += taken
            self.counters.bytes_written += taken
        self._done = 0

    def tend(self, now: float) -> None:
        """Nothing is ever due."""

    def reopen(self) -> None:
        """A stream has no name that could lead elsewhere now."""

    def close(self) -> None:
        """Close what is ours; standard output stays open."""
        if self._ours:
            self._disk.close(self._fd)


class Pipe:
    """A named pipe: a stream that is there once somebody reads it."""

    def __init__(self, disk: Disk, path: str, report: Callable[..., None]) -> None:
        """Open the pipe at ``path``, or leave that for later and ``report`` it when nobody reads it yet.

        Raises:
            OSError: it can't be opened for another reason.
        """
        self.counters = TargetCounters()
        self._disk = disk
        self._path = path
        self._stream: Stream | None = None
        try:
            self._opened()
        except _NoReaderError as error:
            report("sink.not_opened_yet", path=path, problem=error.strerror)

    def commit(self, data: bytes, now: float) -> None:
        """Write ``data``, if anybody reads it."""
        self._opened().commit(data, now)

    def tend(self, now: float) -> None:  # noqa: ARG002 - a pipe is never too old
        """Let a reader that has come know that we are there."""
        self._opened()

    def reopen(self) -> None:
        """Nobody renames a pipe to rotate it."""

    def close(self) -> None:
        """Tell the reader that this was all."""
        if self._stream is not None:
            self._stream.close()

    def _opened(self) -> Stream:
        # An open that waits for a reader would hang, unheard, before the first log line.
        if self._stream is None:
            try:
                fd = self._disk.open_pipe(self._path)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                raise _NoReaderError(errno.ENXIO, "nobody reads this pipe yet") from error
            self._stream = Stream(self._disk, fd, ours=True)
            self._stream.counters = self.counters
        return self._stream


class _NoReaderError(OSError):
    """Nobody has the pipe open to read."""


def standard_output(disk: Disk) -> Stream:
    """Return the stream to stdout.

    Raises:
        SinkError: it is closed.
    """
    if sys.stdout is None:
        raise SinkError("cannot write to standard output: it is closed")
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return Stream(disk, sys.stdout.fileno(), ours=False)
    return Stream(disk, 1, ours=False)
