"""A network namespace whose loopback owns every address, and an ear on all that moves in it.

Public-looking addresses are used here, so nothing in this file may run on a machine's real network: `enter`
refuses unless loopback is the only interface there is.
"""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

import attrs
import pytest

from tests.interop.daemon_process import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.plain_krpc import Address

# Exit code of a script that refuses to run here; the test that started it skips.
REFUSED = 77

_ETH_P_IP = 0x0800
_UDP = 17
_PORTS = struct.Struct("!HH")
_PACKET_BUFFER_BYTES = 8 * 1024 * 1024


def enter() -> None:
    """Make every IPv4 and IPv6 address local here, or leave with `REFUSED` if loopback is not alone."""
    links = subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout
    names = [line.split(": ")[1] for line in links.splitlines()]
    if names != ["lo"]:
        print(f"refusing: loopback is not the only interface: {names}")  # noqa: T201 - the reason to skip
        raise SystemExit(REFUSED)
    for command in (
        "ip link set lo up",
        "ip route add local 0.0.0.0/0 dev lo",
        "ip -6 route add local ::/0 dev lo",
    ):
        # A kernel without IPv6 fails the last one, which only IPv6 benches would miss.
        subprocess.run(command.split(), check="-6" not in command)


def why_not() -> str:
    """Return why no namespace can be made on this machine; empty if one can."""
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    tried = subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True, text=True)
    return f"no network namespace can be made: {tried.stderr.strip()}" if tried.returncode else ""


def play(scene: str, directory: Path, *, seconds: float) -> dict[str, Any]:
    """Run ``tests.interop.SCENE DIRECTORY`` in a namespace of its own and return the facts that it prints.

    Skips the test where the scene refuses to run.
    """
    command = ["unshare", "-rn", sys.executable, "-m", f"tests.interop.{scene}", str(directory)]
    played = subprocess.run(
        command, cwd=REPOSITORY, check=False, capture_output=True, text=True, timeout=seconds
    )
    if played.returncode == REFUSED:
        pytest.skip(played.stdout.strip())
    assert played.returncode == 0, played.stderr
    seen: dict[str, Any] = json.loads(played.stdout.splitlines()[-1])
    return seen


def call_from(host: str) -> None:
    """Let connections that are bound to no address come from ``host``, not from whom they go to.

    A seed that was told its own address by the DHT takes that for another seed's, and hangs up on it.
    """
    for command in (f"ip addr add {host}/32 dev lo", f"ip route replace local 0.0.0.0/0 dev lo src {host}"):
        subprocess.run(command.split(), check=True)


@attrs.frozen
class Datagram:
    """One UDP datagram seen on the wire."""

    source: Address
    destination: Address
    payload: bytes


class Sniffer:
    """Records every IPv4 UDP datagram of the namespace; a context manager."""

    def __init__(self) -> None:
        self.seen: list[Datagram] = []
        # A packet socket for one protocol sees what comes in only, so loopback's packets once, not twice.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PACKET_BUFFER_BYTES)
        self._socket.settimeout(0.2)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def between(self, source: Address, destination: Address) -> list[Datagram]:
        """Return what went from one address to another."""
        return [d for d in list(self.seen) if d.source == source and d.destination == destination]

    def sent_by(self, source: Address) -> list[Datagram]:
        """Return all that went out from an address."""
        return [d for d in list(self.seen) if d.source == source]

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                packet = self._socket.recv(65_535)
            except TimeoutError:
                continue
            datagram = _parse(packet)
            if datagram is not None:
                self.seen.append(datagram)


def _parse(packet: bytes) -> Datagram | None:
    header_bytes = (packet[0] & 0x0F) * 4
    if packet[9] != _UDP or len(packet) < header_bytes + 8:
        return None
    source_port, destination_port = _PORTS.unpack_from(packet, header_bytes)
    return Datagram(
        source=(socket.inet_ntoa(packet[12:16]), source_port),
        destination=(socket.inet_ntoa(packet[16:20]), destination_port),
        payload=packet[header_bytes + 8 :],
    )
