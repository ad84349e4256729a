"""Fail or kill a writing process at its n-th write or sync, for every n, and hold its files against its word.

strace puts the kernel's answer in the place of the real one, so all of our own code runs as it is shipped.
``make torture`` goes through every n; tests/sinks/test_sink_real_faults.py through some.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import attrs

from tests.sinks.lines import files_of, numbers_in
from tests.torture.kill import ROOT, SLOWEST_RESTART

EACH = 10  # lines of a batch
LONGEST_STANDSTILL = 60.0

# What happens -> the call that it happens to, what strace does there, and how many calls are gone through.
ERRORS = {"EIO at fdatasync": ("fdatasync", "error=EIO"), "ENOSPC at write": ("write", "error=ENOSPC")}
KILLS = {"killed at fdatasync": ("fdatasync", "signal=KILL"), "killed at write": ("write", "signal=KILL")}


@attrs.frozen
class Outcome:
    """What one fault did.

    Attributes:
        acknowledged: lines that the process said were on the disk.
        lost: those of them that are in no file.
        twice: lines that are there more than once.
        alarms: times that the disk was full or failed, as the sink counts them.
        failures: attempts at a batch that failed, as the sink counts them.
        standstill: the longest time between two acknowledgements, in seconds.
        restart: seconds from the start of the next process until it could write; 0 when none was needed.
    """

    acknowledged: int
    lost: int
    twice: int
    alarms: int = 0
    failures: int = 0
    standstill: float = 0.0
    restart: float = 0.0


def fail(path: Path, name: str, number: int, *, retry: float = 1.0) -> Outcome:
    """Let one of `ERRORS` happen at the n-th call; the process must go on and write all its lines."""
    call, injected = ERRORS[name]
    lines = EACH * (number + 10)
    done = _write(path, 0, lines, f"{call}:{injected}:when={number}", retry)
    assert done.returncode == 0, done.stderr
    told = re.search(r"end alarms=(\d+) failures=(\d+) standstill=([0-9.]+)", done.stderr)
    assert told, done.stderr
    outcome = _outcome(path, done.stdout)
    assert outcome.acknowledged == lines, done.stderr
    return attrs.evolve(outcome, alarms=int(told[1]), failures=int(told[2]), standstill=float(told[3]))


def kill_at(path: Path, name: str, number: int) -> Outcome:
    """Kill the process on entering its n-th call; the next process must find only whole lines."""
    call, injected = KILLS[name]
    done = _write(path, 0, EACH * (number + 100), f"{call}:{injected}:when={number}", 1.0)
    assert done.returncode != 0, "nobody killed it"
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.torture.writer", str(path), "1000000", "--lines", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as again:
        assert again.stdout is not None
        assert again.stdout.readline() == "ready\n"
        restart = time.monotonic() - began
        more = again.stdout.read()
    return attrs.evolve(_outcome(path, done.stdout + more), restart=restart)


def _write(
    path: Path, first: int, lines: int, injected: str, retry: float
) -> subprocess.CompletedProcess[str]:
    call = injected.partition(":")[0]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", f"trace={call}"]
    command += [
        "-e",
        f"inject={injected}",
        sys.executable,
        "-m",
        "tests.torture.writer",
        str(path),
        str(first),
    ]
    command += ["--lines", str(lines), "--batch", str(EACH), "--in-step", "--retry", str(retry)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def _outcome(path: Path, told: str) -> Outcome:
    acknowledged = {int(word) for word in told.split() if word.isdecimal()}
    counts = Counter(number for file in files_of(path) for number in numbers_in(file.read_bytes()))
    return Outcome(
        acknowledged=len(acknowledged),
        lost=len(acknowledged - counts.keys()),
        twice=sum(counts.values()) - len(counts),
    )


def main() -> None:
    """Go through every n and say what each kind of fault cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--errors", type=int, default=50, help="up to which call an error is put")
    parser.add_argument("--kills", type=int, default=200, help="up to which call the process is killed")
    wanted = parser.parse_args()
    bad = 0
    for name in (*ERRORS, *KILLS):
        outcomes = []
        for number in range(1, (wanted.errors if name in ERRORS else wanted.kills) + 1):
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "out.jsonl"
                outcomes.append(fail(path, name, number) if name in ERRORS else kill_at(path, name, number))
        print(  # noqa: T201 - what the command is for
            f"{name} N, N = 1..{len(outcomes)}: {sum(o.acknowledged for o in outcomes)} acknowledged, "
            f"{sum(o.lost for o in outcomes)} lost, {sum(o.twice for o in outcomes)} twice, "
            f"alarms {sum(o.alarms for o in outcomes)}, failures {sum(o.failures for o in outcomes)}, "
            f"longest standstill {max((o.standstill for o in outcomes), default=0.0):.2f} s, "
            f"slowest restart {max((o.restart for o in outcomes), default=0.0):.2f} s",
            flush=True,
        )
        bad += sum(o.lost > 0 or o.standstill > LONGEST_STANDSTILL for o in outcomes)
        bad += sum(o.restart > SLOWEST_RESTART for o in outcomes)
        bad += name in ERRORS and any(o.failures < 1 or o.alarms < 1 for o in outcomes)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
