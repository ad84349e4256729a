"""The `health` command: is the daemon alive that keeps its state here? For a container's HEALTHCHECK.

A daemon whose loop turns rewrites the file `heartbeat` in its state directory every few seconds; one that
hangs does not, though its process and its socket are still there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

HEARTBEAT = "heartbeat"
STALE_AFTER = 60.0  # seconds
FINE, UNHEALTHY, BAD_INPUT = 0, 1, 2
_VARIABLE = "DHT_CRAWLER_STATE_DIRECTORY"


def health(
    *, state: Annotated[Path | None, Parameter(help=f"the daemon's --state; else from {_VARIABLE}")] = None
) -> int:
    """Exit with 0 when the daemon was alive within the last 60 s, else with 1 and a line that says why."""
    directory = state or Path(os.environ.get(_VARIABLE, ""))
    if directory == Path():
        print(f"dht-crawler: error: health needs --state DIR or {_VARIABLE}", file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    problem = problem_of(directory, time.time())
    print(problem or "alive")  # noqa: T201 - the command's output
    return UNHEALTHY if problem else FINE


def problem_of(directory: Path, now: float) -> str:
    """Return why the daemon that keeps its state in ``directory`` seems dead at ``now`` (Unix s); else ""."""
    path = directory / HEARTBEAT
    try:
        age = now - path.stat().st_mtime
    except OSError as error:
        return f"no heartbeat: {path}: {error.strerror}"
    # A heartbeat from the future is a clock that was set back; the next one puts it right.
    return f"last heartbeat {age:.0f} s ago: {path}" if age > STALE_AFTER else ""
