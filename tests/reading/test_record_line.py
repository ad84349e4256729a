"""What a line says, which are wanted, what a summary tells, and times as people type them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.reading.record_line import Distinct, Selection, Tally, head_of, printable
from crawler.reading.when import moment

HASH = "957b901faa247ca200f4284b142b796166bdc9a3"
NOW = 1767323045.678  # 2026-01-02T03:04:05.678Z


def line_of(**fields: object) -> bytes:
    """Return a record of these fields."""
    return json.dumps(
        {"type": "infohash", "ts": "2026-01-02T03:04:05.678Z", "infohash": HASH} | fields
    ).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0\0\0",
        b"[]",
        b"{}",
        b"nonsense",
        line_of()[:-1],
        line_of() + line_of(),
        line_of(ts="2026-01-02"),
        line_of(ts="2026-01-02T03:04:05.678Z\x1b"),
        line_of(infohash="957B"),
        line_of(type=5),
        line_of()[:-1] + b',"name":"\xff"}',
        line_of()[:-1] + b',"name":"\n"}',
        line_of()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_record_is_told_from_records(line: bytes) -> None:
    """Torn, empty, deep, badly encoded or without what every record has: none of it is taken."""
    assert head_of(line) is None


def test_a_record_says_what_it_is() -> None:
    """Its type, time and infohash are known; unknown types and fields are left alone."""
    head = head_of(line_of(type="newer", more={"deep": [1]}))
    assert head is not None
    assert (head.type, head.ts, head.infohash) == ("newer", "2026-01-02T03:04:05.678Z", HASH)


@given(st.text())
def test_printable_lines_are_the_same_json(name: str) -> None:
    """Raw characters of any kind become escapes that mean the same, in one line of printable ASCII."""
    raw = json.dumps({"name": name}, ensure_ascii=False).replace(": ", "\t:\r ")
    try:
        line = raw.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no file has
        return
    shown = printable(line)
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(shown) == {"name": name.replace(": ", "\t:\r ")} or json.loads(shown) == json.loads(raw)


def test_selection_is_by_type_and_time() -> None:
    """From the first time on, before the last, of the types that were named."""
    some = Selection(frozenset({"peers"}), "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.679Z")
    assert some.admits_line(line_of(type="peers"))
    assert not some.admits_line(line_of())
    assert not some.admits_line(line_of(type="peers", ts="2026-01-02T03:04:05.677Z"))
    assert not some.admits_line(line_of(type="peers", ts="2026-01-02T03:04:05.679Z"))
    assert not Selection().admits_line(b"torn")


@given(st.lists(st.integers(0, 30), max_size=200))
def test_distinct_remembers_the_latest_half_of_its_bound(numbers: list[int]) -> None:
    """Whatever is new is never taken for known, and the latest five of ten are always known."""
    distinct = Distinct(10)
    seen: list[int] = []
    for number in numbers:
        is_new = distinct.add(f"{number:040x}")
        if number not in seen:
            assert is_new
        if number in seen[-5:]:
            assert not is_new
        if is_new:
            seen.append(number)
    assert distinct.count == len(seen)


def test_a_tally_is_bounded_and_says_so() -> None:
    """Types nobody knows are one heading, and infohashes beyond the bound are not counted but admitted."""
    tally = Tally(("infohash",), 2)
    for number, kind in enumerate(["infohash", "x", "y", "infohash"]):
        head = head_of(line_of(type=kind, infohash=f"{number:040x}"))
        assert head is not None
        tally.add(head)
    rows = dict(tally.rows())
    assert rows["records"] == "4: 2 infohash, 2 other"
    assert rows["infohashes"] == "more than 2"
    assert "malformed" not in rows


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02t03:04:05.678912345z", "2026-01-02T03:04:05.678Z"),
        ("2026-01-02 05:04:05.5+02:00", "2026-01-02T03:04:05.500Z"),
        ("2026-01-02", "2026-01-02T00:00:00.000Z"),
        ("90s", "2026-01-02T03:02:35.678Z"),
        ("10m", "2026-01-02T02:54:05.678Z"),
        ("1.5h", "2026-01-02T01:34:05.678Z"),
        ("1d", "2026-01-01T03:04:05.678Z"),
        ("1w", "2025-12-26T03:04:05.678Z"),
    ],
)
def test_moments_are_read(text: str, meant: str) -> None:
    """RFC 3339 times, dates and ages become the text that records have."""
    assert moment(text, NOW) == meant


@pytest.mark.parametrize(
    "text",
    ["", "now", "10", "-5m", "5y", "2026-01-02T03:04:05", "2026-02-30", "99999999w", "2026-13-01T00:00:00Z"],
)
def test_other_moments_are_refused(text: str) -> None:
    """What could mean several things, or nothing, is refused with what is allowed."""
    with pytest.raises(ValueError, match="allowed is a time such as"):
        moment(text, NOW)
