"""What one line of a file of records says, as far as choosing and counting need it. It is hostile text."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

OTHER: Final = "other"

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_HASH: Final = re.compile(r"[0-9a-f]{40}")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_FIRST_ASTRAL: Final = 0x10000


class Head(msgspec.Struct, frozen=True):
    """What every record says of itself; the other fields are checked to be JSON, and left alone."""

    type: str
    ts: str
    infohash: str


_decode: Final = msgspec.json.Decoder(Head).decode


def head_of(line: bytes) -> Head | None:
    """Return what ``line`` says, None when it is no record: no JSON object, or not with these fields."""
    try:
        head = _decode(line)
        if not line.isascii():
            line.decode()  # the decoder believes what it skips
    except (ValueError, RecursionError):
        return None
    if _TIMESTAMP.fullmatch(head.ts) and _HASH.fullmatch(head.infohash):
        return head
    return None


def printable(line: bytes) -> str:
    """Return a line that is JSON as the same JSON in printable ASCII, whatever was raw in it."""
    text = line.decode().strip()
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    """Return a character of JSON as an escape; control characters can only be white space between tokens."""
    code = ord(match[0])
    if code < ord(" "):
        return " "
    if code < _FIRST_ASTRAL:
        return f"\\u{code:04x}"
    code -= _FIRST_ASTRAL
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


@attrs.frozen
class Selection:
    """Which records are wanted; empty means all.

    Attributes:
        types: their types.
        since: the first timestamp that is wanted.
        until: the first that is no more.
    """

    types: frozenset[str] = frozenset()
    since: str = ""
    until: str = ""

    def admits(self, head: Head) -> bool:
        """Whether the record is wanted."""
        return (
            (not self.types or head.type in self.types)
            and head.ts >= self.since
            and (not self.until or head.ts < self.until)
        )

    def admits_line(self, line: bytes) -> bool:
        """Whether the line is a record, and wanted."""
        head = head_of(line)
        return head is not None and self.admits(head)


class Distinct:
    """Infohashes, remembered up to a bound: at the least the latest half of it."""

    def __init__(self, most: int) -> None:
        """Remember at most ``most``."""
        self._half = max(1, most // 2)
        self._recent: set[bytes] = set()
        self._older: set[bytes] = set()
        self.count = 0
        self.forgot = False

    def add(self, infohash: str) -> bool:
        """Note an infohash, 40 hex digits, and return whether it is new as far as is remembered."""
        key = bytes.fromhex(infohash)
        if key in self._recent or key in self._older:
            return False
        if len(self._recent) >= self._half:
            self.forgot = self.forgot or bool(self._older)
            self._older, self._recent = self._recent, set()
        self._recent.add(key)
        self.count += 1
        return True


class Tally:
    """What a summary tells of the records that were read."""

    def __init__(self, types: Iterable[str], most_distinct: int) -> None:
        """Count the named types each, all others together; infohashes exactly up to ``most_distinct``."""
        self.by_type: Counter[str] = Counter()
        self.malformed = 0
        self.first = self.last = ""
        self.overlong = 0
        self._types = frozenset(types)
        self._most = most_distinct
        self._infohashes: set[bytes] = set()
        self._more = False

    @property
    def records(self) -> int:
        """How many there were."""
        return self.by_type.total()

    @property
    def distinct(self) -> str:
        """How many infohashes there were, in words."""
        return f"{'more than ' * self._more}{len(self._infohashes):,}"

    def add(self, head: Head) -> None:
        """Count a record."""
        self.by_type[head.type if head.type in self._types else OTHER] += 1
        self.first = min(self.first or head.ts, head.ts)
        self.last = max(self.last, head.ts)
        key = bytes.fromhex(head.infohash)
        if len(self._infohashes) < self._most:
            self._infohashes.add(key)
        elif not self._more:
            self._more = key not in self._infohashes

    def rows(self) -> list[tuple[str, str]]:
        """Return the summary as names and values."""
        parts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.by_type.items()))
        rows = [("records", f"{self.records:,}" + (f": {parts}" if parts else ""))]
        if self.records:
            rows += [("infohashes", self.distinct), ("first", self.first), ("last", self.last)]
        if self.malformed:
            rows.append(("malformed", f"{self.malformed:,} lines that are no records"))
        if self.overlong:
            rows.append(("too long", f"{self.overlong:,} lines, see [reading] max_line"))
        return rows
