"""The flags by which `tail` and `replay` choose records, and the settings that both read."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group

from crawler.commands.client import flag
from crawler.reading.record_line import Selection
from crawler.reading.when import moment
from crawler.records import RECORD_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawler.config import Config

CHOICE = Group("Which records", sort_key=1)
OUTPUT = Group("Output", sort_key=2)
SETTINGS = Group("Settings", sort_key=3)

TypeFlag = Annotated[
    list[str] | None,
    flag(CHOICE, "TYPE", f"{', '.join(RECORD_TYPES)}; several with commas, or repeated (all)"),
]
SinceFlag = Annotated[
    str | None, flag(CHOICE, "WHEN", "from this time on: 2026-01-02T03:04:05Z, or an age: 90s, 10m, 2h, 1d")
]
UntilFlag = Annotated[str | None, flag(CHOICE, "WHEN", "before this time, written as for --since")]
ConfigFlag = Annotated[Path | None, flag(SETTINGS, "FILE", "read settings from this TOML file")]
VerboseFlag = Annotated[bool, flag(OUTPUT, "", "show on stderr what is no record, and what becomes of files")]


def selection(types: Iterable[str] | None, since: str | None, until: str | None = None) -> Selection:
    """Return what the flags mean now.

    Raises:
        ValueError: one line that names the flag and what is allowed.
    """
    named = [name.strip() for word in types or () for name in word.split(",")]
    for name in named:
        if name not in RECORD_TYPES:
            raise ValueError(f"--type {name!r}: allowed are {', '.join(RECORD_TYPES)}")
    return Selection(frozenset(named), _moment("--since", since), _moment("--until", until))


def settings(file: Path | None, **flags: object) -> Config:
    """Return the configuration that the daemon would have, with ``flags``.

    Raises:
        ConfigError: one line that names the source, the value and what is allowed.
    """
    from crawler import config  # noqa: PLC0415 - it imports the whole daemon

    return config.load(file, os.environ, {f"--{name}": value for name, value in flags.items()})


def standard_input() -> Any:
    """Return stdin as bytes that come as they are there, without a buffer where it has one.

    Raises:
        OSError: it is closed.
    """
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)


def problem(error: OSError) -> str:
    """Return what the system says, without the number."""
    return error.strerror or str(error)


def _moment(name: str, text: str | None) -> str:
    if text is None:
        return ""
    try:
        return moment(text, time.time())
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
