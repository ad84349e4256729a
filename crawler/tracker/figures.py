"""The tracker's metrics: a table over the tree of `TrackerServer.figures`; see `crawler.metrics`."""

from __future__ import annotations

from typing import Final

from crawler.metrics import Kind, Metric

_C, _G = Kind.COUNTER, Kind.GAUGE
_CARRIER: Final = ("carrier",)

TABLE: Final = (
    Metric("tracker_uptime_seconds", _G, "Time since the start.", "seconds", unit="seconds"),
    Metric("tracker_swarms", _G, "Swarms known.", "registry.swarms", unit="swarms"),
    Metric("tracker_peers", _G, "Peers held.", "registry.peers", unit="peers"),
    Metric("tracker_peer_events", _C, "What became of announces and peers.", "registry.events.*", ("event",)),
    Metric("tracker_requests", _C, "Requests received.", "carriers.*.received", _CARRIER, "requests"),
    Metric(
        "tracker_answers", _C, "Requests answered.", "carriers.*.answered.*", (*_CARRIER, "kind"), "answers"
    ),
    Metric(
        "tracker_refusals", _C, "Requests refused.", "carriers.*.refused.*", (*_CARRIER, "reason"), "refusals"
    ),
    Metric(
        "tracker_drops",
        _C,
        "Requests met with silence.",
        "carriers.*.dropped.*",
        (*_CARRIER, "reason"),
        "drops",
    ),
    Metric(
        "tracker_received_bytes", _C, "Bytes of datagrams received.", "carriers.*.bytes_in", _CARRIER, "bytes"
    ),
    Metric("tracker_sent_bytes", _C, "Bytes of datagrams sent.", "carriers.*.bytes_out", _CARRIER, "bytes"),
    Metric("tracker_socket_errors", _C, "Errors of the UDP sockets.", "socket_errors.*", ("error",)),
    Metric("tracker_connections", _G, "HTTP connections open.", "http.open", unit="connections"),
    Metric("tracker_connections_accepted", _C, "HTTP connections accepted.", "http.accepted"),
    Metric("tracker_connections_ended", _C, "HTTP connections ended.", "http.ended.*", ("reason",)),
    Metric("tracker_failures", _C, "HTTP requests in which our own code failed.", "http.failed"),
)
