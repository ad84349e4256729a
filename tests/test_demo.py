"""`make crawl` in small: the daemon against the simulated network, each a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from crawler import demo

if TYPE_CHECKING:
    from pathlib import Path

A, B, C, D = (letter * 40 for letter in "abcd")


def write_lines(path: Path, *entries: object) -> Path:
    """Return ``path`` with one JSON object a line."""
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def test_findings_are_held_against_the_truth(tmp_path: Path) -> None:
    """Found, missed, invented and located are told apart, and records of an earlier crawl are left out."""
    truth = write_lines(
        tmp_path / "truth",
        {"infohash": A, "reachable": True, "peers": ["127.0.0.1:1"]},
        {"infohash": B, "reachable": True, "peers": ["127.0.0.1:2"]},
        {"infohash": C, "reachable": False, "peers": []},
    )
    earlier = {"type": "infohash", "infohash": B}
    out = write_lines(
        tmp_path / "out",
        earlier,
        {"type": "infohash", "infohash": A},
        {"type": "infohash", "infohash": C},
        {"type": "infohash", "infohash": D},
        {"type": "peers", "infohash": A, "peers": ["127.0.0.1:1", "127.0.0.9:9"]},
        {"type": "peers", "infohash": B, "peers": ["127.0.0.9:9"]},
    )
    begin = len(json.dumps(earlier)) + 1
    assert demo.compare(out, begin, truth) == demo.Findings(
        lines=5, infohashes=3, reachable=2, found=1, invented=1, with_peers=1
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the simulated network needs Linux")
def test_the_demonstration_crawls_and_reports(tmp_path: Path) -> None:
    """One command starts a network, crawls it, leaves the records and says what they are worth."""
    words = "--duration 6 --nodes 300 --infohashes 900 --max-rate 1000 --out peers.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "crawler.demo", *words.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"Infohashes  \d+ of \d+ that a crawl can find .*; all of them exist", done.stdout)
    assert re.search(r"; 0 asked again before their time", done.stdout)
    lines = (tmp_path / "peers.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["type"] for line in lines} == {"infohash", "peers"}
    assert [path.name for path in tmp_path.iterdir()] == ["peers.jsonl"]
