"""Every call that the file sink makes to the operating system, in one place.

What not every system has is guarded here. Tests put a disk in its place that fails on demand, or that
remembers what a power cut would have left.
"""

# ruff: noqa: PTH104, PTH108, PTH116, PTH123 - these are the system's calls; a Path would be made for each of them

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Data = bytes | memoryview

_BEST_EFFORT_DIRECTORY = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR}
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}
_COMMON = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_fdatasync = getattr(os, "fdatasync", os.fsync)
_fcntl: Any = None
with contextlib.suppress(ImportError):
    # Windows has none, and its own locks would keep readers from the file as well.
    _fcntl = importlib.import_module("fcntl")


class Disk:
    """The disk as it is; every method raises OSError as the call below it does."""

    renames_open_files = sys.platform != "win32"

    def open_to_append(self, path: str) -> int:
        """Open ``path`` so that the kernel puts each write at the end; it is made when it is not there."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _COMMON, 0o644)

    def is_pipe(self, path: str) -> bool:
        """Whether a named pipe is at ``path``."""
        try:
            return stat.S_ISFIFO(os.stat(path).st_mode)
        except FileNotFoundError:
            return False

    def open_pipe(self, path: str) -> int:
        """Open a named pipe that somebody reads; writing to it blocks while it is full.

        Raises:
            OSError: with ENXIO when nobody has it open to read.
        """
        fd = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | _COMMON)
        os.set_blocking(fd, True)
        return fd

    def lock(self, fd: int) -> bool:
        """Keep other writers out until the descriptor is closed; False where there are no such locks.

        Raises:
            BlockingIOError: somebody else has it.
        """
        if _fcntl is None:
            return False
        try:
            _fcntl.flock(fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                return False
            raise
        return True

    def write(self, fd: int, data: Data) -> int:
        """Write what the kernel takes of ``data``, at least a byte."""
        taken = os.write(fd, data)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return taken

    def sync(self, fd: int) -> None:
        """Return when all that was written is on the disk, with the size; times may be missing."""
        _fdatasync(fd)

    def sync_directory(self, path: str) -> None:
        """Return when the names in a directory are on the disk, where the system can say so."""
        try:
            fd = os.open(path, os.O_RDONLY | _COMMON)
        except OSError as error:
            if error.errno in _BEST_EFFORT_DIRECTORY:
                return
            raise
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in _BEST_EFFORT_DIRECTORY:
                raise
        finally:
            os.close(fd)

    def stat(self, fd: int) -> os.stat_result:
        """Return what is known of an open file."""
        return os.fstat(fd)

    def look(self, path: str) -> os.stat_result | None:
        """Return what is known of the file at ``path``, None when there is none."""
        try:
            return os.stat(path)
        except FileNotFoundError:
            return None

    def read(self, path: str, offset: int) -> bytes:
        """Return the bytes of a file from ``offset`` on."""
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read()

    def truncate(self, fd: int, size: int) -> None:
        """Cut an open file off at ``size``."""
        os.ftruncate(fd, size)

    def rename(self, path: str, name: str) -> None:
        """Give a file another name, which nobody has."""
        os.rename(path, name)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def close(self, fd: int) -> None:
        """Close a descriptor; what it has to say is of no use any more."""
        with contextlib.suppress(OSError):
            os.close(fd)
