"""Prints what index poisoning costs: honest infohashes whose metadata was fetched, without and with liars.

Run by ``make bench``. The daemon is started as a user starts it, with ``--metadata``, beside a simulated
network in a process of its own; peers are real TCP on loopback, half of the honest ones dead. Liars are nodes
that answer samples with infohashes that nobody has, new ones each time, and name for them nobody, peers that
never say a word, or peers that give something else. Both kinds of run take turns, since a shared machine
drifts. The aim: no metadata record of a lie, and at least 80 % of the honest records.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.simnet.server import ServerConfig, SimulatedNetwork
from crawler.simnet.world import WorldConfig
from crawler.wire.compact import pack_address

# The folders of tests are no packages, and a script's own folder comes first in the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.sim.poisoned_world import PoisonedWorld, make_torrents

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED = 1
ENOUGH = 0.8


@attrs.frozen
class Figures:
    """What one run came to."""

    honest: int
    false: int
    lies: int
    cpu_seconds: float
    discredited: int


async def serve(options: argparse.Namespace) -> None:
    """Be the network and all peers until the input ends; then tell how many infohashes were lies."""
    [listener] = await trio.open_tcp_listeners(0, host="0.0.0.0", backlog=1024)  # noqa: S104 - all of 127/8
    port = listener.socket.getsockname()[1]
    first = WorldConfig(nodes=1, infohashes=0)
    with SimulatedNetwork(ServerConfig(world=first)) as network:
        world = network.world = PoisonedWorld(
            torrents=options.torrents,
            liars=options.liars,
            nodes=options.nodes,
            peer_port=port,
            port=network.bootstrap[1],
            interval=60,
            dead=0.2,
            bep51=0.8,
            seed=SEED,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.serve)
            nursery.start_soon(partial(trio.serve_listeners, partial(be_peer, world), [listener]))
            say("{}:{}".format(*network.bootstrap))
            await trio.to_thread.run_sync(sys.stdin.read)
            nursery.cancel_scope.cancel()
        say(str(len(world.lies)))


async def be_peer(world: PoisonedWorld, stream: trio.SocketStream) -> None:
    """Be whoever was dialled at this address, or keep silent where nobody is."""
    address = pack_address(stream.socket.getsockname())
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async with stream:
            if world.answers(address):
                await world.play(address, stream)
            else:
                while await stream.receive_some(4096):
                    pass


def measure(options: argparse.Namespace, liars: int) -> Figures:
    """Run the daemon once among so many liars."""
    sizes = ["--nodes", str(options.nodes), "--torrents", str(options.torrents), "--liars", str(liars)]
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(
            [sys.executable, __file__, "--serve", *sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as network,
    ):
        assert network.stdin is not None
        assert network.stdout is not None
        out = Path(directory) / "out.jsonl"
        status, usage = crawl(options, network.stdout.readline().strip(), out)
        network.stdin.close()
        lies = int(network.stdout.readline())
        records = [json.loads(line) for line in out.read_text("ascii").splitlines()]
    torrents = make_torrents(options.torrents, random.Random(SEED))
    fetched = {bytes.fromhex(record["infohash"]) for record in records if record["type"] == "metadata"}
    return Figures(
        honest=len(fetched & torrents.keys()),
        false=len(fetched - torrents.keys()),
        lies=lies,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        discredited=status["dropped"].get("samples_discredited", 0),
    )


def crawl(options: argparse.Namespace, bootstrap: str, out: Path) -> tuple[dict[str, Any], Any]:
    """Run the daemon to its end; return its last status and the kernel's figures on what it used."""
    command = [sys.executable, "-m", "crawler", "--out", str(out), "--bootstrap", bootstrap, "--metadata"]
    command += ["--listen", "127.0.0.1:0", "--allow-private", "--log-format", "json"]
    command += ["--max-rate", str(options.max_rate), "--duration", str(options.seconds)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        lines = daemon.stderr.read().splitlines()
        _, code, usage = os.wait4(daemon.pid, 0)
        daemon.returncode = os.waitstatus_to_exitcode(code)
    if daemon.returncode:
        sys.exit("the daemon failed:\n" + "\n".join(lines[-20:]))
    return json.loads(lines[-1]), usage


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; the defaults are those of the project's figures."""
    parser = argparse.ArgumentParser(description="honest metadata with and without poisoning nodes")
    parser.add_argument("--nodes", type=int, default=2000, help="honest ones (%(default)s)")
    parser.add_argument("--liars", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--torrents", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--max-rate", type=float, default=500.0, help="queries/s (%(default)s)")
    parser.add_argument("--seconds", type=float, default=40.0, help="(%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> int:
    """Run both kinds in turn; 0 when the aim is reached."""
    options = parse()
    if options.serve:
        trio.run(serve, options)
        return 0
    say(f"load average {os.getloadavg()[0]:.2f} before the start")
    say(f"{'liars':>6}{'lies told':>11}{'honest metadata':>17}{'of lies':>9}{'CPU s':>8}{'honest/CPU s':>14}")
    runs: dict[int, list[Figures]] = {0: [], options.liars: []}
    for _ in range(options.runs):
        for liars, figures in runs.items():
            one = measure(options, liars)
            figures.append(one)
            say(
                f"{liars:>6}{one.lies:>11}{one.honest:>17}{one.false:>9}{one.cpu_seconds:>8.1f}"
                f"{one.honest / one.cpu_seconds:>14.0f}"
            )
    clean, poisoned = runs.values()
    pace = [with_lies.honest / without.honest for without, with_lies in zip(clean, poisoned, strict=True)]
    per_cpu = [
        (with_lies.honest / with_lies.cpu_seconds) / (without.honest / without.cpu_seconds)
        for without, with_lies in zip(clean, poisoned, strict=True)
    ]
    say(f"honest metadata among liars: {statistics.median(pace):.0%} of that without (median)")
    say(f"the same per CPU-second: {statistics.median(per_cpu):.0%}")
    false = sum(figures.false for figures in [*clean, *poisoned])
    return 0 if not false and statistics.median(pace) >= ENOUGH else 1


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
