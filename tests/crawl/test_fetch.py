"""The fetch in virtual time, with scripted peers: what is dialled, ended, written, kept and saved."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.crawl.failures import FailuresConfig
from crawler.crawl.fetch import Fetcher, FetchSections
from crawler.crawl.fetch_job import FetchConfig, Origin
from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.net.peers import FetchError
from crawler.records import Record
from crawler.swarm.metadata import VerifiedMetadata
from crawler.swarm.serving import MetadataCache
from crawler.wire import bencode, extensions
from crawler.wire.compact import pack_address
from tests.net.task_calls import TaskCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.abc import Clock
    from trio.testing import MockClock

    from crawler.swarm.pex import PexInbox

    Behaviour = Callable[[bytes, PexInbox], Awaitable[bytes]]


def info_dict(number: int, *, private: bool = False, files: int = 0) -> bytes:
    """Return an info dict."""
    info: dict[bytes, Any] = {b"name": b"torrent %d" % number, b"piece length": 16384, b"pieces": b"p" * 20}
    if files:
        info[b"files"] = [{b"length": 1, b"path": [b"a file of some length %06d" % n]} for n in range(files)]
    else:
        info[b"length"] = 5
    return bencode.encode({**info, **({b"private": 1} if private else {})})


def hash_of(info: bytes) -> bytes:
    """Return the v1 infohash."""
    return hashlib.sha1(info).digest()  # noqa: S324 - BEP 3's choice


def peer(number: int) -> bytes:
    """Return a compact address."""
    return pack_address((f"192.0.2.{number}", 6881))


class Peers:
    """Stands for `PeerClient`: peers behave as scripted; it remembers who was dialled, and when."""

    def __init__(self) -> None:
        self.behaviours: dict[bytes, Behaviour] = {}
        self.dialled: list[tuple[float, bytes]] = []
        self.open = 0

    async def fetch_metadata(self, address: bytes, infohash: bytes, *, pex: PexInbox) -> VerifiedMetadata:
        """Behave as the peer at ``address`` does."""
        self.dialled.append((trio.current_time(), address))
        self.open += 1
        try:
            return VerifiedMetadata(infohash, await self.behaviours[address](infohash, pex))
        finally:
            self.open -= 1


def gives(info: bytes, *, after: float = 0.1) -> Behaviour:
    """Return a peer that gives ``info``."""

    async def behave(_infohash: bytes, _pex: PexInbox) -> bytes:
        await trio.sleep(after)
        return info

    return behave


def fails(reason: str, *, after: float = 0.1, blame: bool = True) -> Behaviour:
    """Return a peer that fails."""

    async def behave(_infohash: bytes, _pex: PexInbox) -> bytes:
        await trio.sleep(after)
        raise FetchError(reason, blame=blame)

    return behave


async def hangs(_infohash: bytes, _pex: PexInbox) -> bytes:
    """Say nothing for ever."""
    await trio.sleep_forever()
    raise AssertionError


@attrs.define
class Scene:
    """A fetch between scripted peers and an outlet whose records can be read."""

    clock: Clock
    fetcher: Fetcher
    peers: Peers
    outlet: Outlet
    receiver: trio.MemoryReceiveChannel[list[Record]]
    sought: list[tuple[float, bytes]]
    written: list[int]

    def offer(self, info: bytes, *numbers: int, origin: Origin = Origin.NAMED) -> None:
        """Say that peers have the torrent of ``info``."""
        self.fetcher.offer(hash_of(info), [peer(n) for n in numbers], origin, self.clock.current_time())

    def lines(self) -> list[dict[str, Any]]:
        """Return the records since the last call, parsed."""
        self.outlet.flush()
        found: list[dict[str, Any]] = []
        while True:
            try:
                batch = self.receiver.receive_nowait()
            except trio.WouldBlock:
                return found
            found += [json.loads(line) for record in batch for line in record.lines().splitlines()]
            self.written[0] += sum(map(len, batch))

    def accounts(self) -> tuple[int, int]:
        """Return what came in, and what can be told of it."""
        counters, held = self.fetcher.jobs.counters, self.fetcher.jobs.held
        return counters.jobs_in, (
            counters.fetched + counters.gave_up.total() + counters.dropped.total() + held
        )


def scene_of(
    clock: Clock, *, cache: MetadataCache | None = None, outlet: OutletConfig | None = None, **fetch: Any
) -> Scene:
    """Return a fetch that is not running yet."""
    sender, receiver = trio.open_memory_channel[list[Record]](100)
    written = [0]
    out = Outlet(outlet or OutletConfig(), sender, lambda now: now, lambda: written[0])
    peers, sought = Peers(), list[tuple[float, bytes]]()
    fetcher = Fetcher(
        FetchSections(FetchConfig(**fetch), FailuresConfig()),
        TaskCalls(peers.fetch_metadata),
        out,
        seek=lambda infohash: sought.append((trio.current_time(), infohash)),
        admit=lambda _address: True,
        cache=cache,
    )
    return Scene(clock, fetcher, peers, out, receiver, sought, written)


async def test_what_a_peer_gives_becomes_a_record(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Metadata is written with the peer that gave it, and the job is over."""
    scene, info = scene_of(autojump_clock), info_dict(1)
    nursery.start_soon(scene.fetcher.run)
    scene.peers.behaviours[peer(1)] = gives(info)

    scene.offer(info, 1)
    await trio.sleep(1)

    [line] = scene.lines()
    assert (line["type"], line["infohash"], line["name"]) == ("metadata", hash_of(info).hex(), "torrent 1")
    assert line["peer"] == "192.0.2.1:6881"
    assert scene.fetcher.jobs.counters.fetched == 1
    assert (scene.fetcher.jobs.held, scene.accounts()) == (0, (1, 1))


async def test_a_slow_peer_is_overtaken_and_hung_up_on(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The next peer is dialled a second later; when it delivers, the connection to the slow one is closed."""
    scene, info = scene_of(autojump_clock), info_dict(1)
    nursery.start_soon(scene.fetcher.run)
    scene.peers.behaviours = {peer(1): hangs, peer(2): gives(info)}

    scene.offer(info, 1, 2)
    await trio.sleep(1.05)
    assert scene.peers.open == 2
    await trio.sleep(1)

    assert scene.peers.dialled == [(0.0, peer(1)), (1.0, peer(2))]
    assert scene.peers.open == 0
    assert len(scene.fetcher.failures) == 0


async def test_nothing_outlives_its_deadline(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """When all peers hang, all connections end at the deadline, a lookup is wanted, and they are to blame."""
    scene, info = scene_of(autojump_clock, deadline=30.0), info_dict(1)
    nursery.start_soon(scene.fetcher.run)
    scene.peers.behaviours = {peer(n): hangs for n in range(1, 6)}

    scene.offer(info, 1, 2, 3, 4, 5)
    await trio.sleep(29.9)
    assert (scene.peers.open, scene.sought) == (5, [])
    await trio.sleep(0.2)

    assert scene.peers.open == 0
    assert scene.sought == [(30.0, hash_of(info))]
    assert len(scene.fetcher.failures) == 5


async def test_dead_peers_lead_to_a_lookup_then_to_a_rest_then_to_another_lookup(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """A job whose peers are all dead is kept, and fetched when a later lookup finds a living one."""
    scene, info = scene_of(autojump_clock, retry_after=600.0), info_dict(1)
    nursery.start_soon(scene.fetcher.run)
    scene.peers.behaviours = {peer(1): fails("refused"), peer(2): gives(info)}

    scene.offer(info, 1)
    await trio.sleep(1)
    assert len(scene.sought) == 1
    scene.fetcher.sought(hash_of(info), trio.current_time())
    await trio.sleep(599)
    assert len(scene.sought) == 1
    await trio.sleep(2)
    assert len(scene.sought) == 2
    scene.offer(info, 2)
    scene.fetcher.sought(hash_of(info), trio.current_time())
    await trio.sleep(1)

    assert [line["type"] for line in scene.lines()] == ["metadata"]
    assert scene.accounts() == (1, 1)


async def test_a_full_outlet_stops_dialling(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """While the sink is behind, nobody is dialled; once it has caught up, the jobs that waited go on."""
    scene = scene_of(autojump_clock, outlet=OutletConfig(max_waiting=2))
    nursery.start_soon(scene.fetcher.run)
    for number in range(1, 4):
        scene.peers.behaviours[peer(number)] = gives(info_dict(number))
        scene.offer(info_dict(number), number)
    await trio.sleep(1)
    assert scene.outlet.full
    dialled = len(scene.peers.dialled)
    scene.peers.behaviours[peer(9)] = gives(info_dict(9))
    scene.offer(info_dict(9), 9)
    await trio.sleep(10)
    assert len(scene.peers.dialled) == dialled

    scene.lines()
    await trio.sleep(1)

    assert len(scene.peers.dialled) == dialled + 1


async def test_large_lines_fill_the_outlet_by_their_bytes(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A few long lines are as good a reason to pause as many short ones, also while the channel has them."""
    scene, info = scene_of(autojump_clock, outlet=OutletConfig(max_metadata=10_000)), info_dict(1, files=500)
    nursery.start_soon(scene.fetcher.run)
    scene.peers.behaviours[peer(1)] = gives(info)
    scene.offer(info, 1)
    await trio.sleep(1)

    assert scene.outlet.full
    scene.outlet.flush()
    assert scene.outlet.full
    scene.lines()
    assert not scene.outlet.full


async def test_pausing_is_heeded(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Without a network nobody is dialled, so that no peer is blamed for it."""
    scene, info = scene_of(autojump_clock), info_dict(1)
    lost = True
    scene.fetcher.paused = lambda: lost
    nursery.start_soon(scene.fetcher.run)
    scene.peers.behaviours[peer(1)] = gives(info)
    scene.offer(info, 1)
    await trio.sleep(5)
    assert scene.peers.dialled == []

    lost = False
    await trio.sleep(1)

    assert len(scene.lines()) == 1


async def test_exchanged_peers_are_dialled_and_written(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A peer that only tells of one that has it leads to the metadata; its word is a record too."""
    scene, info = scene_of(autojump_clock), info_dict(1)
    nursery.start_soon(scene.fetcher.run)

    async def gossip(_infohash: bytes, pex: PexInbox) -> bytes:
        added = (extensions.PexPeer(peer(2)),)
        pex.receive(extensions.encode_pex(extensions.PexMessage(added)), trio.current_time())
        await trio.sleep_forever()
        raise AssertionError

    scene.peers.behaviours = {peer(1): gossip, peer(2): gives(info)}
    scene.offer(info, 1)
    await trio.sleep(3)

    lines = {line["type"]: line for line in scene.lines()}
    assert lines["metadata"]["peer"] == "192.0.2.2:6881"
    assert (lines["peers"]["source"], lines["peers"]["peers"]) == ("pex", ["192.0.2.2:6881"])
    assert lines["peers"]["named_by"] == ["192.0.2.1:6881"]


async def test_unreadable_metadata_is_counted_and_not_tried_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Bytes whose hash is right but which are no torrent make no record and no fault of ours."""
    scene = scene_of(autojump_clock)
    nursery.start_soon(scene.fetcher.run)
    scene.peers.behaviours[peer(1)] = gives(b"no info dict")
    scene.offer(b"no info dict", 1)
    await trio.sleep(1)

    assert scene.lines() == []
    assert scene.fetcher.jobs.counters.gave_up == {"unreadable": 1}
    assert scene.accounts() == (1, 1)


async def test_large_metadata_is_read_aside() -> None:
    """An info dict of thousands of files is read in a thread, and its record is complete."""
    scene, info = scene_of(trio.lowlevel.current_clock()), info_dict(1, files=5000)
    assert len(info) > 100_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.fetcher.run)
        scene.peers.behaviours[peer(1)] = gives(info, after=0)
        scene.offer(info, 1)
        with trio.fail_after(10):
            while not scene.fetcher.jobs.counters.fetched:  # noqa: ASYNC110 - a counter knows no Event
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()

    [line] = scene.lines()
    assert len(line["files"]) == 5000


@pytest.mark.parametrize("private", [False, True])
async def test_private_metadata_is_recorded_and_never_served(
    nursery: trio.Nursery, autojump_clock: MockClock, *, private: bool
) -> None:
    """BEP 27: the record says it is private; the cache for others gets only what is not."""
    cache = MetadataCache(1 << 20)
    scene, info = scene_of(autojump_clock, cache=cache), info_dict(1, private=private)
    nursery.start_soon(scene.fetcher.run)
    scene.peers.behaviours[peer(1)] = gives(info)
    scene.offer(info, 1)
    await trio.sleep(1)

    [line] = scene.lines()
    assert line["private"] is private
    assert (cache.get(hash_of(info)) is None) is private
    assert scene.fetcher.reading.private == private


async def test_jobs_survive_a_restart_and_bad_rows_are_refused(autojump_clock: MockClock) -> None:
    """Jobs come back from their saved form at their time; a row that makes no sense is an error."""
    scene, info = scene_of(autojump_clock), info_dict(1)
    scene.peers.behaviours[peer(1)] = hangs
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.fetcher.run)
        scene.offer(info, 1)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert scene.peers.open == 0
    pieces = list(scene.fetcher.to_pieces(1000.0))
    assert pieces == [[[hash_of(info), 0, 1001.0]]]

    again = scene_of(autojump_clock)
    again.fetcher.restore(pieces, 1000.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(again.fetcher.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert [infohash for _, infohash in again.sought] == [hash_of(info)]
    for rows in ([["short", 0, 0.0]], [[b"h" * 20, 0]], [7], [[b"h" * 20, "x", 0.0]]):
        with pytest.raises(ValueError, match="malformed"):
            again.fetcher.restore([rows], 0.0)


async def test_many_jobs_with_mostly_dead_peers_all_end(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Of 300 jobs with two dead peers and a good one each, all are fetched, within the limits."""
    scene = scene_of(autojump_clock, max_dials=60, max_jobs=20)
    nursery.start_soon(scene.fetcher.run)
    dead = [fails("refused"), fails("too_slow", after=12.0), hangs]
    for number in range(300):
        info = info_dict(number)
        first = pack_address((f"10.1.{number // 250}.{number % 250 + 1}", 1))
        second, third = first[:-2] + b"\0\2", pack_address((f"10.2.{number // 250}.{number % 250 + 1}", 1))
        scene.peers.behaviours[first] = dead[number % 3]
        scene.peers.behaviours[second] = dead[number % 2]
        scene.peers.behaviours[third] = gives(info)
        scene.fetcher.offer(hash_of(info), [first, second, third], Origin.NAMED, 0.0)
    most = 0
    while scene.fetcher.jobs.held:
        most = max(most, scene.peers.open)
        await trio.sleep(0.25)

    assert scene.fetcher.jobs.counters.fetched == 300
    assert 30 <= most <= 60
    assert scene.peers.open == 0
    assert trio.current_time() < 30
