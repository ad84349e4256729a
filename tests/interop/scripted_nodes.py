"""Scripted DHT nodes: plain UDP sockets with a fixed behaviour that write down every datagram they get.

One thread serves all nodes of a network. Arrival times are the kernel's (`SO_TIMESTAMPNS`), so a busy test
machine does not blur them. Linux only, as is the rest of this folder.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, Self

import attrs

from tests.interop import plain_krpc

if TYPE_CHECKING:
    import random

    from tests.interop.plain_krpc import Address

# Python's socket module does not export it; the figure is Linux's own for 64-bit machines (asm-generic).
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")


@attrs.frozen
class Manners:
    """How a scripted node behaves. Compact nodes and peers are handed out as they are, true or not."""

    sampling: Literal["samples", "nodes_only", "error_204", "silent"] = "samples"
    interval: int = 3600
    samples: tuple[bytes, ...] = ()
    values: tuple[bytes, ...] = ()
    rumours: bytes = b""
    dead: bool = False


@attrs.frozen
class Heard:
    """One datagram that reached a scripted node; ``at`` is the kernel's time in seconds since 1970."""

    at: float
    source: Address
    data: bytes

    @property
    def message(self) -> dict[bytes, Any]:
        """The decoded datagram; ValueError if it is not canonical."""
        return plain_krpc.decode(self.data)


@attrs.define(eq=False)
class ScriptedNode:
    """One node: its id, its socket, the address that it listens on, its manners, and what it heard."""

    id: bytes
    socket: socket.socket
    address: Address
    manners: Manners
    heard: list[Heard] = attrs.field(factory=list)

    @property
    def text(self) -> str:
        """The address as ``ip:port``."""
        return "{}:{}".format(*self.address)

    def queries(self, method: bytes | None = None) -> list[Heard]:
        """Return the queries heard so far, only those of ``method`` if it is given."""
        heard = [h for h in list(self.heard) if plain_krpc.is_query(h.data)]
        return [h for h in heard if method is None or h.message[b"q"] == method]


class ScriptedNetwork:
    """Nodes that know each other; a context manager that answers from a thread until it is left."""

    def __init__(self, rng: random.Random) -> None:
        self.nodes: list[ScriptedNode] = []
        self._rng = rng
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def add(self, host: str, manners: Manners, *, port: int = 0) -> ScriptedNode:
        """Add a node at ``host`` before the network starts."""
        sock = plain_krpc.bound_socket((host, port))
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setblocking(False)
        node = ScriptedNode(plain_krpc.secure_id(host, self._rng), sock, sock.getsockname(), manners)
        self.nodes.append(node)
        self._selector.register(sock, selectors.EVENT_READ, node)
        return node

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._selector.close()
        for node in self.nodes:
            node.socket.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(timeout=0.1):
                self._drain(key.data)

    def _drain(self, node: ScriptedNode) -> None:
        while True:
            try:
                data, ancillary, _, source = node.socket.recvmsg(plain_krpc.RECEIVE_BYTES, 64)
            except BlockingIOError:
                return
            node.heard.append(Heard(_arrival(ancillary), source, data))
            answer = self._answer(node, data)
            if answer is not None:
                node.socket.sendto(answer, source)

    def _answer(self, node: ScriptedNode, data: bytes) -> bytes | None:
        if node.manners.dead or not plain_krpc.is_query(data):
            return None
        message = plain_krpc.decode(data)
        envelope = {b"t": message[b"t"], b"v": b"SN\0\1"}
        method, sampling = message[b"q"], node.manners.sampling
        if method == b"sample_infohashes" and sampling == "silent":
            return None
        if method == b"sample_infohashes" and sampling == "error_204":
            return plain_krpc.encode({**envelope, b"y": b"e", b"e": [204, b"Method Unknown"]})
        body = {b"id": node.id, **self._body(node, method, message[b"a"])}
        return plain_krpc.encode({**envelope, b"y": b"r", b"r": body})

    def _body(self, node: ScriptedNode, method: bytes, args: dict[bytes, Any]) -> dict[bytes, Any]:
        target = args.get(b"target") or args.get(b"info_hash")
        if method == b"ping" or target is None:
            return {}
        body: dict[bytes, Any] = {b"nodes": node.manners.rumours + self._closest(target)}
        if method == b"get_peers":
            body[b"token"] = b"sn-token"
            if node.manners.values and target in node.manners.samples:
                body[b"values"] = list(node.manners.values)
        if method == b"sample_infohashes" and node.manners.sampling == "samples":
            samples = node.manners.samples
            body |= {b"samples": b"".join(samples), b"num": len(samples), b"interval": node.manners.interval}
        return body

    def _closest(self, target: bytes) -> bytes:
        wanted = int.from_bytes(target, "big")
        nearest = sorted(self.nodes, key=lambda n: int.from_bytes(n.id, "big") ^ wanted)[:8]
        return plain_krpc.pack_nodes((n.id, n.address) for n in nearest)


def _arrival(ancillary: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return float(seconds + nanoseconds / 1e9)
    return time.time()
