"""A hundred thousand hostile packets and requests at a whole tracker: an answer, a reason, or silence."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from crawler.swarm.connection_ids import ConnectionIds
from crawler.swarm.registry import Registry, RegistryBounds
from crawler.swarm.tracker_policy import Doorman, TrackerPolicy
from crawler.swarm.udp_tracker import LONGEST_REPLY, UdpTracker
from crawler.tracker import SimpleTracker
from crawler.tracker.http import HttpTracker
from crawler.wire import tracker_http
from crawler.wire import tracker_udp as wire
from crawler.wire.compact import pack_address
from crawler.wire.tracker import AnnounceAnswer, AnnounceRequest, TrackerFailure
from tests.tracker.raw_client import http_announce, http_get, udp_client

if TYPE_CHECKING:
    from collections.abc import MutableMapping

SEED = 20261121
PACKETS, REQUESTS = 100_000, 100_000
HOSTS = [pack_address((host, 4000)) for host in ("1.2.3.4", "9.9.9.9", "2001:db8::1")]
BOUNDS = RegistryBounds(max_swarms=50, max_peers=500, max_peers_per_swarm=100)
ANNOUNCE = AnnounceRequest(b"s" * 20, b"-XX0001-abcdefghijkl", 6881, left=1, numwant=50)


def free(_key: bytes, _now: float) -> float:
    """A budget without an end."""
    return 0.0


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` cut, grown, or with some bytes changed; now and then as it is."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
    kind = rng.randrange(6)
    if kind == 0:
        del changed[rng.randrange(len(changed) + 1) :]
    elif kind == 1:
        changed += rng.randbytes(rng.choice((1, 20, 300, 8000)))
    return bytes(changed)


def packet(rng: random.Random, connection_id: bytes) -> bytes:
    """Return a packet that is nearly right, in one way or another."""
    request = AnnounceRequest(
        bytes([rng.randrange(99)]) * 20, rng.randbytes(20), rng.choice((0, 1, 65535)), numwant=2**31 - 1
    )
    return mutated(
        rng.choice(
            (
                wire.encode_connect(rng.getrandbits(32)),
                wire.encode_announce(request, connection_id, rng.getrandbits(32), url_data=rng.randbytes(9)),
                wire.encode_scrape([rng.randbytes(20)] * rng.randrange(1, 75), connection_id, 1),
                connection_id + rng.randrange(6).to_bytes(4, "big") + rng.randbytes(rng.randrange(120)),
            )
        ),
        rng,
    )


def test_a_hundred_thousand_packets() -> None:
    """However packets are cut, grown and changed, memory stays bounded, and replies are whole and short."""
    rng = random.Random(SEED)
    ids = ConnectionIds(rng)
    registry = Registry(BOUNDS, rng)
    server = UdpTracker(registry, TrackerPolicy(), Doorman(free, free), ids)
    now = 0.0
    for _ in range(PACKETS):
        now += rng.choice((0.0, 0.01, 1.0))
        source = rng.choice(HOSTS)
        data = packet(rng, ids.issue(source[:-2], now) if rng.randrange(4) else rng.randbytes(8))
        reply = server.answer(data, source, now)
        proved = len(data) >= 16 and ids.valid(data[:8], source[:-2], now)
        if reply is not None:
            assert len(reply) <= (LONGEST_REPLY if proved else len(data))
            assert int.from_bytes(reply[:4], "big") in {wire.CONNECT, wire.ANNOUNCE, wire.SCRAPE, wire.ERROR}
            assert reply[4:8] == data[12:16]
        assert registry.peer_count <= 500
        assert registry.swarm_count <= 50
    counters = server.counters
    assert counters.received == PACKETS
    assert counters.answered.total() + counters.refused.total() + counters.dropped.total() == PACKETS
    assert min(counters.answered[kind] for kind in ("connect", "announce", "scrape")) > 1000
    held = registry.counters
    assert held.stored == registry.peer_count + held.stopped + held.expired + held.displaced


async def ask(tracker: HttpTracker, path: str, query: bytes, client: str) -> tuple[int, bytes]:
    """Call the application as a server does."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query,
        "headers": [],
        "client": (client, 4000),
    }
    await tracker(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_a_hundred_thousand_requests() -> None:
    """However query strings are changed, the answer can be read, with status 200, in bounded memory."""
    rng = random.Random(SEED)
    registry = Registry(BOUNDS, rng)
    tracker = HttpTracker(
        registry,
        TrackerPolicy(),
        Doorman(free, free),
    )
    failures = 0
    for number in range(REQUESTS):
        request = AnnounceRequest(
            bytes([number % 99]) * 20,
            rng.randbytes(20),
            rng.randrange(65536),
            numwant=rng.choice((0, 9, 10**18)),
        )
        path, query = rng.choice(
            (
                ("/announce", tracker_http.announce_query(request)),
                ("/scrape", tracker_http.scrape_query([rng.randbytes(20)] * rng.randrange(4))),
            )
        )
        status, body = await ask(
            tracker, path, mutated(query.encode(), rng), rng.choice(("1.2.3.4", "::1", "unix", ""))
        )
        assert status == 200
        read = tracker_http.decode_announce if path == "/announce" else tracker_http.decode_scrape
        failures += isinstance(read(body), TrackerFailure)
        assert len(body) < 20_000
        assert registry.peer_count <= 500
    assert tracker.counters.received == REQUESTS
    assert tracker.counters.answered.total() + tracker.counters.refused.total() == REQUESTS
    assert 1000 < failures < REQUESTS - 1000


@pytest.mark.parametrize("batch", range(5))
async def test_a_running_tracker_survives_garbage(batch: int) -> None:
    """Over real sockets, after garbage on both, honest clients are answered as if nothing had been."""
    rng = random.Random(SEED + batch)
    async with SimpleTracker() as tracker:
        with udp_client("127.0.0.1", tracker.udp_port) as client:
            for _ in range(400):
                await client.socket.send(packet(rng, rng.randbytes(8)))
        for _ in range(20):
            garbage = rng.randbytes(rng.randrange(1, 300)).hex()
            head = rng.choice((f"/announce?info_hash=%{garbage}", f"/{garbage}", "/scrape?%%%&&&==="))
            told = await http_get("127.0.0.1", tracker.http_port, head)
            assert told.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 404 "))
        with udp_client("127.0.0.1", tracker.udp_port) as client:
            assert isinstance(await client.announce(ANNOUNCE), AnnounceAnswer)
        assert isinstance(await http_announce("127.0.0.1", tracker.http_port, ANNOUNCE), AnnounceAnswer)
        assert tracker.figures()["http"]["failed"] == 0
