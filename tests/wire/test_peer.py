"""The peer wire's codec against published bytes, and its reader against streams cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire import peer
from crawler.wire.peer import FrameReader, Handshake, WireError

PREFIX = bytes.fromhex("13426974546f7272656e742070726f746f636f6c0000000000100005")
INFOHASH = bytes(range(20))
PEER_ID = b"-XX1234-abcdefghijkl"
ROOT = bytes(range(32))

# (frame as on the wire, message): one row for each id of BEP 3, 5, 6, 10 and 52.
FRAMES = [
    ("0000000100", peer.Choke()),
    ("0000000101", peer.Unchoke()),
    ("0000000102", peer.Interested()),
    ("0000000103", peer.NotInterested()),
    ("000000050400000007", peer.Have(7)),
    ("0000000305ff80", peer.Bitfield(b"\xff\x80")),
    ("0000000d06000000010000400000004000", peer.Request(1, 16384, 16384)),
    ("0000000b070000000100004000abcd", peer.Piece(1, 16384, b"\xab\xcd")),
    ("0000000d08000000010000400000004000", peer.Cancel(1, 16384, 16384)),
    ("00000003091ae1", peer.Port(6881)),
    ("000000050d00000007", peer.Suggest(7)),
    ("000000010e", peer.HaveAll()),
    ("000000010f", peer.HaveNone()),
    ("0000000d10000000010000400000004000", peer.Reject(1, 16384, 16384)),
    ("000000051100000007", peer.AllowedFast(7)),
    ("0000000414006465", peer.Extended(0, b"de")),
    (f"0000003115{ROOT.hex()}00000000000000020000000400000005", peer.HashRequest(ROOT, 0, 2, 4, 5)),
    (
        f"0000005116{ROOT.hex()}00000000000000020000000400000005{ROOT.hex()}",
        peer.Hashes(ROOT, 0, 2, 4, 5, ROOT),
    ),
    (f"0000003117{ROOT.hex()}00000000000000020000000400000005", peer.HashReject(ROOT, 0, 2, 4, 5)),
]


def read(data: bytes, *, step: int | None = None, skip: frozenset[int] = frozenset()) -> list[object]:
    """Return what a reader makes of ``data`` fed in steps; the reason of an error ends the list."""
    reader = FrameReader(skip=skip)
    found: list[object] = []
    try:
        for at in range(0, len(data), step or len(data) or 1):
            reader.feed(data[at : at + (step or len(data))])
            while (message := reader.next_message()) is not None:
                found.append(message)
    except WireError as error:
        found.append(error.reason)
    return [*found, reader.keep_alives]


@pytest.mark.parametrize(("frame", "message"), FRAMES)
def test_every_message_reads_and_writes_as_published(frame: str, message: peer.Message) -> None:
    """Each id's frame gives its message, and the message gives the very same frame."""
    data = bytes.fromhex(frame)

    assert peer.encode(message) == data
    assert read(data) == [message, 0]


def test_handshake_has_the_bytes_everybody_sends() -> None:
    """Our handshake has the published prefix: extension protocol, DHT and fast bits set."""
    handshake = Handshake(INFOHASH, PEER_ID)

    data = peer.encode_handshake(handshake)

    assert data == PREFIX + INFOHASH + PEER_ID
    assert peer.decode_handshake(data) == handshake


@pytest.mark.parametrize(
    ("index", "bit", "flags"),
    [(5, 0x10, {"extensions": True}), (7, 1, {"dht": True}), (7, 4, {"fast": True}), (7, 0x10, {"v2": True})],
)
def test_reserved_bits_are_where_their_beps_put_them(index: int, bit: int, flags: dict[str, bool]) -> None:
    """Each known bit sets its own flag, whatever unknown bits stand beside it."""
    reserved = bytearray(b"\x80\x40\x20\x10\x08\x03\x02\x80")
    reserved[index] |= bit

    handshake = peer.decode_handshake(PREFIX[:20] + reserved + INFOHASH + PEER_ID)

    none = {"extensions": False, "dht": False, "fast": False, "v2": False}
    assert handshake == Handshake(INFOHASH, PEER_ID, **{**none, **flags})


def test_handshake_is_read_in_stages() -> None:
    """The infohash is known after 48 bytes, as some peers wait with their id for our answer."""
    data = PREFIX + INFOHASH + PEER_ID

    stages = [peer.decode_handshake(data[:size]) for size in (0, 20, 47, 48, 67, 68, 68)]

    assert stages[:3] == [None, None, None]
    assert stages[3] == stages[4] == Handshake(INFOHASH, b"")
    assert stages[5] == Handshake(INFOHASH, PEER_ID)


@pytest.mark.parametrize(
    "data", [b"G", b"\x13BitTorrent protocoL", b"\x14", b"\x13bit", b"GET / HTTP/1.1\r\n"]
)
def test_anything_else_is_refused_at_its_first_wrong_byte(data: bytes) -> None:
    """Encrypted or foreign protocols are told apart without waiting for 68 bytes."""
    with pytest.raises(WireError, match="not_bittorrent"):
        peer.decode_handshake(data)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("000000020000", "bad_length"),
        ("0000000404000000", "bad_length"),
        ("0000000c0600000001000040000000", "bad_length"),
        ("00000008070000000000", "bad_length"),
        ("0000000409", "bad_length"),
        ("0000000114", "bad_length"),
        ("0000003215", "bad_length"),
        ("0000003216", "bad_length"),
        ("00100001", "message_too_large"),
        ("ffffffff", "message_too_large"),
        ("0000440114", "message_too_large"),
    ],
)
def test_wrong_lengths_are_refused_before_the_body_comes(frame: str, reason: str) -> None:
    """A length that its id cannot have is refused as soon as both are there."""
    assert read(bytes.fromhex(frame)) == [reason, 0]


def test_skipped_bodies_are_never_buffered() -> None:
    """A megabyte of bitfield passes through without being kept, and the message behind it is read."""
    reader = FrameReader()
    reader.feed((1 << 20).to_bytes(4, "big") + b"\x05" + bytes(1000))
    most = 0

    assert reader.next_message() == peer.Skipped(5, 1 << 20)
    for _ in range(1047):
        reader.feed(bytes(1000))
        most = max(most, reader.buffered)
        assert reader.next_message() is None
    reader.feed(bytes((1 << 20) - 1 - 1_048_000) + peer.encode(peer.Have(1)))

    assert most == 0
    assert reader.next_message() == peer.Have(1)
    assert reader.buffered == 0


def test_unknown_ids_are_skipped() -> None:
    """A message of an unknown kind is passed over, in the spirit of BEP 10."""
    data = bytes.fromhex("00000003ff0102") + peer.encode(peer.Have(1))

    assert read(data) == [peer.Skipped(255, 3), peer.Have(1), 0]
    with pytest.raises(WireError, match="unknown_message"):
        peer.decode(255, b"")


def test_keep_alives_are_counted() -> None:
    """Empty frames carry nothing and only move a counter."""
    assert read(bytes(8) + peer.encode(peer.Choke()) + bytes(4)) == [peer.Choke(), 3]


MESSAGES = st.sampled_from([bytes.fromhex(frame) for frame, _ in FRAMES] + [bytes(4), b"\0\0\0\3\x63ab"])


@given(frames=st.lists(MESSAGES, max_size=8), tail=st.binary(max_size=8), step=st.integers(1, 7))
def test_whole_and_piecewise_agree(frames: list[bytes], tail: bytes, step: int) -> None:
    """A stream means the same however it is cut, up to and with its first error."""
    data = b"".join(frames) + tail

    assert read(data) == read(data, step=step) == read(data, step=1)
    assert read(data, skip=peer.PAYLOAD_IDS) == read(data, step=step, skip=peer.PAYLOAD_IDS)
