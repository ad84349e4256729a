"""Peers on loopback that are dead in every way that real ones are, and honest ones between them.

Each peer has an address of its own in 127/8 and a listener of its own; one port serves all. The honest ones
answer requests piece by piece. None of this is our own peer wire: the bytes are written out here.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from crawler.wire import bencode
from crawler.wire.compact import pack_address, unpack_address
from tests.swarm.fake_wire import data, handshake, introduction

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator

PIECE: Final = 16384
_REQUEST: Final = re.compile(rb"d8:msg_typei0e5:piecei(\d+)ee")
_HELLO_BYTES: Final = 68


@attrs.frozen
class Torrent:
    """What an honest peer gives."""

    infohash: bytes
    info: bytes


@attrs.frozen
class HardPeer:
    """One peer: its compact address, the way it behaves, and the torrent it is said to have."""

    address: bytes
    way: str
    torrent: Torrent


def make_torrent(number: int, rng: random.Random) -> Torrent:
    """Return a torrent whose info dict is as long as real ones are: 1 to 40 KB, a few far more."""
    pieces = rng.choice([20, 400, 900, 1700, 2000]) if number % 40 else 8000
    info = bencode.encode(
        {
            b"length": pieces * PIECE,
            b"name": b"hard world %d" % number,
            b"piece length": PIECE,
            b"pieces": rng.randbytes(20 * pieces),
        }
    )
    return Torrent(hashlib.sha1(info).digest(), info)  # noqa: S324 - BEP 3's choice


def make_world(
    infohashes: int, peers_each: int, network: str, port: int, rng: random.Random
) -> list[list[HardPeer]]:
    """Return for each infohash its peers, 60 % of all of them dead, at least one of each honest.

    Args:
        infohashes: how many.
        peers_each: peers of each.
        network: the first two numbers of a loopback /16.
        port: where all of them listen.
        rng: decides who is dead, and how.
    """
    hosts = _hosts(network)
    ways = _endless(sorted(WAYS), rng)
    world = []
    for number in range(infohashes):
        torrent = make_torrent(number, rng)
        # Half of the infohashes have one honest peer only; the others have so many that it comes to 40 %.
        honest = 1 if number % 2 else max(1, round(0.8 * peers_each) - 1)
        kinds = ["honest"] * honest + [next(ways) for _ in range(peers_each - honest)]
        rng.shuffle(kinds)
        world.append([HardPeer(pack_address((next(hosts), port)), kind, torrent) for kind in kinds])
    return world


def _hosts(network: str) -> Iterator[str]:
    for third in range(256):
        for fourth in range(1, 255):
            yield f"{network}.{third}.{fourth}"


def _endless(ways: list[str], rng: random.Random) -> Iterator[str]:
    while True:
        yield from rng.sample(ways, len(ways))


class HardWorld:
    """Runs the peers of a world; counts who came, and how many were connected at once.

    Args:
        peers: all of them.
    """

    def __init__(self, peers: list[HardPeer]) -> None:
        self._peers = peers
        self.visits: Counter[str] = Counter()
        self.connected = 0
        self.most_connected = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        async with trio.open_nursery() as nursery:
            for peer in self._peers:
                if peer.way != "refuse":
                    nursery.start_soon(self._listen, peer, _bind(peer), nursery)
            task_status.started()

    async def _listen(self, peer: HardPeer, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        with listener:
            while True:
                connection, _ = await listener.accept()
                nursery.start_soon(self._serve, peer, trio.SocketStream(connection))

    async def _serve(self, peer: HardPeer, stream: trio.SocketStream) -> None:
        self.visits[peer.way] += 1
        self.connected += 1
        self.most_connected = max(self.most_connected, self.connected)
        behave = honest if peer.way == "honest" else WAYS[peer.way]
        try:
            with trio.move_on_after(60):
                await behave(stream, peer.torrent)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.connected -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


def _bind(peer: HardPeer) -> trio.socket.SocketType:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(unpack_address(peer.address))
    listener.listen(16)
    return trio.socket.from_stdlib_socket(listener)


async def _introduce(stream: trio.SocketStream, torrent: Torrent, size: int | None) -> None:
    await stream.receive_some(_HELLO_BYTES)
    await stream.send_all(handshake(torrent.infohash) + introduction(size))


async def _answer(stream: trio.SocketStream, reply: Callable[[int], bytes]) -> None:
    """Answer each request with what ``reply`` makes of its piece number."""
    heard = b""
    while received := await stream.receive_some(65536):
        heard += received
        last = 0
        for request in _REQUEST.finditer(heard):
            await stream.send_all(reply(int(request[1])))
            last = request.end()
        heard = heard[last:][-256:]


def _piece(torrent: Torrent, number: int) -> bytes:
    return torrent.info[number * PIECE : (number + 1) * PIECE]


async def honest(stream: trio.SocketStream, torrent: Torrent) -> None:
    """Give what is asked for."""
    await _introduce(stream, torrent, len(torrent.info))
    await _answer(stream, lambda n: data(n, _piece(torrent, n), len(torrent.info)))


async def hang(stream: trio.SocketStream, _torrent: Torrent) -> None:
    """Accept, and say nothing."""
    while await stream.receive_some(65536):
        pass


async def close_after_handshake(stream: trio.SocketStream, torrent: Torrent) -> None:
    """Shake hands, and close."""
    await stream.receive_some(_HELLO_BYTES)
    await stream.send_all(handshake(torrent.infohash))


async def trickle(stream: trio.SocketStream, torrent: Torrent) -> None:
    """Behave well, at one byte a second from the first piece on."""
    await _introduce(stream, torrent, len(torrent.info))
    for byte in data(0, _piece(torrent, 0), len(torrent.info)):
        await stream.send_all(bytes([byte]))
        await trio.sleep(1)


async def lie_about_size(stream: trio.SocketStream, torrent: Torrent) -> None:
    """Claim too much, far too much or too little, and send what there is."""
    size = [len(torrent.info) * 3, 2**31 + 5, max(1, len(torrent.info) // 2)][torrent.infohash[0] % 3]
    await _introduce(stream, torrent, size)
    await _answer(stream, lambda n: data(n, _piece(torrent, n), size))


async def wrong_piece(stream: trio.SocketStream, torrent: Torrent) -> None:
    """Answer every request with another piece, in a size that no piece has."""
    await _introduce(stream, torrent, len(torrent.info))
    await _answer(stream, lambda n: data(n + 1, b"x" * 777, len(torrent.info)))


async def wrong_hash(stream: trio.SocketStream, torrent: Torrent) -> None:
    """Send bytes of the right length that are not the metadata."""
    await _introduce(stream, torrent, len(torrent.info))
    await _answer(stream, lambda n: data(n, bytes(len(_piece(torrent, n))), len(torrent.info)))


async def reject(stream: trio.SocketStream, torrent: Torrent) -> None:
    """Say that it has it, and reject every request."""
    await _introduce(stream, torrent, len(torrent.info))
    # Sent under the id by which the fetch wants to receive metadata messages: 1.
    await _answer(stream, lambda n: _framed(b"\x14\x01d8:msg_typei2e5:piecei%dee" % n))


async def flood(stream: trio.SocketStream, torrent: Torrent) -> None:
    """Send blocks that nobody wants, for ever."""
    await stream.receive_some(_HELLO_BYTES)
    await stream.send_all(handshake(torrent.infohash))
    while True:
        await stream.send_all((b"\0\0\x40\x09\x07" + bytes(16392)) * 8)


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


WAYS: Final[dict[str, Callable[[Any, Torrent], Awaitable[None]]]] = {
    "refuse": hang,
    "hang": hang,
    "close_after_handshake": close_after_handshake,
    "trickle": trickle,
    "lie_about_size": lie_about_size,
    "wrong_piece": wrong_piece,
    "wrong_hash": wrong_hash,
    "reject": reject,
    "flood": flood,
}
"""The ways to be dead; who refuses has no listener at all."""
