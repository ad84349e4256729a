"""Let logrotate rotate the file of a writing process again and again, and count the lines that this costs.

The settings are those of config/logrotate.conf but for the path, the user, how many files are kept, and what
each way below changes. ``make torture`` rotates a hundred times each way.
"""

from __future__ import annotations

import argparse
import getpass
import grp
import gzip
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import attrs

from tests.torture.kill import ROOT

_SHIPPED = ROOT / "config" / "logrotate.conf"
_OUTPUT = "/var/lib/dht-crawler/peers.jsonl"
_POSTROTATE = re.compile(r"    postrotate\n.*?    endscript\n", re.DOTALL)
_LINE = re.compile(rb'\{"type":"infohash",[^\n{}]*"infohash":"([0-9a-f]{40})"[^\n{}]*\}')
# The way -> seconds between two rotations in the long run. Without the signal a file is missed, and followed,
# when something is written or half a second later.
WAYS = {"as shipped": 0.1, "without the signal": 1.0, "copytruncate": 0.1}


@attrs.frozen
class Rotations:
    """What rotating cost.

    Attributes:
        files: closed files that logrotate left, compressed or not.
        lost: acknowledged lines that are in no file.
        torn: parts of lines in the files.
        complaints: what logrotate said, besides nothing.
    """

    files: int
    acknowledged: int
    lost: int
    torn: int
    twice: int
    rate: float
    complaints: str


def settings(way: str, output: Path, keep: int = 1000) -> str:
    """Return the shipped settings, for ``output`` and whoever runs this."""
    text = _SHIPPED.read_text(encoding="utf-8")
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    for shipped, ours in (
        (_OUTPUT, str(output)),
        ("su dht-crawler dht-crawler", f"su {user} {group}"),
        ("rotate 30", f"rotate {keep}"),
    ):
        assert shipped in text, shipped
        text = text.replace(shipped, ours)
    if way != "as shipped":
        text = _POSTROTATE.sub("", text)
    return text.replace("create 0644", "copytruncate") if way == "copytruncate" else text


def rotate(directory: Path, way: str, times: int, pause: float) -> Rotations:
    """Write to ``directory`` at 2,000 lines a second while logrotate rotates so many times."""
    output, complaints = directory / "peers.jsonl", ""
    (directory / "rotate.conf").write_text(settings(way, output), encoding="utf-8")
    (directory / "rotate.conf").chmod(0o600)
    command = [sys.executable, "-m", "tests.torture.writer", str(output), "0", "--rate", "2000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        told: list[bytes] = []
        reader = threading.Thread(target=lambda: told.extend(writer.stdout or ()), daemon=True)
        reader.start()
        began = time.monotonic()
        try:
            environment = _with_systemctl(directory, writer.pid)
            for _ in range(times):
                time.sleep(pause)
                complaints += _logrotate(directory, environment)
        finally:
            time.sleep(0.2)
            writer.send_signal(signal.SIGTERM)
            writer.wait()
            seconds = time.monotonic() - began
            reader.join()
    return _count(directory, {int(line) for line in told if line.endswith(b"\n")}, seconds, complaints)


def _with_systemctl(directory: Path, pid: int) -> dict[str, str]:
    """Return an environment in which the shipped command signals the writer, and any other fails."""
    programs = directory / "programs"
    programs.mkdir()
    script = f'[ "$*" = "kill --signal=HUP dht-crawler.service" ] && exec kill -HUP {pid}'
    (programs / "systemctl").write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    (programs / "systemctl").chmod(0o755)
    return os.environ | {"PATH": f"{programs}:/usr/sbin:{os.environ['PATH']}"}


def _logrotate(directory: Path, environment: dict[str, str]) -> str:
    command = ["logrotate", "--force", "--state", str(directory / "state"), str(directory / "rotate.conf")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.stderr + (f"exit {done.returncode}" if done.returncode else "")


def _count(directory: Path, acknowledged: set[int], seconds: float, complaints: str) -> Rotations:
    counts, torn, files = Counter[int](), 0, 0
    for path in directory.glob("peers.jsonl*"):
        files += path.name != "peers.jsonl"
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for line in data.split(b"\n"):
            match = _LINE.fullmatch(line)
            torn += bool(line) and match is None
            if match:
                counts[int(match[1], 16)] += 1
    return Rotations(
        files=files,
        acknowledged=len(acknowledged),
        lost=len(acknowledged - counts.keys()),
        torn=torn,
        twice=sum(counts.values()) - len(counts),
        rate=round(len(acknowledged) / seconds),
        complaints=complaints,
    )


def main() -> None:
    """Rotate each way and say what it cost; copytruncate may cost what it costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    wanted = parser.parse_args()
    bad = False
    for way, pause in WAYS.items():
        with tempfile.TemporaryDirectory() as directory:
            toll = rotate(Path(directory), way, wanted.times, pause)
        print(f"logrotate {way}: {toll}", flush=True)  # noqa: T201 - what the command is for
        bad = bad or bool(toll.complaints) or (way != "copytruncate" and bool(toll.lost or toll.torn))
    sys.exit(bad)


if __name__ == "__main__":
    main()
