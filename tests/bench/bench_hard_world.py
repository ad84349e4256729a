"""Prints what the fetch makes of a world where 60 % of the peers are dead, slow or lying, and what it costs.

Run by ``make bench``, with the settings that a user has. The peers are a process of their own on loopback:

- *mixed*: every infohash has five peers, 60 % of all of them dead in nine ways, at least one of each honest.
  All must be fetched, no job may take longer than the deadline, and nothing may be left open.
- *hostile*: 300 peers that hang, trickle, flood or lie are all connected at once; what that takes of memory.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.crawl.failures import FailuresConfig
from crawler.crawl.fetch import Fetcher, FetchSections
from crawler.crawl.fetch_job import FetchConfig, Origin
from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.net.peers import PeerClient
from crawler.records import Record

# The folders of tests are no packages, and a script's own folder comes first in the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.sim.hard_client import TimedCalls, memory, open_files, until
from tests.sim.hard_peers import WAYS, HardPeer, HardWorld, make_world

if TYPE_CHECKING:
    from collections.abc import Sequence

PORT = 6881
NETWORK = "127.44"
PEERS_EACH = 5
HOSTILE = 300
HOSTILE_WAYS = ("flood", "hang", "lie_about_size", "trickle")
MIB = 1 << 20


def mixed_world(infohashes: int) -> list[list[HardPeer]]:
    """Return the peers of each infohash, the same in every process."""
    return make_world(infohashes, PEERS_EACH, NETWORK, PORT, random.Random(1))


def hostile_world() -> list[list[HardPeer]]:
    """Return infohashes that have one hostile peer each, which holds on to us."""
    world = make_world(HOSTILE, 1, NETWORK, PORT, random.Random(2))
    return [
        [attrs.evolve(peers[0], way=HOSTILE_WAYS[number % len(HOSTILE_WAYS)])]
        for number, peers in enumerate(world)
    ]


def serve(world: list[list[HardPeer]]) -> None:
    """Be the peers until the input ends."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(HardWorld([peer for peers in world for peer in peers]).run)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await trio.to_thread.run_sync(sys.stdin.read)
            nursery.cancel_scope.cancel()

    trio.run(main)


def fetcher_of(calls: TimedCalls, config: FetchConfig) -> tuple[Fetcher, list[bytes]]:
    """Return a fetch whose lookups find nothing, and the lines that it writes."""
    sender, receiver = trio.open_memory_channel[list[Record]](1000)
    lines: list[bytes] = []
    outlet = Outlet(OutletConfig(), sender, lambda now: now, lambda: len(lines))

    class Sunk(Fetcher):
        """Empties its outlet as a sink would."""

        async def sink(self) -> None:
            while True:
                outlet.flush()
                await trio.sleep(0.02)
                try:
                    for record in receiver.receive_nowait():
                        lines.extend(record.lines().splitlines())
                except trio.WouldBlock:
                    continue

    fetcher = Sunk(
        FetchSections(config, FailuresConfig()),
        calls,
        outlet,
        seek=lambda infohash: fetcher.sought(infohash, trio.current_time()),
        admit=lambda _address: True,
        spread=False,
    )
    return fetcher, lines


async def run_mixed(world: list[list[HardPeer]]) -> dict[str, Any]:
    """Fetch everything; return the figures."""
    client = PeerClient(b"-DC0100-hard-world-1", allow_private=True)
    calls = TimedCalls(client)
    fetcher, lines = fetcher_of(calls, FetchConfig())
    files, before = open_files(), memory()
    peak = 0
    began, cpu = time.monotonic(), time.process_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetcher.run)
        nursery.start_soon(fetcher.sink)  # type: ignore[attr-defined] # it is the one made above
        for peers in world:
            now = trio.current_time()
            fetcher.offer(peers[0].torrent.infohash, [peer.address for peer in peers], Origin.NAMED, now)
        while fetcher.jobs.counters.fetched < len(world) and fetcher.jobs.resting + len(lines) < len(world):
            await trio.sleep(0.05)
            peak = max(peak, memory())
        seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
        await until(lambda: not fetcher.jobs.in_flight)
        nursery.cancel_scope.cancel()
    counters = fetcher.jobs.counters
    return {
        "infohashes": len(world),
        "fetched": counters.fetched,
        "dead_share": round(sum(p.way != "honest" for ps in world for p in ps) / len(world) / PEERS_EACH, 2),
        "dialled": counters.dialled,
        "hedged": counters.hedged,
        "seconds": round(seconds, 1),
        "longest_job_s": round(max(end - begin for begin, end in calls.times.values()), 1),
        "fetched_per_cpu_second": round(counters.fetched / cpu_seconds),
        "memory_mib": round((peak - before) / MIB, 1),
        "files_left_open": open_files() - files,
        "failures": dict(client.counters.failures),
    }


async def run_hostile(world: list[list[HardPeer]]) -> dict[str, Any]:
    """Let all hostile peers hold on to us at once; return the figures."""
    client = PeerClient(b"-DC0100-hard-world-2", allow_private=True)
    calls = TimedCalls(client)
    fetcher, _ = fetcher_of(calls, FetchConfig(max_dials=2 * HOSTILE, max_jobs=2 * HOSTILE))
    files, before = open_files(), memory()
    most = peak = 0
    cpu = time.process_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetcher.run)
        for peers in world:
            now = trio.current_time()
            fetcher.offer(peers[0].torrent.infohash, [peers[0].address], Origin.NAMED, now)
        while fetcher.jobs.resting < len(world):
            await trio.sleep(0.02)
            most, peak = max(most, fetcher.jobs.in_flight), max(peak, memory())
        cpu_seconds = time.process_time() - cpu
        nursery.cancel_scope.cancel()
    return {
        "peers": len(world),
        "at_once": most,
        "longest_job_s": round(max(end - begin for begin, end in calls.times.values()), 1),
        "memory_mib": round((peak - before) / MIB, 1),
        "unverified_peak_mib": round(client.budget.peak / MIB, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "files_left_open": open_files() - files,
        "failures": dict(client.counters.failures),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run both worlds and print their figures; 0 when everything was fetched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--infohashes", type=int, default=600, help="(%(default)s)")
    parser.add_argument("--serve", choices=["mixed", "hostile"], help=argparse.SUPPRESS)
    wanted = parser.parse_args(argv)
    worlds = {"mixed": lambda: mixed_world(wanted.infohashes), "hostile": hostile_world}
    if wanted.serve:
        serve(worlds[wanted.serve]())
        return 0
    assert set(HOSTILE_WAYS) <= WAYS.keys()
    ok = True
    for name, run in (("mixed", run_mixed), ("hostile", run_hostile)):
        command = [sys.executable, __file__, "--serve", name, "--infohashes", str(wanted.infohashes)]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as peers:
            assert peers.stdin is not None
            assert peers.stdout is not None
            peers.stdout.readline()
            figures = trio.run(run, worlds[name]())
            peers.stdin.close()
        print(name, json.dumps(figures, indent=1))  # noqa: T201 - what a bench is for
        ok = ok and figures.get("fetched", 0) == figures.get("infohashes", 0)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
