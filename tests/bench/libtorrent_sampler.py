"""Crawls a DHT with libtorrent's `dht_sample_infohashes`, driven from Python; prints one JSON line.

Run by bench_crawl.py, in a process of its own so that the CPU time is libtorrent's and the driver's. The
driver does the least that a crawl needs: it asks every node that an answer names once, and keeps the
infohashes in a set. libtorrent's own limits are lifted; its queue of alerts is emptied as soon as there is
anything in it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import deque
from typing import Any

import libtorrent as lt

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
            target = lt.sha1_hash(self._random.randbytes(20))
            self.session.dht_sample_infohashes(self.waiting.popleft(), target)
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    crawl = Crawl((options.host, options.port))
    crawl.run(options.seconds)
    figures = {
        "answers": crawl.answers,
        "queries_sent": crawl.queries,
        "infohashes": len(crawl.infohashes),
        "cpu_seconds": time.process_time(),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
