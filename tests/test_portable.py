"""The daemon where POSIX ends: started with the names and modules gone that macOS or Windows lack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Other people's packages are imported first, since they have branches of their own for other systems. What is
# removed afterwards is missed by our code alone.
POORER = """
import os, select, signal, socket, subprocess, sys, tempfile, tomllib
import attrs, cyclopts, fastbencode, google_crc32c, msgspec, rbloom, structlog, trio

for module in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "uvloop"):
    sys.modules[module] = None
gone = {
    signal: "SIGHUP SIGUSR1 SIGUSR2 SIGPIPE SIGALRM SIGCHLD SIGQUIT SIGTSTP SIGWINCH pthread_sigmask",
    socket: "IP_PKTINFO IPV6_PKTINFO IPV6_RECVPKTINFO SO_REUSEPORT SO_BINDTODEVICE IP_RECVERR "
    "MSG_DONTWAIT MSG_ERRQUEUE MSG_NOSIGNAL CMSG_SPACE CMSG_LEN",
    os: "fdatasync sched_setaffinity sched_getaffinity fork getuid geteuid getgid setuid chown fchmod "
    "fchown mkfifo nice pread pwrite posix_fadvise posix_fallocate sendfile statvfs sync uname getloadavg "
    "O_NOFOLLOW O_DIRECTORY O_SYNC O_DSYNC O_NONBLOCK O_CLOEXEC",
}
for module, names in gone.items():
    for name in names.split():
        vars(module).pop(name, None)

real_open = os.open
def open_as_windows_does(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return real_open(path, *arguments, **options)
os.open = open_as_windows_does
sys.platform = "win32"

from crawler.cli import main
sys.exit(main(sys.argv[1:]))
"""


def start_poorer(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process that lacks what not every system has."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DHT_CRAWLER_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", POORER, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )


def test_the_daemon_starts_without_posix(tmp_path: Path) -> None:
    """It listens, keeps its state, ends in good order, and a second run finds that state."""
    words = (
        f"--out {tmp_path / 'peers.jsonl'} --state {tmp_path / 'state'} --listen 127.0.0.1:0 --allow-private "
        "--bootstrap 127.0.0.1:9 --duration 0.5 --log-format json"
    ).split()
    ids = []
    for _ in range(2):
        done = start_poorer(*words)
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stderr.splitlines()]
        assert {event["event"] for event in events} >= {"crawler.listening", "crawler.stopped"}
        assert [event for event in events if event["level"] in {"error", "critical"}] == []
        ids += [event["node_id"] for event in events if event["event"] == "crawler.listening"]
    assert ids[0] == ids[1]
    assert (tmp_path / "state" / "heartbeat").exists()
    assert (tmp_path / "peers.jsonl").exists()


@pytest.mark.parametrize("words", ["--help", "config", "simulate --help"])
def test_other_commands_work_without_posix(words: str) -> None:
    """Whatever asks no network for anything works anywhere."""
    done = start_poorer(*words.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_the_simulated_network_says_what_it_needs() -> None:
    """Where it can't work, `simulate` is refused in one line."""
    done = start_poorer("simulate", "--nodes", "10", "--infohashes", "10", "--listen", "127.0.0.1:0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs Linux" in done.stderr
    assert done.stderr.count("\n") == 1
