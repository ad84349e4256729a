"""The whole tracker on loopback, asked over both carriers and both families by the plainest of clients."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.swarm.registry import RegistryBounds
from crawler.tracker import ListenError, SimpleTracker, TrackerPolicy, TrackerServer, TrackerSettings
from crawler.wire import tracker_http
from crawler.wire.compact import pack_address
from crawler.wire.tracker import AnnounceAnswer, AnnounceRequest, Event, ScrapeCounts, TrackerFailure
from tests.tracker.raw_client import http_announce, http_get, udp_client

if TYPE_CHECKING:
    from trio.testing import MockClock

SWARM = bytes(range(200, 220))
LEECHER = AnnounceRequest(SWARM, b"-XX0001-leecher-1234", 7001, left=9, event=Event.STARTED)
SEED = AnnounceRequest(SWARM, b"-XX0001-seeder--5678", 7002, left=0, event=Event.STARTED)


async def test_udp_and_http_share_their_swarms() -> None:
    """Who announces over UDP is found over HTTP and the other way round; figures and calls agree."""
    async with SimpleTracker() as tracker:
        with udp_client("127.0.0.1", tracker.udp_port) as client:
            first = await client.announce(LEECHER)
            second = await http_announce("127.0.0.1", tracker.http_port, SEED)
            third = await client.announce(attrs.evolve(LEECHER, event=Event.NONE))

        assert first == AnnounceAnswer(1800, seeders=0, leechers=1)
        assert second == AnnounceAnswer(
            1800,
            min_interval=60,
            seeders=1,
            leechers=1,
            completed=0,
            peers=(pack_address(("127.0.0.1", 7001)),),
            external_ip=bytes([127, 0, 0, 1]),
        )
        assert isinstance(third, AnnounceAnswer)
        assert third.peers == (pack_address(("127.0.0.1", 7002)),)
        assert tracker.get_peers(SWARM.hex()) == [("127.0.0.1", 7001), ("127.0.0.1", 7002)]
        assert tracker.get_peers(bytes(20)) == []
        assert (tracker.swarm_count(), tracker.scrape(SWARM)) == (1, ScrapeCounts(1, 0, 1))
        carriers = tracker.figures()["carriers"]
        assert carriers["udp"]["answered"] == {"connect": 2, "announce": 2}
        assert carriers["http"]["answered"] == {"announce": 1}


async def test_ipv6_clients_get_ipv6_peers() -> None:
    """On ::1 the peers are of 18 bytes over UDP, and `peers6` over HTTP."""
    async with SimpleTracker(host="::1") as tracker:
        with udp_client("::1", tracker.udp_port) as client:
            await client.announce(LEECHER)
            found = await http_announce("::1", tracker.http_port, SEED)
            back = await client.announce(LEECHER)

        assert isinstance(found, AnnounceAnswer)
        assert isinstance(back, AnnounceAnswer)
        assert found.peers == (pack_address(("::1", 7001)),)
        assert back.peers == (pack_address(("::1", 7002)),)


async def test_http_gives_both_families() -> None:
    """A client over HTTP gets IPv4 peers in `peers` and IPv6 ones in `peers6`, from either (BEP 7)."""
    async with SimpleTracker() as tracker:
        six = pack_address(("2001:db8::7", 9))
        tracker._server.registry.announce(SWARM, six, Event.STARTED, 0, trio.current_time(), seed=False)
        await http_announce("127.0.0.1", tracker.http_port, SEED)
        found = await http_announce("127.0.0.1", tracker.http_port, LEECHER)
        plain = await http_announce("127.0.0.1", tracker.http_port, attrs.evolve(LEECHER, compact=False))

    assert isinstance(found, AnnounceAnswer)
    assert found.peers == (pack_address(("127.0.0.1", 7002)), six)
    assert plain == found


async def test_dictionaries_are_given_to_who_refuses_compact_peers() -> None:
    """With compact=0 peers come as BEP 3's dictionaries, with ids unless no_peer_id=1; else compact."""
    async with SimpleTracker() as tracker:
        with udp_client("127.0.0.1", tracker.udp_port) as client:
            await client.announce(SEED)
        answers = {}
        for compact, bare in ((None, False), (True, False), (False, False), (False, True)):
            said = attrs.evolve(LEECHER, compact=compact, no_peer_id=bare)
            target = f"/announce?{tracker_http.announce_query(said)}"
            answers[compact, bare] = await http_get("127.0.0.1", tracker.http_port, target)

    packed = b"5:peers6:" + pack_address(("127.0.0.1", 7002))
    assert packed in answers[None, False]
    assert packed in answers[True, False]
    ip, port = b"2:ip9:127.0.0.1", b"4:porti7002e"
    assert b"5:peersld%b7:peer id20:%b%bee" % (ip, SEED.peer_id, port) in answers[False, False]
    assert b"5:peersld%b%bee" % (ip, port) in answers[False, True]


async def test_scrape_over_http() -> None:
    """BEP 48's scrape tells seeders, downloads and leechers of each infohash named, and never of all."""
    async with SimpleTracker(udp_port=None) as tracker:
        await http_announce("127.0.0.1", tracker.http_port, SEED)
        await http_announce("127.0.0.1", tracker.http_port, LEECHER)
        completed = attrs.evolve(LEECHER, left=0, event=Event.COMPLETED)
        await http_announce("127.0.0.1", tracker.http_port, completed)
        await http_announce("127.0.0.1", tracker.http_port, attrs.evolve(SEED, event=Event.STOPPED))
        query = tracker_http.scrape_query([SWARM, bytes(20)])
        found = await http_get("127.0.0.1", tracker.http_port, f"/scrape?{query}")
        everything = await http_get("127.0.0.1", tracker.http_port, "/scrape")

    answer = tracker_http.decode_scrape(found.partition(b"\r\n\r\n")[2])
    assert isinstance(answer, tracker_http.ScrapeAnswer)
    assert answer.files == {SWARM: ScrapeCounts(1, 1, 0), bytes(20): ScrapeCounts(0, 0, 0)}
    assert b"14:failure reason" in everything


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/announce", "port must be"),
        ("/announce?info_hash=short&peer_id=x&port=1", "info_hash must be 20 bytes"),
        (f"/announce?info_hash={'%aa' * 20}&peer_id=x&port=1", "peer_id must be 20 bytes"),
        (f"/announce?info_hash={'%aa' * 20}&peer_id={'x' * 20}&port=99999", "port must be"),
        ("/scrape?info_hash=short", "info_hash must be 20 bytes"),
    ],
)
async def test_bad_requests_get_a_failure_reason(target: str, reason: str) -> None:
    """A wrong request is answered with a bencoded reason and status 200, which is all that clients read."""
    async with SimpleTracker(udp_port=None) as tracker:
        head, _, body = (await http_get("127.0.0.1", tracker.http_port, target)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 ")
    failure = tracker_http.decode_announce(body)
    assert isinstance(failure, TrackerFailure)
    assert reason in failure.reason


async def test_the_source_address_counts_and_no_other_word() -> None:
    """Neither `ip` in the query nor X-Forwarded-For from just anybody makes a third party a peer."""
    async with SimpleTracker(udp_port=None) as tracker:
        query = tracker_http.announce_query(LEECHER) + "&ip=9.9.9.9&ipv6=2001:db8::9"
        target = f"/announce?{query}"
        await http_get("127.0.0.1", tracker.http_port, target, "X-Forwarded-For: 9.9.9.9", source="127.0.0.5")

        assert tracker.get_peers(SWARM) == [("127.0.0.5", 7001)]


async def test_a_trusted_proxy_is_believed_about_its_client() -> None:
    """From a proxy that is trusted, the address it named last counts, and nonsense is refused."""
    settings = TrackerSettings(trusted_proxies=frozenset({bytes([127, 0, 0, 1])}))
    async with SimpleTracker(udp_port=None, settings=settings) as tracker:
        for words in ("X-Forwarded-For: 6.6.6.6, 9.9.9.9", "X-Forwarded-For: 2001:db8::1", "X-Other: 1"):
            await http_announce("127.0.0.1", tracker.http_port, LEECHER, words)
        bad = await http_announce("127.0.0.1", tracker.http_port, LEECHER, "X-Forwarded-For: localhost")

        assert tracker.get_peers(SWARM) == [("9.9.9.9", 7001), ("2001:db8::1", 7001)]
        assert bad == TrackerFailure("your address is not known")


async def test_too_many_requests_are_told_when_to_come_back() -> None:
    """Past its rate an IP is refused over HTTP with BEP 31's `retry in`, while another IP is served."""
    settings = TrackerSettings(tracker=TrackerPolicy(ip_rate=0.001, ip_burst=2))
    async with SimpleTracker(udp_port=None, settings=settings) as tracker:
        answers = [await http_announce("127.0.0.1", tracker.http_port, LEECHER) for _ in range(3)]
        other = await http_announce("127.0.0.1", tracker.http_port, SEED, source="127.0.0.9")

    assert [type(answer) for answer in answers] == [AnnounceAnswer, AnnounceAnswer, TrackerFailure]
    assert isinstance(answers[2], TrackerFailure)
    assert answers[2].retry_in is not None
    assert 900 < answers[2].retry_in <= 1020
    assert isinstance(other, AnnounceAnswer)


async def test_only_allowed_infohashes_are_served() -> None:
    """With a list of infohashes, both carriers refuse every other."""
    settings = TrackerSettings(allowed={bytes(20)})
    async with SimpleTracker(settings=settings) as tracker:
        with udp_client("127.0.0.1", tracker.udp_port) as client:
            over_udp = await client.announce(LEECHER)
        over_http = await http_announce("127.0.0.1", tracker.http_port, LEECHER)

        refusal = TrackerFailure("this tracker does not serve that infohash")
        assert over_udp == over_http == refusal
        assert tracker.swarm_count() == 0


async def test_pages_for_the_owner() -> None:
    """/stats is JSON of all counters, /metrics is OpenMetrics that has them too, other paths are 404."""
    async with SimpleTracker() as tracker:
        with udp_client("127.0.0.1", tracker.udp_port) as client:
            await client.announce(LEECHER)
            await client.socket.send(b"short")
        stats: dict[str, Any] = {}
        with trio.fail_after(20):
            while not stats.get("carriers", {}).get("udp", {}).get("dropped"):
                told = await http_get("127.0.0.1", tracker.http_port, "/stats")
                stats = json.loads(told.partition(b"\r\n\r\n")[2])
        metrics = await http_get("127.0.0.1", tracker.http_port, "/metrics")
        other = await http_get("127.0.0.1", tracker.http_port, "/other")

    assert stats["registry"]["peers"] == 1
    assert stats["carriers"]["udp"]["dropped"] == {"too_short": 1}
    assert b'dht_crawler_tracker_answers_total{carrier="udp",kind="announce"} 1.0\n' in metrics
    assert b"dht_crawler_tracker_peers 1.0\n" in metrics
    assert metrics.endswith(b"# EOF\n")
    assert other.startswith(b"HTTP/1.1 404 ")


async def test_pages_apart_are_nowhere_else() -> None:
    """Where the pages have an address of their own, clients find none at the tracker's."""
    server = TrackerServer(
        http=("127.0.0.1:0",), pages="127.0.0.1:0", settings=TrackerSettings(), rng=random.Random(1)
    )
    assert server.pages is not None
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        found = [
            (await http_get("127.0.0.1", port, path)).split(b" ")[1]
            for port in (server.http[0][1], server.pages[1])
            for path in ("/stats", "/metrics", "/scrape")
        ]
        nursery.cancel_scope.cancel()

    assert found == [b"404", b"404", b"200", b"200", b"200", b"404"]


async def test_every_figure_has_a_metric() -> None:
    """No counter can be added to the tracker without a metric that tells it."""
    from crawler.metrics import leaves  # noqa: PLC0415 - for this test alone
    from crawler.tracker.figures import TABLE  # noqa: PLC0415

    async with SimpleTracker() as tracker:
        with udp_client("127.0.0.1", tracker.udp_port) as client:
            await client.announce(LEECHER)
        await http_announce("127.0.0.1", tracker.http_port, SEED)
        silent = [path for path, _ in leaves(tracker.figures()) if not any(m.tells(path) for m in TABLE)]

    assert silent == []


async def test_a_taken_port_is_told_in_one_line() -> None:
    """A port that is taken is refused with its address, whichever carrier it is, and nothing stays open."""
    async with SimpleTracker() as first:
        for second in (SimpleTracker(first.udp_port), SimpleTracker(0, first.http_port)):
            with pytest.raises(ListenError, match=r"cannot listen on 127\.0\.0\.1:\d+ \((UDP|HTTP)\): Addr"):
                async with second:
                    pass
    again = SimpleTracker(first.udp_port, first.http_port)
    async with again:
        assert again.udp_url == f"udp://127.0.0.1:{first.udp_port}/announce"
        assert again.http_url == f"http://127.0.0.1:{first.http_port}/announce"


def test_before_its_block_it_says_so() -> None:
    """Whoever asks too early, or for a carrier that is off, is told what is wrong."""
    tracker = SimpleTracker(http_port=None)
    for ask in (tracker.swarm_count, tracker.figures, lambda: tracker.get_peers(SWARM)):
        with pytest.raises(RuntimeError, match="within its `async with` block"):
            ask()
    with pytest.raises(RuntimeError, match="port is not known before"):
        _ = tracker.udp_url
    with pytest.raises(ValueError, match="switched off"):
        _ = tracker.http_url


async def test_the_blocks_own_error_comes_out_as_it_is() -> None:
    """What is raised in the block is not wrapped, and the ports are free again."""
    tracker = SimpleTracker()
    with pytest.raises(ZeroDivisionError):
        async with tracker:
            raise ZeroDivisionError
    async with SimpleTracker(tracker.udp_port, tracker.http_port):
        pass
    with trio.move_on_after(0.01) as scope:
        async with SimpleTracker():
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_silent_peers_are_swept(autojump_clock: MockClock) -> None:
    """A peer that is not heard of goes by itself, without anybody asking for its swarm."""
    settings = TrackerSettings(registry=RegistryBounds(lifetime=100))
    async with SimpleTracker(http_port=None, settings=settings) as tracker:
        registry = tracker._server.registry
        registry.announce(SWARM, pack_address(("9.9.9.9", 9)), 2, 0, trio.current_time(), seed=False)
        await trio.sleep(99)
        assert tracker.swarm_count() == 1
        await trio.sleep(20)
        assert autojump_clock.current_time() >= 119
        assert (tracker.swarm_count(), registry.counters.expired) == (0, 1)
