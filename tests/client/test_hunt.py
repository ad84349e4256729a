"""The hunt for metadata among peers that are dead in different ways, on a clock that costs no time."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among the arguments of the test itself

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import trio

from crawler.client.fetching import FoundMetadata, MetadataHunt, MetadataNotFoundError
from crawler.client.search import Peer
from crawler.net.peers import FetchError, PeerClient
from crawler.swarm.metadata import VerifiedMetadata
from crawler.wire.bencode import decode
from crawler.wire.compact import is_global, pack_address
from crawler.wire.magnet import Magnet
from crawler.wire.metainfo import MetainfoError
from tests.wire import torrent_vectors as vectors

if TYPE_CHECKING:
    from crawler.swarm.pex import PexInbox

HASH, V2 = b"\x11" * 20, b"\x22" * 32
INFO = b"d4:name1:xe"
# A peer's life: seconds until the outcome, and the outcome: a reason, metadata, or hanging for ever.
REFUSES, GIVES, HANGS = (0.01, "refused"), (0.5, ""), (float("inf"), "")


def peer(number: int, infohash: bytes = HASH) -> Peer:
    """Return a public-looking peer."""
    return Peer(pack_address((f"8.8.{number // 250}.{number % 250 + 1}", 6881)), infohash, "dht")


@attrs.define(eq=False)
class FakeClient:
    """Peers that live as the test says; by default they refuse."""

    lives: dict[bytes, tuple[float, str]] = attrs.field(factory=dict)
    pex: dict[bytes, bytes] = attrs.field(factory=dict)
    calls: list[tuple[float, bytes, dict[str, Any]]] = attrs.field(factory=list)
    open: int = 0
    most_open: int = 0

    async def fetch_metadata(self, address: bytes, infohash: bytes, **options: Any) -> VerifiedMetadata:
        self.calls.append((trio.current_time(), address, {"infohash": infohash, **options}))
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        inbox: PexInbox = options["pex"]
        try:
            if address in self.pex:
                inbox.receive(b"d5:added6:" + self.pex[address] + b"e", trio.current_time())
            seconds, reason = self.lives.get(address, REFUSES)
            await trio.sleep(seconds)
        finally:
            self.open -= 1
        if reason:
            raise FetchError(reason)
        return VerifiedMetadata(infohash, INFO)


def hunt_with(client: FakeClient, magnet: Magnet | None = None) -> MetadataHunt:
    """Return a hunt that dials by ``client``."""
    return MetadataHunt(
        cast("PeerClient", client),
        magnet or Magnet(infohash=HASH, trackers=("udp://t.example:1",)),
        is_global,
        lambda _event, **_fields: None,
    )


async def test_one_honest_peer_among_the_dead_is_enough(autojump_clock: trio.testing.MockClock) -> None:
    """Neither hanging nor refusing peers keep the one that gives from being asked, and soon."""
    client = FakeClient({peer(n).address: HANGS if n % 2 else REFUSES for n in range(20)})
    client.lives[peer(20).address] = GIVES
    hunt = hunt_with(client)
    for number in range(21):
        hunt.offer(peer(number))
    hunt.expect_no_more()
    began = trio.current_time()

    found = await hunt.run()

    assert (found.info, found.peer, found.trackers) == (INFO, peer(20), ("udp://t.example:1",))
    assert trio.current_time() - began < 5
    assert hunt.failures == {"refused": 10}
    assert (client.open, hunt.in_flight) == (0, 0)


async def test_the_next_is_dialled_before_a_slow_one_fails(autojump_clock: trio.testing.MockClock) -> None:
    """Dials follow each other by a quarter of a second, or at once when somebody failed; thirty at most."""
    client = FakeClient({peer(n).address: HANGS for n in range(40)})
    client.lives[peer(2).address] = REFUSES
    hunt = hunt_with(client)
    for number in range(40):
        hunt.offer(peer(number))
    with trio.move_on_after(20):
        await hunt.run()
    began = client.calls[0][0]

    assert [round(at - began, 2) for at, *_ in client.calls[:5]] == [0, 0.25, 0.5, 0.51, 0.76]
    assert client.most_open == 30
    assert client.open == 0


async def test_hanging_peers_end(autojump_clock: trio.testing.MockClock) -> None:
    """No peer holds the hunt longer than 30 seconds, and running out of peers is an error that says why."""
    client = FakeClient({peer(1).address: HANGS})
    hunt = hunt_with(client)
    hunt.offer(peer(1))
    hunt.offer(peer(2))
    hunt.offer(peer(1))
    hunt.expect_no_more()
    began = trio.current_time()

    with pytest.raises(MetadataNotFoundError) as missing:
        await hunt.run()

    assert 30 <= trio.current_time() - began < 31
    assert (missing.value.tried, missing.value.failures) == (2, {"too_slow": 1, "refused": 1})


async def test_peers_of_peers_are_asked_too(autojump_clock: trio.testing.MockClock) -> None:
    """A peer that fails but told of another one (BEP 11) has helped; private addresses are left out."""
    client = FakeClient({peer(2).address: GIVES}, pex={peer(1).address: peer(2).address})
    client.pex[peer(3).address] = pack_address(("192.168.1.1", 6881))
    hunt = hunt_with(client)
    hunt.offer(peer(3))
    hunt.offer(peer(1))
    hunt.expect_no_more()

    found = await hunt.run()

    assert found.peer == Peer(peer(2).address, HASH, "pex")
    assert [call[1] for call in client.calls] == [peer(3).address, peer(1).address, peer(2).address]


async def test_peers_may_come_late(autojump_clock: trio.testing.MockClock) -> None:
    """The hunt waits for peers as long as the search goes on."""
    client = FakeClient({peer(1).address: GIVES})
    hunt = hunt_with(client)

    async def offer_late() -> None:
        await trio.sleep(7)
        hunt.offer(peer(1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(offer_late)
        assert (await hunt.run()).peer == peer(1)


@pytest.mark.parametrize(
    ("magnet", "infohash", "names", "switch_to"),
    [
        (Magnet(infohash=HASH), HASH, [HASH], None),
        (Magnet(infohash_v2=V2), V2[:20], [V2], None),
        (Magnet(infohash=HASH, infohash_v2=V2), HASH, [HASH, V2], V2[:20]),
        (Magnet(infohash=HASH, infohash_v2=V2), V2[:20], [HASH, V2], HASH),
    ],
)
async def test_a_peer_is_asked_by_the_name_it_was_found_under(
    magnet: Magnet,
    infohash: bytes,
    names: list[bytes],
    switch_to: bytes | None,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The handshake names what the peer is known for; whichever hash is known in full has to fit."""
    client = FakeClient({peer(1).address: GIVES})
    hunt = hunt_with(client, magnet)
    hunt.offer(peer(1, infohash))

    await hunt.run()

    said = client.calls[0][2]
    assert (said["infohash"], said["infohashes"], said["switch_to"]) == (infohash, names, switch_to)


async def test_peers_are_bounded(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A liar's flood of peers is taken up to a bound."""
    monkeypatch.setattr("crawler.client.fetching._MAX_PEERS", 5)
    hunt = hunt_with(FakeClient())
    for number in range(100):
        hunt.offer(peer(number))
    hunt.expect_no_more()

    with pytest.raises(MetadataNotFoundError):
        await hunt.run()

    assert (hunt.tried, hunt.dropped) == (5, 95)


def test_found_metadata_says_what_it_is() -> None:
    """The bytes stay as they are in the file; what they say is read on demand, or refused."""
    found = FoundMetadata(vectors.V1_INFO, peer(1), ("udp://t.example:1",))

    assert found.parse().infohash_v1 == vectors.V1_HASH
    file = decode(found.torrent_file(created_by="us"))
    assert isinstance(file, dict)
    assert file[b"info"] == decode(vectors.V1_INFO)
    assert vectors.V1_INFO in found.torrent_file()
    assert (file[b"announce"], file[b"created by"]) == (b"udp://t.example:1", b"us")
    with pytest.raises(MetainfoError, match="bad_piece_length"):
        FoundMetadata(b"de", peer(1)).parse()
