"""The simulated network as a user starts it: one process, its bootstrap address, its summary at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Self, cast

import attrs

REPOSITORY = Path(__file__).resolve().parents[2]


@attrs.frozen
class NetworkEnd:
    """How the network ended.

    Attributes:
        code: the exit code.
        summary: all counters, as the command prints them last.
        cpu_seconds: of the whole process.
    """

    code: int
    summary: dict[str, Any]
    cpu_seconds: float


class NetworkProcess:
    """One run of ``python -m crawler simulate``; a context manager that never leaves the process behind.

    Attributes:
        bootstrap: ``ip:port`` of the node that never dies.

    Args:
        options: the command's flags without their dashes, as in ``nodes=2000``.

    Raises:
        RuntimeError: it did not start; it has said why on stderr.
    """

    def __init__(self, **options: object) -> None:
        command = [sys.executable, "-m", "crawler", "simulate", "--listen", "127.64.0.1:0"]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        self._output = cast("IO[str]", self._process.stdout)
        word, _, self.bootstrap = self._output.readline().strip().partition(" ")
        if word != "bootstrap":
            self._leave_nothing()
            raise RuntimeError("the simulated network did not start")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._leave_nothing()

    def stop(self) -> NetworkEnd:
        """End it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        lines = self._output.read().splitlines()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return NetworkEnd(
            code=self._process.returncode,
            summary=json.loads(lines[-1]) if lines else {},
            cpu_seconds=usage.ru_utime + usage.ru_stime,
        )

    def _leave_nothing(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._output.close()
