"""A DHT node on loopback that answers as a test says: a name, what it holds, whom it knows."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.wire import krpc
from crawler.wire.compact import Family, join_nodes, pack_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from crawler.wire.compact import Address


@attrs.define(eq=False)
class ScriptedNode:
    """What it says, and what it was asked.

    Attributes:
        body: what it adds to its answers, by method.
        knows: (id, compact address) of the nodes that it names.
        queries: all that came, in order.
        address: where it listens.
        edit: changes a body before it is sent; None there is silence.
    """

    node_id: bytes
    sock: trio.socket.SocketType
    address: Address
    body: dict[bytes, dict[bytes, Any]] = attrs.field(factory=dict)
    knows: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    queries: list[krpc.Query] = attrs.field(factory=list)
    edit: Callable[[krpc.Query, dict[bytes, Any]], dict[bytes, Any] | None] = attrs.field(
        default=lambda _query, body: body
    )

    @property
    def compact(self) -> bytes:
        """Its compact address."""
        return pack_address(self.address)

    @property
    def name(self) -> str:
        """Its address as --bootstrap takes it."""
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def asked(self, method: bytes) -> list[krpc.Query]:
        """Return the queries of one kind."""
        return [query for query in self.queries if query.method == method]

    async def answer_all(self) -> None:
        """Answer until cancelled."""
        while True:
            data, source = await self.sock.recvfrom(2048)
            query = krpc.decode(data)
            assert isinstance(query, krpc.Query)
            self.queries.append(query)
            body: dict[bytes, Any] = {b"id": self.node_id, **self.body.get(query.method, {})}
            for family in Family:
                known = [node for node in self.knows if Family.of(node[1]) is family]
                if known and query.method in {b"find_node", b"get_peers"}:
                    body[family.nodes_key] = join_nodes(known)
            edited = self.edit(query, body)
            if edited is not None:
                await self.sock.sendto(krpc.response(query.tid, edited), source)


@contextlib.asynccontextmanager
async def scripted_node(node_id: bytes, host: str = "127.0.0.1") -> AsyncIterator[ScriptedNode]:
    """Run a node for the length of a block."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with trio.socket.socket(kind, socket.SOCK_DGRAM) as sock:
        await sock.bind((host, 0))
        node = ScriptedNode(node_id, sock, sock.getsockname()[:2])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.answer_all)
            yield node
            nursery.cancel_scope.cancel()
