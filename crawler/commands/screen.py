"""Where a command's words go: results to stdout, a line at a time; the rest to stderr, with a live line.

The live line is there only on a terminal, and never in the way: it is taken off before anything else is
written, since both streams may end on the same screen.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from crawler.commands.complaint import complain
from crawler.commands.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable

_USUAL_COLUMNS: Final = 80


class Screen:
    """Both streams of a command.

    Args:
        json: results are JSON objects and not lines for people.
        verbose: `event` is heard.

    Attributes:
        json: as above.
        reader_gone: whether results can't be written any more.
        trouble: why not, as the system says it; empty when a reader just went away.
        on_reader_gone: is called when that is found out.
    """

    def __init__(self, *, json: bool = False, verbose: bool = False) -> None:
        self.json = json
        self.on_reader_gone: Callable[[], None] = _nothing
        self._verbose = verbose
        self._live = ""
        self.reader_gone = False
        self.trouble = ""
        # A stream that was closed before we began is None.
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self.has_live_line = terminal and os.environ.get("TERM") != "dumb"
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A name may have characters that the terminal's encoding lacks.
                stream.reconfigure(errors="backslashreplace")

    def line(self, text: str = "") -> None:
        """Write a line of results, at once. Strangers' words in it must be `visible` already."""
        if self.reader_gone:
            return
        self.take_off()
        try:
            print(text, flush=True)  # noqa: T201 - the command's output
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.trouble = error.strerror or str(error)
            self.reader_gone = True
            self.on_reader_gone()

    def record(self, **fields: Any) -> None:
        """Write a result as one JSON object, all of it ASCII."""
        self.line(json.dumps(fields, ensure_ascii=True, separators=(",", ":")))

    def event(self, name: str, **fields: Any) -> None:
        """Write what happened to stderr, when somebody wants to know."""
        if self._verbose:
            words = [f"{key}={visible(str(value))}" for key, value in fields.items()]
            self.remark("  ".join([f"{name:12}", *words]))

    def remark(self, text: str) -> None:
        """Write a line to stderr."""
        self.take_off()
        complain(text)

    def live(self, text: str) -> None:
        """Show ``text``, plain ASCII, in place of the live line before."""
        if not self.has_live_line:
            return
        shown = text[: _columns() - 1]
        self._write_live("\r" + shown.ljust(len(self._live)))
        self._live = shown

    def take_off(self) -> None:
        """Take the live line off the screen."""
        if self._live:
            self._write_live("\r" + " " * len(self._live) + "\r")
            self._live = ""

    def _write_live(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self.has_live_line = False


def _columns() -> int:
    """Return how wide the terminal is; one that does not know says 0."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def _nothing() -> None:
    """Do nothing."""
