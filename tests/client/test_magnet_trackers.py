"""The trackers of a magnet link beside the DHT: what they find, that we leave, and when they are left out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import trio

from crawler.client import MetadataNotFoundError, open_node
from crawler.wire import tracker_udp
from crawler.wire.compact import pack_address
from crawler.wire.tracker import Event
from tests.client.scripted_node import scripted_node
from tests.net.scripted_trackers import UdpTracker, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from crawler.client import Node

HASH = b"\x11" * 20
NOBODY = "127.0.0.1"


@contextlib.asynccontextmanager
async def joined(**options: Any) -> AsyncIterator[Node]:
    """Open a node whose DHT is one node that knows nothing."""
    with trio.fail_after(30):
        async with (
            scripted_node(b"\x22" * 20) as alone,
            open_node(bootstrap=[alone.name], listen=["127.0.0.1:0"], allow_private=True, **options) as node,
        ):
            yield node


class Swarm:
    """A tracker's answers: one peer, where nobody is, and whoever asks.

    Attributes:
        events: as what we announced ourselves.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.peer = pack_address((NOBODY, free_port()))

    def answer(self, data: bytes) -> list[bytes]:
        """Answer an announce; the asker is in the list, as at many trackers."""
        read = tracker_udp.decode_request(data)
        assert isinstance(read, tracker_udp.UdpAnnounce)
        self.events.append(read.request.event)
        itself = pack_address((NOBODY, read.request.port))
        return [tracker_udp.encode_announce_reply(read.transaction, 1800, 4, 5, self.peer + itself)]


def magnet(*trackers: str) -> str:
    """Return a link that names these trackers."""
    return f"magnet:?xt=urn:btih:{HASH.hex()}" + "".join(f"&tr={quote(url, safe='')}" for url in trackers)


async def test_a_lookup_asks_the_trackers_of_the_link() -> None:
    """Their peers are found with their source, we are not among them, and we say goodbye."""
    swarm = Swarm()
    async with UdpTracker(swarm.answer).running() as tracker, joined() as node:
        result = await node.lookup(magnet(tracker.url))

    assert [(peer.address, peer.source, peer.infohash) for peer in result.peers] == [
        (swarm.peer, "tracker", HASH)
    ]
    assert swarm.events == [Event.STARTED, Event.STOPPED]
    assert result.trackers_asked == 1
    [report] = result.trackers
    assert report.answer is not None
    assert (report.answer.seeders, report.answer.leechers) == (5, 4)


async def test_trackers_are_asked_only_when_they_are_wanted() -> None:
    """Without the link's trackers, or told not to, no tracker hears of us; an announce asks none either."""
    swarm = Swarm()
    async with UdpTracker(swarm.answer).running() as tracker, joined() as node:
        assert (await node.lookup(magnet(tracker.url), trackers=False)).peers == ()
        assert (await node.lookup(magnet())).trackers_asked == 0
        await node.announce(magnet(tracker.url), 6881)

    assert tracker.seen == []


async def test_metadata_is_sought_at_their_peers() -> None:
    """The peers of a tracker are dialled for the metadata."""
    swarm = Swarm()
    async with UdpTracker(swarm.answer).running() as tracker, joined() as node:
        with pytest.raises(MetadataNotFoundError) as caught:
            await node.find_metadata(magnet(tracker.url))

    assert caught.value.tried == 1
    assert caught.value.failures == {"refused": 1}


async def test_dead_trackers_do_not_keep_a_lookup() -> None:
    """A tracker that is not there, or only connects, is given up when its time is over, and that is told."""
    async with UdpTracker(lambda _: []).running() as tracker, joined(tracker_timeout=1.0) as node:
        began = trio.current_time()
        result = await node.lookup(magnet(tracker.url, f"http://127.0.0.1:{free_port()}/announce"))
        assert trio.current_time() - began < 10

    assert result.complete
    assert result.trackers_asked == 2
    assert [r.error.reason for r in result.trackers if r.error] == ["unreachable", "timeout"]
