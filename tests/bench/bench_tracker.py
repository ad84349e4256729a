"""Prints what the tracker costs: announces per CPU-second beside opentracker, and the registry as it grows.

Run by hand: ``.venv/bin/python tests/bench/bench_tracker.py [--seconds 5] [--rounds 3]``. Both trackers get
the same load, drawn from the same seed, in turn, from a process of its own that keeps 256 announces in
flight; both serve a list of 100 infohashes, and give 50 peers. What counts is the processor time of the
tracker's process alone, so a busy machine does not matter much. A reply that is no answer stops the bench.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from crawler.swarm.registry import Registry, RegistryBounds
from crawler.wire import tracker_udp as wire
from crawler.wire.tracker import AnnounceRequest, Event

SEED = 20261121
SWARMS, PORTS, WINDOW, NUMWANT = 100, 2000, 256, 50
SIZES = (10, 1_000, 100_000, 1_000_000)
ROOT = Path(__file__).resolve().parent.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


def infohashes() -> list[bytes]:
    """The swarms that both trackers serve."""
    rng = random.Random(SEED)
    return [rng.randbytes(20) for _ in range(SWARMS)]


def load(port: int, seconds: float) -> int:
    """Announce for so long, with a window of announces in flight; return how many were answered."""
    rng = random.Random(SEED)
    hashes = infohashes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.connect(("127.0.0.1", port))
        sock.settimeout(1.0)
        sock.send(wire.encode_connect(1))
        connection_id = wire.decode_connect_reply(sock.recv(2048), 1)
        if not isinstance(connection_id, bytes):
            raise TypeError(f"no connection id: {connection_id}")
        packets = [
            wire.encode_announce(
                AnnounceRequest(
                    rng.choice(hashes),
                    rng.randbytes(20),
                    1024 + rng.randrange(PORTS),
                    left=rng.choice((0, 1000)),
                    event=rng.choice((Event.STARTED, Event.NONE)),
                    numwant=NUMWANT,
                ),
                connection_id,
                number,
            )
            for number in range(100_000)
        ]
        return _exchange(sock, packets, seconds)


def _exchange(sock: socket.socket, packets: list[bytes], seconds: float) -> int:
    answered, at, end = 0, 0, time.monotonic() + seconds
    for data in packets[:WINDOW]:
        sock.send(data)
    while time.monotonic() < end:
        for _ in range(WINDOW):
            try:
                reply = sock.recv(2048)
            except TimeoutError:
                break  # some were lost: fill the window again
            if reply[3] != wire.ANNOUNCE:
                raise RuntimeError(f"no answer to an announce: {reply!r}")
            answered += 1
            at += 1
            sock.send(packets[(at + WINDOW) % len(packets)])
    return answered


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used, all its threads, in the kernel and outside."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(words: list[str], port: int, seconds: float, directory: Path) -> float:
    """Return announces answered per CPU-second of the program that ``words`` start."""
    process = subprocess.Popen(words, cwd=directory, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        # The first second fills the swarms.
        _in_another_process(port, 1.0)
        before = processor_seconds(process.pid)
        answered = _in_another_process(port, seconds)
        return answered / (processor_seconds(process.pid) - before)
    finally:
        process.kill()
        process.wait()


def _in_another_process(port: int, seconds: float) -> int:
    words = [sys.executable, __file__, "--load", str(port), "--seconds", str(seconds)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 20
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.2)
        while time.monotonic() < end:
            try:
                sock.send(wire.encode_connect(1))
                sock.recv(2048)
            except OSError:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError("the tracker does not answer")


def free_port() -> int:
    """A port that is free for both carriers, most likely."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def contenders(directory: Path) -> dict[str, tuple[list[str], int]]:
    """The programs to measure: how each is started, and its port."""
    directory.chmod(0o755)
    listed = directory / "whitelist"
    listed.write_text("".join(f"{infohash.hex()}\n" for infohash in infohashes()))
    port, other = free_port(), free_port()
    unlimited = "--ip-rate 1e9 --ip-burst 1e9 --status-interval 0"
    ours = f"tracker --udp 127.0.0.1:{port} --allow {listed} --max-numwant {NUMWANT} {unlimited}"
    found = {"ours": ([sys.executable, "-m", "crawler", *ours.split()], port)}
    program = shutil.which("opentracker")
    if program is not None:
        words = f"-i 127.0.0.1 -p {other} -P {other} -d {directory} -w whitelist"
        found["opentracker"] = ([program, *words.split()], other)
    return found


def beside_opentracker(seconds: float, rounds: int) -> None:
    """Print announces answered per CPU-second, in turn, and the ratio of the medians."""
    os.environ["PYTHONPATH"] = str(ROOT)
    seen: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for _ in range(rounds):
            for name, (words, port) in contenders(Path(place)).items():
                seen.setdefault(name, []).append(measure(words, port, seconds, Path(place)))
    medians = {name: statistics.median(figures) for name, figures in seen.items()}
    for name, figures in seen.items():
        rates = ", ".join(f"{figure:,.0f}" for figure in figures)
        sys.stdout.write(f"{name:12} {medians[name]:10,.0f} announces per CPU-second ({rates})\n")
    if "opentracker" in medians:
        sys.stdout.write(f"ratio ours / opentracker: {medians['ours'] / medians['opentracker']:.2f}\n")
    else:
        sys.stdout.write("opentracker is not installed: nothing to compare with\n")


def registry() -> None:
    """Print what an announce costs, and a peer weighs, in swarms of growing size."""
    rng = random.Random(SEED)
    held = Registry(RegistryBounds(), rng)
    swarm, began = rng.randbytes(20), _resident()
    for size in SIZES:
        for number in range(held.peer_count, size):
            held.announce(swarm, _peer(number), Event.STARTED, 0, 0.0, seed=number % 2 == 0)
        peers: list[Any] = [_peer(rng.randrange(size)) for _ in range(100_000)]
        start = time.process_time()
        for peer in peers:
            held.announce(swarm, peer, Event.NONE, NUMWANT, 1.0, seed=False)
        cost = (time.process_time() - start) / len(peers) * 1e6
        weight = (_resident() - began) / size
        told = f"{weight:6.0f} bytes a peer" if size > SIZES[1] else ""
        sys.stdout.write(f"{size:10,} peers: {cost:5.2f} µs an announce {told}\n")


def _peer(number: int) -> bytes:
    return number.to_bytes(4, "big") + b"\x1a\xe1"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure, or be the load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", type=int, metavar="PORT")
    asked = parser.parse_args()
    if asked.load is not None:
        sys.stdout.write(str(load(asked.load, asked.seconds)))
        return
    registry()
    beside_opentracker(asked.seconds, asked.rounds)


if __name__ == "__main__":
    main()
