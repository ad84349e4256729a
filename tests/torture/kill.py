"""Kill a writing process again and again at random moments, and hold its file against what it acknowledged.

``make torture`` runs this for long; tests/sinks/test_sink_kill.py runs it in small.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import attrs

from tests.sinks.lines import numbers_in

ROOT = Path(__file__).resolve().parent.parent.parent
SLOWEST_RESTART = 2.0  # seconds


@attrs.define
class Toll:
    """What the kills cost.

    Attributes:
        torn: kills after which the file ended in the midst of a line, before the restart mended it.
        still_torn: restarts after which a line was not whole.
        slowest_restart: seconds from the start of the process until its sink was open.
        rate: acknowledged lines a second, over the time that processes were writing.
    """

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    torn: int = 0
    still_torn: int = 0
    duplicates: int = 0
    slowest_restart: float = 0.0
    rate: float = 0.0


def kill(path: Path, kills: int, seed: int, shortest: float = 0.02, longest: float = 0.4) -> Toll:
    """Kill a process that writes to ``path`` so many times, each after a random time of writing."""
    rng, toll, acknowledged = random.Random(seed), Toll(), set[int]()
    writing = 0.0
    for _ in range(kills):
        first = max(acknowledged, default=-1) + 1
        command = [sys.executable, "-m", "tests.torture.writer", str(path), str(first)]
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            ready = time.monotonic()
            toll.slowest_restart = max(toll.slowest_restart, ready - began)
            toll.still_torn += not _is_whole(path)
            time.sleep(rng.uniform(shortest, longest))
            process.kill()
            writing += time.monotonic() - ready
            told = process.stdout.read()
        acknowledged.update(map(int, told[: told.rfind(b"\n") + 1].split()))
        toll.kills += 1
        toll.torn += not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    whole = path.read_bytes()
    counts = Counter(numbers_in(whole[: whole.rfind(b"\n") + 1]))
    toll.acknowledged = len(acknowledged)
    toll.lost = len(acknowledged - counts.keys())
    toll.duplicates = sum(counts.values()) - len(counts)
    toll.rate = len(acknowledged) / writing
    return toll


def longest_restart(directory: Path) -> float:
    """Return how many seconds a restart may take on this machine, as busy as it is now.

    Two are promised; where a start with nothing to mend takes long too, three times as many as that.
    """
    command = [sys.executable, "-m", "tests.torture.writer", str(directory / "fresh.jsonl"), "0"]
    began = time.monotonic()
    with subprocess.Popen([*command, "--lines", "1"], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        fresh = time.monotonic() - began
    return max(SLOWEST_RESTART, 3 * fresh)


def _is_whole(path: Path) -> bool:
    """Whether the file ended in a whole line when it was opened: all before the first new line is ours."""
    data = path.read_bytes()
    try:
        numbers_in(data[: data.rfind(b"\n") + 1])
    except AssertionError:
        return False
    return True


def main() -> None:
    """Kill for long and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        toll = kill(Path(directory) / "out.jsonl", wanted.kills, wanted.seed)
    print(toll)  # noqa: T201 - what the command is for
    sys.exit(bool(toll.lost or toll.still_torn or toll.slowest_restart > SLOWEST_RESTART or toll.rate < 500))


if __name__ == "__main__":
    main()
