"""The `health` command: is the daemon alive, is it ready? For a container's HEALTHCHECK, and for people.

It asks over HTTP where the daemon serves that; the heartbeat file of its state directory, rewritten every few
seconds by a daemon whose loop turns, says at which address. Without HTTP the file's age is the answer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http import client as http_client
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

HEARTBEAT = "heartbeat"
STALE_AFTER = 60.0  # seconds
FINE, UNHEALTHY, BAD_INPUT = 0, 1, 2
_DIRECTORY = "DHT_CRAWLER_STATE_DIRECTORY"
_LISTEN = "DHT_CRAWLER_HTTP_LISTEN"
_PATIENCE = 3.0  # seconds
_LONGEST = 4096  # bytes of an answer
_SHOWN = 200  # characters of it
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a daemon that listens everywhere can be asked


def health(
    *,
    http: Annotated[
        str | None,
        Parameter(
            metavar="ADDR:PORT",
            help=f"ask the daemon's --http ADDR:PORT; else where its state or {_LISTEN} says",
            show_default=False,
        ),
    ] = None,
    ready: Annotated[
        bool,
        Parameter(
            metavar="", help="ask whether it is ready too, not only alive", negative=(), show_default=False
        ),
    ] = False,
    state: Annotated[
        Path | None,
        Parameter(metavar="DIR", help=f"the daemon's --state; else from {_DIRECTORY}", show_default=False),
    ] = None,
) -> int:
    """Exit with 0 when the daemon is alive (or ready), else with 1 and a line that says why."""
    directory = state or Path(os.environ.get(_DIRECTORY, ""))
    listen = http or ("" if state and not ready else _address_of(directory) or os.environ.get(_LISTEN, ""))
    if listen:
        host, _, port = listen.rpartition(":")
        if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            return _refuse(f'"{listen}" is not ADDR:PORT with a port from 1 to 65535')
        problem = problem_at(host.strip("[]"), int(port), "/readyz" if ready else "/healthz")
    elif ready:
        return _refuse(f"health --ready needs --http ADDR:PORT or {_LISTEN}")
    elif directory == Path():
        return _refuse(f"health needs --http ADDR:PORT or --state DIR, or {_LISTEN} or {_DIRECTORY}")
    else:
        problem = problem_of(directory, time.time())
    print(_printable(problem) or ("ready" if ready else "alive"))  # noqa: T201 - the command's output
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


def problem_at(host: str, port: int, path: str) -> str:
    """Return why the daemon that serves HTTP at ``host`` and ``port`` is not well by ``path``; else ""."""
    host = _HERE.get(host, host)
    connection = http_client.HTTPConnection(host, port, timeout=_PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        status, body = answer.status, answer.read(_LONGEST)
    except (OSError, http_client.HTTPException) as error:
        return f"no answer from {host} port {port}: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    return "" if status == http_client.OK else f"{path} says {status}: {_reasons(body)}"


def _reasons(body: bytes) -> str:
    try:
        return "; ".join(map(str, json.loads(body)["problems"]))
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")


def _address_of(directory: Path) -> str:
    """Return where the daemon that keeps its state in ``directory`` serves HTTP; "" when it does not say."""
    if directory == Path():
        return ""
    try:
        return (directory / HEARTBEAT).read_text("ascii")[:_SHOWN].strip()
    except (OSError, ValueError):
        return ""


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:_SHOWN]


def _refuse(problem: str) -> int:
    print(f"dht-crawler: error: {_printable(problem)}", file=sys.stderr)  # noqa: T201 - before there is a log
    return BAD_INPUT
