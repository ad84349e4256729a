"""The metrics of the crawl, from samples to lines on the disk, and of who watches it; see `metrics_table`."""

from __future__ import annotations

from crawler.metrics import Kind, Metric

_C, _G = Kind.COUNTER, Kind.GAUGE
_SOCKET = ("socket",)
_FAMILY = ("family",)
_OUTPUT = ("output",)

CRAWL = (
    Metric("infohashes", _C, "Infohashes found, each once.", "status.infohashes", unit="infohashes"),
    Metric(
        "samples",
        _C,
        "Infohashes in samples, repeats too.",
        "sockets.*.sampler.samples",
        _SOCKET,
        "infohashes",
    ),
    Metric(
        "samples_new",
        _C,
        "Infohashes that samples brought first.",
        "sockets.*.sampler.new",
        _SOCKET,
        "infohashes",
    ),
    Metric("sample_queries", _C, "Nodes asked for samples.", "sockets.*.sampler.asked", _SOCKET, "queries"),
    Metric("sample_answers", _C, "Nodes that gave samples.", "sockets.*.sampler.gave", _SOCKET, "answers"),
    Metric(
        "sample_mutes",
        _C,
        "Nodes that answered without samples (no BEP 51).",
        "sockets.*.sampler.muted",
        _SOCKET,
        "answers",
    ),
    Metric(
        "sample_silences", _C, "Nodes that did not answer.", "sockets.*.sampler.silent", _SOCKET, "queries"
    ),
    Metric(
        "explore_queries", _C, "Nodes asked for other nodes.", "sockets.*.explorer.asked", _SOCKET, "queries"
    ),
    Metric(
        "explore_found", _C, "Nodes that exploring brought.", "sockets.*.explorer.found", _SOCKET, "nodes"
    ),
    Metric("ledger_nodes", _G, "Nodes that are known.", "families.*.ledger.nodes", _FAMILY, "nodes"),
    Metric("ledger_ready", _G, "Nodes that may be asked now.", "families.*.ledger.ready", _FAMILY, "nodes"),
    Metric("ledger_resting", _G, "Nodes left alone for now.", "families.*.ledger.waiting", _FAMILY, "nodes"),
    Metric(
        "sightings_waiting",
        _G,
        "Infohashes that one node asked about and that wait for a second.",
        "status.sightings_waiting",
        unit="infohashes",
    ),
)
SEEN = (
    Metric("seen_infohashes", _G, "Infohashes remembered.", "status.seen.remembered", unit="infohashes"),
    Metric("seen_forgotten", _C, "Infohashes forgotten.", "status.seen.forgotten", unit="infohashes"),
    Metric("seen_slices", _G, "Filters that remember them.", "status.seen.slices", unit="slices"),
    Metric("seen_slices_forgotten", _C, "Filters forgotten.", "status.seen.slices_forgotten", unit="slices"),
    Metric("seen_filter_bytes", _G, "Size of the filters.", "status.seen.filter_bytes", unit="bytes"),
    Metric("seen_disk_bytes", _G, "Size of their files.", "status.seen.disk_bytes", unit="bytes"),
    Metric(
        "seen_unsaved", _G, "Infohashes that a kill would repeat.", "status.seen.unsaved", unit="infohashes"
    ),
    Metric("seen_lag_seconds", _G, "How long the oldest waits.", "status.seen.lag_s", unit="seconds"),
    Metric("seen_journalled", _C, "Infohashes saved singly.", "status.seen.journalled", unit="infohashes"),
    Metric(
        "seen_not_journalled",
        _C,
        "Infohashes left to their filter, since too many waited.",
        "status.seen.not_journalled",
        unit="infohashes",
    ),
    Metric("seen_filters_saved", _C, "Filters saved.", "status.seen.filters_saved", unit="slices"),
    Metric("seen_save_failures", _C, "Times the disk failed.", "status.seen.failures", unit="failures"),
)
PEERS = (
    Metric("peers", _C, "Peers reported.", "peers.peers", unit="peers"),
    Metric("infohashes_located", _C, "Reports of peers.", "peers.located", unit="infohashes"),
    Metric("infohashes_scraped", _C, "Reports with counts of seeds.", "peers.with_scrape", unit="infohashes"),
    Metric(
        "locate_infohashes",
        _C,
        "Infohashes to be asked for at the node that named them.",
        "sockets.*.locator.infohashes_in",
        _SOCKET,
        "infohashes",
    ),
    Metric("locate_queries", _C, "First questions for peers.", "sockets.*.locator.asked", _SOCKET, "queries"),
    Metric(
        "locate_settled", _C, "First questions that ended.", "sockets.*.locator.settled", _SOCKET, "queries"
    ),
    Metric(
        "locate_waiting",
        _G,
        "Infohashes that wait for it.",
        "sockets.*.locator.waiting",
        _SOCKET,
        "infohashes",
    ),
    Metric("credit_accounts", _G, "Givers of samples judged.", "status.credit.accounts", unit="prefixes"),
    Metric("credit_without", _G, "Of these, not listened to.", "status.credit.without", unit="prefixes"),
    Metric("credit_lost", _C, "Times one lost its credit.", "status.credit.lost", unit="times"),
    Metric("credit_regained", _C, "Times one earned it back.", "status.credit.regained", unit="times"),
    Metric("lookups", _C, "Lookups for peers.", "lookups.lookups", unit="lookups"),
    Metric("lookups_empty", _C, "Lookups that found no peer.", "lookups.empty", unit="lookups"),
    Metric("lookup_scrapes", _C, "Nodes asked after lookups for counts.", "lookups.scrapes", unit="queries"),
    Metric(
        "lookups_waiting", _G, "Infohashes that wait for one.", "status.lookups_waiting", unit="infohashes"
    ),
)
FETCH = (
    Metric("fetch_jobs", _C, "Infohashes whose metadata was wanted.", "status.fetch.in", unit="infohashes"),
    Metric("fetched", _C, "Metadata fetched and verified.", "status.fetch.fetched", unit="infohashes"),
    Metric(
        "fetch_gave_up", _C, "Infohashes given up.", "status.fetch.gave_up.*", ("reason",), unit="infohashes"
    ),
    Metric(
        "fetch_dropped",
        _C,
        "Infohashes dropped, by where.",
        "status.fetch.dropped.*",
        ("where",),
        "infohashes",
    ),
    Metric("fetch_held", _G, "Infohashes that wait or are fetched.", "status.fetch.held", unit="infohashes"),
    Metric("fetch_resting", _G, "Those with dead peers only.", "status.fetch.resting", unit="infohashes"),
    Metric("fetch_seeking", _G, "Those that wait for new peers.", "status.fetch.seeking", unit="infohashes"),
    Metric("fetch_in_flight", _G, "Peers dialled or talked to.", "status.fetch.in_flight", unit="peers"),
    Metric("fetch_rests", _C, "Rests begun.", "status.fetch.rested", unit="rests"),
    Metric("fetch_dials", _C, "Peers dialled.", "status.fetch.dialled", unit="peers"),
    Metric("fetch_hedges", _C, "Dials while another took long.", "status.fetch.hedged", unit="peers"),
    Metric(
        "fetch_connections", _C, "Connections that came about.", "status.fetch.connected", unit="connections"
    ),
    Metric(
        "fetch_failures", _C, "Peers that failed us.", "status.fetch.failures.*", ("reason",), unit="peers"
    ),
    Metric(
        "fetch_peers_dead_lately",
        _C,
        "Peers left out since they failed lately.",
        "status.fetch.peers_dead_lately",
        unit="peers",
    ),
    Metric(
        "fetch_peers_exchanged", _C, "Peers that peers named.", "status.fetch.peers_exchanged", unit="peers"
    ),
    Metric(
        "fetch_peers_over_limit",
        _C,
        "Peers dropped since a job had enough.",
        "status.fetch.peers_over_limit",
        unit="peers",
    ),
    Metric(
        "fetch_failures_evicted",
        _C,
        "Failures forgotten to make room.",
        "status.fetch.failures_evicted",
        unit="failures",
    ),
    Metric("fetched_bytes", _C, "Bytes of metadata fetched.", "status.fetch.bytes_fetched", unit="bytes"),
    Metric("fetched_private", _C, "Fetched of private torrents.", "status.fetch.private", unit="infohashes"),
    Metric("fetched_truncated", _C, "Records cut to size.", "status.fetch.truncated", unit="records"),
    Metric("serve_cached", _G, "Metadata kept for others.", "status.fetch.serve.cached", unit="infohashes"),
    Metric("serve_cached_bytes", _G, "Its bytes.", "status.fetch.serve.cached_bytes", unit="bytes"),
    Metric(
        "serve_cache_dropped",
        _C,
        "Metadata that made room.",
        "status.fetch.serve.cache_dropped",
        unit="infohashes",
    ),
    Metric("serve_visitors", _G, "Peers that dialled us, now.", "status.fetch.serve.visitors", unit="peers"),
    Metric("serve_accepted", _C, "Peers that dialled us.", "status.fetch.serve.accepted", unit="peers"),
    Metric("serve_pieces", _C, "Pieces given.", "status.fetch.serve.pieces_served", unit="pieces"),
    Metric(
        "serve_rejected",
        _C,
        "Requests rejected.",
        "status.fetch.serve.requests_rejected",
        unit="requests",
    ),
    Metric("serve_ended", _C, "Visits ended.", "status.fetch.serve.ended.*", ("reason",), unit="visits"),
)
TRACKERS = (
    Metric("tracker_infohashes", _C, "Infohashes to ask about.", "status.trackers.in", unit="infohashes"),
    Metric("tracker_told", _C, "Those that a tracker told of.", "status.trackers.told", unit="infohashes"),
    Metric("tracker_untold", _C, "Those it did not.", "status.trackers.untold", unit="infohashes"),
    Metric("tracker_hits", _C, "Those with peers there.", "status.trackers.with_peers", unit="infohashes"),
    Metric("tracker_announced", _C, "Announced.", "status.trackers.announced", unit="infohashes"),
    Metric(
        "tracker_scrapes_dropped",
        _C,
        "Infohashes dropped before a scrape.",
        "status.trackers.dropped_scrapes",
        unit="infohashes",
    ),
    Metric(
        "tracker_announces_dropped",
        _C,
        "Infohashes dropped before an announce.",
        "status.trackers.dropped_announces",
        unit="infohashes",
    ),
    Metric("tracker_held", _G, "Infohashes that wait.", "status.trackers.held", unit="infohashes"),
    Metric("tracker_requests", _C, "Requests to trackers.", "status.trackers.requests", unit="requests"),
    Metric("tracker_answers", _C, "Requests answered.", "status.trackers.answered", unit="requests"),
    Metric(
        "tracker_failures",
        _C,
        "Requests that failed.",
        "status.trackers.failures.*",
        ("reason",),
        unit="requests",
    ),
    Metric("tracker_peers", _C, "Peers that trackers named.", "status.trackers.peers", unit="peers"),
    Metric("tracker_peers_refused", _C, "Not fit to dial.", "status.trackers.peers_refused", unit="peers"),
    Metric("tracker_peers_unusable", _C, "Nonsense.", "status.trackers.peers_unusable", unit="peers"),
    Metric("tracker_peers_over_limit", _C, "Too many.", "status.trackers.peers_over_limit", unit="peers"),
    Metric(
        "tracker_datagrams_unmatched",
        _C,
        "Datagrams that answered nothing.",
        "status.trackers.datagrams_unmatched",
        unit="datagrams",
    ),
)
OUTPUTS = (
    Metric("lines", _C, "Lines that stages handed over.", "outlet.lines_in", unit="lines"),
    Metric("lines_held", _G, "Lines not written yet.", "status.lines_held", unit="lines"),
    Metric("metadata_waiting_bytes", _G, "Metadata not taken yet.", "outlet.metadata_waiting", unit="bytes"),
    Metric("output_lines", _C, "Lines taken.", "outputs.*.lines_in", _OUTPUT, "lines"),
    Metric("output_lines_written", _C, "Lines on the disk.", "outputs.*.lines_written", _OUTPUT, "lines"),
    Metric("output_lines_held", _G, "Lines that wait.", "outputs.*.lines_held", _OUTPUT, "lines"),
    Metric(
        "output_lines_dropped", _C, "Lines it had no room for.", "outputs.*.lines_dropped", _OUTPUT, "lines"
    ),
    Metric("output_written_bytes", _C, "Bytes written.", "outputs.*.bytes_written", _OUTPUT, "bytes"),
    Metric("output_writes", _C, "Batches written and synced.", "outputs.*.writes", _OUTPUT, "batches"),
    Metric("output_failures", _C, "Attempts that failed.", "outputs.*.failures", _OUTPUT, "attempts"),
    Metric(
        "output_alarms", _C, "Times that a disk was full or failed.", "outputs.*.alarms", _OUTPUT, "alarms"
    ),
    Metric(
        "output_lines_rewritten",
        _C,
        "Lines written again to a new file.",
        "outputs.*.lines_rewritten",
        _OUTPUT,
        "lines",
    ),
    Metric("output_torn", _C, "Torn last lines cut off at opening.", "outputs.*.torn", _OUTPUT, "lines"),
    Metric("output_reopened", _C, "Renamed files followed.", "outputs.*.reopened", _OUTPUT, "files"),
    Metric("output_rotated", _C, "Files closed for size or age.", "outputs.*.rotated", _OUTPUT, "files"),
    Metric("output_compressed", _C, "Closed files compressed.", "outputs.*.compressed", _OUTPUT, "files"),
    Metric(
        "output_compress_failures",
        _C,
        "Closed files that could not be compressed or deleted.",
        "outputs.*.compress_failures",
        _OUTPUT,
        "files",
    ),
    Metric("output_deleted", _C, "Closed files deleted.", "outputs.*.segments_deleted", _OUTPUT, "files"),
    Metric("output_in_trouble", _G, "1 while it takes no lines.", "outputs.*.trouble", _OUTPUT),
)
HTTP = (
    Metric("http_connections", _G, "HTTP connections open.", "http.open", unit="connections"),
    Metric("http_accepted", _C, "HTTP connections accepted.", "http.accepted", unit="connections"),
    Metric("http_ended", _C, "HTTP connections ended.", "http.ended.*", ("reason",), "connections"),
    Metric("http_answers", _C, "HTTP requests answered.", "http.answers.*", ("status",), "requests"),
    Metric("http_failed", _C, "HTTP requests in which we failed.", "http.failed", unit="requests"),
)
