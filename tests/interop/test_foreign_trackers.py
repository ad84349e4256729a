"""Our client against other people's trackers: announce, peers, stopped, scrape, over UDP and HTTP."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from crawler.client.tracking import TrackerAnnounce, TrackerReport, open_trackers
from crawler.net.tracker_guard import TrackerError
from crawler.wire.compact import pack_address
from crawler.wire.tracker import AnnounceRequest, Event
from crawler.wire.tracker_url import parse_tracker_url
from tests.commands.command_line import interrupt, start
from tests.interop.foreign_trackers import ForeignTracker, node_tracker, opentracker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crawler.net.trackers import TrackerClient
    from crawler.wire.tracker_url import TrackerUrl

pytestmark = pytest.mark.interop

HASHES = [bytes([number]) * 19 + b"\xff" for number in range(1, 9)]
# A datagram that a busy machine lost is sent again after 15 s, and once more 30 s later.
PATIENCE = 90.0
STRANGER = b"\xee" * 20


@pytest.fixture(scope="module", params=["opentracker", "bittorrent-tracker"])
def tracker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForeignTracker]:
    """Each of the trackers in turn."""
    if request.param == "opentracker":
        with opentracker(
            tmp_path_factory.mktemp("opentracker"), [infohash.hex() for infohash in HASHES]
        ) as running:
            yield running
    else:
        with node_tracker() as running:
            yield running


def request_of(name: int, infohash: bytes, event: Event, *, left: int = 1) -> AnnounceRequest:
    """Return what client number ``name`` announces; it listens on a port of its own."""
    rng = random.Random(name)
    return AnnounceRequest(
        infohash,
        b"-DC0100-" + rng.randbytes(12),
        40_000 + name,
        left=left,
        event=event,
        key=rng.getrandbits(32),
        numwant=50,
    )


async def check_two_clients(client: TrackerClient, url: TrackerUrl, infohash: bytes) -> None:
    """Walk two clients through a swarm's life at one tracker."""
    seed, leecher = (pack_address(("127.0.0.1", 40_000 + name)) for name in (1, 2))
    await client.announce(url, request_of(1, infohash, Event.STARTED, left=0))
    met = await client.announce(url, request_of(2, infohash, Event.STARTED))
    assert seed in met.peers
    assert (met.seeders, met.leechers) == (1, 1)
    assert met.interval is not None
    assert met.interval >= 60

    counts = (await client.scrape(url, [infohash]))[infohash]
    assert (counts.seeders, counts.leechers) == (1, 1)

    await client.announce(url, request_of(2, infohash, Event.COMPLETED, left=0))
    counts = (await client.scrape(url, [infohash]))[infohash]
    assert (counts.seeders, counts.leechers) == (2, 0)

    await client.announce(url, request_of(2, infohash, Event.STOPPED, left=0))
    counts = (await client.scrape(url, [infohash]))[infohash]
    assert (counts.seeders, counts.leechers) == (1, 0)
    again = await client.announce(url, request_of(3, infohash, Event.STARTED))
    assert leecher not in again.peers


@pytest.mark.parametrize("scheme", ["udp", "http"])
async def test_a_swarms_life(tracker: ForeignTracker, scheme: str) -> None:
    """Two clients announce, meet, complete and stop; each step shows in the counts of a scrape."""
    url = parse_tracker_url(getattr(tracker, scheme))
    infohash = HASHES[0] if scheme == "udp" else HASHES[1]
    with trio.fail_after(PATIENCE):
        async with open_trackers(allow_private=True) as client:
            await check_two_clients(client, url, infohash)


async def test_many_are_scraped_at_once(tracker: ForeignTracker) -> None:
    """One UDP packet and one HTTP request ask about many infohashes, and tell the same."""
    with trio.fail_after(PATIENCE):
        async with open_trackers(allow_private=True) as client:
            udp, http = parse_tracker_url(tracker.udp), parse_tracker_url(tracker.http)
            for number, infohash in enumerate(HASHES[2:5]):
                await client.announce(udp, request_of(10 + number, infohash, Event.STARTED))
            over_udp = await client.scrape(udp, HASHES[2:])
            over_http = await client.scrape(http, HASHES[2:])

    assert [over_udp[infohash].leechers for infohash in HASHES[2:]] == [1, 1, 1, 0, 0, 0]
    for infohash in HASHES[2:5]:
        assert over_http[infohash].leechers == 1


async def test_dictionaries_of_peers_are_read(tracker: ForeignTracker) -> None:
    """Asked for no compact peers, one tracker sends dictionaries, which read the same; the other refuses."""
    url, infohash = parse_tracker_url(tracker.http), HASHES[5]
    request = attrs.evolve(request_of(21, infohash, Event.STARTED), compact=False)
    with trio.fail_after(PATIENCE):
        async with open_trackers(allow_private=True) as client:
            await client.announce(url, request_of(20, infohash, Event.STARTED, left=0))
            if tracker.name == "opentracker":
                with pytest.raises(TrackerError, match="http_400"):
                    await client.announce(url, request)
                return
            answer = await client.announce(url, request)

    assert pack_address(("127.0.0.1", 40_020)) in answer.peers


async def test_whoever_only_looks_leaves_no_trace(tracker: ForeignTracker) -> None:
    """Announced with ``leave``, we learn the peers and are on nobody's list afterwards."""
    reports: list[TrackerReport] = []
    udp, http = parse_tracker_url(tracker.udp), parse_tracker_url(tracker.http)
    with trio.fail_after(PATIENCE):
        async with open_trackers(allow_private=True) as client:
            await client.announce(udp, request_of(30, HASHES[6], Event.STARTED, left=0))
            look = TrackerAnnounce(client, [HASHES[6]], [udp, http], 40_031, on_report=reports.append)
            await look.run(leave=True)
            counts = await client.scrape(udp, [HASHES[6]])

    assert [report.error for report in reports] == [None, None]
    assert all(
        report.answer and pack_address(("127.0.0.1", 40_030)) in report.answer.peers for report in reports
    )
    assert (counts[HASHES[6]].seeders, counts[HASHES[6]].leechers) == (1, 0)


async def test_a_refusal_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A tracker that does not serve an infohash says so, and its words arrive."""
    with (
        opentracker(tmp_path_factory.mktemp("strict"), [HASHES[0].hex()]) as strict,
        trio.fail_after(PATIENCE),
    ):
        async with open_trackers(allow_private=True) as client:
            with pytest.raises(TrackerError, match="not authorized"):
                await client.announce(parse_tracker_url(strict.http), request_of(1, STRANGER, Event.STARTED))


def test_the_commands(tracker: ForeignTracker) -> None:
    """`announce --stay` is on the list while it runs, as `scrape` tells, and off it after Ctrl-C."""
    target = HASHES[7].hex()
    stay = ("announce", target, "--port", "40077", "--tracker", tracker.udp, "--tracker", tracker.http)
    scrape = ("scrape", target, "--tracker", tracker.http, "--json", "--allow-private")
    with start(*stay, "--stay", "--seed", "--allow-private", "--json") as process:
        try:
            assert process.stdout is not None
            events: list[str] = []
            # Peers come in between: ourselves, as the other announce has put us on the list.
            while sum('"event":"started"' in line for line in events) < len(("udp", "http")):
                events.append(process.stdout.readline())
                assert events[-1], events
            with start(*scrape) as asked:
                seen = asked.communicate(timeout=PATIENCE)[0]
            done = interrupt(process, lambda: True)
        finally:
            process.kill()
    with start(*scrape) as asked:
        after = asked.communicate(timeout=PATIENCE)[0]

    assert any('"event":"started"' in line for line in events)
    assert '"seeders":1' in seen
    assert done.code == 130
    assert done.records[-1]["accepted"] == 2
    assert '"seeders":1' not in after
