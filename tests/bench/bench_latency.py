"""How long from a datagram to its line on the disk, through a real daemon with its default settings.

A sender paces get_peers queries to the daemon, each for an infohash that nobody named before, so that each
makes one line. It notes when it sends; on loopback that is when the daemon's socket has it. In the daemon's
process the sink's calls are watched: a line counts from the moment when the fdatasync after it returned. Both
read CLOCK_MONOTONIC. What waits in between: the socket, the batch of the loop, the outlet, and above all the
sink, which gathers lines for ``output.flush_interval`` (1 s) or until there are ``output.max_batch`` (256).

The settings are the defaults but for [reply_budget]: what is beyond that makes no line, and its 2,000 a
second for all sources would keep the load from the sink.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `make bench` runs this as a plain script

from crawler.sinks import jsonl
from crawler.sinks.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Sequence

_RATES = (10.0, 500.0, 5000.0)
_SECONDS = 15.0
_HEX = re.compile(rb'"infohash":"([0-9a-f]{40})"')
_SOURCES = 200
_NO_BUDGET = {
    f"DHT_CRAWLER_REPLY_BUDGET_{name}": "1000000000"
    for name in ("SOURCE_RATE", "SOURCE_BURST", "TOTAL_RATE", "TOTAL_BURST", "BYTE_RATE", "BYTE_BURST")
}


class WatchedDisk(Disk):
    """The disk, and when each line was on it."""

    def __init__(self) -> None:
        self.synced: list[tuple[int, float]] = []
        self._written: list[int] = []

    def write(self, fd: int, data: Any) -> int:
        """Write, and note the infohashes of what was taken."""
        taken = super().write(fd, data)
        self._written += [int(found, 16) for found in _HEX.findall(bytes(data[:taken]))]
        return taken

    def sync(self, fd: int) -> None:
        """Sync, and note when all that was written before is safe."""
        super().sync(fd)
        now = time.monotonic()
        self.synced += [(number, now) for number in self._written]
        self._written = []


def daemon(told: Path, arguments: Sequence[str]) -> None:
    """Be the daemon with its disk watched; write (infohash, time) pairs to ``told`` at the end."""
    from crawler.cli import main as run  # noqa: PLC0415 - the sender needs none of it

    disk = WatchedDisk()
    vars(jsonl)["Disk"] = lambda: disk  # the one place where it is made
    run(arguments)
    told.write_text(json.dumps(disk.synced))


def get_peers(number: int) -> bytes:
    """Return a query for the infohash ``number``, which nobody else names."""
    return b"d1:ad2:id20:%s9:info_hash20:%se1:q9:get_peers1:t4:%s1:y1:qe" % (
        (number + 1).to_bytes(20, "little"),
        number.to_bytes(20, "big"),
        number.to_bytes(4, "big"),
    )


def send(port: int, rate: float, seconds: float) -> list[float]:
    """Send queries at ``rate`` a second from many sources; return when each was sent."""
    sockets = []
    for number in range(_SOURCES):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((f"127.{number % 250 + 1}.7.1", 0))
        sock.setblocking(False)
        sockets.append(sock)
    sent, began = [], time.monotonic()
    for number in range(int(rate * seconds)):
        pause = began + number / rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        sent.append(time.monotonic())
        sockets[number % _SOURCES].sendto(get_peers(number), ("127.0.0.1", port))
    for sock in sockets:
        sock.close()
    return sent


def measure(rate: float, seconds: float, directory: Path) -> tuple[list[float], int, float]:
    """Return the delays of all lines, how many datagrams made none, and the rate that the sender reached."""
    told = directory / "told.json"
    words = [sys.executable, __file__, "--daemon", str(told), "--out", str(directory / "peers.jsonl")]
    words += ["--listen", "127.0.0.1:0", "--bootstrap", "127.0.0.1:9", "--allow-private", "--no-peers"]
    words += ["--log-format", "json"]
    environment = os.environ | _NO_BUDGET
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "crawler.listening":
                break
        sent = send(int(event["address"].rpartition(":")[2]), rate, seconds)
        time.sleep(3)
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    synced = dict(json.loads(told.read_text()))
    delays = sorted(synced[number] - at for number, at in enumerate(sent) if number in synced)
    return delays, len(sent) - len(delays), len(sent) / (sent[-1] - sent[0])


def main() -> None:
    """Print percentiles for each rate."""
    if sys.argv[1:2] == ["--daemon"]:
        daemon(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=None, help="where to write (the system's for this)")
    parser.add_argument("--rate", type=float, action="append", help="datagrams a second (10, 500, 5000)")
    parser.add_argument("--seconds", type=float, default=_SECONDS)
    wanted = parser.parse_args()
    print("seconds from a datagram to the fdatasync that acknowledged its line:")  # noqa: T201 - the output
    for rate in wanted.rate or _RATES:
        with tempfile.TemporaryDirectory(dir=wanted.directory) as directory:
            delays, lost, reached = measure(rate, wanted.seconds, Path(directory))
        p50, p90, p99 = (delays[len(delays) * part // 100] for part in (50, 90, 99))
        print(  # noqa: T201
            f"  at {reached:7,.0f}/s  p50 {p50:.3f}  p90 {p90:.3f}  p99 {p99:.3f}  longest {delays[-1]:.3f}"
            f"  ({len(delays):,} lines, {lost} datagrams without)"
        )


if __name__ == "__main__":
    main()
