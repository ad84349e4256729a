"""UDP trackers on loopback: who is believed, how often who is asked, and what of their peers is kept."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.net.tracker_config import TrackerClientConfig
from crawler.net.tracker_guard import TrackerError
from crawler.net.trackers import TrackerClient
from crawler.wire import tracker_udp
from crawler.wire.compact import Family, pack_address
from crawler.wire.tracker import AnnounceAnswer, AnnounceRequest, Event, ScrapeCounts
from crawler.wire.tracker_url import parse_tracker_url
from tests.net.scripted_trackers import CONNECTION_ID, UdpTracker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

REQUEST = AnnounceRequest(b"a" * 20, b"-XX0001-abcdefghijkl", 6881, left=1, event=Event.STARTED, key=7)
PEER = pack_address(("1.2.3.4", 6881))


@contextlib.asynccontextmanager
async def running(*, allow_private: bool = True, **settings: Any) -> AsyncIterator[TrackerClient]:
    """Run a client for the length of the block."""
    config = attrs.evolve(TrackerClientConfig(), **settings)
    client = TrackerClient(config, random.Random(1), allow_private=allow_private)
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        yield client
        nursery.cancel_scope.cancel()


def announced(data: bytes, peers: bytes = PEER) -> list[bytes]:
    """Answer an announce."""
    transaction = tracker_udp.read_head(data)[2]
    return [tracker_udp.encode_announce_reply(transaction, 1800, 2, 1, peers)]


async def test_announce_and_what_it_says() -> None:
    """The tracker gets our request, the id that it gave, and path and query of its URL; we get its peers."""
    async with UdpTracker(announced).running() as tracker, running() as client:
        answer = await client.announce(parse_tracker_url(f"{tracker.url}?key=1"), REQUEST)

    assert (answer.peers, answer.seeders, answer.leechers, answer.interval) == ((PEER,), 1, 2, 1800)
    read = tracker_udp.decode_request(tracker.seen[1][0])
    assert isinstance(read, tracker_udp.UdpAnnounce)
    assert read.connection_id == CONNECTION_ID
    assert attrs.evolve(read.request, compact=True) == REQUEST
    assert read.url_data == b"/announce?key=1"
    assert client.counters.answered == client.counters.peers == 1


async def test_scrape_over_udp() -> None:
    """Counts come back by infohash, and the id of the first exchange serves the second one."""

    def answer(data: bytes) -> list[bytes]:
        read = tracker_udp.decode_request(data)
        assert isinstance(read, tracker_udp.UdpScrape)
        counts = [ScrapeCounts(number, 0, infohash[0]) for number, infohash in enumerate(read.infohashes)]
        return [tracker_udp.encode_scrape_reply(read.transaction, counts)]

    hashes = [bytes([number]) * 20 for number in range(100)]
    async with UdpTracker(answer).running() as tracker, running() as client:
        url = parse_tracker_url(tracker.url)
        first = await client.scrape(url, hashes)
        second = await client.scrape(url, hashes[:1])

    assert first == {infohash: ScrapeCounts(n, 0, n) for n, infohash in enumerate(hashes[:74])}
    assert second == {hashes[0]: ScrapeCounts(0, 0, 0)}
    assert tracker.actions == [tracker_udp.CONNECT, tracker_udp.SCRAPE, tracker_udp.SCRAPE]


async def test_only_the_tracker_itself_is_believed() -> None:
    """An answer with the right transaction from another port or address is not taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:

        def answer(data: bytes) -> list[bytes]:
            forged = tracker_udp.encode_announce_reply(
                tracker_udp.read_head(data)[2], 1, 1, 1, pack_address(("6.6.6.6", 6666))
            )
            forger.sendto(forged, tracker.seen[-1][1])
            return announced(data)

        tracker = UdpTracker(answer)
        async with tracker.running(), running() as client:
            found = await client.announce(parse_tracker_url(tracker.url), REQUEST)

    assert found.peers == (PEER,)
    assert client.datagrams_unmatched == 1


@pytest.mark.parametrize(
    "noise",
    [
        lambda _: [],
        lambda data: [announced(data)[0][:19]],
        lambda _: [b"", b"\0" * 7, b"x" * 60_000],
        lambda data: [tracker_udp.encode_announce_reply(tracker_udp.read_head(data)[2] ^ 1, 1, 1, 1, PEER)],
        lambda data: [
            tracker_udp.encode_connect_reply(tracker_udp.read_head(data)[2], CONNECTION_ID),
            tracker_udp.encode_scrape_reply(tracker_udp.read_head(data)[2], [ScrapeCounts(1, 1, 1)] * 9),
        ],
    ],
    ids=["nothing", "truncated", "noise", "other transaction", "other actions"],
)
async def test_a_useless_tracker_costs_its_time_and_no_more(noise: object, autojump_clock: MockClock) -> None:
    """Whatever it sends, it is waited for and asked again 225 seconds long, then it has timed out."""
    assert callable(noise)
    async with UdpTracker(noise).running() as tracker, running() as client:
        began = autojump_clock.current_time()
        with pytest.raises(TrackerError, match="timeout"):
            await client.announce(parse_tracker_url(tracker.url), REQUEST)
        assert 225 <= trio.current_time() - began < 330

    assert tracker.actions.count(tracker_udp.ANNOUNCE) == 4
    assert client.counters.failures == {"timeout": 1}


async def test_a_refusal_has_its_text() -> None:
    """What a tracker says against us is kept, cut, and never more than text."""

    def answer(data: bytes) -> list[bytes]:
        return [tracker_udp.encode_error(tracker_udp.read_head(data)[2], "\x1b[2Jno" * 1000, longest=4000)]

    async with UdpTracker(answer).running() as tracker, running() as client:
        with pytest.raises(TrackerError) as caught:
            await client.announce(parse_tracker_url(tracker.url), REQUEST)

    assert caught.value.reason == "failure"
    assert len(caught.value.text) == 1024


async def test_peers_that_may_not_be_dialled_are_left_out() -> None:
    """Without --allow-private: no private addresses, no system ports but the web's; repeats count once."""
    good = [pack_address(("1.2.3.4", port)) for port in (6881, 80, 443, 1024)]
    bad = [pack_address(("1.2.3.4", port)) for port in (0, 1, 22, 25, 1023)]
    bad += [pack_address((host, 6881)) for host in ("10.0.0.1", "127.0.0.1", "192.168.1.1", "224.0.0.1")]
    client = TrackerClient(TrackerClientConfig(max_peers=3), random.Random(1), own_ips=lambda: [b"\5\5\5\5"])
    own = pack_address(("5.5.5.5", 6881))
    answer = tracker_udp.decode_announce_reply(
        tracker_udp.encode_announce_reply(1, 1, 1, 1, b"".join([*bad, own, *good, good[0]])), 1, Family.IPV4
    )
    assert isinstance(answer, AnnounceAnswer)

    kept = client.fit(answer, 6881)

    assert kept.peers == tuple(good[:3])
    assert client.counters.peers == 3
    assert client.counters.peers_refused == len(bad) + 1
    assert client.counters.peers_over_limit == 1
    assert client.fit(answer, 6882).peers[0] == own


async def test_a_host_is_asked_three_times_a_second(autojump_clock: MockClock) -> None:
    """However many ask, one host gets a request every third of a second."""
    times = []

    def answer(data: bytes) -> list[bytes]:
        times.append(autojump_clock.current_time())
        return announced(data)

    async with UdpTracker(answer).running() as tracker, running() as client, trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(client.announce, parse_tracker_url(tracker.url), REQUEST)

    assert len(times) == 12
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(0.33 < gap < 0.34 for gap in gaps)


@pytest.mark.parametrize(
    "url",
    [
        *("udp://127.0.0.1:6969", "udp://10.0.0.1:6969", "udp://169.254.169.254:80", "udp://[::1]:6969"),
        *("udp://[::ffff:127.0.0.1]:6969", "udp://[fe80::1]:6969", "udp://0.0.0.0:6969", "udp://224.0.0.1:1"),
        *("udp://localhost:6969", "udp://2130706433:6969", "udp://0x7f.1:6969", "udp://[64:ff9b::7f00:1]:9"),
        *("http://127.0.0.1/announce", "http://localhost:8080/announce", "https://[::1]/announce"),
        *("http://017700000001/announce", "http://2130706433/announce", "http://192.168.0.1/announce"),
    ],
)
async def test_forbidden_places_are_not_asked(url: str) -> None:
    """A URL that leads to our own network is refused, however it is spelled; nothing is sent."""
    async with running(allow_private=False, host_rate=1000) as client:
        with pytest.raises(TrackerError) as caught:
            await client.announce(parse_tracker_url(url), REQUEST)
        assert caught.value.reason in {"forbidden_address", "unresolved"}
        assert caught.value.hopeless
        with pytest.raises(TrackerError):
            await client.scrape(parse_tracker_url(url), [b"a" * 20])


async def test_a_cancelled_question_leaves_nothing_behind() -> None:
    """Who stops waiting takes its exchange with it; a late answer then belongs to nobody."""
    async with UdpTracker(lambda _: []).running() as tracker, running() as client:
        with trio.move_on_after(0.05):
            await client.announce(parse_tracker_url(tracker.url), REQUEST)
        data, source = tracker.seen[-1]
        await tracker.socket.sendto(announced(data)[0], source)
        with trio.fail_after(5):
            while not client.datagrams_unmatched:  # noqa: ASYNC110 - a datagram sets no event
                await trio.sleep(0.01)


async def test_both_families_are_announced_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with addresses of both families is announced to over both, and the answers become one."""
    peer6 = pack_address(("2600::5", 6881))

    def answer6(data: bytes) -> list[bytes]:
        transaction = tracker_udp.read_head(data)[2]
        return [tracker_udp.encode_announce_reply(transaction, 900, 5, 0, peer6)]

    try:
        tracker6 = UdpTracker(answer6, "::1")
        async with UdpTracker(announced).running() as tracker, tracker6.running(), running() as client:
            places = {
                Family.IPV4: [pack_address(tracker.socket.getsockname()[:2])],
                Family.IPV6: [pack_address(tracker6.socket.getsockname()[:2])],
            }

            async def resolve(_place: str, family: Family, *, timeout: float) -> list[bytes]:  # noqa: ASYNC109 - as it is
                assert timeout
                await trio.lowlevel.checkpoint()
                return places[family]

            monkeypatch.setattr("crawler.net.tracker_guard.resolve", resolve)
            answer = await client.announce(parse_tracker_url("udp://tracker.example:1"), REQUEST)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")

    assert set(answer.peers) == {PEER, peer6}
    assert (answer.interval, answer.seeders, answer.leechers) == (1800, 1, 5)
