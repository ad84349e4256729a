"""Prints how many answers the daemon handles a CPU-second, beside libtorrent on the same simulated network.

Run by ``make bench``. The simulated network has a core of its own; on another one run, each with a fresh
network:

- the daemon as a user starts it, which seeks peers too, with dedupe, ledger, budgets and output on;
- the daemon with ``--no-peers``: the sample crawl alone, which is what libtorrent is asked to do;
- libtorrent's `dht_sample_infohashes` driven from Python (libtorrent_sampler.py).

CPU seconds are those of the whole process from its start. Every node of the network answers, so that an
answer costs the same everywhere; the ratio to libtorrent in one run is what counts, since machines differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SAMPLER = Path(__file__).with_name("libtorrent_sampler.py")
GRACE_SECONDS = 60


@attrs.frozen
class Figures:
    """What one contender came to, and what its network saw of it."""

    name: str
    answers: int
    queries_sent: int
    infohashes: int
    peers: int
    cpu_seconds: float
    memory_mib: float
    network: dict[str, Any]
    network_cpu_seconds: float

    @property
    def answers_per_cpu_second(self) -> float:
        """Return the figure that is compared."""
        return self.answers / self.cpu_seconds

    def row(self) -> str:
        """Return a line of the table."""
        return (
            f"{self.name:22}{self.answers:9}{self.cpu_seconds:8.2f}{self.answers_per_cpu_second:12.0f}"
            f"{self.infohashes:12}{self.infohashes / max(self.queries_sent, 1):11.2f}{self.peers:10}"
            f"{self.memory_mib:9.0f}{self.network_cpu_seconds:12.2f}{self.network['kernel_drops']:8}"
        )


HEADER = (
    f"{'':22}{'answers':>9}{'CPU s':>8}{'answers/':>12}{'new':>12}{'new per':>11}{'peers':>10}"
    f"{'memory':>9}{'network':>12}{'network':>8}\n"
    f"{'':22}{'':>9}{'':>8}{'CPU s':>12}{'infohashes':>12}{'query':>11}{'':>10}"
    f"{'MiB':>9}{'CPU s':>12}{'drops':>8}"
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


@contextlib.contextmanager
def network(options: argparse.Namespace, ended: dict[str, Any]) -> Iterator[str]:
    """Serve a simulated network and give its bootstrap address; at the end, ``ended`` gets its summary."""
    command = [sys.executable, "-m", "crawler", "simulate", "--listen", "127.64.0.1:0"]
    command += ["--nodes", str(options.nodes), "--infohashes", str(options.infohashes)]
    command += ["--rtt", "100", "--dead", str(options.dead), "--bep51", str(options.bep51)]
    command += ["--loss", str(options.loss), "--seed", "1", "--interval", "600"]
    with on_core(0):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stdout = cast("Any", process.stdout)
    try:
        yield stdout.readline().split()[1]
    finally:
        process.send_signal(signal.SIGINT)
        ended.update(json.loads(stdout.read().splitlines()[-1]))
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        ended["cpu_seconds"] = usage.ru_utime + usage.ru_stime


def contend(name: str, command: Sequence[str], options: argparse.Namespace, *, log: bool) -> Figures:
    """Run one contender against a fresh network; its figures are its last line of JSON, on stderr if ``log``.

    ``{host}``, ``{port}`` and ``{out}`` in the command stand for the bootstrap address and an output file.
    """
    ended: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory, network(options, ended) as bootstrap:
        host, port = bootstrap.split(":")
        command = [word.format(host=host, port=port, out=f"{directory}/peers.jsonl") for word in command]
        with on_core(1):
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE if log else None, text=True
            )
        stream = cast("Any", process.stderr if log else process.stdout)
        lines = stream.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not lines:
        sys.exit(f"{name} failed ({process.returncode}):\n" + "\n".join(lines[-20:]))
    figures = json.loads(lines[-1])
    return Figures(
        name=name,
        answers=figures["answers"],
        queries_sent=figures["queries_sent"],
        infohashes=figures["infohashes"],
        peers=figures.get("peers", 0),
        cpu_seconds=figures["cpu_seconds"],
        memory_mib=usage.ru_maxrss / 1024,
        network=ended,
        network_cpu_seconds=ended["cpu_seconds"],
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; the defaults are those of the project's figures."""
    parser = argparse.ArgumentParser(description="daemon and libtorrent on one simulated network")
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--infohashes", type=int, default=500_000)
    parser.add_argument("--dead", type=float, default=0.0)
    parser.add_argument("--bep51", type=float, default=1.0)
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    seconds = str(options.seconds)
    daemon = [sys.executable, "-m", "crawler", "--out", "{out}", "--bootstrap", "{host}:{port}"]
    daemon += ["--listen", "127.0.0.1:0", "--allow-private", "--max-rate", "1000000"]
    daemon += ["--duration", seconds, "--log-format", "json"]
    libtorrent = [sys.executable, str(SAMPLER), "{host}", "{port}", seconds]
    sys.stdout.write(HEADER + "\n")
    results = []
    for name, command, log in (
        ("daemon", daemon, True),
        ("daemon --no-peers", [*daemon, "--no-peers"], True),
        ("libtorrent samples", libtorrent, False),
    ):
        results.append(contend(name, command, options, log=log))
        sys.stdout.write(results[-1].row() + "\n")
        sys.stdout.flush()
    yardstick = results[-1].answers_per_cpu_second
    for figures in results[:-1]:
        ratio = figures.answers_per_cpu_second / yardstick
        sys.stdout.write(f"{figures.name}: {ratio:.2f} times libtorrent's answers a CPU-second\n")


if __name__ == "__main__":
    main()
