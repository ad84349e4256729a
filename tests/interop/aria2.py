"""Debian's aria2c as a DHT peer that seeds torrents whose content it has."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "aria2c"
STOP_SECONDS = 10


class Aria2:
    """A running aria2c; a context manager.

    Args:
        directory: for its list of torrents and its DHT table; made if missing.
        host: address to bind to.
        port: of its DHT node, and of its peer.
        bootstrap: ``ip:port`` of the node that it starts from.
        content: the directory where the torrents' content is.
        torrents: .torrent files.
    """

    def __init__(
        self, directory: Path, host: str, port: int, *, bootstrap: str, content: Path, torrents: list[Path]
    ) -> None:
        directory.mkdir(parents=True)
        listed = directory / "torrents.txt"
        listed.write_text("".join(f"{torrent}\n" for torrent in torrents))
        options = {
            "input-file": listed,
            "dir": content,
            "interface": host,
            "listen-port": port,
            "dht-listen-port": port,
            "dht-entry-point": bootstrap,
            "dht-file-path": directory / "dht.dat",
            "enable-dht": "true",
            "enable-dht6": "false",
            "enable-peer-exchange": "false",
            "bt-enable-lpd": "false",
            "check-integrity": "true",
            "seed-ratio": "0.0",
            "max-concurrent-downloads": len(torrents),
            "file-allocation": "none",
            # Whatever becomes of us, it ends.
            "stop-with-process": os.getpid(),
        }
        self.address = (host, port)
        self._process = subprocess.Popen(
            [PROGRAM, "--no-conf", "--quiet", *(f"--{name}={value}" for name, value in options.items())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.wait()
