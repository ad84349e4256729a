"""A disk that fails on demand, in the place of the one that the JSONL sink writes to."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.sinks.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


@attrs.define
class FlakyDisk:
    """Stands between the sink and the disk; threads run in line, so that virtual time can be used.

    Attributes:
        error: the errno that every write fails with; 0 lets them through.
        every: every so many writes one fails for lack of room; 0: none does.
        most: bytes that one write takes; the rest must be written again.
        seconds: how long a batch takes.
        sizes: bytes taken by each write that succeeded.
        attempts: when each write was tried, in Trio's seconds.
    """

    error: int = 0
    every: int = 0
    most: int = 1 << 30
    seconds: float = 0.0
    sizes: list[int] = attrs.field(factory=list)
    attempts: list[float] = attrs.field(factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FlakyDisk:
        """Put the disk in its place until the end of the test."""
        monkeypatch.setattr(Disk, "write", lambda _disk, fd, data: self.write(fd, data))
        monkeypatch.setattr(trio.to_thread, "run_sync", self.run_in_line)
        return self

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write to the real file what this disk takes."""
        self.attempts.append(trio.current_time())
        error = self.error or (errno.ENOSPC if self.every and not len(self.attempts) % self.every else 0)
        if error:
            raise OSError(error, os.strerror(error))
        self.sizes.append(os.write(fd, data[: self.most]))
        return self.sizes[-1]

    async def run_in_line(self, function: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
        """Stand in for `trio.to_thread.run_sync`."""
        batch = any(isinstance(each, partial) and each.func.__name__ == "commit" for each in arguments)
        await trio.sleep(self.seconds if batch else 0)
        return function(*arguments)
