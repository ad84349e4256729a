"""Debian's transmission-daemon as a peer that waits to be dialled and sends nothing by itself."""

from __future__ import annotations

import contextlib
import json
import subprocess
from http import HTTPStatus
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Final, Self

from tests.interop.foreign_trackers import free_port

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "transmission-daemon"
_SESSION_HEADER: Final = "X-Transmission-Session-Id"
_RPC_SECONDS: Final = 20.0


class TransmissionSeeder:
    """A running daemon that has these torrents; a context manager.

    Args:
        directory: for its configuration; made here.
        torrents: file name to the bytes of a .torrent file.

    Attributes:
        port: where it listens for peers, on 127.0.0.1.
    """

    def __init__(self, directory: Path, torrents: dict[str, bytes]) -> None:
        watched = directory / "watched"
        watched.mkdir(parents=True)
        for name, data in torrents.items():
            (watched / f"{name}.torrent").write_bytes(data)
        self.port = free_port()
        self._rpc_port = free_port()
        settings = {
            "bind-address-ipv4": "127.0.0.1",
            "bind-address-ipv6": "::1",
            "dht-enabled": False,
            "download-queue-enabled": False,
            "queue-stalled-enabled": False,
            "download-dir": str(directory),
            "lpd-enabled": False,
            "peer-port": self.port,
            "pex-enabled": False,
            "port-forwarding-enabled": False,
            "rpc-enabled": True,
            "rpc-bind-address": "127.0.0.1",
            "rpc-port": self._rpc_port,
            "utp-enabled": False,
            "watch-dir": str(watched),
            "watch-dir-enabled": True,
        }
        (directory / "settings.json").write_text(json.dumps(settings))
        self._process = subprocess.Popen(
            [PROGRAM, "-f", "-g", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop_torrents(self) -> None:
        """Have it stop all its torrents, as a user would; it tells their trackers within seconds.

        A SIGTERM would do for UDP trackers only: at its end 3.00 closes its HTTP client before it has said
        goodbye.
        """
        door = HTTPConnection("127.0.0.1", self._rpc_port, timeout=_RPC_SECONDS)
        with contextlib.closing(door):
            headers: dict[str, str] = {}
            # The first request is refused with a word that must come with the second.
            for expected in (HTTPStatus.CONFLICT, HTTPStatus.OK):
                door.request("POST", "/transmission/rpc", '{"method": "torrent-stop"}', headers)
                answer = door.getresponse()
                told = answer.read()
                assert answer.status == expected, told
                headers = {_SESSION_HEADER: answer.headers[_SESSION_HEADER] or ""}
        assert json.loads(told)["result"] == "success", told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        # It has no state worth saving, and takes seconds to leave politely.
        self._process.kill()
        self._process.wait()
