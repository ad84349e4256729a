"""One crawl of the simulated network by real processes, held against what is there to be found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from tests.interop.daemon_process import DaemonProcess, read_records, wait_for
from tests.sim.network_process import NetworkProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.sim.network_process import NetworkEnd

GRACE_SECONDS = 60.0
"""Starting, draining and stopping on a busy machine."""


@attrs.frozen
class Sweep:
    """What a crawl came to.

    Attributes:
        code: the daemon's exit code.
        found: the infohashes of its infohash lines, repeats included.
        claimed: (infohash, peers) of its peers lines.
        reachable: infohashes in the first sample of some living node that speaks BEP 51.
        peers: by infohash, everything that exists and its peers.
        counters: the daemon's own, from its last event.
        network: how the simulated network ended, and what it saw of the daemon.
    """

    code: int
    found: list[str]
    claimed: list[tuple[str, list[str]]]
    reachable: set[str]
    peers: Mapping[str, set[str]]
    counters: dict[str, Any]
    network: NetworkEnd

    @property
    def coverage(self) -> float:
        """The share of the reachable infohashes that was found, 0 to 1."""
        return len(self.reachable.intersection(self.found)) / len(self.reachable)

    @property
    def invented(self) -> set[str]:
        """Infohashes that were written but do not exist."""
        return set(self.found) - self.peers.keys()

    @property
    def false_peers(self) -> list[tuple[str, list[str]]]:
        """Peers lines that name somebody who does not have the infohash."""
        return [
            (name, peers) for name, peers in self.claimed if not self.peers.get(name, set()).issuperset(peers)
        ]

    @property
    def located(self) -> float:
        """The share of the infohashes found for which a peer was found, 0 to 1."""
        return len({name for name, _ in self.claimed}) / max(len(set(self.found)), 1)

    def per_query(self, *methods: str) -> float:
        """Return new infohashes per query sent; with ``methods``, per query of those kinds."""
        sent: dict[str, int] = self.counters["sent"]
        queries = sum(count for method, count in sent.items() if method in methods or not methods)
        return len(set(self.found)) / max(queries, 1)

    def line(self) -> str:
        """Return what is worth telling, on one line."""
        return (
            f"{100 * self.coverage:.2f} % of {len(self.reachable):,} reachable infohashes;"
            f" new infohashes per query {self.per_query():.2f},"
            f" per sample query {self.per_query('sample_infohashes'):.2f};"
            f" peers for {100 * self.located:.1f} %;"
            f" {self.counters['queries_sent']:,} queries, {self.counters['cpu_seconds']:.1f} CPU s"
        )


def sweep(directory: Path, world: Mapping[str, object], arguments: Sequence[str], seconds: float) -> Sweep:
    """Crawl a fresh network for so long, both started as a user starts them.

    Args:
        directory: takes the output and the truth.
        world: flags of ``dht-crawler simulate``.
        arguments: more flags of the daemon.
        seconds: its ``--duration``.
    """
    out, truth = directory / "peers.jsonl", directory / "truth.jsonl"
    flags = ["--allow-private", "--duration", f"{seconds:g}", *arguments]
    with NetworkProcess(**world, truth=truth) as network:
        with DaemonProcess(out=out, listen="127.0.0.1", bootstrap=[network.bootstrap], extra=flags) as daemon:
            wait_for(lambda: not daemon.running(), seconds + GRACE_SECONDS, every=0.2)
            code = daemon.terminate().code
        end = network.stop()
    stopped = [event for event in daemon.events if event["event"] == "crawler.stopped"]
    assert stopped, f"the daemon did not come to its end; log: {daemon.log_tail()}"
    records, true = read_records(out), read_records(truth)
    return Sweep(
        code=code,
        found=[record["infohash"] for record in records if record["type"] == "infohash"],
        claimed=[(record["infohash"], record["peers"]) for record in records if record["type"] == "peers"],
        reachable={entry["infohash"] for entry in true if entry["reachable"]},
        peers={entry["infohash"]: set(entry["peers"]) for entry in true},
        counters=stopped[-1],
        network=end,
    )


def summary(result: Sweep) -> str:
    """Return all counters of both sides, for the message of a failed test."""
    return (
        f"{result.line()}\n"
        f"network: {json.dumps(result.network.summary)}\n"
        f"daemon: {json.dumps(result.counters)}"
    )
