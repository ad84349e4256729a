"""How the run fares: all counters as one log event, and the live line for a terminal."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from crawler.crawl.frontier import Frontier
    from crawler.crawl.trackers import TrackerStage
    from crawler.daemon.fetching import Fetching
    from crawler.daemon.run import Run
    from crawler.sinks.base import SinkStatistics


def collect(run: Run, now: float) -> dict[str, Any]:
    """Return every counter of the run, summed over the sockets; gauges as they stand at ``now``."""
    sink_counts = run.sink.statistics()
    times = os.times()
    return {
        "seconds": round(now - run.began, 1),
        "cpu_seconds": round(times.user + times.system, 2),
        **_traffic(run),
        **_sampling(run, now),
        **_locating(run),
        **_output(sink_counts, run.shared.outlet.lines_held),
        "seen": _seen(run, now),
        "held_back": dict(run.shared.budget.held_back),
        "dropped": _drops(run, sink_counts.lines_dropped),
        **({} if run.fetching is None else {"fetch": _fetch(run.fetching)}),
        **({} if run.trackers is None else {"trackers": _trackers(run.trackers)}),
    }


def _traffic(run: Run) -> dict[str, Any]:
    stations = run.stations
    nodes = [station.node.counters for station in stations]
    return {
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
        "seedings": sum(s.bootstrap.counters.seedings for s in stations),
        "uplink_lost": any(s.pace.uplink_lost for s in stations),
        "stored_infohashes": run.shared.store.statistics().infohashes,
    }


def _sampling(run: Run, now: float) -> dict[str, Any]:
    stations = run.stations
    samplers = [station.sampler.counters for station in stations]
    frontiers = [frontier.statistics() for frontier in _frontiers(run)]
    tables = [station.node.table.statistics(now) for station in stations]
    return {
        "infohashes": run.shared.seen.total,
        "sightings_waiting": len(run.shared.sightings),
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
    }


def _seen(run: Run, now: float) -> dict[str, Any]:
    """Return what is remembered of infohashes, and what of that a crash would lose."""
    slices, keeper = run.shared.seen.slices, run.keeper
    return {
        "remembered": slices.count,
        "forgotten": slices.forgotten,
        "slices": len(slices.live),
        "slices_forgotten": slices.slices_forgotten,
        "filter_bytes": slices.size,
        "unsaved": keeper.unsaved,
        "lag_s": round(keeper.lag(now), 1),
        **attrs.asdict(keeper.counters),
    }


def _locating(run: Run) -> dict[str, Any]:
    locators = [station.locator for station in run.stations if station.locator is not None]
    desk = run.shared.desk.counters
    lookups = None if run.lookups is None else run.lookups.counters
    return {
        "peers": desk.peers,
        "located": desk.located,
        "scraped": desk.with_scrape,
        "peers_asked": sum(locator.counters.asked for locator in locators),
        "peers_waiting": sum(locator.waiting for locator in locators),
        "credit": attrs.asdict(run.shared.credit.statistics()),
        "lookups": 0 if lookups is None else lookups.lookups,
        "lookups_empty": 0 if lookups is None else lookups.empty,
        "lookups_waiting": len(run.shared.lookup_queue),
    }


def _frontiers(run: Run) -> list[Frontier]:
    """Return each ledger once; the sockets of a family share one."""
    return list({id(s.parts.frontier): s.parts.frontier for s in run.stations}.values())


def _fetch(fetching: Fetching) -> dict[str, Any]:
    """Return the counters of the fetch: in = fetched + gave_up + dropped + held."""
    jobs, client = fetching.fetcher.jobs, fetching.client.counters
    counters, reading = jobs.counters, fetching.fetcher.reading
    said = {
        "in": counters.jobs_in,
        "fetched": counters.fetched,
        "gave_up": dict(counters.gave_up),
        "dropped": dict(counters.dropped),
        "held": jobs.held,
        "resting": jobs.resting,
        "seeking": jobs.seeking,
        "in_flight": jobs.in_flight,
        "rested": counters.rested,
        "dialled": counters.dialled,
        "hedged": counters.hedged,
        "connected": client.connected,
        "failures": dict(client.failures),
        "peers_dead_lately": counters.peers_dead_lately,
        "peers_exchanged": counters.peers_exchanged,
        "peers_over_limit": counters.peers_over_limit,
        "failures_evicted": fetching.fetcher.failures.evicted,
        "bytes_fetched": reading.bytes_fetched,
        "private": reading.private,
        "truncated": reading.truncated,
    }
    if fetching.cache is not None:
        said["serve"] = _serve(fetching)
    return said


def _serve(fetching: Fetching) -> dict[str, Any]:
    counters = [listener.counters for listener in fetching.listeners]
    cache = fetching.cache
    return {
        "cached": 0 if cache is None else len(cache),
        "cached_bytes": 0 if cache is None else cache.size,
        "cache_dropped": 0 if cache is None else cache.dropped,
        "visitors": sum(listener.visitors for listener in fetching.listeners),
        "accepted": sum(c.accepted for c in counters),
        "pieces_served": sum(c.pieces_served for c in counters),
        "requests_rejected": sum(c.requests_rejected for c in counters),
        "ended": dict(sum((c.ended for c in counters), Counter())),
    }


def _trackers(stage: TrackerStage) -> dict[str, Any]:
    """Return what came of asking trackers: in = told + untold + the two dropped + held."""
    counters, client = stage.counters, stage.client.counters
    return {
        "in": counters.infohashes_in,
        "told": counters.told,
        "untold": counters.untold,
        "with_peers": counters.with_peers,
        "announced": counters.announced,
        "dropped_scrapes": counters.dropped_scrapes,
        "dropped_announces": counters.dropped_announces,
        "held": stage.held,
        "requests": client.announces + client.scrapes,
        "answered": client.answered,
        "failures": dict(client.failures),
        "peers": client.peers,
        "peers_refused": client.peers_refused,
        "peers_unusable": client.peers_unusable,
        "peers_over_limit": client.peers_over_limit,
        "datagrams_unmatched": stage.client.datagrams_unmatched,
    }


def _output(counts: SinkStatistics, lines_held: int) -> dict[str, Any]:
    return {
        "lines_written": counts.lines_written,
        "lines_held": lines_held,
        "sink_alarms": counts.alarms,
        "sink_trouble": counts.trouble,
    }


def _drops(run: Run, sink_overflow: int) -> dict[str, int]:
    """Return what was dropped, by reason; reasons that never occurred are left out."""
    stations = run.stations
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
            drops["locate_discredited"] += counters.dropped_discredited
            drops["peers_refused"] += counters.peers_refused
    drops["lookup_queue_full"] += run.shared.lookup_queue.dropped
    if run.lookups is not None:
        drops["scrape_filters_refused"] = run.lookups.counters.filters_refused
    drops["peers_over_limit"] += run.shared.desk.counters.over_limit
    rumours = {id(s.parts.rumours): s.parts.rumours for s in stations}.values()
    drops["rumours_refused"] = sum(r.refused for r in rumours)
    drops["names_refused"] = sum(r.names_refused for r in rumours)
    frontiers = [frontier.statistics() for frontier in _frontiers(run)]
    drops["sightings_forgotten"] = run.shared.sightings.forgotten
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
            f"  {status['peers']:,} peers{_fetched(status)}  {status['nodes_known']:,} nodes"
            f"  {sent_rate:,.0f} queries/s"
            f"  {_share(status['answers'] + status['refusals'], status['timeouts'])} answered"
            + ("  uplink lost?" if status["uplink_lost"] else "")
        )


def _fetched(status: dict[str, Any]) -> str:
    return f"  {status['fetch']['fetched']:,} metadata" if "fetch" in status else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _share(part: int, rest: int) -> str:
    return f"{100 * part / (part + rest):.0f} %" if part + rest else "none"
