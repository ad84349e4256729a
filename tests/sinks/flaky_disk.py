"""A disk that fails on demand, in the place of the one that the JSONL sink writes to."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.sinks import jsonl

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


@attrs.define
class FlakyDisk:
    """Stands between the sink and `os.write`; threads run in line, so that virtual time can be used.

    Attributes:
        error: the errno that every write fails with; 0 lets them through.
        most: bytes that one write takes; the rest must be written again.
        seconds: how long a write takes.
        sizes: bytes taken by each write that succeeded.
        attempts: when each write was tried, in Trio's seconds.
    """

    error: int = 0
    most: int = 1 << 30
    seconds: float = 0.0
    sizes: list[int] = attrs.field(factory=list)
    attempts: list[float] = attrs.field(factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FlakyDisk:
        """Put the disk in its place until the end of the test."""
        monkeypatch.setattr(jsonl, "os", SimpleNamespace(**{**vars(os), "write": self.write}))
        monkeypatch.setattr(trio.to_thread, "run_sync", self.run_in_line)
        return self

    def write(self, fd: int, data: memoryview) -> int:
        """Write to the real file what this disk takes."""
        self.attempts.append(trio.current_time())
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self.sizes.append(os.write(fd, data[: self.most]))
        return self.sizes[-1]

    async def run_in_line(self, function: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
        """Stand in for `trio.to_thread.run_sync`."""
        await trio.sleep(self.seconds if function == self.write else 0)
        return function(*arguments)
