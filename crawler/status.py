"""How the run fares: all counters as one log event, and the live line for a terminal."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawler.sinks.base import Sink, SinkStatistics
    from crawler.station import Shared, Station


def collect(
    stations: Sequence[Station], shared: Shared, sink: Sink, now: float, began: float
) -> dict[str, Any]:
    """Return every counter of the run, summed over the sockets; gauges as they stand at ``now``."""
    nodes = [station.node.counters for station in stations]
    samplers = [station.sampler.counters for station in stations]
    locators = [station.locator.counters for station in stations if station.locator is not None]
    frontiers = {id(s.parts.frontier): s.parts.frontier.statistics() for s in stations}.values()
    tables = [station.node.table.statistics(now) for station in stations]
    sink_counts = sink.statistics()
    times = os.times()
    return {
        "seconds": round(now - began, 1),
        "cpu_seconds": round(times.user + times.system, 2),
        "queries_sent": sum(n.queries_sent for n in nodes),
        "sent": {m.decode(): count for m, count in sum((n.sent for n in nodes), Counter()).items()},
        "answers": sum(n.answers for n in nodes),
        "refusals": sum(n.refusals for n in nodes),
        "timeouts": sum(n.timeouts for n in nodes),
        "late_answers": sum(n.late_answers for n in nodes),
        "in_flight": sum(len(s.node.transactions) for s in stations),
        "timeout_s": [round(s.node.transactions.rtt.timeout, 3) for s in stations],
        "queries_received": sum(n.queries_in for n in nodes),
        "replies": sum(n.replies for n in nodes),
        "bytes_in": sum(n.bytes_in for n in nodes),
        "bytes_out": sum(n.bytes_out for n in nodes),
        "infohashes": shared.seen.total,
        "peers": sum(c.peers for c in locators),
        "located": sum(c.located for c in locators),
        "samples": sum(c.samples for c in samplers),
        "gave_samples": sum(c.gave for c in samplers),
        "no_bep51": sum(c.muted for c in samplers),
        "nodes_known": sum(f.nodes for f in frontiers),
        "nodes_ready": sum(f.ready for f in frontiers),
        "nodes_resting": sum(f.waiting for f in frontiers),
        "table": sum(t.nodes for t in tables),
        "table_good": sum(t.good for t in tables),
        "explored": sum(s.explorer.asked for s in stations),
        "explored_new": sum(s.explorer.found for s in stations),
        "lookups": sum(c.lookups for c in locators),
        "peers_waiting": sum(s.locator.waiting for s in stations if s.locator is not None),
        "lookups_waiting": sum(s.locator.lookups_waiting for s in stations if s.locator is not None),
        **_output(sink_counts, shared.outlet.lines_held),
        "seedings": sum(s.bootstrap.counters.seedings for s in stations),
        "uplink_lost": any(s.pace.uplink_lost for s in stations),
        "stored_infohashes": shared.store.statistics().infohashes,
        "held_back": dict(shared.budget.held_back),
        "dropped": _drops(stations, frontiers, sink_counts.lines_dropped),
    }


def _output(counts: SinkStatistics, lines_held: int) -> dict[str, Any]:
    return {
        "lines_written": counts.lines_written,
        "lines_held": lines_held,
        "sink_alarms": counts.alarms,
        "sink_trouble": counts.trouble,
    }


def _drops(stations: Sequence[Station], frontiers: Any, sink_overflow: int) -> dict[str, int]:
    """Return what was dropped, by reason; reasons that never occurred are left out."""
    drops: Counter[str] = Counter()
    drops["sink_overflow"] = sink_overflow
    for station in stations:
        drops.update(station.node.counters.dropped)
        drops.update(station.sampler.counters.dropped)
        drops.update(station.endpoint.socket.errors)
        drops["shed_output_full"] += station.endpoint.shed
        if station.locator is not None:
            counters = station.locator.counters
            drops["locate_queue_full"] += counters.dropped_waiting
            drops["lookup_queue_full"] += counters.dropped_lookups
            drops["peers_refused"] += counters.peers_refused
            drops["peers_over_limit"] += counters.peers_over_limit
    rumours = {id(s.parts.rumours): s.parts.rumours for s in stations}.values()
    drops["rumours_refused"] = sum(r.refused for r in rumours)
    drops["ledger_full"] = sum(f.dropped_full for f in frontiers)
    drops["ledger_evicted_silent"] = sum(f.evicted_silent for f in frontiers)
    return {reason: count for reason, count in sorted(drops.items()) if count}


@attrs.define
class LiveLine:
    """The one-line summary for a terminal; rates are over the time since the line before."""

    _last: tuple[float, int, int] = (0.0, 0, 0)

    def text(self, status: dict[str, Any]) -> str:
        """Return the line for ``status``, as :func:`collect` made it."""
        seconds, infohashes, sent = status["seconds"], status["infohashes"], status["queries_sent"]
        then, infohashes_then, sent_then = self._last
        passed = max(seconds - then, 0.1)
        found_rate, sent_rate = (infohashes - infohashes_then) / passed, (sent - sent_then) / passed
        self._last = (seconds, infohashes, sent)
        return (
            f"{_clock(seconds)}  {infohashes:,} infohashes (+{found_rate:,.0f}/s)"
            f"  {status['peers']:,} peers  {status['nodes_known']:,} nodes"
            f"  {sent_rate:,.0f} queries/s"
            f"  {_share(status['answers'] + status['refusals'], status['timeouts'])} answered"
            + ("  uplink lost?" if status["uplink_lost"] else "")
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _share(part: int, rest: int) -> str:
    return f"{100 * part / (part + rest):.0f} %" if part + rest else "none"
