"""Every metric of the daemon: its name, its meaning, and the figure that it tells.

Who adds a counter anywhere adds a row here (a test names the figure that has none) and writes docs/metrics.md
anew with `python -m crawler.monitoring.metrics_table > docs/metrics.md`.
"""

from __future__ import annotations

import sys

from crawler.metrics import Metric, to_markdown
from crawler.monitoring import metrics_crawl, metrics_dht

TABLE: tuple[Metric, ...] = (
    *(*metrics_dht.RUN, *metrics_dht.TRAFFIC, *metrics_dht.ANSWERING, *metrics_dht.TABLE),
    *(
        *metrics_crawl.CRAWL,
        *metrics_crawl.SEEN,
        *metrics_crawl.PEERS,
        *metrics_crawl.FETCH,
        *metrics_crawl.TRACKERS,
    ),
    *(*metrics_crawl.OUTPUTS, *metrics_crawl.HTTP),
)

SAME: dict[str, str] = {
    "status.queries_sent": "queries_sent",
    "status.sent.*": "queries_sent",
    "sockets.*.node.queries_sent": "queries_sent",
    "status.answers": "answers",
    "status.refusals": "refusals",
    "status.timeouts": "timeouts",
    "status.late_answers": "late_answers",
    "status.in_flight": "queries_in_flight",
    "status.timeout_s": "query_timeout_seconds",
    "status.queries_received": "queries_received",
    "status.replies": "replies",
    "sockets.*.replies.answered": "replies",
    "status.bytes_in": "received_bytes",
    "status.bytes_out": "sent_bytes",
    "status.seedings": "bootstrap_seedings",
    "sockets.*.bootstrap.seedings": "bootstrap_seedings",
    "status.uplink_lost": "uplink_lost",
    "status.stored_infohashes": "peer_store_infohashes",
    "status.samples": "samples",
    "status.gave_samples": "sample_answers",
    "status.no_bep51": "sample_mutes",
    "status.nodes_known": "ledger_nodes",
    "status.nodes_ready": "ledger_ready",
    "status.nodes_resting": "ledger_resting",
    "status.table": "table_nodes",
    "status.table_good": "table_good_nodes",
    "status.explored": "explore_queries",
    "status.explored_new": "explore_found",
    "status.peers": "peers",
    "status.located": "infohashes_located",
    "status.scraped": "infohashes_scraped",
    "status.peers_asked": "locate_queries",
    "status.peers_waiting": "locate_waiting",
    "status.lookups": "lookups",
    "status.lookups_empty": "lookups_empty",
    "status.lines_written": "output_lines_written",
    "status.sink_alarms": "output_alarms",
    "status.sink_trouble": "output_in_trouble",
    "sockets.*.node.dropped.*": "dropped",
    "sockets.*.sampler.dropped.*": "dropped",
    "sockets.*.locator.dropped.*": "dropped",
    "sockets.*.locator.peers_refused": "dropped",
    "sockets.*.errors.*": "dropped",
    "sockets.*.shed": "dropped",
    "families.*.ledger.dropped.*": "dropped",
    "families.*.ledger.evicted_silent": "dropped",
    "families.*.rumours_refused": "dropped",
    "families.*.names_refused": "dropped",
    "peers.over_limit": "dropped",
    "lookups_dropped": "dropped",
    "lookups.filters_refused": "dropped",
}
"""Figures that a metric tells from another place, where they stand apart: source → name of the metric."""

_PAGE = """\
# Metrics

`/metrics` of a daemon started with `--http ADDR:PORT` gives these as OpenMetrics, or as plain Prometheus text
to a reader that accepts `text/plain` only; on Linux also the usual `process_…` metrics of prometheus-client.
This page is made by `python -m crawler.monitoring.metrics_table > docs/metrics.md`; a test holds it equal to
the code.

A `socket` is the bound UDP address, a `family` is ipv4 or ipv6, an `output` is a path as given to `--out`.
Counters begin at 0 with every start. Reasons, limits and the like appear when they first occur.

"""

_REASONS = """
## Reasons of `dht_crawler_dropped_total`

| reason | what was dropped |
|---|---|
| `malformed_…` | datagrams that are no KRPC message, by what is wrong with them |
| `response_unmatched`, `error_unmatched` | answers to nothing that we asked, or too late, or from elsewhere |
| `response_with_our_id`, `query_with_our_id` | messages in our own name |
| `query_from_port_0`, `query_from_private_address` | queries that can't be answered |
| `reply_over_budget` | queries of others beyond `[reply_budget]` |
| `events_full` | what strangers' queries led to while very much was waiting |
| `shed_output_full` | datagrams not read, because what they bring could not be kept |
| `samples_malformed`, `samples_too_many` | samples that are none, or beyond `sample.max_samples` |
| `samples_discredited`, `samples_over_budget` | samples of `[credit]`'s liars, or beyond its `max_new` |
| `node_not_contactable` | nodes named at addresses that nothing is sent to |
| `locate_queue_full`, `lookup_queue_full`, `locate_discredited` | infohashes whose peers are not sought |
| `peers_refused`, `peers_over_limit` | peers at addresses that nobody has, or beyond `locate.max_peers` |
| `scrape_filters_refused` | counts of seeds or leechers (BEP 33) that no swarm can have |
| `sightings_forgotten` | infohashes that one node asked about and no second |
| `rumours_refused`, `names_refused` | first contacts, and nodes that one network named, beyond `[rumours]` |
| `ledger_full`, `ledger_evicted_silent` | nodes that found no place, or gave it up |
| `sink_overflow` | lines for one output of several that lagged |
| others | datagrams not sent or not received, by the system's error |
"""


def page() -> str:
    """Return the text of docs/metrics.md."""
    return _PAGE + to_markdown(TABLE) + _REASONS


if __name__ == "__main__":
    sys.stdout.write(page())
