"""Faults by real means: the kernel's own errors reach the sink in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.sinks.lines import files_of, numbers_at
from tests.torture.faults import ERRORS, KILLS, LONGEST_STANDSTILL, fail, kill_at
from tests.torture.kill import ROOT, SLOWEST_RESTART, longest_restart

if TYPE_CHECKING:
    from pathlib import Path

LINES = 200

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these means are Linux's")


def can(*command: str) -> bool:
    """Return whether a command is there and allowed."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except OSError:
        return False


def run_writer(
    path: Path, *before: str, lines: int = LINES, options: str = ""
) -> subprocess.CompletedProcess[str]:
    """Let a process of its own write numbered lines, the words ``before`` in front of its command."""
    command = [*before, sys.executable, "-m", "tests.torture.writer", str(path), "0", "--retry", "0.05"]
    return subprocess.run(
        [*command, "--lines", str(lines), *options.split()],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def check_all_is_there(done: subprocess.CompletedProcess[str], path: Path, lines: int = LINES) -> None:
    """Every line was acknowledged, and is in a file, whole."""
    told = [int(number) for number in done.stdout.split()[1:]]
    assert told == list(range(lines)), done.stderr
    assert set(numbers_at(path)) == set(told)


straced = pytest.mark.skipif(
    shutil.which("strace") is None or not can("strace", "-qq", "-o", "/dev/null", "true"),
    reason="strace is not installed, or may not trace here",
)


@straced
@pytest.mark.parametrize("number", [1, 2, 13, 50])
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_at_a_call(tmp_path: Path, name: str, number: int) -> None:
    """The n-th sync or write fails: nothing is lost, it goes on, and counts it; make torture tries all n."""
    outcome = fail(tmp_path / "out.jsonl", name, number, retry=0.05)

    assert (outcome.lost, outcome.twice) == (0, 0)
    assert outcome.failures >= 1
    assert outcome.alarms == outcome.failures
    assert outcome.standstill < LONGEST_STANDSTILL


@straced
@pytest.mark.parametrize(
    ("injected", "event"),
    [
        ("fdatasync:error=EIO:when=2..4", "sink.disk_failed"),
        ("write:error=EDQUOT:when=2..5", "sink.write_failed"),
        ("write:error=EIO:when=4", "sink.disk_failed"),
    ],
)
def test_errors_that_strace_injects(tmp_path: Path, injected: str, event: str) -> None:
    """Other errors, and several in a row: nothing is lost, it goes on, and says so."""
    path = tmp_path / "out.jsonl"
    call = injected.partition(":")[0]
    traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", f"trace={call}"]
    # In step, or a busy machine would gather all lines into fewer writes than the fault waits for.
    done = run_writer(path, *traced, "-e", f"inject={injected}", options="--in-step --batch 10")

    check_all_is_there(done, path)
    assert event in done.stderr


@straced
@pytest.mark.parametrize("number", [1, 40])
@pytest.mark.parametrize("name", KILLS)
def test_a_kill_at_a_call(tmp_path: Path, name: str, number: int) -> None:
    """Killed on entering a call, it has acknowledged nothing that is not there; the next start is clean."""
    outcome = kill_at(tmp_path / "out.jsonl", name, number)

    assert outcome.lost == 0
    assert 10 * (number - 1) < outcome.acknowledged <= 10 * (number + 1)
    assert outcome.restart < SLOWEST_RESTART or outcome.restart < longest_restart(tmp_path)


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """Where a file may not grow further (RLIMIT_FSIZE), which cuts a write short, a new one is begun."""
    path = tmp_path / "out.jsonl"
    done = run_writer(path, lines=3000, options="--rate 20000 --file-size 150000")

    check_all_is_there(done, path, 3000)
    assert len(numbers_at(path)) == 3000
    assert len(files_of(path)) > 2
    assert "File too large" in done.stderr


@pytest.mark.skipif(not can("unshare", "-rm", "true"), reason="no namespace of one's own is allowed here")
def test_a_small_disk_filled_and_freed(tmp_path: Path) -> None:
    """On a disk that fills up, and is freed, the sink waits and resumes by itself, every line there once."""
    command = ["unshare", "-rm", sys.executable, "-m", "tests.torture.small_disk", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    if done.stderr.startswith("cannot mount"):
        pytest.skip(done.stderr)
    told = json.loads(done.stdout)

    assert told["problems"] == ["No space left on device"]
    assert (told["acknowledged"], told["lost"], told["twice"]) == (1000, 0, 0)
    assert told["resumed_after"] < 60
