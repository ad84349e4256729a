"""The log: structlog events as one line each on stderr, for people (console) or machines (JSON lines).

A blocked or closed stderr must never block the crawl, so events go through a bounded queue to one thread (see
`writer`). What strangers sent may stand in an event: text is escaped and cut here, in one place, whoever
logged it. The live status line of a terminal goes through the same thread, so that it and the log never write
over each other.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import structlog

from crawler.log.sampling import Sampler
from crawler.log.writer import LineWriter
from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from structlog.typing import EventDict, Processor

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMATS = ("console", "json")

_LONGEST_TEXT = 200  # characters of any one value
_LONGEST_TRACEBACK = 64 * 1024  # characters
_MOST_ITEMS = 200  # of one list or mapping in an event
_DEEPEST = 4  # mappings within mappings
_USUAL_COLUMNS = 80
_INT64 = range(-(1 << 63), 1 << 63)
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


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
            self._writer.show(_printable(text)[:width])


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
    render = _json_line if config.format == "json" else _coloured_line if coloured else _console_line
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
        lambda _logger, _method, event: _explained(event),
        lambda _logger, _method, event: _in_order(event),
        lambda _logger, _method, event: render(event),
    ]


def _dropped(render: Callable[[EventDict], str], count: int) -> bytes:
    return render(_in_order({"event": "log.dropped", "level": "warning", "lines": count})).encode() + b"\n"


def _explained(event: EventDict) -> EventDict:
    """Put the traceback of ``exc_info`` into ``exception``, with every exception of a group."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        lines = traceback.TracebackException.from_exception(error, max_group_width=1000, max_group_depth=100)
        text = "".join(lines.format()).rstrip("\n")
        event["exception"] = text
    return event


def _in_order(event: EventDict) -> EventDict:
    """Return the event with its time first, every value safe to print."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ordered: EventDict = {
        "ts": now,
        "level": event.pop("level", "info"),
        "event": safe(event.pop("event", "")),
    }
    text = event.pop("exception", None)
    for key, value in event.items():
        name = _short(str(key))
        # A field does not pass for what the log itself says.
        ordered[f"{name}_" if name in ordered else name] = safe(value)
    if isinstance(text, str):
        ordered["exception"] = "\n".join(map(_printable, text[:_LONGEST_TRACEBACK].split("\n")))
    return ordered


def safe(value: Any, depth: int = 0) -> Any:
    """Return ``value`` with nothing in it that could break a line, move a cursor or fill a disk.

    Control, bidi and other unprintable characters become escapes, texts are cut at 200 characters, containers
    at 200 items; what JSON does not know becomes its text.
    """
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if value in _INT64 else _short(hex(value))
        case str():
            return _short(value)
        case bytes() | bytearray():
            return _short(repr(bytes(value[:_LONGEST_TEXT]))[2:-1])
        case _:
            return _safe_whole(value, depth)


def _safe_whole(value: Any, depth: int) -> Any:
    """Return the safe form of what has parts, or of what only has a text."""
    if depth >= _DEEPEST:
        return _short(str(value))
    if attrs.has(type(value)):
        value = attrs.asdict(value, recurse=False)
    if isinstance(value, Mapping):
        return {_short(str(k)): safe(v, depth + 1) for k, v in islice(value.items(), _MOST_ITEMS)}
    if isinstance(value, list | tuple | set | frozenset):
        return [safe(item, depth + 1) for item in islice(value, _MOST_ITEMS)]
    return _short(str(value))


def _short(text: str) -> str:
    shown = _printable(text[: _LONGEST_TEXT + 1])
    return shown if len(shown) <= _LONGEST_TEXT else shown[: _LONGEST_TEXT - 1] + "…"


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _json_line(event: EventDict) -> str:
    return msgspec.json.encode(event).decode("utf-8")


def _console_line(event: EventDict) -> str:
    """Return ``time level event key=value …``, a traceback last, its line ends escaped."""
    return _console(event, lambda text, _style: text)


def _coloured_line(event: EventDict) -> str:
    return _console(event, lambda text, style: f"\x1b[{style}m{text}\x1b[0m")


def _console(event: EventDict, paint: Callable[[str, str], str]) -> str:
    rest = {key: value for key, value in event.items() if key not in {"ts", "level", "event"}}
    level = event["level"]
    words = [
        paint(event["ts"], "2"),
        paint(f"{level:8}", _COLOURS.get(level, "0")),
        paint(str(event["event"]), "1"),
    ]
    # One line, whatever is in it: what reads lines need know no more, and no text passes for an event.
    return " ".join([*words, *(f"{paint(key, '36')}={_word(value)}" for key, value in rest.items())])


def _word(value: Any) -> str:
    """Return a value bare when that can't be misread, else as JSON."""
    if isinstance(value, float):
        return repr(round(value, 6))
    if isinstance(value, str) and value and not any(c in value for c in ' "={}[]\n'):
        return value
    return msgspec.json.encode(value).decode("utf-8")


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
