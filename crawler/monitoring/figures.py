"""Everything that a run can tell in numbers, as one tree of plain values.

It asks every part for its counters or statistics and gives each a place.
`metrics_table` says what each leaf means; a test sees to it that none is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from crawler import log
from crawler.dht.rtt import BOUNDS
from crawler.metrics import Distribution
from crawler.monitoring import status
from crawler.wire.compact import format_address, pack_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawler.daemon.run import Run
    from crawler.daemon.station import Station
    from crawler.net.http import HttpServer

_BY_REASON = ("dropped", "refused")


def gather(run: Run, http: HttpServer | None, now: float) -> dict[str, Any]:
    """Return every figure of the run at ``now``."""
    shared = run.shared
    return {
        "status": status.collect(run, now),
        "sockets": {
            format_address(pack_address(station.endpoint.socket.local)): _socket(station, now)
            for station in run.stations
        },
        "families": {
            family.name.lower(): {
                "ledger": _plain(parts.frontier.statistics()),
                "rumours_refused": parts.rumours.refused,
                "names_refused": parts.rumours.names_refused,
            }
            for family, parts in run.families.items()
        },
        "peer_store": _plain(shared.store.statistics()),
        "peers": _plain(shared.desk.counters),
        "lookups": {} if run.lookups is None else _plain(run.lookups.counters),
        "lookups_dropped": shared.lookup_queue.dropped,
        "outlet": {"lines_in": shared.outlet.lines_in, "metadata_waiting": shared.outlet.metadata_waiting},
        "outputs": {path: _plain(counts) for path, counts in run.sink.each().items()},
        "limits": {"max_rate": shared.config.limits.max_rate},
        "log": log.counts(),
        "http": {} if http is None else {"open": http.connections, **_plain(http.counters)},
    }


def _socket(station: Station, now: float) -> dict[str, Any]:
    node, locator = station.node, station.locator
    rtt = node.transactions.rtt
    return {
        "node": _plain(node.counters),
        "in_flight": len(node.transactions),
        "timeout": rtt.timeout,
        "round_trip": Distribution(BOUNDS, tuple(rtt.counts), rtt.total),
        "table": _plain(node.table.statistics(now)),
        "replies": _plain(node.reply_budget.statistics()),
        "address_votes": _plain(node.external.statistics()),
        "errors": dict(station.endpoint.socket.errors),
        "shed": station.endpoint.shed,
        "waiting_for_budget": station.endpoint.waiting,
        "sampler": _plain(station.sampler.counters),
        "explorer": {"asked": station.explorer.asked, "found": station.explorer.found},
        "locator": {} if locator is None else {"waiting": locator.waiting, **_plain(locator.counters)},
        "bootstrap": _plain(station.bootstrap.counters),
        "uplink_lost": station.pace.uplink_lost,
    }


def _plain(counters: Any) -> dict[str, Any]:
    """Return the fields of a counters or statistics object; ``dropped_x`` and the like become dropped → x."""
    figures: dict[str, Any] = {}
    for name, value in attrs.asdict(counters, recurse=False).items():
        reason = next((word for word in _BY_REASON if name.startswith(f"{word}_")), None)
        if reason is not None:
            figures.setdefault(reason, {})[name.removeprefix(f"{reason}_")] = value
        elif isinstance(value, dict):
            figures[name] = _by_text(value.items())
        else:
            figures[name] = value
    return figures


def _by_text(items: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in items}
