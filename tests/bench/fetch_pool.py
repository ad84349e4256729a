"""A pool of honest peers with a torrent each, and nothing else: what bench_fetch.py fetches from.

Runs in a process of its own, one loop over epoll, so that it costs the contenders none of their CPU time and
keeps ahead of them. Each peer shakes hands, introduces itself, says that it has everything, and gives the
pieces of the metadata that it is asked for, as seeding clients do. The torrents are made from a seed, the
same in every process: info dicts of 2 to 40 KiB, half of them with one file, the others with up to 300.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
import re
import select
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

# The folders of tests are no packages, and a script's own folder comes first in the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from crawler.wire import bencode, extensions, peer
from crawler.wire.extensions import METADATA_PIECE, UT_METADATA, UT_PEX, ExtensionHandshake

if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORK: Final = "127.45"
HOSTS: Final = 500
PORT: Final = 6881
_SMALLEST, _LARGEST = 2 << 10, 40 << 10
_PIECE_LENGTH: Final = 1 << 20
_WORDS: Final = (
    *("alpha", "bravo", "Complete.Series", "1080p", "x264", "Discography", "FLAC", "Vol.2"),
    *("Русский", "東京", "2024"),
)
_ID: Final = b"-XX0100-" + b"p" * 12
_REQUEST: Final = re.compile(rb"d8:msg_typei0e5:piecei([0-9]+)ee")
_THEIR_METADATA_ID: Final = re.compile(rb"11:ut_metadatai([0-9]+)e")
_OUR_METADATA_ID: Final = 2
_EXTENDED: Final = 20
_HEADER: Final = struct.Struct(">IBB")
_RECEIVE_BYTES: Final = 1 << 16


@attrs.frozen
class Torrent:
    """One torrent: what it is asked for by, where its peer is, and its info dict."""

    infohash: bytes
    host: str
    info: bytes


def torrents(count: int) -> Iterator[Torrent]:
    """Yield ``count`` torrents, the same for the same count."""
    rng = random.Random(1)
    for number in range(count):
        info = b""
        while not _SMALLEST <= len(info) <= _LARGEST:
            info = _info(rng)
        host = f"{NETWORK}.{number % HOSTS // 250}.{number % 250 + 1}"
        yield Torrent(hashlib.sha1(info).digest(), host, info)  # noqa: S324 - BEP 3's choice


def _info(rng: random.Random) -> bytes:
    pieces = int(rng.lognormvariate(math.log(550), 0.7)) + 1
    size = pieces * _PIECE_LENGTH - rng.randrange(_PIECE_LENGTH)
    name = " ".join(rng.sample(_WORDS, 4)).encode()
    info: dict[bytes, object] = {
        b"name": name,
        b"piece length": _PIECE_LENGTH,
        b"pieces": rng.randbytes(20 * pieces),
    }
    files = 1 if rng.random() < 0.5 else min(2 + int(rng.lognormvariate(2.3, 1.0)), 300)
    if files == 1:
        info[b"length"] = size
    else:
        sizes = [size // files] * (files - 1)
        sizes.append(size - sum(sizes))
        info[b"files"] = [
            {b"length": each, b"path": [b"Disc %d" % (at % 3), b"%03d %s.mkv" % (at, name)]}
            for at, each in enumerate(sizes)
        ]
    return bencode.encode(info)


class Seed:
    """What the peer of one torrent says."""

    def __init__(self, torrent: Torrent) -> None:
        ids = {UT_METADATA: _OUR_METADATA_ID, UT_PEX: 1}
        ours = ExtensionHandshake(ids, metadata_size=len(torrent.info), client=b"pool", request_queue=250)
        self.greeting = (
            peer.encode_handshake(peer.Handshake(torrent.infohash, _ID))
            + peer.encode(peer.Extended(0, extensions.encode_handshake(ours)))
            + peer.encode(peer.HaveAll())
        )
        self._pieces = [
            b"d8:msg_typei1e5:piecei%de10:total_sizei%dee" % (at // METADATA_PIECE, len(torrent.info))
            + torrent.info[at : at + METADATA_PIECE]
            for at in range(0, len(torrent.info), METADATA_PIECE)
        ]

    def piece(self, number: int, extension: int) -> bytes:
        """Return the message with piece ``number``, under the id that the other side wants it by."""
        payload = self._pieces[number]
        return _HEADER.pack(len(payload) + 2, _EXTENDED, extension) + payload


@attrs.define
class Guest:
    """Somebody who is connected."""

    sock: socket.socket
    read: bytearray = attrs.field(factory=bytearray)
    unsent: bytearray = attrs.field(factory=bytearray)
    seed: Seed | None = None
    extension: int = 0


class Pool:
    """All peers, on one epoll."""

    def __init__(self, count: int) -> None:
        self._seeds = {torrent.infohash: Seed(torrent) for torrent in torrents(count)}
        self._poll = select.epoll()
        self._doors: dict[int, socket.socket] = {}
        self._guests: dict[int, Guest] = {}
        for number in range(min(count, HOSTS)):
            door = socket.socket()
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind((f"{NETWORK}.{number // 250}.{number % 250 + 1}", PORT))
            door.listen(128)
            door.setblocking(False)
            self._doors[door.fileno()] = door
            self._poll.register(door, select.EPOLLIN)

    def serve(self, end: int) -> None:
        """Be the peers until the descriptor ``end`` has something to read, or ends."""
        self._poll.register(end, select.EPOLLIN)
        while True:
            for fd, events in self._poll.poll():
                if fd == end:
                    return
                if fd in self._doors:
                    self._accept(self._doors[fd])
                elif fd in self._guests:
                    self._attend(self._guests[fd], events)

    def _accept(self, door: socket.socket) -> None:
        try:
            sock, _ = door.accept()
        except OSError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Whoever hung up on us gets a reset back, so that his port is free at once: thousands would wait.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._guests[sock.fileno()] = Guest(sock)
        self._poll.register(sock, select.EPOLLIN)

    def _attend(self, guest: Guest, events: int) -> None:
        try:
            if events & ~select.EPOLLOUT:
                data = guest.sock.recv(_RECEIVE_BYTES)
                if not data:
                    raise ConnectionResetError
                guest.read += data
                self._answer(guest)
            if guest.unsent:
                self._send(guest)
        except (OSError, ValueError):
            del self._guests[guest.sock.fileno()]
            guest.sock.close()

    def _send(self, guest: Guest) -> None:
        with contextlib.suppress(BlockingIOError):
            del guest.unsent[: guest.sock.send(guest.unsent)]
        more = select.EPOLLOUT if guest.unsent else 0
        self._poll.modify(guest.sock, select.EPOLLIN | more)

    def _answer(self, guest: Guest) -> None:
        read = guest.read
        if guest.seed is None:
            if len(read) < peer.HANDSHAKE_BYTES:
                return
            guest.seed = self._seeds.get(bytes(read[28:48]))
            if guest.seed is None:
                raise ConnectionResetError
            guest.unsent += guest.seed.greeting
            del read[: peer.HANDSHAKE_BYTES]
        while len(read) >= 4:
            length = int.from_bytes(read[:4], "big")
            if len(read) < 4 + length:
                return
            if length > 1 and read[4] == _EXTENDED:
                self._answer_extended(guest, guest.seed, read[5], bytes(read[6 : 4 + length]))
            del read[: 4 + length]

    def _answer_extended(self, guest: Guest, seed: Seed, number: int, payload: bytes) -> None:
        if number == extensions.HANDSHAKE_ID:
            known = _THEIR_METADATA_ID.search(payload)
            guest.extension = int(known[1]) if known else 0
        elif number == _OUR_METADATA_ID and (asked := _REQUEST.match(payload)):
            guest.unsent += seed.piece(int(asked[1]), guest.extension)


def main() -> None:
    """Serve as many torrents as the argument says; say "ready" when it can begin, end with the input."""
    pool = Pool(int(sys.argv[1]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    pool.serve(sys.stdin.fileno())


if __name__ == "__main__":
    main()
