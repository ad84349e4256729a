"""Kill the daemon again and again as it crawls, and hold its memory of infohashes against its output.

Whatever the saved memory calls seen must have its line in the file, or it would never be written; and a line
that comes twice must have come first within the last moments before a kill. ``make torture`` runs this for
long; tests/sim/test_seen_kill.py runs it in small.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from crawler.crawl.seen import Seen, SeenConfig
from crawler.state.seen_keeper import SeenKeeper
from crawler.state.slice_files import SliceFiles
from tests.interop.daemon_process import DaemonProcess, wait_for
from tests.sim.network_process import NetworkProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = """[seen]
capacity = 200000
error_rate = 1e-12
journal = 2000
journal_interval = 0.5
[state]
save_interval = 5
note_interval = 0.5
"""
"""Small enough that journals begin anew, slices close and filters are saved between the kills.

The error rate is the least there is: at the usual one, chance alone calls seen, once in a hundred runs or so,
what was never found, and that would look like a lost line.
"""


@attrs.define
class KillsToll:
    """What the kills cost.

    Attributes:
        written: different infohashes in the output.
        remembered: infohashes that the state called seen after the last kill.
        filters: most filter files that the state had.
        lost: infohashes called seen whose line was not in the file, over all kills.
        repeated: infohash lines that had come before.
        oldest_repeated: seconds before a kill that the oldest of those had come first.
        slowest_restart: seconds from the start of the process until it listened.
        damaged: files that a restart set aside.
        too_soon: samples asked for again inside the interval that the node had stated.
    """

    kills: int = 0
    written: int = 0
    remembered: int = 0
    filters: int = 0
    lost: int = 0
    repeated: int = 0
    oldest_repeated: float = 0.0
    slowest_restart: float = 0.0
    damaged: int = 0
    too_soon: int = 0


def kill_daemon(
    directory: Path, kills: int, seed: int, *, shortest: float, longest: float, nodes: int = 4000
) -> KillsToll:
    """Crawl a simulated network, killing the daemon so many times, each after a random time of crawling."""
    rng, toll = random.Random(seed), KillsToll()
    out, state, settings = directory / "out.jsonl", directory / "state", directory / "settings.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    flags = ["--state", str(state), "--config", str(settings), "--no-peers", "--allow-private"]
    killed: list[float] = []
    with NetworkProcess(
        nodes=nodes, infohashes=nodes * 10, interval=60, seed=seed, truth=directory / "truth.jsonl"
    ) as network:
        for _ in range(kills):
            began = time.monotonic()
            with DaemonProcess(
                out=out,
                listen="127.0.0.1",
                bootstrap=[network.bootstrap],
                extra=[*flags, "--max-rate", "1500", "--status-interval", "1"],
            ) as daemon:
                daemon.listening(60)
                toll.slowest_restart = max(toll.slowest_restart, time.monotonic() - began)
                before = out.stat().st_size
                wait_for(lambda size=before: out.stat().st_size > size, 10)  # type: ignore[misc] # bound now
                time.sleep(rng.uniform(shortest, longest))
            killed.append(time.time())
            toll.kills += 1
            toll.damaged += sum(event.get("event") == "state.damaged" for event in daemon.events)
            _judge(toll, directory, state)
        toll.too_soon = network.stop().summary["sample_repeats"]
    _count_repeats(toll, out, killed)
    return toll


def _judge(toll: KillsToll, directory: Path, state: Path) -> None:
    """Ask the saved memory about every infohash there is."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(state / "seen", Path(copy) / "seen")
        files = SliceFiles(Path(copy) / "seen", lambda *_args, **_fields: None)
        key, stored = files.load()
        seen = Seen(SeenConfig(), key or b"")
        keeper = SeenKeeper(
            SeenConfig(),
            seen,
            files,
            lines_in=lambda: 0,
            lines_durable=lambda: 0,
            wall_clock=lambda now: now,
            on_event=lambda *_args, **_fields: None,
        )
        keeper.restore(stored, time.time())
        toll.filters = max(toll.filters, len(list(files.directory.glob("*.filter"))))
    written = {line["infohash"] for line in _lines(directory / "out.jsonl")}
    truth = [json.loads(line)["infohash"] for line in (directory / "truth.jsonl").read_bytes().splitlines()]
    known = {infohash for infohash in truth if bytes.fromhex(infohash) in seen}
    toll.remembered = seen.slices.count
    toll.lost += len(known - written)


def _count_repeats(toll: KillsToll, out: Path, killed: Sequence[float]) -> None:
    last: dict[str, float] = {}
    for line in _lines(out):
        at = datetime.fromisoformat(line["ts"]).timestamp()
        if line["infohash"] in last:
            toll.repeated += 1
            before = last[line["infohash"]]
            ages = [kill - before for kill in killed if before < kill + 0.01 and kill < at + 0.01]
            # Between a line and its repetition there was a kill, or it should not have come at all.
            toll.oldest_repeated = max(toll.oldest_repeated, min(ages, default=float("inf")))
        last[line["infohash"]] = at
    toll.written = len(last)


def _lines(out: Path) -> list[dict[str, Any]]:
    """Return the infohash lines of the output; one that a kill cut short is none."""
    lines = []
    for text in out.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(text))
    return lines


def main() -> None:
    """Kill for long and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        toll = kill_daemon(
            Path(directory), wanted.kills, wanted.seed, shortest=0.5, longest=6.0, nodes=10_000
        )
    print(toll)  # noqa: T201 - what the command is for
    sys.exit(bool(toll.lost or toll.damaged or toll.oldest_repeated > 60))


if __name__ == "__main__":
    main()
