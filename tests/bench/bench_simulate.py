"""Prints how many answers the simulated network gives a CPU-second, socket and kernel included.

Run by ``make bench``: a crawl can be no faster than its network, so this figure bounds what the others can
show. The network has a core of its own; a generator on another keeps some thousand queries on their way.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, cast

from crawler.simnet.world import World, WorldConfig
from crawler.wire import krpc
from crawler.wire.compact import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES, INFOHASHES, SEED = 100_000, 500_000, 1
SECONDS = 4.0
OUTSTANDING = 3000
BATCH = 128
MY_ID = b"i" * 20
COMMAND = [
    *(
        sys.executable,
        "-m",
        "crawler",
        "simulate",
        "--listen",
        "127.64.0.1:0",
        "--rtt",
        "20",
        "--seed",
        str(SEED),
    ),
    *("--nodes", str(NODES), "--infohashes", str(INFOHASHES), "--dead", "0", "--bep51", "1", "--loss", "0"),
]


@contextlib.contextmanager
def network() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Serve the network on the first core, give its process and port, and stop it."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(0, {cores[-1]})
    try:
        word, address = cast("Any", process.stdout).readline().split()
        assert word == "bootstrap"
        yield process, parse_address(address)[1]
    finally:
        os.sched_setaffinity(0, cores)
        process.send_signal(signal.SIGINT)


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """Return the CPU time that a running process took so far."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - a file of the kernel
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(queries: list[bytes], hosts: list[str], port: int) -> int:
    """Ask the nodes in turn for :data:`SECONDS`; return how many answers came."""
    outstanding = answers = 0
    endless = zip(itertools.cycle(queries), itertools.cycle([(host, port) for host in hosts]), strict=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        sock.setblocking(False)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for query, node in itertools.islice(endless, min(OUTSTANDING - outstanding, BATCH)):
                sock.sendto(query, node)
                outstanding += 1
            if not select.select([sock], [], [], 0.5)[0]:
                outstanding = 0  # what is outstanding was dropped somewhere; the summary tells
            with contextlib.suppress(BlockingIOError):
                for _ in range(BATCH):
                    sock.recv(2048)
                    answers += 1
                    outstanding -= 1
    return answers


def main() -> None:
    rng = random.Random(2)
    world = World(WorldConfig(nodes=NODES, infohashes=0, seed=SEED, dead=0))
    hosts = [socket.inet_ntoa(host) for host in world._population.rank_of]
    rng.shuffle(hosts)
    for make in (krpc.find_node, krpc.sample_infohashes, krpc.get_peers):
        queries = [make(number.to_bytes(4, "big"), MY_ID, rng.randbytes(20)) for number in range(5000)]
        with network() as (process, port):
            before = cpu_seconds(process)
            answers = load(queries, hosts, port)
            spent = cpu_seconds(process) - before
        drops = json.loads(cast("Any", process.stdout).read().splitlines()[-1])["kernel_drops"]
        process.wait()
        sys.stdout.write(
            f"{make.__name__:20} {answers / spent:8.0f} answers/CPU-second,"
            f" {answers / SECONDS:8.0f} answers/s, {drops} dropped by the kernel\n"
        )


if __name__ == "__main__":
    main()
