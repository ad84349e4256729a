"""Scripted peers on loopback, honest ones and dead ones of every kind; a client that soon tires of them."""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING

import trio

from crawler.net.peers import PeerClient, PeersConfig
from crawler.swarm.connection import ConnectionConfig
from crawler.swarm.metadata import MetadataConfig
from crawler.wire.compact import pack_address
from tests.swarm.fake_wire import handshake, introduction, pieces

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Behaviour = Callable[[trio.SocketStream], Awaitable[None]]

INFO = bytes(range(256)) * 200
HASH = hashlib.sha1(INFO).digest()  # noqa: S324 - BEP 3's choice
OURS = b"-DC0100-net-test-ours"[:20]


async def serve(nursery: trio.Nursery, behaviour: Behaviour, host: str = "127.0.0.1") -> bytes:
    """Start a peer that behaves so; return its compact address."""
    [listener] = await trio.open_tcp_listeners(0, host=host)
    port = listener.socket.getsockname()[1]

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await behaviour(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.aclose()

    nursery.start_soon(trio.serve_listeners, handle, [listener])
    return pack_address((host, port))


def client_of(**options: object) -> PeerClient:
    """Return a client whose patience is measured in tenths of seconds."""
    return PeerClient(
        OURS,
        allow_private=True,
        peers=PeersConfig(dial_timeout=0.3),
        connection=ConnectionConfig(handshake_timeout=0.2),
        metadata=MetadataConfig(extensions_timeout=0.2, stall_window=0.2),
        **options,  # type: ignore[arg-type] # each test knows
    )


async def honest(stream: trio.SocketStream) -> None:
    """Answer as a good peer does, in small packets."""
    await stream.receive_some(68)
    whole = handshake(HASH) + introduction(len(INFO)) + pieces(INFO)
    for at in range(0, len(whole), 9000):
        await stream.send_all(whole[at : at + 9000])
        await trio.sleep(0.001)
    await trio.sleep_forever()


async def hang(stream: trio.SocketStream) -> None:
    """Accept and say nothing."""
    await stream.receive_some()
    await trio.sleep_forever()


async def close_at_once(stream: trio.SocketStream) -> None:
    """Accept and close."""
    await stream.aclose()


async def close_after_handshake(stream: trio.SocketStream) -> None:
    """Shake hands and close."""
    await stream.receive_some()
    await stream.send_all(handshake(HASH))
    await stream.send_eof()
    await trio.sleep_forever()


async def reset(stream: trio.SocketStream) -> None:
    """Accept and reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await stream.aclose()


async def trickle(stream: trio.SocketStream) -> None:
    """Introduce itself, then send a byte now and then."""
    await stream.send_all(handshake(HASH) + introduction(len(INFO)))
    for at in range(len(INFO)):
        await stream.send_all(pieces(INFO)[at : at + 1])
        await trio.sleep(0.02)


async def never_introduce(stream: trio.SocketStream) -> None:
    """Shake hands, and no more."""
    await stream.send_all(handshake(HASH))
    await trio.sleep_forever()


async def lie(stream: trio.SocketStream) -> None:
    """Send bytes whose hash is wrong."""
    await stream.send_all(handshake(HASH) + introduction(len(INFO)) + pieces(bytes(len(INFO))))
    await trio.sleep_forever()


async def flood(stream: trio.SocketStream) -> None:
    """Send blocks that nobody wants, for ever."""
    await stream.send_all(handshake(HASH))
    while True:
        await stream.send_all((b"\0\0\x40\x09\x07" + bytes(16392)) * 20)


DEAD: list[tuple[Behaviour, set[str]]] = [
    (hang, {"handshake_timeout"}),
    (close_at_once, {"closed_in_handshake", "reset_in_handshake"}),
    (close_after_handshake, {"closed"}),
    (reset, {"reset_in_handshake"}),
    (never_introduce, {"extensions_timeout"}),
    (trickle, {"too_slow"}),
    (lie, {"wrong_hash"}),
    (flood, {"flood"}),
]
"""Each way to be dead, and for which reasons it ends."""
