"""The daemon in a simulated network, with a real tracker to ask: opentracker."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import trio

from crawler.client.tracking import open_trackers
from crawler.wire.tracker import AnnounceRequest, Event
from crawler.wire.tracker_url import parse_tracker_url
from tests.interop.daemon_process import REPOSITORY, DaemonProcess, wait_for
from tests.interop.foreign_trackers import opentracker
from tests.sim.network_process import NetworkProcess

if TYPE_CHECKING:
    from pathlib import Path

    from crawler.wire.tracker import ScrapeCounts

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(sys.platform != "linux", reason="the simulated network needs Linux"),
]

SEEDED = 4


async def seed(url: str, infohashes: list[str]) -> None:
    """Put one seed of each infohash on the tracker's list."""
    async with open_trackers(allow_private=True) as client:
        for infohash in infohashes:
            request = AnnounceRequest(
                bytes.fromhex(infohash), b"-XX0001-abcdefghijkl", 7777, event=Event.STARTED
            )
            await client.announce(parse_tracker_url(url), request)


async def count(url: str, infohashes: list[str]) -> list[ScrapeCounts]:
    """Return what the tracker counts."""
    wanted = [bytes.fromhex(infohash) for infohash in infohashes]
    async with open_trackers(allow_private=True) as client:
        return list((await client.scrape(parse_tracker_url(url), wanted)).values())


def test_the_crawl_learns_from_a_tracker(tmp_path: Path) -> None:
    """What the tracker knows of the infohashes found is in the output, as claimed by it, and we are not."""
    truth = tmp_path / "truth.jsonl"
    with NetworkProcess(nodes=200, infohashes=40, dead=0, loss=0, rtt=20, truth=truth) as network:
        infohashes = [json.loads(line)["infohash"] for line in truth.read_text().splitlines()]
        with opentracker(tmp_path, infohashes) as tracker:
            seeded = infohashes[:SEEDED]
            trio.run(seed, tracker.udp, seeded)
            settings = tmp_path / "settings.toml"
            settings.write_text(f'[trackers]\nurls = ["{tracker.udp}"]\ngather = 0.5\nmax_announces = 20\n')
            with DaemonProcess(
                out=tmp_path / "out.jsonl",
                listen="127.0.0.1",
                bootstrap=[network.bootstrap],
                extra=["--allow-private", "--config", str(settings)],
            ) as daemon:

                def told() -> list[dict[str, Any]]:
                    return [record for record in daemon.records() if record.get("source") == "tracker"]

                found = wait_for(lambda: len(told()) >= SEEDED, 30)
                records = told()
                assert daemon.terminate().code == 0
            assert found, daemon.log_tail()
            counts = trio.run(count, tracker.udp, seeded)

    assert {record["infohash"] for record in records} == set(seeded)
    for record in records:
        assert record["peers"] == ["127.0.0.1:7777"]
        assert (record["seeds"], record["leechers"]) == (1, 0)
        assert record["tracker"] == tracker.udp.removesuffix("/announce")
    schema = json.loads((REPOSITORY / "config" / "records.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    assert all(validator.is_valid(record) for record in records)
    # The last announce may have been cut off by the end of the run, before its goodbye.
    assert sum(one.leechers or 0 for one in counts) <= 1
