"""The connection's rules: two ends joined by a fake wire, and peers that break them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.swarm.connection import (
    ConnectionConfig,
    ExtendedReceived,
    ExtensionsKnown,
    HandshakeDone,
    HashOffered,
    MessageReceived,
    PeerConnection,
    PeerFault,
)
from crawler.wire import peer
from crawler.wire.extensions import UT_METADATA, UT_PEX
from tests.swarm.fake_wire import OURS, THEIRS, deliver, handshake, introduction, messages

if TYPE_CHECKING:
    from crawler.swarm.connection import Event

HASH, OTHER = b"h" * 20, b"o" * 20


def opened(theirs: bytes | None = None, **options: object) -> PeerConnection:
    """Return our end of a connection to a scripted peer that has sent its handshake."""
    connection = PeerConnection(OURS, HASH, now=0.0, **options)  # type: ignore[arg-type] # each test knows
    connection.receive_data(handshake(HASH) if theirs is None else theirs, 0.0)
    assert isinstance(connection.next_event(), HandshakeDone)
    return connection


def events(connection: PeerConnection) -> list[Event]:
    """Return all events that wait."""
    found = []
    while (event := connection.next_event()) is not None:
        found.append(event)
    return found


def reason_of(connection: PeerConnection, data: bytes, step: int | None = None) -> str:
    """Return why the connection gives up on ``data``."""
    with pytest.raises(PeerFault) as caught:  # noqa: PT012 - the fault may come with any byte
        for at in range(0, len(data), step or len(data)):
            connection.receive_data(data[at : at + (step or len(data))], 0.0)
            events(connection)
    return caught.value.reason


@pytest.mark.parametrize("step", [None, 1, 7])
def test_two_ends_meet(step: int | None) -> None:
    """Both ends come to know each other, their extensions and the metadata's size, however bytes are cut."""
    ours, theirs = PeerConnection(OURS, HASH, now=0.0), PeerConnection(THEIRS, None, now=0.0, client=b"C")
    seen: list[Event] = []

    deliver(theirs, ours.data_to_send(0.0), step=step)
    assert theirs.data_to_send(0.0) == b""
    assert theirs.next_event() == HashOffered(HASH)
    theirs.accept(103)
    assert [type(event) for event in events(theirs)] == [HandshakeDone]
    deliver(ours, theirs.data_to_send(0.0), step=step)
    seen += events(ours)
    deliver(theirs, ours.data_to_send(0.0), step=step)

    assert isinstance(seen[0], HandshakeDone)
    assert seen[0].handshake.peer_id == THEIRS
    assert isinstance(seen[1], ExtensionsKnown)
    assert (seen[1].handshake.metadata_size, seen[1].handshake.client) == (103, b"C")
    assert seen[2] == MessageReceived(peer.HaveNone())
    assert [type(event) for event in events(theirs)] == [ExtensionsKnown, MessageReceived]
    assert ours.established
    assert theirs.established
    assert ours.speaks(UT_METADATA)
    assert ours.send_extended(UT_PEX, b"de")
    deliver(theirs, ours.data_to_send(0.0), step=step)
    assert events(theirs) == [ExtendedReceived(UT_PEX, b"de")]


def test_initiator_speaks_first() -> None:
    """Our handshake goes out at once, with the bits for extensions and fast, and DHT only with a port."""
    plain, with_dht = PeerConnection(OURS, HASH, now=0.0), PeerConnection(OURS, HASH, now=0.0, dht_port=6881)

    assert plain.data_to_send(0.0) == handshake(HASH, OURS).replace(b"\x05" + HASH, b"\x04" + HASH)
    assert with_dht.data_to_send(0.0) == handshake(HASH, OURS)
    assert plain.data_to_send(0.0) == b""


def test_acceptor_answers_before_the_peer_id_comes() -> None:
    """48 bytes are enough for our answer, as some peers hold their id back until then."""
    connection = PeerConnection(OURS, None, now=0.0)

    connection.receive_data(handshake(HASH)[:48], 0.0)
    assert events(connection) == [HashOffered(HASH)]
    assert events(connection) == []
    connection.accept()

    assert len(connection.data_to_send(0.0)) == 68
    connection.receive_data(handshake(HASH)[48:], 0.0)
    assert [type(event) for event in events(connection)] == [HandshakeDone]


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not_bittorrent"),
        (handshake(OTHER), "wrong_infohash"),
        (handshake(OTHER, v2=True), "wrong_infohash"),
        (handshake(HASH, OURS), "self_connection"),
    ],
)
def test_wrong_handshakes(data: bytes, reason: str, step: int | None) -> None:
    """Another protocol, another torrent or ourselves at the other end: closed, with the reason."""
    assert reason_of(PeerConnection(OURS, HASH, now=0.0), data, step) == reason


def test_hybrid_peer_may_switch_to_its_v2_hash() -> None:
    """The other name of a hybrid torrent is accepted only when it was offered, by the bit and by us."""
    connection = PeerConnection(OURS, HASH, now=0.0, switch_to=OTHER)
    assert connection.data_to_send(0.0)[27] & 0x10

    connection.receive_data(handshake(OTHER), 0.0)

    assert isinstance(connection.next_event(), HandshakeDone)
    assert connection.infohash == OTHER
    third = PeerConnection(OURS, HASH, now=0.0, switch_to=OTHER)
    assert reason_of(third, handshake(b"t" * 20)) == "wrong_infohash"


def test_introduction_follows_the_handshake() -> None:
    """First the extension handshake, then that we have nothing, then our DHT port."""
    connection = opened(dht_port=6881, client=b"DC 1")

    first, second, third = messages(connection.data_to_send(0.0))

    assert first == peer.Extended(0, b"d1:md11:ut_metadatai1e6:ut_pexi2ee1:v4:DC 1e")
    assert (second, third) == (peer.HaveNone(), peer.Port(6881))


def test_peers_without_bits_are_told_nothing_more() -> None:
    """To a peer without the extension and fast bits nothing follows the handshake."""
    connection = opened(handshake(HASH, has_extensions=False, fast=False))

    assert len(connection.data_to_send(0.0)) == 68
    assert not connection.send_extended(UT_METADATA, b"")
    assert connection.data_to_send(0.0) == b""


def test_extension_ids_add_up_and_switch_off() -> None:
    """A second handshake adds to the first, and id 0 takes an extension away (BEP 10)."""
    connection = opened()
    connection.receive_data(introduction(5, {UT_METADATA: 9}) + introduction(None, {UT_PEX: 4}), 0.0)
    assert [type(event) for event in events(connection)] == [ExtensionsKnown] * 2
    assert (connection.speaks(UT_METADATA), connection.speaks(UT_PEX)) == (True, True)

    connection.receive_data(introduction(None, {UT_METADATA: 0}), 0.0)
    events(connection)

    assert (connection.speaks(UT_METADATA), connection.speaks(UT_PEX)) == (False, True)
    connection.data_to_send(0.0)
    assert connection.send_extended(UT_PEX, b"de")
    assert messages(connection.data_to_send(0.0)) == [peer.Extended(4, b"de")]


def test_messages_carry_the_receivers_ids() -> None:
    """What comes under our ids is known by name, what comes under unknown ones is passed over and counted."""
    connection = opened()
    connection.receive_data(
        peer.encode(peer.Extended(9, b"theirs")) + peer.encode(peer.Extended(1, b"ours")), 0.0
    )

    assert events(connection) == [ExtendedReceived(UT_METADATA, b"ours")]
    assert connection.waste == 6


def test_useless_bodies_are_skipped_anywhere() -> None:
    """Bitfield, have and unchoke before and between extension messages do no harm."""
    connection = opened()
    noise = peer.encode(peer.Bitfield(bytes(300_000))) + peer.encode(peer.Unchoke())
    connection.receive_data(noise + introduction(5) + noise, 0.0)

    kinds = [type(event) for event in events(connection)]

    assert kinds == [MessageReceived, ExtensionsKnown, MessageReceived]
    assert connection.waste > 600_000
    assert connection.partial == 0


def test_requests_are_rejected_where_the_peer_can_hear_it() -> None:
    """With the fast bit every request is rejected (BEP 6); without it there is no word for that."""
    request = peer.encode(peer.Request(1, 2, 3))
    fast, slow = opened(), opened(handshake(HASH, fast=False))
    for connection in (fast, slow):
        connection.data_to_send(0.0)
        connection.receive_data(request, 0.0)
        assert events(connection) == []

    assert messages(fast.data_to_send(0.0)) == [peer.Reject(1, 2, 3)]
    assert slow.data_to_send(0.0) == b""


@pytest.mark.parametrize(
    ("theirs", "data", "reason"),
    [
        (handshake(HASH, fast=False), peer.encode(peer.HaveNone()), "fast_without_bit"),
        (handshake(HASH, fast=False), peer.encode(peer.Reject(0, 0, 0)), "fast_without_bit"),
        (handshake(HASH, fast=False, v2=True), peer.encode(peer.HaveAll()), "fast_without_bit"),
        (handshake(HASH, has_extensions=False), introduction(5), "extended_without_bit"),
        (handshake(HASH), peer.encode(peer.Extended(0, b"junk")), "bad_extension_handshake"),
        (handshake(HASH), bytes.fromhex("0000000501"), "bad_length"),
        (handshake(HASH), b"\xff" * 4, "message_too_large"),
        (handshake(HASH), bytes.fromhex("0000440114"), "message_too_large"),
    ],
)
def test_broken_rules(theirs: bytes, data: bytes, reason: str) -> None:
    """Messages that the peer's bits do not allow, or that cannot be, end the connection with their reason."""
    assert reason_of(opened(theirs), data) == reason
    assert reason_of(opened(theirs), data, 1) == reason


def test_v2_peers_may_reject_without_the_fast_bit() -> None:
    """BEP 52 uses reject too, so it is no fault there."""
    connection = opened(handshake(HASH, fast=False, v2=True))
    connection.receive_data(peer.encode(peer.Reject(0, 0, 0)), 0.0)

    assert events(connection) == [MessageReceived(peer.Reject(0, 0, 0))]


@pytest.mark.parametrize(
    "chatter",
    [
        peer.encode(peer.Piece(0, 0, bytes(16384))),
        peer.encode(peer.Have(1)),
        peer.encode(peer.Request(0, 0, 16384)),
        peer.encode(peer.Extended(77, bytes(100))),
        introduction(5),
        bytes(4),
    ],
)
def test_endless_chatter_is_a_flood(chatter: bytes) -> None:
    """A peer that sends what helps nobody is dropped after a bounded number of bytes or messages."""
    connection = opened(config=ConnectionConfig(max_waste=1 << 20, max_idle_messages=200))

    assert reason_of(connection, chatter * 300) == "flood"
    assert connection.outgoing < 10_000


def test_extension_names_do_not_pile_up() -> None:
    """However many extensions a peer invents, only those that we know are remembered."""
    connection = opened()
    for number in range(50):
        connection.receive_data(introduction(1, {b"x%d" % number: 1, UT_PEX: 3}), 0.0)
        events(connection)

    assert list(connection._ids) == [UT_PEX]


def test_handshake_has_a_deadline() -> None:
    """A peer that accepts and says nothing, or trickles, is dropped after ten seconds."""
    connection = PeerConnection(OURS, HASH, now=5.0)
    assert connection.next_timer() == 15.0
    connection.receive_data(handshake(HASH)[:67], 14.9)
    assert connection.next_event() is None

    connection.handle_timer(14.9)
    with pytest.raises(PeerFault, match="handshake_timeout"):
        connection.handle_timer(15.0)


def test_keep_alives_and_idleness() -> None:
    """After 100 s without a word of ours a keep-alive goes out; after 120 s without theirs it is over."""
    connection = opened()
    connection.data_to_send(0.0)
    assert connection.next_timer() == 100.0

    connection.handle_timer(99.0)
    assert connection.data_to_send(99.0) == b""
    connection.handle_timer(100.0)
    assert connection.data_to_send(100.0) == bytes(4)
    assert connection.next_timer() == 120.0

    connection.receive_data(bytes(4), 119.0)
    assert events(connection) == []
    assert connection.next_timer() == 200.0
    connection.handle_timer(200.0)
    with pytest.raises(PeerFault, match="idle"):
        connection.handle_timer(239.0)


FRAMES = st.sampled_from(
    [
        introduction(5),
        introduction(None, {UT_METADATA: 0}),
        bytes(4),
        peer.encode(peer.Bitfield(b"abc")),
        peer.encode(peer.Have(3)),
        peer.encode(peer.Extended(1, b"abc")),
        peer.encode(peer.Extended(55, b"abc")),
        peer.encode(peer.Extended(0, b"")),
        peer.encode(peer.Request(0, 0, 1)),
        b"\0\0\0\x02\x00\x00",
    ]
)


@given(frames=st.lists(FRAMES, max_size=6), tail=st.binary(max_size=6), step=st.integers(1, 9))
def test_whole_and_piecewise_agree(frames: list[bytes], tail: bytes, step: int) -> None:
    """Events, answers and fault are the same however the stream is cut."""
    data = handshake(HASH) + b"".join(frames) + tail

    def outcome(size: int) -> tuple[list[Event | str], bytes]:
        connection = PeerConnection(OURS, HASH, now=0.0)
        found: list[Event | str] = []
        try:
            for at in range(0, len(data), size):
                connection.receive_data(data[at : at + size], 0.0)
                while (event := connection.next_event()) is not None:
                    found.append(event)
        except PeerFault as fault:
            found.append(fault.reason)
        return found, connection.data_to_send(0.0)

    assert outcome(len(data)) == outcome(step) == outcome(1)
