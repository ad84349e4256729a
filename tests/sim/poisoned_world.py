"""A simulated network in which some nodes give away infohashes that nobody has, new ones each time.

What the honest nodes store are infohashes of real info dicts, so that metadata can be fetched and verified.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any, Protocol

from crawler.simnet import exchange
from crawler.simnet.population import SAMPLES
from crawler.simnet.swarms import Swarms
from crawler.simnet.world import World, WorldConfig
from crawler.wire import bencode
from crawler.wire.compact import pack_address
from tests.sim.hard_peers import PIECE, Torrent, honest, wrong_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE = 20
"""Infohashes in one answer of a liar; as many as libtorrent gives."""
MANNERS = ("nobody", "dead", "wrong")
# Peers that liars name are in 127.0.0.0/16, where nobody else is; the third number tells their kind.
_LIES, _WRONG = 0, 100
_PORT = 6881
_HELLO_BYTES = 68
_NAME = slice(28, 48)


class Stream(Protocol):
    """A peer's end of a connection: a `trio.SocketStream`, or one without a kernel."""

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Wait for some bytes; none means that the other side has closed."""

    async def send_all(self, data: bytes) -> None:
        """Send."""


class PoisonedWorld(World):
    """Honest nodes, and liars among them.

    Args:
        torrents: how many infohashes the honest nodes store.
        liars: how many nodes, besides the honest ones, lie when they are asked for samples.
        manners: whom liars name as peers of what they gave, each one of these: ``"nobody"``, ``"dead"`` peers
            that never answer, or ``"wrong"`` ones that give something else.
        dead_peers: share of the peers of honest infohashes that never answer.
        peer_port: the one port of all peers; None: each has one of its own.
        config: as of `World`; ``nodes`` are the honest ones.

    Attributes:
        torrents: by infohash.
        lies: infohashes that liars gave.
        lies_asked: how often a liar was asked for samples.
    """

    def __init__(
        self,
        *,
        torrents: int,
        liars: int,
        manners: Sequence[str] = MANNERS,
        dead_peers: float = 0.5,
        peer_port: int | None = None,
        **config: Any,
    ) -> None:
        honest_nodes, seed = config.pop("nodes"), config.get("seed", 1)
        rng = random.Random(seed)
        self.torrents = make_torrents(torrents, rng)
        super().__init__(WorldConfig(nodes=honest_nodes + liars, **config), self.torrents)
        self.lies: set[bytes] = set()
        self.lies_asked = 0
        self._peer_port = peer_port or _PORT
        if peer_port is not None:
            self._answers.swarms = _OnePort(seed, self.config.peers, peer_port)
        self._dead_peers = dead_peers
        self._lying = random.Random(seed + 1)
        first = self._population.rank_of[pack_address(self.bootstrap)[:-2]]
        kinds = enumerate(self._population.kinds)
        able = [rank for rank, kind in kinds if kind == SAMPLES and rank != first]
        chosen = self._lying.sample(able, liars)
        self._liars = {rank: manners[number % len(manners)] for number, rank in enumerate(chosen)}
        methods = self._answers.methods
        self._true_sample, self._true_peers = methods[b"sample_infohashes"], methods[b"get_peers"]
        methods[b"sample_infohashes"] = self._sample
        methods[b"get_peers"] = self._peers

    def answers(self, address: bytes) -> bool:
        """Whether the peer at compact ``address`` answers at all."""
        if address[1] == _LIES:
            return address[2] == _WRONG
        return random.Random(address).random() >= self._dead_peers

    async def play(self, address: bytes, stream: Stream) -> None:
        """Be the peer at ``address``, which answers: honest for what it has, wrong for lies."""
        hello = bytes(await stream.receive_some(_HELLO_BYTES))
        heard: Any = _Heard(hello, stream)
        torrent = self.torrents.get(hello[_NAME])
        if address[1] == _LIES:
            await wrong_hash(heard, Torrent(hello[_NAME], b"x" * 300))
        elif torrent is not None:
            await honest(heard, torrent)

    def _sample(self, rank: int, request: exchange.Request, source: bytes, now: float) -> Any:
        if rank not in self._liars:
            return self._true_sample(rank, request, source, now)
        self.lies_asked += 1
        lies = [self._lying.randbytes(20) for _ in range(SAMPLE)]
        self.lies.update(lies)
        nodes = self._answers._closest(rank, request.target or bytes(20))
        return exchange.samples_body(self._answers._id(rank), nodes, 0, 100_000, b"".join(lies))

    def _peers(self, rank: int, request: exchange.Request, source: bytes, now: float) -> Any:
        manner = self._liars.get(rank, "nobody")
        if manner == "nobody" or request.target not in self.lies:
            return self._true_peers(rank, request, source, now)
        kind = _WRONG if manner == "wrong" else _WRONG + 1
        port = self._peer_port.to_bytes(2, "big")
        peers = [bytes([127, _LIES, kind]) + self._lying.randbytes(1) + port for _ in range(3)]
        nodes = self._answers._closest(rank, request.target)
        return exchange.peers_body(self._answers._id(rank), nodes, b"token", peers)


class _OnePort(Swarms):
    """The same peers, all at one port, so that one real listener can be all of them."""

    def __init__(self, seed: int, largest: int, port: int) -> None:
        super().__init__(seed, largest)
        self._port = port.to_bytes(2, "big")

    def peers_of(self, infohash: bytes) -> list[bytes]:
        return [peer[:-2] + self._port for peer in super().peers_of(infohash)]


def make_torrents(count: int, rng: random.Random) -> dict[bytes, Torrent]:
    """Return so many torrents by infohash."""
    made = [_make_torrent(number, rng) for number in range(count)]
    return {torrent.infohash: torrent for torrent in made}


def _make_torrent(number: int, rng: random.Random) -> Torrent:
    info = bencode.encode(
        {
            b"length": 20 * PIECE,
            b"name": b"poisoned world %d" % number,
            b"piece length": PIECE,
            b"pieces": rng.randbytes(400),
        }
    )
    return Torrent(hashlib.sha1(info).digest(), info)  # noqa: S324 - BEP 3's choice


class _Heard:
    """A stream of which the first words were read already."""

    def __init__(self, first: bytes, stream: Stream) -> None:
        self._first, self._stream = first, stream

    async def receive_some(self, most: int) -> bytes | bytearray:
        if self._first:
            first, self._first = self._first, b""
            return first
        return await self._stream.receive_some(most)

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)
