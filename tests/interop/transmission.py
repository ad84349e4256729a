"""Debian's transmission-daemon as a DHT peer, started headless with a configuration of its own."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, Self

from tests.interop.plain_krpc import Address, bound_socket

if TYPE_CHECKING:
    from pathlib import Path

STOP_SECONDS = 10
PROGRAM = "transmission-daemon"


class Transmission:
    """A running transmission-daemon; a context manager. Works only where 127/8 is not its own address.

    Args:
        directory: for configuration and downloads; made if missing.
        host: address to bind to; its DHT drops everything of 127/8.
        bootstrap: the only nodes it is told of.
    """

    def __init__(self, directory: Path, host: str, bootstrap: Address) -> None:
        self._directory = directory
        self._log = directory / "log.txt"
        self.address = (host, _free_port(host))
        directory.mkdir(parents=True)
        settings = _settings(self.address, str(directory))
        (directory / "settings.json").write_text(json.dumps(settings))
        (directory / "dht.bootstrap").write_text("{} {}\n".format(*bootstrap))
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


def _settings(address: Address, downloads: str) -> dict[str, Any]:
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
        "incomplete-dir-enabled": False,
    }
