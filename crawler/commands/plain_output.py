"""Writing to stdout from a thread: no buffer that the end of the process would wait for."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import Final

_READER_GONE: Final = getattr(select, "POLLERR", 0) | getattr(select, "POLLHUP", 0)


class ReaderGoneError(Exception):
    """Nobody reads our output any more."""


class PlainOutput:
    """Standard output as a descriptor."""

    def __init__(self) -> None:
        """Let what was printed before go first.

        Raises:
            OSError: it is closed.
        """
        if sys.stdout is None:
            raise OSError("standard output is closed")
        sys.stdout.flush()
        self.fd = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding or "utf-8"

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self.fd)

    def write(self, lines: list[str]) -> None:
        """Write whole lines; this blocks for as long as the reader does.

        Raises:
            ReaderGoneError: nobody will ever read it.
            OSError: it can't be written.
        """
        text = "".join(f"{line}\n" for line in lines)
        rest = memoryview(text.encode(self._encoding, "backslashreplace"))
        while rest:
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                select.select([], [self.fd], [])
            except BrokenPipeError:
                raise ReaderGoneError from None

    def has_reader(self) -> bool:
        """Whether anybody may still read, as far as can be told without writing."""
        with contextlib.suppress(AttributeError, OSError):
            poll = select.poll()
            poll.register(self.fd, 0)
            return not any(events & _READER_GONE for _, events in poll.poll(0))
        return True
