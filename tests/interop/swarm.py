"""The driver of `libtorrent_swarm`: starts its process, waits for the truth, sends commands."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

from tests.interop.daemon_process import REPOSITORY
from tests.interop.seeder import read_torrents

if TYPE_CHECKING:
    from pathlib import Path

STOP_SECONDS = 10


class SwarmProcess:
    """A running swarm; a context manager that stops it.

    Attributes:
        nodes: ``ip:port`` of every session; ``nodes6`` of those that are at [::1] too.
        peers: for each infohash (hex) the ``ip:port`` of the sessions that announced it.
        torrents: what they seed; those of a special kind are named by it.
    """

    def __init__(self, addresses: list[str], directory: Path, torrents: int, **spec: Any) -> None:
        directory.mkdir(exist_ok=True)
        whole = {"addresses": addresses, "directory": str(directory), "torrents": torrents, **spec}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.interop.libtorrent_swarm", json.dumps(whole)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        truth = self._read()
        self.nodes: list[str] = truth["nodes"]
        self.nodes6: list[str] = truth["nodes6"]
        self.peers: dict[str, list[str]] = truth["peers"]
        self.torrents = read_torrents(truth["torrents"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def listed(self, address: str, node_id: bytes) -> int:
        """Count the sessions whose routing table holds this node as live."""
        return int(self._command(do="routing", address=address, id=node_id.hex())["listed"])

    def get_peers(self, infohash: str, *, session: int = 0, seconds: float = 5.0) -> list[str]:
        """Return the peers that a session's lookup finds, at most ``seconds`` later."""
        answer = self._command(do="get_peers", infohash=infohash, session=session, seconds=seconds)
        return [str(peer) for peer in answer["peers"]]

    def announce(self) -> None:
        """Have every session announce its torrents again."""
        self._command(do="announce")

    def stop(self) -> None:
        """End the process; does nothing if it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _command(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError(f"the libtorrent swarm ended with code {self._process.returncode}")
        answer: dict[str, Any] = json.loads(line)
        return answer
