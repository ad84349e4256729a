"""A file of lines that are on the disk when we say so.

The rules, each with its reason:

- A batch is *acknowledged* when it was wholly written and the sync after it returned. A write that was cut
  short is finished; a disk without room is tried again on the same descriptor.
- After a failed sync, or an error that is not about room, nothing more is done with that descriptor: the
  kernel may have forgotten which pages never reached the disk, so a second sync that succeeds means nothing.
  The file is cut back to what was acknowledged and put aside, and the batch goes into a new file.
- Whoever renames or removes the file is followed. While nothing is at the path yet (logrotate is about to
  create it) lines still go into the old file for a moment, so that we don't get in its way.
- The exclusive lock is on the file itself: it goes where the file goes, and ends with the process.
"""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.sinks.tail import mend
from crawler.sinks.target import TargetCounters

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from crawler.sinks.disk import Disk
    from crawler.sinks.segments import Segments

_WAIT = {errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EPIPE}
_GRACE = 0.25  # seconds
_TRIES = 3
_ROTATE_AGAIN = 60.0  # seconds until a file that could not be renamed is tried again


class LockedError(OSError):
    """Another process writes the file."""


class DurableFile:
    """The file at a path, whichever that is at the moment."""

    def __init__(
        self,
        path: str,
        segments: Segments,
        disk: Disk,
        report: Callable[..., None],
    ) -> None:
        """Open nothing yet.

        Args:
            path: where the file is, or is to be made.
            segments: knows when a file is to be closed, and what becomes of it.
            disk: makes the calls.
            report: told of events, from the thread that the calls are made in.
        """
        self.counters = TargetCounters()
        self._path = path
        self._segments = segments
        self._disk = disk
        self._report = report
        self._fd: int | None = None
        self._size = 0  # of the file, all of it acknowledged or older than us
        self._done = 0  # bytes of the batch that are written, and come after `_size`
        self._asked = False
        self._missing_since: float | None = None
        self._rotate_after = 0.0

    def open(self) -> None:
        """Open and lock the file and mend its end; on a full disk that is left to the first batch.

        Raises:
            LockedError: another process writes it.
            OSError: it can't be opened, or is no file of lines.
        """
        try:
            self._take(self._opened())
        except LockedError:
            raise
        except OSError as error:
            if error.errno not in _WAIT:
                raise
            self._report("sink.not_opened_yet", path=self._path, problem=_problem(error))

    def commit(self, data: bytes, now: float) -> None:
        """Write and sync ``data``; see `Target`."""
        self._follow(now)
        if self._fd is None:
            self._take(self._opened())
        elif self._is_due(len(data)):
            self._rotate(now)
        fd = self._descriptor()
        try:
            self._append(fd, data)
        except OSError as error:
            if error.errno not in _WAIT:
                self._put_aside(fd, error)
            raise
        try:
            self._disk.sync(fd)
            after = self._disk.stat(fd)
        except OSError as error:
            self._put_aside(fd, error)
            raise
        if after.st_nlink == 0:
            self._forget(fd)
            raise FileNotFoundError(errno.ENOENT, "the file was deleted while it was written")
        self._size, self._done = after.st_size, 0

    def tend(self, now: float) -> None:
        """Follow the file, and close it when it is old enough."""
        self._follow(now)
        if self._fd is None:
            self._take(self._opened())
        elif self._is_due(0):
            self._rotate(now)

    def reopen(self) -> None:
        """At the next call, a file that is not at its path any more gets no time of grace."""
        self._asked = True

    def close(self) -> None:
        """Close the file, which ends the lock."""
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None

    def _append(self, fd: int, data: bytes) -> None:
        if not self._done:
            self._size = self._disk.stat(fd).st_size
        view = memoryview(data)
        while self._done < len(view):
            taken = self._disk.write(fd, view[self._done :])
            self._done += taken
            self.counters.bytes_written += taken

    def _follow(self, now: float) -> None:
        """Go on at the path when the open file is there no more."""
        if self._fd is None:
            return
        try:
            mine = self._disk.stat(self._fd)
        except OSError:
            self._forget(self._fd)  # a network disk that knows the file no more
            raise
        try:
            here = self._disk.look(self._path)
        except OSError:
            return
        if here is not None and _same(here, mine):
            self._asked, self._missing_since = False, None
            return
        if here is None and not self._asked and mine.st_nlink:
            if self._missing_since is None:
                self._missing_since = now
            if now - self._missing_since < _GRACE:
                return
        if self._switch():
            self.counters.reopened += 1
            self._report("sink.reopened", path=self._path)

    def _switch(self) -> bool:
        """Leave the open file for the one at the path; stay, and return False, when that can't be opened."""
        old = self._descriptor()
        try:
            new = self._opened()
        except OSError as error:
            if self._disk.stat(old).st_nlink == 0:
                self._forget(old)
                raise
            self._report("sink.reopen_failed", path=self._path, problem=_problem(error))
            return False
        with contextlib.suppress(OSError):
            self._cut_back(old)
        self._forget(old)
        self._take(new)
        return True

    def _is_due(self, more: int) -> bool:
        # Neither in the midst of a batch nor while the file is not where we would take it from.
        whole = not self._done and self._missing_since is None
        return whole and self._segments.is_due(self._size, more)

    def _rotate(self, now: float) -> None:
        """Close the file under another name and begin a new one; stay with it when that fails."""
        if now < self._rotate_after:
            return
        self._rotate_after = now + _ROTATE_AGAIN
        name = self._segments.next_name()
        fd = self._descriptor()
        if not self._disk.renames_open_files:
            self._forget(fd)
        try:
            self._disk.rename(self._path, name)
            if self._fd is None:
                self._take(self._opened())
            elif not self._switch():
                self._disk.rename(name, self._path)
                return
        except OSError as error:
            self._report("sink.rotate_failed", path=self._path, problem=_problem(error))
            if self._fd is None:
                self._take(self._opened())
            return
        self._rotate_after = 0.0
        self.counters.rotated += 1
        self._report("sink.rotated", path=self._path, closed=name)

    def _put_aside(self, fd: int, error: OSError) -> None:
        """Leave a file whose disk failed, with what was acknowledged in it, and never touch it again."""
        kept = ""
        with contextlib.suppress(OSError):
            at_path = self._is_at_path(fd)
            self._cut_back(fd)
            if at_path and self._size:
                kept = self._segments.next_name(failed=True)
                self._disk.rename(self._path, kept)
            elif at_path:
                self._disk.unlink(self._path)
        self._forget(fd)
        self.counters.alarms += 1
        self._report("sink.disk_failed", path=self._path, problem=_problem(error), kept_as=kept)

    def _cut_back(self, fd: int) -> None:
        """Take the begun batch out of a file that it won't be finished in, if it is the last thing there."""
        if self._done:
            self.counters.rewrites += 1
            if self._disk.stat(fd).st_size == self._size + self._done:
                self._disk.truncate(fd, self._size)

    def _forget(self, fd: int) -> None:
        self._disk.close(fd)
        self._fd, self._done = None, 0
        self._missing_since = None

    def _take(self, fd: int) -> None:
        self._fd, self._done = fd, 0
        info = self._disk.stat(fd)
        self._size = info.st_size
        self._segments.began(info.st_mtime if self._size else None)
        self._asked, self._missing_since = False, None

    def _descriptor(self) -> int:
        if self._fd is None:
            raise OSError(errno.EBADF, "the file is not open")
        return self._fd

    def _is_at_path(self, fd: int) -> bool:
        here = self._disk.look(self._path)
        return here is not None and _same(here, self._disk.stat(fd))

    def _opened(self) -> int:
        """Return a descriptor of the file at the path: locked, its end mended, its name on the disk."""
        for _ in range(_TRIES):
            fd = self._disk.open_to_append(self._path)
            try:
                self._lock(fd)
                if self._is_at_path(fd):
                    self._mend(fd)
                    self._disk.sync_directory(str(Path(self._path).parent))
                    return fd
            except BaseException:
                self._disk.close(fd)
                raise
            # It was renamed between the opening and the lock.
            self._disk.close(fd)
        raise OSError(errno.ESTALE, "it is renamed again and again")

    def _lock(self, fd: int) -> None:
        try:
            locked = self._disk.lock(fd)
        except BlockingIOError as error:
            raise LockedError(errno.EAGAIN, "another process is writing it") from error
        if not locked:
            self._report("sink.not_locked", path=self._path)

    def _mend(self, fd: int) -> None:
        cut = mend(self._disk, fd, self._path, self._disk.stat(fd).st_size)
        if cut:
            self.counters.torn += 1
            self._report("sink.torn_line", path=self._path, bytes=cut, kept_as=self._path + ".torn")


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _problem(error: OSError) -> str:
    return error.strerror or str(error)
