"""Prints how many answers the daemon handles a CPU-second, beside libtorrent on the same simulated network.

Run by ``make bench``. The simulated network has a core of its own; on another one run, in turn and each with
a fresh network of the same seed:

- the daemon as a user starts it, which seeks peers too, with dedupe, ledger, budgets and output on;
- the daemon with ``--no-peers``: the sample crawl alone, which is what libtorrent is asked to do;
- libtorrent's `dht_sample_infohashes` driven from Python (libtorrent_sampler.py), once doing the same job
  (intervals kept, JSON lines written) and once the bare minimum.

All of it is done ``--runs`` times, every other time in reverse order, since a shared machine drifts. CPU
seconds are those of the whole process from its start; what starting and stopping costs is measured too, on a
network of a few nodes, and the answers per CPU-second after it stand in a column of their own. Every node of
the network answers, so that an answer costs the same everywhere. Machines differ: what counts is the ratio to
libtorrent in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `make bench` runs this as a plain script

from tests.sim.network_process import NetworkProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.sim.network_process import NetworkEnd

SAMPLER = Path(__file__).with_name("libtorrent_sampler.py")
NETWORK_CORE, CONTENDER_CORE = 0, 1
A_MOMENT = 0.05
"""Seconds of crawling of a run that measures what starting and stopping costs."""


@attrs.frozen
class Contender:
    """What runs, and how.

    Attributes:
        name: as in the table.
        command: with ``{host}``, ``{port}``, ``{seconds}`` and ``{out}`` to be filled in.
        log: whether its figures are the last line of its log, on stderr, rather than of stdout.
    """

    name: str
    command: Sequence[str]
    log: bool


DAEMON = (
    *(sys.executable, "-m", "crawler", "--out", "{out}", "--bootstrap", "{host}:{port}"),
    *("--listen", "127.0.0.1:0", "--allow-private", "--max-rate", "{rate}"),
    *("--duration", "{seconds}", "--log-format", "json"),
)
LIBTORRENT = (sys.executable, str(SAMPLER), "{host}", "{port}", "{seconds}")
SAME_JOB, BARE = "libtorrent, same job", "libtorrent, bare"
CONTENDERS = (
    Contender("daemon", DAEMON, log=True),
    Contender("daemon --no-peers", (*DAEMON, "--no-peers"), log=True),
    Contender(SAME_JOB, (*LIBTORRENT, "--same-job", "{out}"), log=False),
    Contender(BARE, LIBTORRENT, log=False),
)


@attrs.frozen
class Figures:
    """What one contender came to, and what its network saw of it."""

    answers: int
    queries_sent: int
    infohashes: int
    peers: int
    cpu_seconds: float
    start_seconds: float
    memory_mib: float
    network: NetworkEnd

    @property
    def answers_per_cpu_second(self) -> float:
        """Return the figure that is compared."""
        return self.answers / self.cpu_seconds

    @property
    def after_start(self) -> float:
        """Return the same without the CPU time that starting and stopping take."""
        return self.answers / max(self.cpu_seconds - self.start_seconds, 0.01)

    @property
    def new_per_query(self) -> float:
        """Return new infohashes per query sent, of whatever kind."""
        return self.infohashes / max(self.queries_sent, 1)

    def row(self, name: str) -> str:
        """Return a line of the table."""
        return (
            f"{name:22}{self.answers:9}{self.cpu_seconds:8.2f}{self.answers_per_cpu_second:11.0f}"
            f"{self.after_start:13.0f}{self.infohashes:12}{self.new_per_query:9.2f}{self.peers:10}"
            f"{self.memory_mib:8.0f}{self.network.cpu_seconds:9.2f}"
            f"{self.network.summary['kernel_drops']:9}"
        )


HEADER = (
    f"{'':22}{'answers':>9}{'CPU s':>8}{'answers/':>11}{'the same,':>13}{'new':>12}{'new per':>9}"
    f"{'peers':>10}{'memory':>8}{'network':>9}{'network':>9}\n"
    f"{'':22}{'':>9}{'':>8}{'CPU s':>11}{'after start':>13}{'infohashes':>12}{'query':>9}"
    f"{'':>10}{'MiB':>8}{'CPU s':>9}{'drops':>9}"
)


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Start processes on one core inside the block, where the machine has more than one."""
    before = os.sched_getaffinity(0)
    cores = sorted(before)
    os.sched_setaffinity(0, {cores[core % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def contend(contender: Contender, world: dict[str, object], seconds: float, rate: float) -> Figures:
    """Run one contender against a fresh network for so long."""
    with tempfile.TemporaryDirectory() as directory:
        with on_core(NETWORK_CORE):
            network = NetworkProcess(**world)
        with network:
            host, port = network.bootstrap.split(":")
            filled = {"host": host, "port": port, "seconds": seconds, "rate": rate}
            command = [word.format(**filled, out=f"{directory}/peers.jsonl") for word in contender.command]
            figures, usage = measure(contender, command)
            end = network.stop()
    return Figures(
        answers=figures["answers"],
        queries_sent=figures["queries_sent"],
        infohashes=figures["infohashes"],
        peers=figures.get("peers", 0),
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        start_seconds=0.0,
        memory_mib=usage.ru_maxrss / 1024,
        network=end,
    )


def measure(contender: Contender, command: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """Run ``command`` to its end; return its own figures and the kernel's on what it used."""
    with on_core(CONTENDER_CORE):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE if contender.log else None, text=True
        )
    stream = cast("Any", process.stderr if contender.log else process.stdout)
    lines = stream.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not lines:
        sys.exit(f"{contender.name} failed ({process.returncode}):\n" + "\n".join(lines[-20:]))
    return json.loads(lines[-1]), usage


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; the defaults are those of the project's figures."""
    parser = argparse.ArgumentParser(description="daemon and libtorrent on one simulated network")
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--infohashes", type=int, default=500_000)
    parser.add_argument("--dead", type=float, default=0.0)
    parser.add_argument("--bep51", type=float, default=1.0)
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--max-rate", type=float, default=12_000.0, help="of the daemon, in queries/s")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    world: dict[str, object] = {"rtt": 100, "seed": 1, "interval": 600}
    world |= {name: getattr(options, name) for name in ("dead", "bep51", "loss")}
    full = world | {"nodes": options.nodes, "infohashes": options.infohashes}
    few = world | {"nodes": 8, "infohashes": 8}
    say(f"load average {os.getloadavg()[0]:.2f} before the start")
    say(HEADER)
    results: dict[str, list[Figures]] = {contender.name: [] for contender in CONTENDERS}
    for run in range(options.runs):
        for contender in CONTENDERS if run % 2 == 0 else reversed(CONTENDERS):
            start = contend(contender, few, A_MOMENT, options.max_rate).cpu_seconds
            figures = contend(contender, full, options.seconds, options.max_rate)
            results[contender.name].append(attrs.evolve(figures, start_seconds=start))
            say(results[contender.name][-1].row(contender.name))
    conclude(results)


def conclude(results: dict[str, list[Figures]]) -> None:
    """Print the median run of each contender, and each ratio that counts as the median over the runs."""
    say("medians")
    for name, runs in results.items():
        say(sorted(runs, key=lambda run: run.answers_per_cpu_second)[len(runs) // 2].row(name))
    for name in list(results)[:2]:
        for yardstick in (SAME_JOB, BARE):
            pairs = list(zip(results[name], results[yardstick], strict=True))
            whole = [mine.answers_per_cpu_second / its.answers_per_cpu_second for mine, its in pairs]
            after = [mine.after_start / its.after_start for mine, its in pairs]
            say(
                f"{name}: {statistics.median(whole):.2f} times the answers a CPU-second of {yardstick}"
                f" ({min(whole):.2f} to {max(whole):.2f}); {statistics.median(after):.2f} after the start"
            )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
