"""Extension payloads against the BEPs' texts, and against what odd peers make of them."""

from __future__ import annotations

import pytest

from crawler.wire import extensions, peer
from crawler.wire.extensions import (
    ExtensionHandshake,
    MetadataData,
    MetadataReject,
    MetadataRequest,
    PexMessage,
    PexPeer,
)
from crawler.wire.peer import WireError
from tests.wire.torrent_vectors import V1_INFO

A, B, C = b"\x01\x02\x03\x04\x1a\xe1", b"\x05\x06\x07\x08\x00\x50", b"\x09\x09\x09\x09\x00\x51"
A6 = bytes(15) + b"\x01\x1a\xe1"


def test_our_handshake_reads_as_the_example() -> None:
    """The fact sheet's example handshake is what we would send, byte for byte, and reads back the same."""
    handshake = ExtensionHandshake(
        {b"ut_metadata": 2, b"ut_pex": 1}, metadata_size=103, port=6881, request_queue=250, client=b"XX 0.1"
    )

    payload = extensions.encode_handshake(handshake)

    assert payload == (
        b"d1:md11:ut_metadatai2e6:ut_pexi1ee13:metadata_sizei103e1:pi6881e4:reqqi250e1:v6:XX 0.1e"
    )
    assert extensions.decode_handshake(payload) == handshake


def test_all_known_keys_are_read() -> None:
    """Every key of BEP 10 and 21 finds its field, unknown ones and unsorted ones are no harm."""
    payload = (
        b"d12:complete_agoi5e1:v3:abc1:md11:lt_donthavei7e11:ut_metadatai3ee6:yourip4:\x01\x02\x03\x04"
        b"4:ipv44:\x05\x06\x07\x084:ipv616:aaaaaaaaaaaaaaaa11:upload_onlyi1e1:ei1e4:reqqi500e1:pi1ee"
    )

    assert extensions.decode_handshake(payload) == ExtensionHandshake(
        {b"lt_donthave": 7, b"ut_metadata": 3},
        port=1,
        client=b"abc",
        your_ip=b"\x01\x02\x03\x04",
        ipv4=b"\x05\x06\x07\x08",
        ipv6=b"a" * 16,
        request_queue=500,
        upload_only=True,
    )


@pytest.mark.parametrize(
    "size", [b"i0e", b"i-1e", b"i2147483648e", b"i99999999999999999999999e", b"3:123", b"le"]
)
def test_nonsense_sizes_count_as_absent(size: bytes) -> None:
    """A metadata_size of zero, below or beyond 2³¹, or of the wrong type means that there is no metadata."""
    payload = b"d1:md11:ut_metadatai3ee13:metadata_size" + size + b"e"

    assert extensions.decode_handshake(payload) == ExtensionHandshake({b"ut_metadata": 3})


@pytest.mark.parametrize(
    ("payload", "ids"),
    [
        (b"de", {}),
        (b"d1:mi1ee", {}),
        (b"d1:mde1:p1:xe", {}),
        (b"d1:md1:ai0e1:bi255e1:ci256e1:di-1e1:e1:xee", {b"a": 0, b"b": 255}),
        (b"d1:pi70000e1:v0:6:yourip3:abce", {}),
        (b"deGARBAGE", {}),
    ],
)
def test_unusable_fields_count_as_absent(payload: bytes, ids: dict[bytes, int]) -> None:
    """Wrong types and ranges do not spoil what is right beside them; id 0 stays, as it switches off."""
    assert extensions.decode_handshake(payload) == ExtensionHandshake(ids)


def test_many_extensions_are_cut_off() -> None:
    """A peer cannot make us hold more extension names than anybody has."""
    names = b"".join(b"3:%03di1e" % number for number in range(200))

    assert len(extensions.decode_handshake(b"d1:md" + names + b"ee").ids) == 64


@pytest.mark.parametrize(
    "payload", [b"", b"x", b"le", b"i1e", b"d", b"d1:m", b"d1:mde", b"d" * 100, b"d1:md1:ai1e"]
)
def test_what_is_no_dict_is_refused(payload: bytes) -> None:
    """A payload that is no bencoded dict is a fault with one reason in each of the three codecs."""
    with pytest.raises(WireError, match="bad_extension_handshake"):
        extensions.decode_handshake(payload)
    with pytest.raises(WireError, match="bad_metadata_message"):
        extensions.decode_metadata(payload)
    with pytest.raises(WireError, match="bad_pex"):
        extensions.decode_pex(payload)


METADATA = [
    (MetadataRequest(0), "0000001b140364383a6d73675f74797065693065353a706965636569306565"),
    (MetadataReject(0), "0000001b140364383a6d73675f74797065693265353a706965636569306565"),
    (
        MetadataData(0, 103, V1_INFO),
        "00000094140364383a6d73675f74797065693165353a706965636569306531303a746f74616c5f73697a656931303365"
        "65" + V1_INFO.hex(),
    ),
]


@pytest.mark.parametrize(("message", "frame"), METADATA)
def test_metadata_messages_have_the_derived_frames(
    message: MetadataRequest | MetadataData | MetadataReject, frame: str
) -> None:
    """Request, reject and data frames are the fact sheet's, both ways, under the peer's id 3."""
    payload = extensions.encode_metadata(message)

    assert peer.encode(peer.Extended(3, payload)).hex() == frame
    assert extensions.decode_metadata(payload) == message


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"d8:msg_typei0e5:piecei0ee", MetadataRequest(0)),
        (b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxx", MetadataData(0, 34256, b"xxxx")),
        (b"d8:msg_typei1e5:piecei7eexxxx", MetadataData(7, None, b"xxxx")),
        (b"d5:piecei7e3:fool1:ae10:total_sizei4e8:msg_typei1eeabcd", MetadataData(7, 4, b"abcd")),
        (b"d8:msg_typei1e5:piecei0e10:total_size1:xee", MetadataData(0, None, b"e")),
        (b"d8:msg_typei3e5:piecei0ee", None),
        (b"d8:msg_typei-1e5:piecei0ee", None),
    ],
)
def test_metadata_messages_of_others_are_read(payload: bytes, message: object) -> None:
    """The BEP's texts, other key orders, absent sizes and unknown types are read as BEP 9 wants."""
    assert extensions.decode_metadata(payload) == message


@pytest.mark.parametrize(
    "payload",
    [b"d8:msg_typei0ee", b"d5:piecei0ee", b"d8:msg_typei0e5:piecei-1ee", b"d8:msg_type1:05:piecei0ee"],
)
def test_metadata_messages_need_type_and_piece(payload: bytes) -> None:
    """Without a usable type and piece there is nothing to answer."""
    with pytest.raises(WireError, match="bad_metadata_message"):
        extensions.decode_metadata(payload)


def test_pex_is_read_and_written() -> None:
    """Both families, flags and dropped peers survive the way through the wire."""
    message = PexMessage((PexPeer(A, 2), PexPeer(A6, 0x10)), (B,))

    payload = extensions.encode_pex(message)

    assert payload == (
        b"d5:added6:" + A + b"7:added.f1:\x026:added618:" + A6 + b"8:added6.f1:\x107:dropped6:" + B + b"e"
    )
    assert extensions.decode_pex(payload) == message


def test_pex_contradictions_and_repeats_are_left_out() -> None:
    """No address comes out twice, nor one that is both added and dropped; a broken tail is cut."""
    payload = extensions.encode_pex(PexMessage((PexPeer(A), PexPeer(A), PexPeer(B)), (B, C)))
    broken = b"d5:added8:" + A + b"xx7:added.f0:8:dropped6i1ee"

    assert extensions.decode_pex(payload) == PexMessage((PexPeer(A),), (C,))
    assert extensions.decode_pex(broken) == PexMessage((PexPeer(A),))


def test_pex_is_capped() -> None:
    """However many peers come, of both families together, no more than asked for are taken."""
    many = tuple(PexPeer(bytes([9, 9, 9, number, 0, 80])) for number in range(60))
    many6 = tuple(PexPeer(bytes(15) + bytes([number, 0, 80])) for number in range(60))
    payload = extensions.encode_pex(PexMessage(many + many6, tuple(b"\x08" + p.address[1:] for p in many)))

    message = extensions.decode_pex(payload, max_peers=50)

    assert message.added == many[:50]
    assert len(message.dropped) == 50
