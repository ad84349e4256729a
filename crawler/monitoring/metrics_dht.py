"""The metrics of the process and of the node that it is in the DHT; see `metrics_table`."""

from __future__ import annotations

from crawler.metrics import Kind, Metric

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_SOCKET = ("socket",)

RUN = (
    Metric("uptime_seconds", _G, "Time since the start.", "status.seconds", unit="seconds"),
    Metric("cpu_seconds", _C, "Processor time used.", "status.cpu_seconds", unit="seconds"),
    Metric("max_rate", _G, "Queries that may be sent in a second.", "limits.max_rate", unit="queries/s"),
    Metric(
        "dropped",
        _C,
        "What was dropped for whatever reason, see docs/metrics.md.",
        "status.dropped.*",
        ("reason",),
    ),
    Metric("held_back", _C, "Times that a limit made a query wait.", "status.held_back.*", ("limit",)),
    Metric("log_lines_dropped", _C, "Log lines dropped since stderr took none.", "log.dropped", unit="lines"),
    Metric("log_lines_lost", _C, "Log lines lost since stderr failed.", "log.lost", unit="lines"),
    Metric(
        "log_events_suppressed", _C, "Events left out since there were many.", "log.suppressed", unit="events"
    ),
)
TRAFFIC = (
    Metric(
        "datagrams_received", _C, "Datagrams received.", "sockets.*.node.datagrams_in", _SOCKET, "datagrams"
    ),
    Metric("received_bytes", _C, "Bytes of datagrams received.", "sockets.*.node.bytes_in", _SOCKET, "bytes"),
    Metric("sent_bytes", _C, "Bytes of datagrams sent.", "sockets.*.node.bytes_out", _SOCKET, "bytes"),
    Metric("queries_sent", _C, "Queries sent.", "sockets.*.node.sent.*", ("socket", "method"), "queries"),
    Metric("answers", _C, "Answers to our queries.", "sockets.*.node.answers", _SOCKET, "answers"),
    Metric(
        "refusals", _C, "KRPC errors in answer to our queries.", "sockets.*.node.refusals", _SOCKET, "answers"
    ),
    Metric("timeouts", _C, "Queries not answered in time.", "sockets.*.node.timeouts", _SOCKET, "queries"),
    Metric(
        "late_answers", _C, "Answers after the timeout.", "sockets.*.node.late_answers", _SOCKET, "answers"
    ),
    Metric(
        "queries_in_flight", _G, "Queries that await an answer.", "sockets.*.in_flight", _SOCKET, "queries"
    ),
    Metric(
        "query_timeout_seconds", _G, "How long an answer is awaited.", "sockets.*.timeout", _SOCKET, "seconds"
    ),
    Metric(
        "round_trip_seconds",
        _H,
        "Time from a query to its answer.",
        "sockets.*.round_trip",
        _SOCKET,
        "seconds",
    ),
    Metric(
        "waiting_for_budget", _G, "Tasks that wait to send.", "sockets.*.waiting_for_budget", _SOCKET, "tasks"
    ),
    Metric("uplink_lost", _G, "1 while nothing at all is answered.", "sockets.*.uplink_lost", _SOCKET),
)
ANSWERING = (
    Metric("queries_received", _C, "Queries of others.", "sockets.*.node.queries_in", _SOCKET, "queries"),
    Metric("replies", _C, "Replies to queries of others.", "sockets.*.node.replies", _SOCKET, "replies"),
    Metric(
        "reply_budget_asked",
        _C,
        "Replies that the budget judged.",
        "sockets.*.replies.received",
        _SOCKET,
        "replies",
    ),
    Metric(
        "reply_budget_dropped",
        _C,
        "Replies that the budget did not allow, by the limit that was reached.",
        "sockets.*.replies.dropped.*",
        ("socket", "limit"),
        "replies",
    ),
    Metric(
        "answered_query_bytes",
        _C,
        "Bytes of answered queries.",
        "sockets.*.replies.bytes_in",
        _SOCKET,
        "bytes",
    ),
    Metric("reply_bytes", _C, "Bytes of replies.", "sockets.*.replies.bytes_out", _SOCKET, "bytes"),
    Metric(
        "reply_sources",
        _G,
        "Sources that the budget remembers.",
        "sockets.*.replies.sources",
        _SOCKET,
        "sources",
    ),
    Metric(
        "reply_sources_forgotten",
        _C,
        "Sources forgotten to make room.",
        "sockets.*.replies.forgotten",
        _SOCKET,
        "sources",
    ),
    Metric(
        "peer_store_infohashes", _G, "Infohashes announced to us.", "peer_store.infohashes", unit="infohashes"
    ),
    Metric("peer_store_peers", _G, "Peers announced to us.", "peer_store.peers", unit="peers"),
    Metric(
        "peer_store_announcers", _G, "Addresses that announced.", "peer_store.announcers", unit="addresses"
    ),
    Metric("announces", _C, "Announces received.", "peer_store.announced", unit="announces"),
    Metric(
        "announces_stored", _C, "Announces of a peer not known yet.", "peer_store.stored", unit="announces"
    ),
    Metric("announces_refreshed", _C, "Announces of a known peer.", "peer_store.refreshed", unit="announces"),
    Metric(
        "announces_refused",
        _C,
        "Announces refused, by the limit that was reached.",
        "peer_store.refused.*",
        ("limit",),
        "announces",
    ),
    Metric("peer_store_expired", _C, "Stored peers that expired.", "peer_store.expired", unit="peers"),
    Metric("peer_store_displaced", _C, "Stored peers that made room.", "peer_store.displaced", unit="peers"),
)
TABLE = (
    Metric("table_nodes", _G, "Nodes in the routing table.", "sockets.*.table.nodes", _SOCKET, "nodes"),
    Metric("table_good_nodes", _G, "Good nodes in the table.", "sockets.*.table.good", _SOCKET, "nodes"),
    Metric(
        "table_questionable_nodes",
        _G,
        "Questionable nodes in it.",
        "sockets.*.table.questionable",
        _SOCKET,
        "nodes",
    ),
    Metric("table_bad_nodes", _G, "Bad nodes in it.", "sockets.*.table.bad", _SOCKET, "nodes"),
    Metric(
        "table_spares", _G, "Nodes that wait for a place in it.", "sockets.*.table.spares", _SOCKET, "nodes"
    ),
    Metric("table_buckets", _G, "Buckets of the table.", "sockets.*.table.buckets", _SOCKET, "buckets"),
    Metric("table_added", _C, "Nodes taken into the table.", "sockets.*.table.added", _SOCKET, "nodes"),
    Metric("table_removed", _C, "Nodes removed from it.", "sockets.*.table.removed", _SOCKET, "nodes"),
    Metric("table_spared", _C, "Nodes that became spares.", "sockets.*.table.spared", _SOCKET, "nodes"),
    Metric(
        "table_dropped",
        _C,
        "Nodes with no place, by why: a full bucket, or fresher spares.",
        "sockets.*.table.dropped.*",
        ("socket", "why"),
        "nodes",
    ),
    Metric(
        "table_refused",
        _C,
        "Nodes not wanted in the table, by what spoke against them.",
        "sockets.*.table.refused.*",
        ("socket", "why"),
        "nodes",
    ),
    Metric(
        "table_id_changes",
        _C,
        "Nodes evicted since they changed their id.",
        "sockets.*.table.id_changes",
        _SOCKET,
        "nodes",
    ),
    Metric(
        "address_votes_held",
        _G,
        "Networks whose word on our address is held.",
        "sockets.*.address_votes.votes",
        _SOCKET,
        "votes",
    ),
    Metric(
        "address_votes_counted", _C, "Votes counted.", "sockets.*.address_votes.counted", _SOCKET, "votes"
    ),
    Metric(
        "address_votes_ignored",
        _C,
        "Votes for what is no public address.",
        "sockets.*.address_votes.ignored",
        _SOCKET,
        "votes",
    ),
    Metric(
        "address_votes_skipped",
        _C,
        "Votes that came too soon after others.",
        "sockets.*.address_votes.skipped",
        _SOCKET,
        "votes",
    ),
    Metric(
        "bootstrap_seedings",
        _C,
        "Times that seeds were asked for the way in.",
        "sockets.*.bootstrap.reasons.*",
        ("socket", "reason"),
        "seedings",
    ),
    Metric(
        "bootstrap_hosts_unresolved",
        _C,
        "Names of seeds that did not resolve.",
        "sockets.*.bootstrap.hosts_unresolved",
        _SOCKET,
        "names",
    ),
    Metric(
        "bootstrap_seeds_answered",
        _C,
        "Seeds that answered.",
        "sockets.*.bootstrap.seeds_answered",
        _SOCKET,
        "nodes",
    ),
)
