"""The daemon as a user starts it: one process, its log events, its output file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from tests.interop.plain_krpc import Address, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]


@attrs.frozen
class Exit:
    """How the daemon ended after a SIGTERM."""

    code: int
    seconds: float


def wait_for(condition: Callable[[], bool], seconds: float, *, every: float = 0.05) -> bool:
    """Poll ``condition`` until it holds or ``seconds`` are over; return whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def read_records(out: Path) -> list[dict[str, Any]]:
    """Return every whole line of an output file, parsed; nothing if there is no file yet."""
    if not out.exists():
        return []
    whole = out.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


class DaemonProcess:
    """One run of ``python -m crawler``; a context manager that never leaves the process behind.

    Args:
        out: the output file.
        listen: an address without port; the kernel chooses the port.
        bootstrap: ``ip:port`` literals. At least one, because the built-in ones are on the Internet.
        extra: more command-line arguments.
        before: a command that runs the daemon in its own process, as ``strace -D`` does.
    """

    def __init__(
        self, *, out: Path, listen: str, bootstrap: list[str], extra: list[str], before: tuple[str, ...] = ()
    ) -> None:
        assert bootstrap, "a test must never bootstrap from the Internet"
        self.out = out
        self.events: list[dict[str, Any]] = []
        self.noise: list[str] = []
        arguments = ["--out", str(out), "--listen", f"{listen}:0", "--log-format", "json", *extra]
        for node in bootstrap:
            arguments += ["--bootstrap", node]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DHT_CRAWLER_")}
        environment["PYTHONPATH"] = str(REPOSITORY)
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "crawler", *arguments],
            cwd=out.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()

    @property
    def pid(self) -> int:
        """The process id of the daemon itself."""
        return self._process.pid

    def running(self) -> bool:
        """Tell whether the process is still there."""
        return self._process.poll() is None

    def listening(self, seconds: float = 15.0) -> tuple[Address, bytes]:
        """Wait for the event ``crawler.listening``; return the bound address and the node id."""
        found: list[dict[str, Any]] = []

        def seen() -> bool:
            found[:] = [e for e in list(self.events) if e.get("event") == "crawler.listening"]
            return bool(found) or not self.running()

        wait_for(seen, seconds)
        assert found, f"no crawler.listening event; log: {self.log_tail()}"
        return parse_address(found[0]["address"]), bytes.fromhex(found[0]["node_id"])

    def records(self) -> list[dict[str, Any]]:
        """Return every whole line of the output so far, parsed."""
        return read_records(self.out)

    def terminate(self) -> Exit:
        """Send SIGTERM and return how and how fast the daemon ended (killed after 15 s)."""
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        seconds = time.monotonic() - started
        self._reader.join()
        return Exit(code=code, seconds=seconds)

    def log_tail(self) -> str:
        """Return the end of the log, for an assertion's message."""
        return "\n".join([*map(str, self.events[-5:]), *self.noise[-30:]])

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                event = json.loads(line)
            except ValueError:
                self.noise.append(line.rstrip())
                continue
            if isinstance(event, dict):
                self.events.append(event)
        self._process.stderr.close()
