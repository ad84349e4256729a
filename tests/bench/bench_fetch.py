"""Prints how many verified fetches of metadata the daemon does a CPU-second, beside libtorrent.

Run by ``make bench``. A pool of honest peers on loopback, in a process and on a core of its own, has
thousands of torrents (fetch_pool.py). Each contender, in a process of its own on another core, is told every
infohash and its peer, fetches and verifies all the metadata, and writes a line of JSON for each
(fetch_contenders.py):

- the daemon's fetch as a user has it: policy, peer wire, verification, record, file with syncs;
- libtorrent: added by infohash, metadata awaited, torrent removed; everything else it could do is switched
  off and its limits are lifted. It is given both 64 torrents at once, as many as the daemon, and 200.

All of it is done ``--runs`` times, every other time in reverse order, since a shared machine drifts. CPU time
is that of the whole process, all threads, from the first infohash to the last line, with the start and the
stop of the session or of Trio, which take 14 and 12 ms. The pool's is counted for neither.
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
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
POOL_CORE, CONTENDER_CORE = 0, 1
DAEMON = "daemon"
CONTENDERS = {
    DAEMON: ("daemon",),
    "libtorrent, 64 at once": ("libtorrent", "--at-once", "64"),
    "libtorrent, 200 at once": ("libtorrent", "--at-once", "200"),
}
AIM = 3.0


@attrs.frozen
class Figures:
    """What one contender came to: fetches, and the seconds they took."""

    fetched: int
    seconds: float
    user: float
    system: float

    @property
    def per_cpu_second(self) -> float:
        """Return the figure that is compared."""
        return self.fetched / (self.user + self.system)

    def row(self, name: str) -> str:
        """Return a line of the table."""
        return (
            f"{name:26}{self.fetched:9}{self.seconds:9.2f}{self.user:9.2f}{self.system:9.2f}"
            f"{self.per_cpu_second:16.0f}"
        )


HEADER = f"{'':26}{'fetched':>9}{'seconds':>9}{'user s':>9}{'system s':>9}{'per CPU-second':>16}"


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
def pool(torrents: int) -> Iterator[None]:
    """Run the peers inside the block."""
    command = [sys.executable, str(HERE / "fetch_pool.py"), str(torrents)]
    with (
        on_core(POOL_CORE),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        if not process.stdout.readline():
            sys.exit("the pool did not start")
        yield
        process.stdin.close()


def contend(name: str, torrents: int) -> Figures:
    """Run one contender to its end, and see that it did the whole job."""
    contender, *options = CONTENDERS[name]
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "metadata.jsonl"
        command = [sys.executable, str(HERE / "fetch_contenders.py"), contender, str(torrents), str(out)]
        with on_core(CONTENDER_CORE):
            done = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=True)
        lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    said = json.loads(done.stdout)
    infohashes = {line["infohash"] for line in lines if line["type"] == "metadata"}
    if len(infohashes) != torrents:
        sys.exit(f"{name} fetched {len(infohashes)} of {torrents}: {said}")
    return Figures(len(infohashes), said["seconds"], said["user"], said["system"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; the defaults are those of the project's figures."""
    parser = argparse.ArgumentParser(description="metadata by the daemon and by libtorrent, same peers")
    parser.add_argument("--torrents", type=int, default=8000)
    parser.add_argument("--runs", type=int, default=5)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    say(f"load average {os.getloadavg()[0]:.2f} before the start")
    say(HEADER)
    results: dict[str, list[Figures]] = {name: [] for name in CONTENDERS}
    for run in range(options.runs):
        for name in CONTENDERS if run % 2 == 0 else reversed(CONTENDERS):
            with pool(options.torrents):
                results[name].append(contend(name, options.torrents))
            say(results[name][-1].row(name))
    conclude(results)


def conclude(results: dict[str, list[Figures]]) -> None:
    """Print the median run of each contender, and the ratio to each yardstick over the runs."""
    say("medians")
    for name, runs in results.items():
        say(sorted(runs, key=lambda run: run.per_cpu_second)[len(runs) // 2].row(name))
    mine = [run.per_cpu_second for run in results[DAEMON]]
    for name, runs in results.items():
        if name != DAEMON:
            ratios = [ours / its.per_cpu_second for ours, its in zip(mine, runs, strict=True)]
            say(
                f"{DAEMON}: {statistics.median(ratios):.2f} times the fetches a CPU-second of {name}"
                f" ({min(ratios):.2f} to {max(ratios):.2f}); the aim is {AIM:.0f}"
            )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
