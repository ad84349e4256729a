"""An event as one line: what it holds is made safe, put in order, and written for people or for machines.

What strangers sent may stand in an event: text is escaped and cut here, in one place, whoever logged it.
Nothing here knows where the line goes.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict

_LONGEST_TEXT = 200  # characters of any one value
_LONGEST_TRACEBACK = 64 * 1024  # characters
_MOST_ITEMS = 200  # of one list or mapping in an event
_DEEPEST = 4  # mappings within mappings
_INT64 = range(-(1 << 63), 1 << 63)
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


def explained(event: EventDict) -> EventDict:
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


def in_order(event: EventDict) -> EventDict:
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
        ordered["exception"] = "\n".join(map(printable, text[:_LONGEST_TRACEBACK].split("\n")))
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
    shown = printable(text[: _LONGEST_TEXT + 1])
    return shown if len(shown) <= _LONGEST_TEXT else shown[: _LONGEST_TEXT - 1] + "…"


def printable(text: str) -> str:
    """Return ``text`` with an escape in place of every character that can't be printed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def json_line(event: EventDict) -> str:
    """Return the event as JSON, for machines."""
    return msgspec.json.encode(event).decode("utf-8")


def console_line(event: EventDict) -> str:
    """Return ``time level event key=value …``, a traceback last, its line ends escaped."""
    return _console(event, lambda text, _style: text)


def coloured_line(event: EventDict) -> str:
    """Return the same in colours, for a terminal."""
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
