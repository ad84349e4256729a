"""Moments as people type them: ``2026-01-02T03:04:05Z``, or ``10m`` for ten minutes ago.

They become the text that records have in ``ts``. That has one form, so texts compare as the times do.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from crawler.records import timestamp

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw])")
# RFC 3339, section 5.6; a date alone stands for its midnight, UTC.
_DATE: Final = r"\d{4}-\d{2}-\d{2}"
_MOMENT: Final = re.compile(_DATE + r"[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})")
_TO_MICROSECONDS: Final = re.compile(r"(\.\d{6})\d+")


def moment(text: str, now: float) -> str:
    """Return the timestamp, as records write it, of what ``text`` means at ``now`` (seconds since 1970).

    Raises:
        ValueError: one line that says what is allowed.
    """
    try:
        if part := _DURATION.fullmatch(text):
            at = datetime.fromtimestamp(now, UTC) - timedelta(**{_UNITS[part[2]]: float(part[1])})
        elif re.fullmatch(_DATE, text):
            at = datetime.fromisoformat(text).replace(tzinfo=UTC)
        elif _MOMENT.fullmatch(text):
            at = datetime.fromisoformat(_TO_MICROSECONDS.sub(r"\1", text.upper()))
        else:
            raise ValueError  # noqa: TRY301 - one place says what is allowed
        return timestamp(at.timestamp())
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r}: allowed is a time such as 2026-01-02T03:04:05Z, a date, or an age: 90s, 10m, 2h, 1d"
        ) from None
