"""Two state machines and the wire between them, and the bytes of peers that play by no rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from crawler.wire import extensions, peer
from crawler.wire.extensions import ExtensionHandshake

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS: Final = b"-DC0100-ours________"
THEIRS: Final = b"-XX0100-theirs______"
THEIR_METADATA_ID: Final = 9


class End(Protocol):
    """One end of a connection."""

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes."""

    def data_to_send(self, now: float) -> bytes:
        """Give bytes."""


def talk(left: End, right: End, *, now: float = 0.0, step: int | None = None) -> None:
    """Carry bytes both ways, ``step`` at a time, until both are silent."""
    while True:
        there, back = left.data_to_send(now), right.data_to_send(now)
        if not there and not back:
            return
        deliver(right, there, now=now, step=step)
        deliver(left, back, now=now, step=step)


def deliver(end: End, data: bytes, *, now: float = 0.0, step: int | None = None) -> None:
    """Hand ``data`` to one end, ``step`` bytes at a time."""
    for at in range(0, len(data), step or max(len(data), 1)):
        end.receive_data(data[at : at + (step or len(data))], now)


def handshake(
    infohash: bytes,
    peer_id: bytes = THEIRS,
    *,
    has_extensions: bool = True,
    fast: bool = True,
    v2: bool = False,
) -> bytes:
    """Return the handshake of a scripted peer."""
    return peer.encode_handshake(
        peer.Handshake(infohash, peer_id, extensions=has_extensions, fast=fast, v2=v2)
    )


def introduction(metadata_size: int | None, ids: Mapping[bytes, int] | None = None) -> bytes:
    """Return the extension handshake of a scripted peer."""
    if ids is None:
        ids = {extensions.UT_METADATA: THEIR_METADATA_ID, extensions.UT_PEX: 3}
    payload = extensions.encode_handshake(ExtensionHandshake(ids, metadata_size=metadata_size))
    return peer.encode(peer.Extended(0, payload))


def data(piece: int, content: bytes, total: int | None) -> bytes:
    """Return a metadata piece as a scripted peer sends it, under *our* id."""
    payload = extensions.encode_metadata(extensions.MetadataData(piece, total, content))
    return peer.encode(peer.Extended(1, payload))


def pieces(info: bytes) -> bytes:
    """Return all metadata pieces of ``info``, as an honest scripted peer sends them."""
    size = extensions.METADATA_PIECE
    return b"".join([data(at // size, info[at : at + size], len(info)) for at in range(0, len(info), size)])


def messages(sent: bytes) -> list[peer.Message | peer.Skipped]:
    """Return what was sent behind the handshake, as messages."""
    reader = peer.FrameReader()
    reader.feed(sent[peer.HANDSHAKE_BYTES :] if sent.startswith(peer.PROTOCOL) else sent)
    found = []
    while (message := reader.next_message()) is not None:
        found.append(message)
    return found
