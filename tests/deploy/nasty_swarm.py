"""A DHT that names the nasty torrents, with counts of seeds (BEP 33), and peers that give their metadata."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

from tests.interop.scripted_nodes import Manners, ScriptedNetwork, ScriptedNode
from tests.swarm.fake_wire import data, handshake, introduction

if TYPE_CHECKING:
    from tests.deploy.nasty_names import NastyTorrent

_PEERS = 16
_SAMPLES = 20  # in one answer
_HELLO_BYTES = 68
_PIECE = 16384
_REQUEST = re.compile(rb"d8:msg_typei0e5:piecei(\d+)ee")
_FILTER = bytes(range(1, 9)) + bytes(248)  # a Bloom filter of a few peers


class SeededNetwork(ScriptedNetwork):
    """Scripted nodes that also say how many seeds and leechers there are, when they are asked to."""

    def _body(self, node: ScriptedNode, method: bytes, args: dict[bytes, Any]) -> dict[bytes, Any]:
        body = super()._body(node, method, args)
        if method == b"get_peers" and args.get(b"scrape") == 1:
            body |= {b"BFsd": _FILTER, b"BFpe": bytes(256)}
        return body


def open_network(network: str, torrents: list[NastyTorrent], port: int) -> SeededNetwork:
    """Return nodes at ``network`` (two numbers of a loopback /16), each with twenty of the torrents."""
    nodes = SeededNetwork(random.Random(1))
    peers = [socket.inet_aton(host) + struct.pack("!H", port) for host in peer_hosts(network)]
    for number, first in enumerate(range(0, len(torrents), _SAMPLES)):
        samples = tuple(torrent.infohash for torrent in torrents[first : first + _SAMPLES])
        nodes.add(f"{network}.{number + 1}.1", Manners(samples=samples, values=tuple(peers)))
    return nodes


def peer_hosts(network: str) -> list[str]:
    """Return where the peers are."""
    return [f"{network}.200.{number + 1}" for number in range(_PEERS)]


class NastyPeers:
    """Peers in threads, each of which has all torrents; a context manager."""

    def __init__(self, network: str, torrents: list[NastyTorrent]) -> None:
        self._infos = {torrent.infohash: torrent.info for torrent in torrents}
        self._listeners: list[socket.socket] = []
        for host in peer_hosts(network):
            self._listeners.append(
                socket.create_server((host, self.port if self._listeners else 0), backlog=64)
            )

    @property
    def port(self) -> int:
        """Where all of them listen."""
        port: int = self._listeners[0].getsockname()[1]
        return port

    def __enter__(self) -> Self:
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            try:
                self._give(connection)
            except OSError:
                return

    def _give(self, connection: socket.socket) -> None:
        hello = connection.recv(_HELLO_BYTES, socket.MSG_WAITALL)
        info = self._infos.get(hello[28:48])
        if info is None:
            return
        connection.sendall(handshake(hello[28:48]) + introduction(len(info)))
        heard = b""
        while received := connection.recv(65536):
            heard += received
            last = 0
            for request in _REQUEST.finditer(heard):
                number = int(request[1])
                connection.sendall(data(number, info[number * _PIECE : (number + 1) * _PIECE], len(info)))
                last = request.end()
            heard = heard[last:][-256:]
