"""`make crawl`: the whole product on one machine, in one command, and then what it was worth.

Starts the simulated network and the daemon as a user would, each as a process of its own, and holds what the
daemon wrote against what the network knows to be true. Nothing leaves the machine.
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
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CRAWLER = (sys.executable, "-m", "crawler")
_PATIENCE = 30.0  # seconds for the simulated network to end
_LINES_SHOWN = 3


@attrs.frozen
class Findings:
    """What a crawl wrote, beside what there was."""

    lines: int
    infohashes: int
    """Infohashes found."""
    reachable: int
    """Infohashes that a sample crawl can find."""
    found: int
    """Of those, the ones found."""
    invented: int
    """Infohashes found that do not exist: each is a fault."""
    with_peers: int
    """Infohashes for which a true peer was found."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration and return its exit code: 0 when the crawl worked and told the truth."""
    wanted = _arguments().parse_args(argv)
    begin = wanted.out.stat().st_size if wanted.out.exists() else 0
    with tempfile.TemporaryDirectory(prefix="dht-crawler-") as scratch:
        truth = Path(scratch) / "truth.jsonl"
        with _simulated_network(wanted, truth) as network:
            if network is None:
                return 1
            _say(
                f"A simulated network of {wanted.nodes:,} nodes is up: crawling for {wanted.duration:g} s.\n"
            )
            code = _crawl(wanted, network.bootstrap)
            summary = network.stop()
        findings = compare(wanted.out, begin, truth)
    if code == 0:
        _report(wanted, findings, summary)
    return code or (0 if findings.found and not findings.invented else 1)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m crawler.demo", description=__doc__)
    parser.add_argument("--duration", type=float, default=20.0, help="seconds to crawl (%(default)g)")
    parser.add_argument("--out", type=Path, default=Path("peers.jsonl"), help="records are appended here")
    parser.add_argument("--nodes", type=int, default=5000, help="virtual nodes (%(default)s)")
    parser.add_argument("--infohashes", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--max-rate", default="2000", help="queries per second (%(default)s)")
    return parser


@attrs.define
class _Network:
    """A running `dht-crawler simulate`."""

    process: subprocess.Popen[str]
    bootstrap: str

    def stop(self) -> dict[str, Any]:
        """End it and return its counters."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=_PATIENCE)
        counters: dict[str, Any] = json.loads(output.splitlines()[-1])
        return counters


@contextlib.contextmanager
def _simulated_network(wanted: argparse.Namespace, truth: Path) -> Iterator[_Network | None]:
    """Start the simulated network; None when it could not start (it has said why)."""
    sizes = ("--nodes", str(wanted.nodes), "--infohashes", str(wanted.infohashes), "--rtt", "50")
    command = (*_CRAWLER, "simulate", *sizes, "--listen", "127.0.0.1:0", "--truth", str(truth))
    # In a session of its own, so that Ctrl-C ends the crawl, and the network only afterwards.
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe, as asked for above
            word, _, address = process.stdout.readline().partition(" ")
            yield _Network(process, address.strip()) if word == "bootstrap" else None
        finally:
            process.kill()


def _crawl(wanted: argparse.Namespace, bootstrap: str) -> int:
    """Run the daemon on our terminal and return its exit code."""
    command = (*_CRAWLER, "--out", str(wanted.out), "--bootstrap", bootstrap, "--listen", "127.0.0.1:0")
    pace = ("--allow-private", "--max-rate", wanted.max_rate, "--duration", f"{wanted.duration:g}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DHT_CRAWLER_")}
    # Ctrl-C reaches the daemon too, which then ends in good order; we wait for that.
    before = signal.signal(signal.SIGINT, lambda *_arguments: None)
    try:
        arguments = (*command, *pace, "--status-interval", "5")
        return subprocess.run(arguments, env=environment, check=False).returncode  # noqa: S603 - our own program
    finally:
        signal.signal(signal.SIGINT, before)


def compare(out: Path, begin: int, truth: Path) -> Findings:
    """Return what the records of ``out`` from byte ``begin`` on are worth by the lines of ``truth``."""
    true = {entry["infohash"]: entry for entry in _lines(truth, 0)}
    reachable = {infohash for infohash, entry in true.items() if entry["reachable"]}
    lines, found, located = 0, set(), set()
    for record in _lines(out, begin):
        lines += 1
        infohash = record["infohash"]
        if record["type"] == "infohash":
            found.add(infohash)
        elif infohash in true and set(true[infohash]["peers"]) & set(record["peers"]):
            located.add(infohash)
    return Findings(
        lines=lines,
        infohashes=len(found),
        reachable=len(reachable),
        found=len(found & reachable),
        invented=len(found - true.keys()),
        with_peers=len(located),
    )


def _lines(path: Path, begin: int) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        file.seek(begin)
        yield from map(json.loads, file)


def _report(wanted: argparse.Namespace, findings: Findings, network: dict[str, Any]) -> None:
    share = 100 * findings.found / max(findings.reachable, 1)
    invented = f"{findings.invented:,} DO NOT EXIST" if findings.invented else "all of them exist"
    with wanted.out.open(encoding="utf-8") as file:
        first = [line.rstrip("\n") for line, _ in zip(file, range(_LINES_SHOWN), strict=False)]
    _say(
        f"\nInfohashes  {findings.found:,} of {findings.reachable:,} that a crawl can find ({share:.1f} %); "
        f"{invented}",
        f"Peers       for {findings.with_peers:,} infohashes, more with more time",
        f"Manners     {network['received']:,} queries to {network['unique_asked']:,} nodes; "
        f"{network['sample_repeats']:,} asked again before their time",
        f"Output      {findings.lines:,} lines in {wanted.out}, which begins:",
        *(f"  {line}" for line in first),
        "\nNext:",
        f"  jq -r 'select(.type == \"peers\") | .peers[]' {wanted.out} | sort | uniq -c | sort -nr | head",
        "  .venv/bin/dht-crawler --help",
        "  .venv/bin/dht-crawler --out real.jsonl     the same on the real network, at a polite pace",
    )


def _say(*lines: str) -> None:
    print("\n".join(lines), flush=True)  # noqa: T201 - this program talks to a person


if __name__ == "__main__":
    sys.exit(main())
