"""The log's own thread: lines in, one write a batch out, and never a wait for whoever logs."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_RETRY = 0.02  # seconds to wait when somebody made the stream non-blocking and it is full


class LineWriter:
    """A bounded queue of lines, written by one daemon thread, with a live line kept below them.

    in = written + dropped + lost + held: `dropped` when the queue was full, `lost` when the stream failed.
    """

    def __init__(
        self, write: Callable[[memoryview], int], capacity: int, notice: Callable[[int], bytes]
    ) -> None:
        """Start the thread.

        Args:
            write: writes to the stream and returns how many bytes it took, as os.write does; may block, may
                raise OSError or ValueError (closed).
            capacity: the most lines held.
            notice: gives the line that reports so many dropped lines.
        """
        self._write = write
        self._capacity = capacity
        self._notice = notice
        self._lines: deque[bytes] = deque()
        self._live = ""
        self._live_changed = False
        self._closing = False
        self._unreported = 0
        self._changed = threading.Condition()
        self.dropped = 0
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue one line, newline included; drop it when the queue is full or closed."""
        with self._changed:
            if self._closing or len(self._lines) >= self._capacity:
                self.dropped += 1
                self._unreported += 1
            else:
                self._lines.append(line)
                self._changed.notify()

    def show(self, live: str) -> None:
        """Keep ``live`` as the last line, without a newline, below everything logged; empty for none."""
        with self._changed:
            self._live, self._live_changed = live, True
            self._changed.notify()

    def close(self, timeout: float) -> None:
        """Write what is held and take the live line away, for at most ``timeout`` seconds."""
        with self._changed:
            self._live, self._live_changed = "", True
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        shown = ""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._live_changed or self._closing)
                if not self._lines and not self._live_changed:
                    return
                lines = list(self._lines)
                self._lines.clear()
                live, self._live_changed = self._live, False
                unreported, self._unreported = self._unreported, 0
            if unreported:
                lines.append(self._notice(unreported))
            # Spaces instead of an escape sequence: every terminal knows them.
            wipe = f"\r{' ' * len(shown)}\r".encode() if shown else b""
            self._deliver(wipe + b"".join(lines) + live.encode("utf-8", "replace"), len(lines))
            shown = live

    def _deliver(self, data: bytes, lines: int) -> None:
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[self._write(view) :]
                except BlockingIOError:
                    time.sleep(_RETRY)
        except (OSError, ValueError):  # the reader of the stream is gone; the crawl is not
            self.lost += lines
