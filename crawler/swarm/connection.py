"""One connection to a peer as a state machine: bytes and time go in, bytes and events come out.

The rules of who may say what when (BEP 3, 6, 10); the codec is `wire/peer`. The owner calls
``receive_data`` and then ``next_event`` until it gives None, sends what ``data_to_send`` returns, and calls
``handle_timer`` when ``next_timer`` is due: the verbs of h11 and aioquic. What a peer does wrong is a
:class:`PeerFault` with a short reason to count by; after one the connection is of no more use and the owner
closes it.

We hold no pieces and want none: requests are rejected, and bitfields, blocks and hashes are dropped unread.
What a peer may send us that helps nobody is limited, so that a chatty one costs little more than a silent
one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import attrs

from crawler.settings import setting
from crawler.wire import extensions, peer
from crawler.wire.extensions import ExtensionHandshake
from crawler.wire.peer import FrameReader, Handshake, Message, Skipped, WireError

OUR_EXTENSIONS: Final = {extensions.UT_METADATA: 1, extensions.UT_PEX: 2}
"""The ids under which we want to receive extended messages; peers use these, we use theirs."""
_NAMES: Final = {number: name for name, number in OUR_EXTENSIONS.items()}


class PeerFault(Exception):  # noqa: N818 - the word for a remote error in this house
    """The peer did something that ends the connection; ``reason`` is a short token to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.frozen
class ConnectionConfig:
    """Patience with one peer, and what we tell it of ourselves."""

    handshake_timeout: float = setting(
        10.0, unit="s", help="A connection whose handshake takes longer is closed.", above=0
    )
    idle_timeout: float = setting(
        120.0, unit="s", help="A connection on which nothing arrives for this long is closed.", above=0
    )
    keep_alive_interval: float = setting(
        100.0, unit="s", help="After this long without a word of ours a keep-alive is sent.", above=0
    )
    max_waste: int = setting(
        4 << 20,
        unit="bytes",
        help="Bytes of no use to us, such as bitfields and blocks, after which a peer is dropped.",
        minimum=1 << 20,
    )
    max_idle_messages: int = setting(
        10_000, unit="messages", help="Messages of no use to us after which a peer is dropped.", minimum=100
    )


@attrs.frozen
class HashOffered:
    """An acceptor learned which torrent is meant: call ``accept``, or close without a word."""

    infohash: bytes


@attrs.define(unsafe_hash=True)
class HandshakeDone:
    """Both handshakes are complete; ``handshake`` is the peer's."""

    handshake: Handshake


@attrs.define(unsafe_hash=True)
class ExtensionsKnown:
    """The peer told what it speaks; may come again, then with what changed."""

    handshake: ExtensionHandshake


@attrs.define(unsafe_hash=True)
class ExtendedReceived:
    """A message of an extension that we offered."""

    name: bytes
    payload: bytes


@attrs.frozen
class MessageReceived:
    """Any other message worth looking at."""

    message: Message


Event = HashOffered | HandshakeDone | ExtensionsKnown | ExtendedReceived | MessageReceived


class PeerConnection:
    """One connection, from the first byte of the handshake on.

    Args:
        peer_id: our own 20-byte id; a peer that has the same is ourselves.
        infohash: the 20 bytes that the peer should know the torrent by; None for an acceptor, which is told
        by
            a :class:`HashOffered` what the peer wants.
        switch_to: a hybrid torrent's other name: a v2 peer may answer with it instead (BEP 52).
        client: what we call ourselves, in the extension handshake.
        dht_port: the UDP port of our DHT node, for peers that would like to know it (BEP 5).
        config: patience.
        now: seconds, when the connection was made.

    Attributes:
        infohash: the torrent that both sides agreed on.
        outgoing: bytes that wait in ``data_to_send``.
        waste: bytes received that were of no use.
        metadata_size: what the extension handshake tells of our own metadata; set before ``accept``.
    """

    def __init__(
        self,
        peer_id: bytes,
        infohash: bytes | None,
        *,
        now: float,
        switch_to: bytes | None = None,
        client: bytes | None = None,
        dht_port: int | None = None,
        config: ConnectionConfig | None = None,
    ) -> None:
        self.infohash = infohash
        self.metadata_size: int | None = None
        self.waste = 0
        self._peer_id = peer_id
        self._switch_to = switch_to
        self._client = client
        self._dht_port = dht_port
        self._config = config or ConnectionConfig()
        self._out: list[bytes] = []
        self.outgoing = 0
        self._head = b""
        self._theirs: Handshake | None = None
        self._offered = False
        self._frames = FrameReader()
        self._ids: dict[bytes, int] = {}
        self._idle_messages = 0
        self._keep_alives = 0
        self._opened = self._heard = self._spoke = now
        if infohash is not None:
            self._send_handshake(infohash)

    @property
    def established(self) -> bool:
        """Whether both handshakes are complete."""
        return self._theirs is not None

    @property
    def partial(self) -> int:
        """Bytes received of a message that is not complete yet."""
        return self._frames.buffered

    def speaks(self, extension: bytes) -> bool:
        """Whether the peer wants to receive messages of ``extension``."""
        return self._ids.get(extension, 0) > 0

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes that arrived; ask ``next_event`` for what they mean."""
        self._heard = now
        if self._theirs is None:
            self._head += data
        else:
            self._frames.feed(data)

    def next_event(self) -> Event | None:
        """Return the next event, or None until more arrives.

        Raises:
            PeerFault: the peer broke the rules, or sent too much that helps nobody.
        """
        try:
            if self._theirs is None:
                return self._next_of_handshake()
            while True:
                message = self._frames.next_message()
                if self._frames.keep_alives != self._keep_alives:
                    self._count_keep_alives()
                if message is None:
                    return None
                event = (
                    self._on_extended(message)
                    if type(message) is peer.Extended
                    else self._on_message(message)
                )
                if event is not None:
                    return event
        except WireError as error:
            raise PeerFault(error.reason) from None

    def accept(self, metadata_size: int | None = None) -> None:
        """Answer a :class:`HashOffered`: we take part in that torrent.

        Args:
            metadata_size: bytes of the info dict, if we are willing to serve it.
        """
        assert self.infohash is not None, "accept() answers HashOffered"  # noqa: S101 - our own fault
        self.metadata_size = metadata_size
        self._offered = False
        self._send_handshake(self.infohash)

    def send(self, message: Message) -> None:
        """Queue a message."""
        self._write(peer.encode(message))

    def send_extended(self, extension: bytes, payload: bytes) -> bool:
        """Queue a message of an extension under the id that the peer chose; False if it has none."""
        number = self._ids.get(extension, 0)
        if number:
            self._write(peer.encode_extended(number, payload))
        return number > 0

    def note_waste(self, size: int) -> None:
        """Count ``size`` bytes that turned out useless to the owner.

        Raises:
            PeerFault: ``flood``.
        """
        self.waste += size
        self._idle_messages += 1
        if self.waste > self._config.max_waste or self._idle_messages > self._config.max_idle_messages:
            raise PeerFault("flood")

    def data_to_send(self, now: float) -> bytes:
        """Return what is to be written now, in order; empty when there is nothing."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        self.outgoing = 0
        self._spoke = now
        return data

    def next_timer(self) -> float:
        """Return when ``handle_timer`` is due."""
        if self._theirs is None:
            return self._opened + self._config.handshake_timeout
        return min(self._heard + self._config.idle_timeout, self._spoke + self._config.keep_alive_interval)

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``; too early is no harm.

        Raises:
            PeerFault: ``handshake_timeout`` or ``idle``.
        """
        if self._theirs is None:
            if now >= self._opened + self._config.handshake_timeout:
                raise PeerFault("handshake_timeout")
            return
        if now >= self._heard + self._config.idle_timeout:
            raise PeerFault("idle")
        if now >= self._spoke + self._config.keep_alive_interval:
            self._write(peer.KEEP_ALIVE)
            self._spoke = now

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        self.outgoing += len(data)

    def _send_handshake(self, infohash: bytes) -> None:
        ours = Handshake(
            infohash, self._peer_id, dht=self._dht_port is not None, v2=self._switch_to is not None
        )
        self._write(peer.encode_handshake(ours))

    def _next_of_handshake(self) -> Event | None:
        theirs = peer.decode_handshake(self._head)
        if theirs is None or self._offered:
            return None
        if self.infohash is None:
            self.infohash = theirs.infohash
            self._offered = True
            return HashOffered(theirs.infohash)
        if theirs.infohash != self.infohash:
            self._switch(theirs)
        if not theirs.peer_id:
            return None
        if theirs.peer_id == self._peer_id:
            raise PeerFault("self_connection")
        self._theirs = theirs
        self._frames.feed(self._head[peer.HANDSHAKE_BYTES :])
        self._head = b""
        self._introduce(theirs)
        return HandshakeDone(theirs)

    def _switch(self, theirs: Handshake) -> None:
        if self._switch_to is None or theirs.infohash != self._switch_to:
            raise PeerFault("wrong_infohash")
        self.infohash = theirs.infohash

    def _introduce(self, theirs: Handshake) -> None:
        """Say who we are, right behind the handshake (BEP 10), and that we have no pieces (BEP 6)."""
        port = self._dht_port if theirs.dht else None
        said = _introduction(theirs.extensions, theirs.fast, self.metadata_size, self._client, port)
        if said:
            self._write(said)

    def _on_message(self, message: Message | Skipped) -> Event | None:
        if isinstance(message, Skipped):
            self.note_waste(message.length)
            return None
        self.note_waste(0)
        theirs = self._theirs
        if theirs is not None and not theirs.fast and isinstance(message, peer.FAST_KINDS):
            self._check_fast(theirs, message)
        if isinstance(message, peer.Request):
            self._refuse(message)
            return None
        return MessageReceived(message)

    @staticmethod
    def _check_fast(theirs: Handshake, message: Message) -> None:
        if not (theirs.v2 and isinstance(message, peer.Reject)):
            raise PeerFault("fast_without_bit")

    def _refuse(self, request: peer.Request) -> None:
        if self._theirs is not None and self._theirs.fast:
            self.send(peer.Reject(request.index, request.begin, request.length))

    def _on_extended(self, message: peer.Extended) -> Event | None:
        theirs = self._theirs
        if theirs is not None and not theirs.extensions:
            raise PeerFault("extended_without_bit")
        if message.id == extensions.HANDSHAKE_ID:
            self.note_waste(len(message.payload))
            handshake = extensions.decode_handshake(message.payload)
            for each in OUR_EXTENSIONS:
                if each in handshake.ids:
                    self._ids[each] = handshake.ids[each]
            return ExtensionsKnown(handshake)
        name = _NAMES.get(message.id)
        if name is None:
            self.note_waste(len(message.payload))
            return None
        return ExtendedReceived(name, message.payload)

    def _count_keep_alives(self) -> None:
        new = self._frames.keep_alives - self._keep_alives
        self._keep_alives += new
        self._idle_messages += new - 1
        self.note_waste(0)


@lru_cache(maxsize=64)
def _introduction(
    extended: bool, fast: bool, metadata_size: int | None, client: bytes | None, dht_port: int | None
) -> bytes:
    said: list[Message] = []
    if extended:
        ours = ExtensionHandshake(OUR_EXTENSIONS, metadata_size=metadata_size, client=client)
        said.append(peer.Extended(extensions.HANDSHAKE_ID, extensions.encode_handshake(ours)))
    if fast:
        said.append(peer.HaveNone())
    if dht_port is not None:
        said.append(peer.Port(dht_port))
    return b"".join(map(peer.encode, said))
