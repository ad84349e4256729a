"""The commands as people start them, against networks on loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs

from tests.interop.daemon_process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class Done:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of --json."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def rows(self) -> dict[str, str]:
        """The lines ``name  value`` of the summary."""
        pairs = [line.partition("  ") for line in self.out.splitlines()]
        return {name: value.strip() for name, gap, value in pairs if gap and name}


def documented(command: str) -> dict[str, tuple[set[str], set[str]]]:
    """Return, by type, the fields that docs/commands.md says ``command`` prints always, and sometimes."""
    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line[:3] == "| `"
    ]
    return {
        kind.strip("`"): (set(re.findall(r"`(\w+)`", always)), set(re.findall(r"`(\w+)`", sometimes)))
        for name, kind, always, sometimes in rows
        if name == f"`{command}`"
    }


def check_documented(command: str, done: Done) -> None:
    """Fail unless every line of ``done``, a run of ``command`` with --json, is as docs/commands.md says."""
    said = documented(command)
    assert done.records
    for record in done.records:
        always, sometimes = said[record["type"]]
        assert next(iter(record)) == "type"
        assert always <= record.keys() - {"type"} <= always | sometimes, record
    assert done.out.isascii()


def start(*words: str, **settings: str) -> subprocess.Popen[str]:
    """Start a command with pipes on all sides; of our variables, its environment has only ``settings``."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DHT_CRAWLER_")} | settings
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "crawler", *words],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words: str, bootstrap: str) -> Done:
    """Run a command to its end; it is told of ``bootstrap`` only, so that it never asks the Internet."""
    with start(*words, "--allow-private", "--bootstrap", bootstrap) as process:
        out, err = process.communicate(timeout=30)
    return Done(process.returncode, out, err)


def interrupt(process: subprocess.Popen[str], ready: Callable[[], bool]) -> Done:
    """Press Ctrl-C as soon as ``ready``, and return how the command ended."""
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return Done(process.returncode, out, err)
