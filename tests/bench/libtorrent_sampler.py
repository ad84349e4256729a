"""Crawls a DHT with libtorrent's `dht_sample_infohashes`, driven from Python; prints one JSON line.

Run by bench_crawl.py, in a process of its own so that the CPU time is libtorrent's and the driver's. There
are two drivers. The bare one does the least that a crawl needs: it asks every node that an answer names once,
and keeps the infohashes in a set. With ``--same-job FILE`` it does what the daemon does, in the plainest
Python: each node's `interval` is kept and honoured, and every new infohash is written as a line of JSON.
libtorrent's own limits are lifted; its queue of alerts is emptied as soon as there is anything in it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libtorrent as lt

if TYPE_CHECKING:
    from typing import TextIO

OUTSTANDING = 2000
"""Enough to keep both ends busy at a round trip of 100 ms, if answers come at 20,000 a second."""
STALLED_SECONDS = 1.0
"""No answer for so long means that those outstanding are lost: libtorrent tells nobody of a timeout."""

SETTINGS: dict[str, Any] = {
    "listen_interfaces": "127.0.0.5:0",
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_bootstrap_nodes": "",
    "alert_queue_size": 1_000_000,
    "alert_mask": int(lt.alert.category_t.dht_operation_notification),
    "dht_upload_rate_limit": 1 << 30,
    "dht_block_ratelimit": 1 << 30,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False,
}


class Crawl:
    """One crawl: each node is asked once, with a random target, in the order in which nodes become known."""

    def __init__(self, bootstrap: tuple[str, int]) -> None:
        parameters: Any = lt.session_params()
        parameters.settings = {**parameters.settings, **SETTINGS}
        self.session = lt.session(parameters)
        self.known = {bootstrap}
        self.waiting = deque([bootstrap])
        self.infohashes: set[bytes] = set()
        self.queries = 0
        self.answers = 0
        self._outstanding = 0
        self._random = random.Random(1)

    def run(self, seconds: float) -> None:
        """Crawl until the time is over or every known node was asked."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (self.waiting or self._outstanding):
            self._ask()
            if self.session.wait_for_alert(int(STALLED_SECONDS * 1000)) is None:
                self._outstanding = 0
            for alert in self.session.pop_alerts():
                if isinstance(alert, lt.dht_sample_infohashes_alert):
                    self._take(alert)

    def _ask(self) -> None:
        while self.waiting and self._outstanding < OUTSTANDING:
            self._send(self.waiting.popleft())

    def _send(self, address: tuple[str, int]) -> None:
        self.session.dht_sample_infohashes(address, lt.sha1_hash(self._random.randbytes(20)))
        self.queries += 1
        self._outstanding += 1

    def _take(self, alert: lt.dht_sample_infohashes_alert) -> None:
        self.answers += 1
        self._outstanding -= 1
        for infohash in alert.samples:
            self.infohashes.add(infohash.to_bytes())
        for node in alert.nodes:
            address = node["endpoint"]
            if address not in self.known:
                self.known.add(address)
                self.waiting.append(address)


class SameJob(Crawl):
    """The crawl with a ledger and an output, which comes back to a node when its interval is over."""

    def __init__(self, bootstrap: tuple[str, int], out: TextIO) -> None:
        super().__init__(bootstrap)
        self._out = out
        self._due: dict[tuple[str, int], float] = {}

    def _ask(self) -> None:
        now = time.monotonic()
        # The one that answered first is due first, or at worst a little later than it might be.
        while (first := next(iter(self._due), None)) and self._due[first] <= now:
            del self._due[first]
            self.waiting.append(first)
        super()._ask()

    def _take(self, alert: lt.dht_sample_infohashes_alert) -> None:
        self.answers += 1
        self._outstanding -= 1
        giver = alert.endpoint
        self._due[giver] = time.monotonic() + alert.interval.total_seconds()
        host, port = giver
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for sample in alert.samples:
            infohash = sample.to_bytes()
            if infohash not in self.infohashes:
                self.infohashes.add(infohash)
                self._out.write(
                    f'{{"type":"infohash","ts":"{at}","infohash":"{infohash.hex()}",'
                    f'"source":"sample","node":"{host}:{port}"}}\n'
                )
        for node in alert.nodes:
            address = node["endpoint"]
            if address not in self.known:
                self.known.add(address)
                self.waiting.append(address)


def crawl(options: argparse.Namespace) -> Crawl:
    """Run the crawl that ``options`` ask for."""
    bootstrap = (options.host, options.port)
    if options.same_job is None:
        bare = Crawl(bootstrap)
        bare.run(options.seconds)
        return bare
    with options.same_job.open("w", encoding="ascii") as out:
        same = SameJob(bootstrap, out)
        same.run(options.seconds)
        return same


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--same-job", type=Path, metavar="FILE")
    done = crawl(parser.parse_args())
    figures = {
        "answers": done.answers,
        "queries_sent": done.queries,
        "infohashes": len(done.infohashes),
        "cpu_seconds": time.process_time(),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
