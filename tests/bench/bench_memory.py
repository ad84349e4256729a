"""Prints the daemon's memory with 200,000 nodes in its ledger and 1,000,000 infohashes seen.

Run by ``make bench``. A real crawl of a simulated network goes on until both are reached, once with
``--no-peers`` and once as a user starts the daemon. What the process holds is read from the kernel; beside it
stand the two large tables built alone, each in a fresh process, and what the settings promise, so that a
reader sees what the rest costs. ``--config FILE`` tries other settings in the crawls.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from crawler.crawl.frontier import Frontier, FrontierConfig
from crawler.crawl.seen import Seen, SeenConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `make bench` runs this as a plain script

from tests.interop.daemon_process import DaemonProcess, wait_for
from tests.sim.network_process import NetworkProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MIB: Final = 1 << 20
TARGET_MIB: Final = 300
PATIENCE: Final = 240.0
NODE_BYTES, INFOHASH_BYTES = 300, 121
"""What the help of `frontier.capacity` and of `seen.recent` promises."""
_BATCH: Final = 10


@attrs.frozen
class Reached:
    """The daemon at the moment when it knew enough.

    Attributes:
        status: its status event.
        at_start: resident bytes when it began to listen.
        resident: resident bytes now.
        most: the most that was ever resident, bytes.
    """

    status: dict[str, Any]
    at_start: int
    resident: int
    most: int


def memory_of(pid: int | str) -> tuple[int, int]:
    """Return what a process holds in memory, and the most it ever held, in bytes (VmRSS, VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024


def crawl(options: argparse.Namespace, flags: Sequence[str]) -> Reached:
    """Crawl a fresh network until the ledger and the memory of infohashes hold enough.

    Raises:
        SystemExit: they did not get there in time.
    """
    sizes = {"nodes": options.nodes * 11 // 10, "infohashes": options.infohashes * 115 // 100}
    with (
        tempfile.TemporaryDirectory() as directory,
        NetworkProcess(**sizes, dead=0, bep51=1, loss=0, rtt=100, seed=1, interval=600) as network,
        DaemonProcess(
            out=Path(directory) / "peers.jsonl",
            listen="127.0.0.1",
            bootstrap=[network.bootstrap],
            extra=["--allow-private", "--status-interval", "1", "--max-rate", str(options.max_rate), *flags],
        ) as daemon,
    ):
        daemon.listening()
        at_start, _ = memory_of(daemon.pid)

        def enough() -> bool:
            status = daemon.events[-1]
            return (
                status.get("nodes_known", 0) >= options.nodes
                and status.get("infohashes", 0) >= options.infohashes
            ) or not daemon.running()

        if not wait_for(enough, PATIENCE, every=0.01) or not daemon.running():
            sys.exit(f"the crawl did not get there; log: {daemon.log_tail()}")
        reached = Reached(daemon.events[-1], at_start, *memory_of(daemon.pid))
        ended = daemon.terminate()
        if ended.code:
            sys.exit(f"the daemon ended with {ended.code}; log: {daemon.log_tail()}")
    return reached


def fill_ledger(nodes: int) -> Frontier:
    """Return a ledger of ``nodes`` nodes that have all been named twice, asked, and gave samples."""
    rng = random.Random(1)
    frontier = Frontier(FrontierConfig(), rng)
    for number in range(nodes):
        address = number.to_bytes(4, "big") + b"\x1a\xe1"
        frontier.heard([address])
        frontier.add(rng.randbytes(20), address)
        frontier.heard([address])
    for number in range(nodes):
        contact = frontier.take()
        assert contact is not None
        frontier.gave(contact, _BATCH, 40, 600.0, number / 10_000)
    return frontier


def fill_seen(infohashes: int) -> Seen:
    """Return a memory of so many infohashes, all still remembered exactly."""
    rng = random.Random(1)
    seen = Seen(SeenConfig(recent=max(infohashes + 1, 1000)), rng.randbytes(32))
    for _ in range(infohashes // _BATCH):
        seen.sift([rng.randbytes(20) for _ in range(_BATCH)])
    return seen


def cost(fill: Callable[[int], object], count: int) -> int:
    """Return how many resident bytes it takes to keep what ``fill(count)`` returns, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grow, (fill, count))


def _grow(fill: Callable[[int], object], count: int) -> int:
    before, _ = memory_of("self")
    kept = fill(count)
    after, _ = memory_of("self")
    del kept
    return after - before


def promised(status: dict[str, Any], at_start: int) -> float:
    """Return the bytes that the default settings promise for what the daemon has in memory."""
    seen = SeenConfig()
    exact: int = min(status["infohashes"], seen.recent) * INFOHASH_BYTES
    filters: int = status["seen"]["filter_bytes"]
    nodes: int = status["nodes_known"]
    return at_start + nodes * NODE_BYTES + exact + filters


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; the defaults are those of the project's figures."""
    parser = argparse.ArgumentParser(description="the daemon's memory")
    parser.add_argument("--nodes", type=int, default=200_000)
    parser.add_argument("--infohashes", type=int, default=1_000_000)
    parser.add_argument("--max-rate", type=int, default=10_000, help="of the daemon, in queries/s")
    parser.add_argument("--config", type=Path, help="settings for the daemon")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    config = ["--config", str(options.config.resolve())] if options.config else []
    for name, flags in (("daemon --no-peers", ["--no-peers"]), ("daemon", [])):
        reached = crawl(options, [*config, *flags])
        status = reached.status
        say(
            f"{name}: {reached.resident / MIB:.0f} MiB ({reached.most / MIB:.0f} at the most,"
            f" {reached.at_start / MIB:.0f} at its start, target {TARGET_MIB}) with"
            f" {status['nodes_known']:,} nodes and {status['infohashes']:,} infohashes"
            f" after {status['seconds']:.0f} s"
        )
        say(
            f"    the settings promise {promised(status, reached.at_start) / MIB:.0f} MiB for these tables;"
            f" infohashes that wait for peers: {status.get('peers_waiting', 0):,}"
        )
    ledger, seen = cost(fill_ledger, options.nodes), cost(fill_seen, options.infohashes)
    say(f"the ledger alone: {ledger / MIB:.0f} MiB, {ledger / options.nodes:.0f} bytes a node")
    say(f"the infohashes alone: {seen / MIB:.0f} MiB, {seen / options.infohashes:.0f} bytes an infohash")
    say(f"load average {os.getloadavg()[0]:.2f}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
