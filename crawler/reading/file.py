"""A file of lines that others write, rename, cut off and empty while it is read.

The place in the file is always the start of a line, so a line whose end is not there yet is simply read
again. With it goes what was read just before: it must still be there at the next reading. When it is not, the
file was emptied or cut off, even if it has long grown past that place again.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from crawler.reading.lines import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crawler.reading.config import ReadingConfig

_REMEMBERED: Final = 1 << 16  # bytes, within which a file may be cut off without being read anew
_MARK: Final = 256  # bytes of it that are compared at each reading


class GrowingFile:
    """One open file, whatever its name is by now."""

    def __init__(self, path: str, config: ReadingConfig) -> None:
        """Open the file at ``path``, to be read from its start.

        Raises:
            OSError: it can't be opened, or is no regular file.
        """
        self._file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115 - open until `close`
        info = os.fstat(self._file.fileno())
        if not stat.S_ISREG(info.st_mode):
            self._file.close()
            raise OSError(errno.EINVAL, "it is no regular file")
        self.identity = (info.st_dev, info.st_ino)
        self.times_emptied = 0
        self._config = config
        self._place = 0
        self._before = b""  # the bytes before it
        self._skips = False  # the place is in a line that is too long

    @property
    def size(self) -> int:
        """Bytes that it has now."""
        return os.fstat(self._file.fileno()).st_size

    def start(self) -> bytes:
        """Return its first bytes, enough to tell it from other files of records."""
        return self._bytes(0, 1 << 12)

    def go_to_last(self, count: int, wanted: Callable[[bytes], bool]) -> None:
        """Go to where the last ``count`` of the lines begin that are ``wanted``; this may read all of it."""
        end = place = self._after_last_end()
        held, carried = 0, b""
        while end and held < count:
            begin = max(0, end - self._config.piece)
            data = self._bytes(begin, end - begin) + carried
            first = data.find(b"\n") + 1 if begin else 0
            for start, line in _lines_from_the_last(data[first:], begin + first):
                if held < count and len(line) <= self._config.max_line and wanted(line):
                    held, place = held + 1, start
            carried = data[:first]
            if len(carried) > self._config.max_line:
                carried = b"\0" * self._config.max_line + b"\0\n"  # still too long to be wanted
            end = begin
        self._go(place)

    def read(self) -> Piece:
        """Return the next lines.

        Raises:
            OSError: it can't be read.
        """
        mark = self._before[-_MARK:]
        data = self._bytes(self._place - len(mark), len(mark) + self._config.piece)
        if data[: len(mark)] != mark:
            return self._find_place()
        fresh = data[len(mark) :]
        end = fresh.rfind(b"\n") + 1
        if len(fresh) >= self._config.piece and not end and not self._skips:
            fresh = self._bytes(self._place, self._config.max_line + 1)
            end = fresh.rfind(b"\n") + 1
            if len(fresh) > self._config.max_line and not end:
                self._skips = True
        return self._taken(fresh, end)

    def rest(self) -> bytes:
        """Return what follows the last line end, nothing when that is part of a line too long."""
        return b"" if self._skips else self._bytes(self._place, self._config.max_line)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _taken(self, fresh: bytes, end: int) -> Piece:
        """Take the lines off ``fresh`` that end there, the last at ``end``, and go on behind them."""
        if self._skips:
            over = fresh.find(b"\n") + 1
            if not over:
                self._advance(fresh)
                return Piece(busy=bool(fresh))
            self._skips = False
            lines = fresh[over:end].split(b"\n")[:-1]
        else:
            over = 0
            lines = fresh[:end].split(b"\n")[:-1]
        self._advance(fresh[:end])
        short = [line for line in lines if len(line) <= self._config.max_line]
        return Piece(short, overlong=len(lines) - len(short) + bool(over), busy=bool(end))

    def _find_place(self) -> Piece:
        """Go to where it was cut off, if that is near; else to its start, since it was written anew."""
        start, size = self._place - len(self._before), self.size
        self._skips = False
        if start < size < self._place:
            left = self._before[: size - start]
            whole = left.rfind(b"\n") + 1
            if self._bytes(start, len(left)) == left and (whole or not start):
                self._before = left[:whole]
                self._place = start + whole
                return Piece(busy=True)
        self._place, self._before = 0, b""
        self.times_emptied += 1
        return Piece(busy=True)

    def _go(self, place: int) -> None:
        start = max(0, place - _REMEMBERED)
        self._before = self._bytes(start, place - start)
        self._place = start + len(self._before)

    def _after_last_end(self) -> int:
        end = self.size
        while end:
            begin = max(0, end - self._config.piece)
            found = self._bytes(begin, end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
        return 0

    def _advance(self, data: bytes) -> None:
        self._place += len(data)
        self._before = (self._before + data[-_REMEMBERED:])[-_REMEMBERED:]

    def _bytes(self, place: int, size: int) -> bytes:
        # One descriptor and one reader: a position of its own, as pread has, is not to be had everywhere.
        self._file.seek(place)
        return self._file.read(size) or b""


def _lines_from_the_last(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of ``data``, which begins at ``start``, with where they begin, the last one first."""
    place = start + len(data)
    for line in reversed(data.split(b"\n")[:-1]):
        place -= len(line) + 1
        yield place, line
