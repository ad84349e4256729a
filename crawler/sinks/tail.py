"""Mending the end of a file that somebody died over: only whole lines may be followed by new ones.

A process that was killed leaves at worst a part of a line; a power cut may also leave zeros where lines were
about to be. Neither was acknowledged. What is cut off is kept aside, for people, in ``<file>.torn``.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.sinks.disk import Disk

TORN = ".torn"

_WINDOW = 1 << 20
_LONGEST_TAIL = 1 << 26


class NoLinesError(OSError):
    """A file has no line end for so long that it can't be one of ours."""


def mend(disk: Disk, fd: int, path: str, size: int) -> int:
    """Cut the open file at ``path`` off after its last whole line and return how many bytes that took.

    Raises:
        OSError: it can't be read or cut, or what is cut off can't be kept.
        NoLinesError: what would be cut off is too long to be a line; nothing was changed.
    """
    if size == 0:
        return 0
    torn = _torn_tail(disk, path, size)
    if torn:
        _keep(disk, path + TORN, torn)
        disk.truncate(fd, size - len(torn))
        disk.sync(fd)
    return len(torn)


def _torn_tail(disk: Disk, path: str, size: int) -> bytes:
    window = _WINDOW
    while True:
        offset = max(0, size - window)
        end = disk.read(path, offset)
        zeros = end.find(b"\0")
        whole = end.rfind(b"\n", 0, len(end) if zeros < 0 else zeros) + 1
        if whole or offset == 0:
            return end[whole:]
        if window >= _LONGEST_TAIL:
            raise NoLinesError(errno.EINVAL, f"no line end in its last {window >> 20} MiB")
        window *= 8


def _keep(disk: Disk, path: str, torn: bytes) -> None:
    """Append ``torn`` to what was kept before, as lines of their own."""
    fd = disk.open_to_append(path)
    try:
        rest = memoryview(torn + b"\n")
        while rest:
            rest = rest[disk.write(fd, rest) :]
        disk.sync(fd)
    finally:
        disk.close(fd)
