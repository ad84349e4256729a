"""The driver of `libtorrent_seeder`: starts its process, knows its torrents, stops it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Self

import attrs

from tests.interop.daemon_process import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

_STOP_SECONDS = 10


@attrs.frozen
class SeededTorrent:
    """What the seeder has: the exact info dict, and its hashes in hex, empty where the kind has none."""

    kind: str
    v1: str
    v2: str
    info: bytes

    @property
    def infohashes(self) -> list[bytes]:
        """The 20-byte names under which peers may ask for it."""
        return [bytes.fromhex(digits[:40]) for digits in (self.v1, self.v2) if digits]


def read_torrents(report: dict[str, dict[str, str]]) -> list[SeededTorrent]:
    """Return the torrents of a process's report, as it names them by kind."""
    return [
        SeededTorrent(kind, found["v1"], found["v2"], bytes.fromhex(found["info"]))
        for kind, found in report.items()
    ]


class SeederProcess:
    """A running libtorrent seeder; a context manager that stops it.

    Attributes:
        port: where it listens.
        torrents: what it seeds.
    """

    def __init__(self, address: str, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.interop.libtorrent_seeder", address, str(directory)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        report = json.loads(self._process.stdout.readline())
        self.port: int = report["port"]
        self.torrents = read_torrents(report["torrents"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
