"""Debian's transmission-daemon as a DHT peer, started headless with a configuration of its own."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any, Self

from tests.interop.plain_krpc import Address, bound_socket, encode, pack_address

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STOP_SECONDS = 10
PROGRAM = "transmission-daemon"


class Transmission:
    """A running transmission-daemon; a context manager. Works only where 127/8 is not its own address.

    Args:
        directory: for configuration and downloads; made if missing.
        host: address to bind to; its DHT drops everything of 127/8.
        bootstrap: the only nodes it is told of.
        torrents: .torrent files that it is to have.
        content: where their content is; None: where nothing is.
    """

    def __init__(
        self,
        directory: Path,
        host: str,
        *bootstrap: Address,
        torrents: Sequence[Path] = (),
        content: Path | None = None,
    ) -> None:
        self._directory = directory
        self._log = directory / "log.txt"
        self.address = (host, _free_port(host))
        watched = directory / "watched"
        watched.mkdir(parents=True)
        for torrent in torrents:
            (watched / torrent.name).write_bytes(torrent.read_bytes())
        settings = _settings(self.address, str(content or directory), str(watched))
        (directory / "settings.json").write_text(json.dumps(settings))
        (directory / "dht.bootstrap").write_text("".join("{} {}\n".format(*node) for node in bootstrap))
        if len(bootstrap) > 1:
            # It asks the nodes of an earlier run at once, and those of the other file one after another.
            saved = {b"id": os.urandom(20), b"nodes": b"".join(map(pack_address, bootstrap))}
            (directory / "dht.dat").write_bytes(encode(saved))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-f", "-g", str(directory), "--log-debug"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it the way it saves its state; does nothing if it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def _free_port(host: str) -> int:
    with bound_socket((host, 0)) as sock:
        return int(sock.getsockname()[1])


def _settings(address: Address, downloads: str, watched: str) -> dict[str, Any]:
    return {
        "bind-address-ipv4": address[0],
        "peer-port": address[1],
        "rpc-bind-address": "127.0.0.1",
        "rpc-port": _free_port("127.0.0.1"),
        "port-forwarding-enabled": False,
        "lpd-enabled": False,
        "pex-enabled": False,
        "utp-enabled": False,
        "dht-enabled": True,
        "download-dir": downloads,
        "download-queue-enabled": False,
        "queue-stalled-enabled": False,
        "watch-dir": watched,
        "watch-dir-enabled": True,
        "incomplete-dir-enabled": False,
    }
