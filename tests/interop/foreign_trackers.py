"""Other people's trackers on loopback: Debian's opentracker, and npm's bittorrent-tracker."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.interop.node_packages import DIRECTORY, node_or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_READY_SECONDS: Final = 60.0
_PORTS: Final = (20_000, 32_000)
"""Below those that Linux chooses from."""
_NODE_SERVER: Final = """
const { default: Server } = await import('bittorrent-tracker/server')
const server = new Server({ udp: true, http: true, ws: false, stats: false, interval: 600000 })
server.on('error', error => { console.error(error); process.exit(1) })
server.on('warning', () => {})
server.listen(Number(process.argv[1]), { http: '127.0.0.1', udp: '127.0.0.1', udp6: '::1' })
"""


@attrs.frozen
class ForeignTracker:
    """A running tracker; ``urls`` has one for UDP and one for HTTP."""

    name: str
    udp: str
    http: str


def free_port() -> int:
    """Return a port of loopback that is free for TCP and for UDP, and that the system gives to nobody.

    One that the system would choose may belong to somebody's connection by the time a program binds it.
    """
    while True:
        address = ("127.0.0.1", random.randrange(*_PORTS))
        with (
            contextlib.suppress(OSError),
            socket.socket() as tcp,
            socket.socket(type=socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(address)
            udp.bind(address)
            return address[1]


@contextlib.contextmanager
def opentracker(directory: Path, infohashes: list[str]) -> Iterator[ForeignTracker]:
    """Run opentracker, which serves only ``infohashes`` (hex)."""
    program = shutil.which("opentracker")
    if program is None:
        pytest.skip("opentracker is not installed")
    # It gives up root for nobody, who must still be able to read the list.
    directory.chmod(0o755)
    whitelist = directory / "whitelist"
    whitelist.write_text("".join(f"{infohash}\n" for infohash in infohashes))
    port = free_port()
    words = f"-i 127.0.0.1 -p {port} -P {port} -d {directory} -w whitelist"
    with _running([program, *words.split()], directory, port):
        yield _tracker("opentracker", port)


@contextlib.contextmanager
def node_tracker() -> Iterator[ForeignTracker]:
    """Run npm's bittorrent-tracker."""
    node, port = node_or_skip("bittorrent-tracker"), free_port()
    words = [node, "--input-type=module", "-e", _NODE_SERVER, str(port)]
    with _running(words, DIRECTORY, port):
        yield _tracker("bittorrent-tracker", port)


def _tracker(name: str, port: int) -> ForeignTracker:
    place = f"127.0.0.1:{port}/announce"
    return ForeignTracker(name, f"udp://{place}", f"http://{place}")


@contextlib.contextmanager
def _running(words: list[str], directory: Path, port: int) -> Iterator[None]:
    """Run a program until the end of the block; it is ready when something listens on ``port``."""
    process = subprocess.Popen(
        words,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, f"{words[0]} left with {process.returncode}"
            assert time.monotonic() < deadline, f"{words[0]} is not up after {_READY_SECONDS:g} s"
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()
