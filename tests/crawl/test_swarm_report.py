"""Reports of swarms: what is united, what is counted once, and what is left out."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from crawler.crawl.fetch_job import Origin
from crawler.crawl.locate import LocateConfig
from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.crawl.swarm_report import PeersDesk, SwarmReport
from crawler.dht.scrape_filter import filter_of
from crawler.records import Record
from crawler.wire.compact import pack_address

HASH = b"h" * 20
NODES = [pack_address((f"192.0.2.{n}", 6881)) for n in range(1, 5)]


def ips(first: int, count: int) -> list[bytes]:
    """Return IPv4 addresses."""
    return [n.to_bytes(4, "big") for n in range(first, first + count)]


def desk_and_lines(**config: Any) -> tuple[PeersDesk, Outlet, trio.MemoryReceiveChannel[list[Record]]]:
    """Return a desk, and where its records come out."""
    sender, receiver = trio.open_memory_channel[list[Record]](10)
    outlet = Outlet(OutletConfig(), sender, lambda now: now, lambda: 0)
    return PeersDesk(LocateConfig(**config).max_peers, outlet), outlet, receiver


def lines(outlet: Outlet, receiver: trio.MemoryReceiveChannel[list[Record]]) -> list[dict[str, Any]]:
    """Return what was put out, parsed."""
    outlet.flush()
    return [json.loads(line) for r in receiver.receive_nowait() for line in r.lines().splitlines()]


def test_peers_are_merged_and_filters_united() -> None:
    """Peers named twice are one, and a seed that two nodes know is counted once."""
    report = SwarmReport(HASH)
    report.take_peers([b"aaaa\0\1", b"bbbb\0\1"], NODES[0])
    report.take_peers([b"bbbb\0\1", b"cccc\0\1"], NODES[1])
    report.size.take({b"BFsd": filter_of(ips(0, 60)), b"BFpe": filter_of(ips(5000, 10))})
    report.size.take({b"BFsd": filter_of(ips(30, 60)), b"BFpe": filter_of(ips(5000, 10))})

    assert list(report.peers) == [b"aaaa\0\1", b"bbbb\0\1", b"cccc\0\1"]
    assert list(report.named_by) == NODES[:2]
    assert report.size.seeds == pytest.approx(90, rel=0.1)
    assert report.size.leechers == pytest.approx(10, abs=1)


def test_nobody_told_is_not_none_there() -> None:
    """Without filters there is no estimate; with empty ones the estimate is nought."""
    report = SwarmReport(HASH)
    bodies: list[dict[bytes, Any]] = [{}, {b"BFsd": b"short"}, {b"BFsd": 7}, {b"BFpe": []}]
    for body in bodies:
        report.size.take(body)
    assert (report.size.seeds, report.size.leechers) == (None, None)

    report.size.take({b"BFse": bytes(256)})
    assert (report.size.seeds, report.size.leechers) == (0, None)


async def test_a_report_becomes_a_record_and_reaches_the_fetch() -> None:
    """The record has everything; the fetch is told of the peers that were written, and of no more."""
    desk, outlet, receiver = desk_and_lines(max_peers=2)
    told: list[Any] = []
    desk.on_peers = lambda *what: told.append(what)
    report = SwarmReport(HASH)
    peers = [pack_address(("198.51.100.1", port)) for port in (1000, 1001, 1002)]
    report.take_peers(peers, NODES[0])
    report.size.take({b"BFsd": filter_of(ips(0, 3)), b"BFpe": filter_of([])})

    desk.report(report, 7.0)

    [line] = lines(outlet, receiver)
    assert line == {
        "type": "peers",
        "ts": "1970-01-01T00:00:07.000Z",
        "infohash": HASH.hex(),
        "source": "get_peers",
        "peers": ["198.51.100.1:1000", "198.51.100.1:1001"],
        "named_by": ["192.0.2.1:6881"],
        "seeds": 3,
        "leechers": 0,
    }
    assert told == [(HASH, tuple(peers[:2]), Origin.NAMED, 7.0)]
    assert (desk.counters.located, desk.counters.peers, desk.counters.over_limit) == (1, 2, 1)


async def test_one_nodes_answer_has_no_estimate() -> None:
    """What the first question brought is written without sizes, which it does not ask for."""
    desk, outlet, receiver = desk_and_lines()
    desk.located(HASH, [pack_address(("198.51.100.1", 1000))], NODES[:1], 0.0)

    [line] = lines(outlet, receiver)
    assert "seeds" not in line
    assert line["named_by"] == ["192.0.2.1:6881"]


async def test_an_announce_is_the_best_origin() -> None:
    """A peer that announced itself is written as such and offered to the fetch ahead of all others."""
    desk, outlet, receiver = desk_and_lines()
    told: list[Any] = []
    desk.on_peers = lambda *what: told.append(what)
    peer = pack_address(("198.51.100.1", 1000))

    desk.announced(HASH, peer, NODES[0], 0.0)

    [line] = lines(outlet, receiver)
    assert (line["source"], line["peers"]) == ("announce", ["198.51.100.1:1000"])
    assert told == [(HASH, (peer,), Origin.ANNOUNCED, 0.0)]
