"""A disk in memory that fails on demand and knows what a power cut would leave of it.

It remembers every call, so that the disk as it was on the platters can be had for every moment: names reach
them when their directory is synced, bytes when their file is. As on Linux, a sync that fails drops what it
should have written: a later one that succeeds does not bring it back.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from crawler.sinks.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

DIRTY, LOST, SAFE = "dirty", "lost", "safe"


@attrs.define
class Piece:
    """Bytes that were written at once."""

    data: bytes
    state: str = DIRTY


@attrs.define(eq=False)
class Inode:
    """A file, whatever its name."""

    number: int
    pieces: list[Piece] = attrs.field(factory=list)
    on_platters: list[Piece] = attrs.field(factory=list)
    links: int = 1
    locked_by: int | None = None

    @property
    def size(self) -> int:
        return sum(len(piece.data) for piece in self.pieces)

    def cut(self, size: int) -> None:
        kept, room = [], size
        for piece in self.pieces:
            if room:
                kept.append(Piece(piece.data[:room], piece.state))
                room -= len(kept[-1].data)
        self.pieces = kept

    def sync(self) -> None:
        for piece in self.pieces:
            piece.state = SAFE if piece.state == DIRTY else piece.state
        self.on_platters = [Piece(piece.data, piece.state) for piece in self.pieces]

    def lose(self) -> None:
        for piece in self.pieces:
            piece.state = LOST if piece.state == DIRTY else piece.state

    def after_cut(self) -> bytes:
        """Return the content after a power cut: what was synced; zeros where a sync had failed."""
        return b"".join(p.data if p.state == SAFE else bytes(len(p.data)) for p in self.on_platters)

    def after_lucky_cut(self, rng: Random) -> bytes:
        """Return the content when some of what was never synced got there too, whole or as zeros."""
        safe = self.after_cut()
        rest = b"".join(piece.data for piece in self.pieces)[len(safe) :]
        rest = rest[: rng.randrange(len(rest) + 1)]
        return safe + (bytes(len(rest)) if rng.random() < 0.3 else rest)


@attrs.define(eq=False)
class MemoryDisk(Disk):
    """Files in memory, with faults.

    Attributes:
        faults: (call, how many calls of it) → errno; calls are the names of `Disk`'s methods.
        most: bytes that one write takes.
        is_full: writes fail for lack of room while this says so.
        after_call: called after every call that changes anything: the moments for a power cut.
    """

    faults: dict[tuple[str, int], int] = attrs.field(factory=dict)
    most: int = 1 << 30
    is_full: Callable[[], bool] = lambda: False
    after_call: Callable[[], None] = lambda: None
    names: dict[str, Inode] = attrs.field(factory=dict)
    names_on_platters: dict[str, Inode] = attrs.field(factory=dict)
    calls: dict[str, int] = attrs.field(factory=dict)
    _open: dict[int, Inode] = attrs.field(factory=dict)
    _numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(100))

    renames_open_files = True

    def open_to_append(self, path: str) -> int:
        self._count("open_to_append")
        if path not in self.names:
            self.names[path] = Inode(next(self._numbers))
            self.after_call()
        fd = next(self._numbers)
        self._open[fd] = self.names[path]
        return fd

    def lock(self, fd: int) -> bool:
        inode = self._open[fd]
        if inode.locked_by not in {None, fd}:
            raise BlockingIOError(errno.EAGAIN, "locked")
        inode.locked_by = fd
        return True

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._count("write")
        if self.is_full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = bytes(data[: self.most])
        self._open[fd].pieces.append(Piece(taken))
        self.after_call()
        return len(taken)

    def sync(self, fd: int) -> None:
        try:
            self._count("sync")
        except OSError:
            self._open[fd].lose()
            raise
        self._open[fd].sync()
        self.after_call()

    def sync_directory(self, path: str) -> None:
        self._count("sync_directory")
        self.names_on_platters = {
            **{name: inode for name, inode in self.names_on_platters.items() if not _is_in(path, name)},
            **{name: inode for name, inode in self.names.items() if _is_in(path, name)},
        }
        self.after_call()

    def stat(self, fd: int) -> os.stat_result:
        return _stat(self._open[fd])

    def look(self, path: str) -> os.stat_result | None:
        return _stat(self.names[path]) if path in self.names else None

    def read(self, path: str, offset: int) -> bytes:
        return self.content(path)[offset:]

    def truncate(self, fd: int, size: int) -> None:
        self._count("truncate")
        self._open[fd].cut(size)
        self.after_call()

    def rename(self, path: str, name: str) -> None:
        self._count("rename")
        assert name not in self.names
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, path)
        self.names[name] = self.names.pop(path)
        self.after_call()

    def unlink(self, path: str) -> None:
        self._count("unlink")
        self.names.pop(path).links -= 1
        self.after_call()

    def close(self, fd: int) -> None:
        inode = self._open.pop(fd)
        if inode.locked_by == fd:
            inode.locked_by = None

    def content(self, path: str) -> bytes:
        """Return what is in a file while the power is on."""
        return b"".join(piece.data for piece in self.names[path].pieces)

    def after_cut(self) -> dict[str, bytes]:
        """Return the files after a power cut that took all that was not synced."""
        return {name: inode.after_cut() for name, inode in self.names_on_platters.items()}

    def after_lucky_cut(self, rng: Random) -> MemoryDisk:
        """Return the disk after a power cut that took only some of what was not synced."""
        disk = MemoryDisk()
        for name, inode in self.names_on_platters.items():
            left = Piece(inode.after_lucky_cut(rng), SAFE)
            disk.names[name] = Inode(next(disk._numbers), [left], [left])
        return disk

    def _count(self, call: str) -> None:
        self.calls[call] = self.calls.get(call, 0) + 1
        error = self.faults.get((call, self.calls[call]))
        if error:
            raise OSError(error, os.strerror(error))


def _is_in(directory: str, name: str) -> bool:
    return str(Path(name).parent) == directory


def _stat(inode: Inode) -> os.stat_result:
    fields = (stat.S_IFREG | 0o644, inode.number, 1, inode.links, 0, 0, inode.size, 0, 0, 0)
    return os.stat_result(fields)
