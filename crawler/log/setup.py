"""The log: structlog events as one line each on stderr, for people (console) or machines (JSON lines).

A blocked or closed stderr must never block the crawl, so events go through a bounded queue to one thread (see
`writer`). The live status line of a terminal goes through the same thread, so that it and the log never write
over each other. What a line looks like is the business of `lines`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

import attrs
import structlog

from crawler.log.lines import coloured_line, console_line, explained, in_order, json_line, printable
from crawler.log.sampling import Sampler
from crawler.log.writer import LineWriter
from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from structlog.typing import EventDict, Processor

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMATS = ("console", "json")

_USUAL_COLUMNS = 80


@attrs.frozen
class LogConfig:
    """What is logged to stderr, and in which form."""

    level: str = setting("info", unit="", help="Events below this level are not logged.", choices=LEVELS)
    format: str = setting(
        "console", unit="", help="One event a line: console for people, json for machines.", choices=FORMATS
    )
    queue_size: int = setting(
        1000,
        unit="lines",
        help="Lines held while stderr takes none; later ones are dropped and counted.",
        minimum=1,
    )
    max_per_second: int = setting(
        20,
        unit="events/s",
        help="Of events of one name, more are left out and counted in `suppressed` of the next; 0: none are.",
        minimum=0,
    )


class Terminal:
    """The live status line below the log, there only where stderr is a terminal that can show it."""

    def __init__(self, writer: LineWriter | None, columns: Callable[[], int]) -> None:
        """``columns`` tells how wide the terminal is; without a writer there is none."""
        self._writer = writer
        self._columns = columns

    @property
    def is_there(self) -> bool:
        """Whether anybody can see a status line."""
        return self._writer is not None

    def show(self, text: str) -> None:
        """Show ``text``, cut to the terminal's width, in place of the line before; ``""`` takes it away."""
        if self._writer is not None:
            width = self._columns() - 1
            self._writer.show(printable(text)[:width])


@attrs.frozen
class _Running:
    """The log of the process, while there is one."""

    writer: LineWriter
    sampler: Sampler
    terminal: Terminal


_NO_TERMINAL = Terminal(None, lambda: _USUAL_COLUMNS)
_running: _Running | None = None


def terminal() -> Terminal:
    """Return the terminal that the log goes to; outside of `started`, or elsewhere, one that is not there."""
    return _NO_TERMINAL if _running is None else _running.terminal


def counts() -> dict[str, int]:
    """Return how many lines were ``dropped`` or ``lost`` (see `LineWriter`), and events ``suppressed``."""
    if _running is None:
        return {"dropped": 0, "lost": 0, "suppressed": 0}
    writer = _running.writer
    return {"dropped": writer.dropped, "lost": writer.lost, "suppressed": _running.sampler.suppressed}


def set_level(level: str) -> None:
    """Log what is of ``level`` or above from now on; outside of `started` there is nothing to change."""
    if _running is not None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


@contextlib.contextmanager
def started(config: LogConfig, stream: TextIO | None = None) -> Iterator[None]:
    """Send structlog's events to ``stream`` (stderr) in the block; then flush for at most a second."""
    global _running  # noqa: PLW0603 - structlog's configuration is the process's too
    stream = sys.stderr if stream is None else stream
    watched = stream is not None and stream.isatty()
    coloured = watched and sys.platform != "win32" and not os.environ.get("NO_COLOR")
    render = json_line if config.format == "json" else coloured_line if coloured else console_line
    writer = LineWriter(_sink(stream), config.queue_size, lambda count: _dropped(render, count))
    sampler = Sampler(config.max_per_second, time.monotonic)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            sampler,
            *_finish(render),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(config.level),
        logger_factory=lambda *_arguments: _Output(writer),
        cache_logger_on_first_use=False,
    )
    shows = watched and config.format == "console"
    seen = Terminal(writer, lambda: _columns(stream)) if shows else _NO_TERMINAL
    _running = _Running(writer, sampler, seen)
    try:
        yield
    finally:
        _running = None
        writer.close(timeout=1.0)
        structlog.reset_defaults()


class _Output:
    """What structlog calls with each finished line; every level goes the same way."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def msg(self, line: str) -> None:
        self._writer.put(line.encode("utf-8", "backslashreplace") + b"\n")

    debug = info = warning = error = critical = exception = msg


def _finish(render: Callable[[EventDict], str]) -> list[Processor]:
    """Return the processors that make an event dict safe and then one line."""
    return [
        lambda _logger, _method, event: explained(event),
        lambda _logger, _method, event: in_order(event),
        lambda _logger, _method, event: render(event),
    ]


def _dropped(render: Callable[[EventDict], str], count: int) -> bytes:
    return render(in_order({"event": "log.dropped", "level": "warning", "lines": count})).encode() + b"\n"


def _columns(stream: TextIO | None) -> int:
    """Return how wide the terminal is; a terminal that does not know says 0."""
    try:
        return (os.get_terminal_size(stream.fileno()).columns if stream is not None else 0) or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def _sink(stream: TextIO | None) -> Callable[[memoryview], int]:
    """Return what writes bytes to ``stream``, past its buffer: a thread stuck in that would hang the exit."""
    if stream is None:
        return len
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):

        def write_text(data: memoryview) -> int:
            stream.write(bytes(data).decode("utf-8", "backslashreplace"))
            stream.flush()
            return len(data)

        return write_text
    return lambda data: os.write(descriptor, data)
