"""The report of a run: every counter, ready for JSON, and the line that a terminal shows of it."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from crawler.monitoring.status import LiveLine
from tests.sim.crawl_scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

PROMISED = {
    "seconds",
    "cpu_seconds",
    "queries_sent",
    "answers",
    "timeouts",
    "infohashes",
    "peers",
    "nodes_known",
    "table",
    "dropped",
    "lines_written",
    "lines_held",
}


def report(**changes: Any) -> dict[str, Any]:
    """Return as much of a report as the live line needs."""
    return {
        "seconds": 0.0,
        "infohashes": 0,
        "peers": 0,
        "nodes_known": 0,
        "queries_sent": 0,
        "answers": 0,
        "refusals": 0,
        "timeouts": 0,
        "uplink_lost": False,
        **changes,
    }


async def test_a_report_has_every_counter(tmp_path: Path, autojump_clock: MockClock) -> None:
    """What was promised is there, fits JSON, and agrees with the simulated network's own books."""
    with Scene.of(tmp_path, 71, nodes=300, infohashes=600) as scene:
        await scene.crawl(20, limits={"max_rate": 200.0}, run={"status_interval": 10})
        [periodic] = [fields for fields in scene.status("crawler.status") if fields["seconds"] == 10]
        [last] = scene.status()
        world = scene.world.statistics()

        assert last.keys() >= PROMISED
        assert periodic.keys() == last.keys() - {"reason"}
        assert json.loads(json.dumps(last)) == last
        assert last["queries_sent"] == sum(last["sent"].values()) == world["received"]
        assert last["answers"] + last["refusals"] == world["answered"]
        assert (
            last["queries_sent"] == last["answers"] + last["refusals"] + last["timeouts"] + last["in_flight"]
        )
        assert last["infohashes"] == len(scene.found())
        assert last["lines_written"] == last["infohashes"] + len(scene.records("peers"))
        assert last["nodes_known"] == last["nodes_ready"] + last["nodes_resting"]
        assert last["bytes_out"] == sum(passage.size for passage in scene.network.sent)
        assert last["bytes_in"] == sum(passage.size for passage in scene.network.received)
        assert 0 < periodic["infohashes"] <= last["infohashes"]


async def test_drops_are_told_by_reason(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Whatever was dropped is in the report under its reason, and reasons that never occurred are not."""
    with Scene.of(tmp_path, 72, nodes=300, infohashes=2000) as scene:
        sections: dict[str, Any] = {
            "limits": {"max_rate": 200.0},
            "sample": {"max_samples": 5},
            "locate": {"max_waiting": 3, "max_peers": 1},
        }
        await scene.crawl(20, **sections)

        assert scene.status()[-1]["dropped"].keys() == {
            "samples_too_many",
            "locate_queue_full",
            "peers_over_limit",
        }


def test_the_line_shows_rates_since_the_line_before() -> None:
    """Totals are of the whole run, rates of the time since the last line."""
    line = LiveLine()
    line.text(report(seconds=3600.0, infohashes=1_000_000, queries_sent=360_000))
    text = line.text(
        report(
            seconds=3602.0,
            infohashes=1_001_000,
            peers=2_345_678,
            nodes_known=123_456,
            queries_sent=360_200,
            answers=70,
            refusals=5,
            timeouts=25,
        )
    )

    assert text == (
        "1:00:02  1,001,000 infohashes (+500/s)  2,345,678 peers  123,456 nodes  100 queries/s  75 % answered"
    )


def test_the_first_line_is_no_division_by_zero() -> None:
    """Before anything happened the line is there all the same."""
    assert LiveLine().text(report()) == (
        "0:00:00  0 infohashes (+0/s)  0 peers  0 nodes  0 queries/s  none answered"
    )


@pytest.mark.parametrize(("lost", "ending"), [(True, "uplink lost?"), (False, "answered")])
def test_a_lost_uplink_is_shown(lost: bool, ending: str) -> None:
    """Whoever watches sees that the uplink is suspected."""
    assert LiveLine().text(report(uplink_lost=lost)).endswith(ending)
