"""Faults by real means: the kernel's own errors reach the sink in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.sinks.lines import files_of, numbers_at, numbers_in
from tests.torture.kill import ROOT

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


@pytest.mark.skipif(
    shutil.which("strace") is None or not can("strace", "-qq", "-o", "/dev/null", "true"),
    reason="strace is not installed, or may not trace here",
)
@pytest.mark.parametrize(
    ("injected", "event"),
    [
        ("fdatasync:error=EIO:when=1", "sink.disk_failed"),
        ("fdatasync:error=EIO:when=3", "sink.disk_failed"),
        ("fdatasync:error=EIO:when=2..4", "sink.disk_failed"),
        ("write:error=ENOSPC:when=3", "sink.write_failed"),
        ("write:error=EDQUOT:when=2..5", "sink.write_failed"),
        ("write:error=EIO:when=4", "sink.disk_failed"),
    ],
)
def test_errors_that_strace_injects(tmp_path: Path, injected: str, event: str) -> None:
    """The kernel's answer is replaced at the n-th call: nothing is lost, it goes on, and says so."""
    path = tmp_path / "out.jsonl"
    call = injected.partition(":")[0]
    traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", f"trace={call}"]
    done = run_writer(path, *traced, "-e", f"inject={injected}")

    check_all_is_there(done, path)
    assert event in done.stderr


@pytest.mark.skipif(
    shutil.which("strace") is None or not can("strace", "-qq", "-o", "/dev/null", "true"),
    reason="strace is not installed, or may not trace here",
)
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_kill_at_a_call(tmp_path: Path, call: str) -> None:
    """Killed on entering its third write or sync, the process has acknowledged nothing that is not there."""
    path = tmp_path / "out.jsonl"
    traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", f"trace={call}"]
    done = run_writer(path, *traced, "-e", f"inject={call}:signal=KILL:when=3")
    assert done.returncode != 0
    told = {int(number) for number in done.stdout.split()[1:]}
    assert 0 < len(told) < LINES
    data = path.read_bytes()
    assert told <= set(numbers_in(data[: data.rfind(b"\n") + 1]))


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
