"""What is said on stderr, and that it can't be said there is never a reason to fail."""

from __future__ import annotations

import contextlib
import sys
from typing import Final

BAD_INPUT: Final = 2
"""The exit code for what cannot be done as asked."""


def complain(line: str) -> None:
    """Write a line to stderr, if there is one that takes it."""
    # print() takes None for stdout, where nobody expects a complaint.
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - what people are told


def refuse(problem: object) -> int:
    """Say on stderr, in one line, what cannot be done as asked; returns the exit code for it."""
    line = "".join(c if c.isprintable() else "?" for c in str(problem))
    complain(f"dht-crawler: error: {line}")
    return BAD_INPUT
