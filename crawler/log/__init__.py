"""The log of a process: structlog's events as lines on stderr, which nothing that logs ever waits for."""

from __future__ import annotations

from crawler.log.lines import safe
from crawler.log.setup import (
    FORMATS,
    LEVELS,
    LogConfig,
    Terminal,
    counts,
    set_level,
    started,
    terminal,
)

__all__ = [
    "FORMATS",
    "LEVELS",
    "LogConfig",
    "Terminal",
    "counts",
    "safe",
    "set_level",
    "started",
    "terminal",
]
