"""BEP 15 and 41 against the fact sheet's samples, and against what odd clients and trackers send."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire import tracker_udp as udp
from crawler.wire.compact import Family
from crawler.wire.tracker import (
    AnnounceAnswer,
    AnnounceRequest,
    Event,
    ScrapeCounts,
    TrackerFailure,
    TrackerReplyError,
    TrackerRequestError,
)

CONNECTION = bytes.fromhex("1122334455667788")
TRANSACTION = 0x12345678
ANNOUNCE = AnnounceRequest(
    b"\xaa" * 20,
    b"-XX0001-abcdefghijkl",
    6881,
    downloaded=1,
    left=2,
    uploaded=3,
    event=Event.STARTED,
    key=0xDEADBEEF,
)
ANNOUNCE_SAMPLE = bytes.fromhex(
    "11223344556677880000000112345678aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "2d5858303030312d6162636465666768696a6b6c000000000000000100000000000000020000000000000003"
    "0000000200000000deadbeefffffffff1ae1"
)
PATH = b"/dir?a=b&c=d"
IPV4, IPV6 = bytes.fromhex("0102030400500506070800515757"), bytes(range(36))


def test_connect_is_the_sample() -> None:
    """A connect request is the fact sheet's 16 bytes, both ways, and its reply has BEP 15's layout."""
    sample = bytes.fromhex("00000417271019800000000012345678")
    reply = bytes.fromhex("00000000123456781122334455667788")

    assert udp.encode_connect(TRANSACTION) == sample
    assert udp.decode_request(sample) == udp.ConnectRequest(TRANSACTION)
    assert udp.encode_connect_reply(TRANSACTION, CONNECTION) == reply
    assert udp.decode_connect_reply(reply + b"more", TRANSACTION) == CONNECTION


def test_announce_is_the_sample() -> None:
    """An announce is the fact sheet's 98 bytes, both ways."""
    assert udp.encode_announce(ANNOUNCE, CONNECTION, TRANSACTION) == ANNOUNCE_SAMPLE
    assert udp.decode_request(ANNOUNCE_SAMPLE) == udp.UdpAnnounce(CONNECTION, TRANSACTION, ANNOUNCE)
    fields = udp.AnnounceFields._make(udp.read_announce(ANNOUNCE_SAMPLE))
    assert (fields.connection_id, fields.action, fields.left, fields.numwant) == (CONNECTION, 1, 2, -1)


def test_announce_reply_gives_leechers_before_seeders() -> None:
    """The reply is BEP 15's 20 bytes and then peers of 6 bytes; a torn last peer is left out and counted."""
    reply = udp.encode_announce_reply(TRANSACTION, 1800, 5, 7, IPV4[:12])

    assert reply.hex() == "0000000112345678000007080000000500000007" + IPV4[:12].hex()
    expected = AnnounceAnswer(interval=1800, seeders=7, leechers=5, peers=(IPV4[:6], IPV4[6:12]))
    assert udp.decode_announce_reply(reply, TRANSACTION, Family.IPV4) == expected
    torn = udp.decode_announce_reply(reply + b"\1\2", TRANSACTION, Family.IPV4)
    assert isinstance(torn, AnnounceAnswer)
    assert (torn.peers, torn.unusable) == (expected.peers, 1)


def test_peers_over_ipv6_are_18_bytes_apart() -> None:
    """Over IPv6 the same bytes hold peers of 18 bytes, repeats are named once, and the most is kept to."""
    reply = udp.encode_announce_reply(TRANSACTION, 1800, 0, 2, IPV6 + IPV6[:18])

    answer = udp.decode_announce_reply(reply, TRANSACTION, Family.IPV6)
    short = udp.decode_announce_reply(reply, TRANSACTION, Family.IPV6, max_peers=1)

    assert isinstance(answer, AnnounceAnswer)
    assert isinstance(short, AnnounceAnswer)
    assert (answer.peers, answer.unusable) == ((IPV6[:18], IPV6[18:]), 0)
    assert (short.peers, short.unusable) == ((IPV6[:18],), 2)


def test_scrape_gives_seeders_completed_leechers() -> None:
    """A scrape and its reply have BEP 15's layout, both ways, up to 74 infohashes."""
    hashes = tuple(bytes([number]) * 20 for number in range(74))

    request = udp.encode_scrape(hashes, CONNECTION, TRANSACTION)
    reply = udp.encode_scrape_reply(TRANSACTION, [ScrapeCounts(1, 2, 3), ScrapeCounts()])

    assert request == CONNECTION + bytes.fromhex("0000000212345678") + b"".join(hashes)
    assert udp.decode_request(request) == udp.UdpScrape(CONNECTION, TRANSACTION, hashes)
    assert udp.decode_request(request[:-1]) == udp.UdpScrape(CONNECTION, TRANSACTION, hashes[:-1])
    assert reply.hex() == "0000000212345678" + "000000010000000200000003" + "00" * 12
    assert udp.decode_scrape_reply(reply, TRANSACTION, 2) == (ScrapeCounts(1, 2, 3), ScrapeCounts(0, 0, 0))


def test_scrape_replies_of_odd_lengths_are_matched_by_position() -> None:
    """What a tracker left out of a scrape is unknown, what it added is not read, beyond 2³¹ is unknown."""
    reply = udp.encode_scrape_reply(TRANSACTION, [ScrapeCounts(1, 2, 3), ScrapeCounts(2**32 - 1, 2**31, 9)])

    known, huge = ScrapeCounts(1, 2, 3), ScrapeCounts(None, None, 9)
    assert udp.decode_scrape_reply(reply, TRANSACTION, 1) == (known,)
    assert udp.decode_scrape_reply(reply + bytes(11), TRANSACTION, 3) == (known, huge, ScrapeCounts())
    assert udp.decode_scrape_reply(reply[:8], TRANSACTION, 1) == (ScrapeCounts(),)


@pytest.mark.parametrize("count", [0, 75])
def test_scrapes_of_none_or_too_many_are_refused(count: int) -> None:
    """Neither side makes or reads a scrape of no infohash, or of more than a datagram holds."""
    with pytest.raises(ValueError, match="1 to 74 infohashes"):
        udp.encode_scrape([bytes(20)] * count, CONNECTION, TRANSACTION)
    with pytest.raises(TrackerRequestError, match="1 to 74 infohashes"):
        udp.decode_request(CONNECTION + bytes.fromhex("0000000212345678") + bytes(20 * count))


def test_errors_are_read_whatever_was_asked() -> None:
    """An error answers each request; a NUL at its end is no part of it, and a long one is cut."""
    error = udp.encode_error(TRANSACTION, "no such torrent")
    odd = bytes.fromhex("0000000312345678") + b"Connection ID missmatch.\0"
    cut = TrackerFailure("x" * 1024)

    assert error.hex() == "0000000312345678" + b"no such torrent".hex()
    for data, failure in [
        (error, TrackerFailure("no such torrent")),
        (odd, TrackerFailure("Connection ID missmatch.")),
        (error[:8], TrackerFailure("")),
        (error[:8] + b"x" * 3000, cut),
    ]:
        assert udp.decode_connect_reply(data, TRANSACTION) == failure
        assert udp.decode_announce_reply(data, TRANSACTION, Family.IPV4) == failure
        assert udp.decode_scrape_reply(data, TRANSACTION, 1) == failure
    assert udp.encode_error(1, "too long", longest=3)[8:] == b"too"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too_short"),
        (bytes.fromhex("00000000123456"), "too_short"),
        (bytes.fromhex("0000000012345678") + bytes(7), "too_short"),
        (bytes.fromhex("0000000012345679") + bytes(8), "other_transaction"),
        (bytes.fromhex("0000000312345679") + b"forged", "other_transaction"),
        (bytes.fromhex("0000000112345678") + bytes(12), "other_action"),
        (bytes.fromhex("0000000412345678") + bytes(12), "other_action"),
    ],
)
def test_what_is_no_reply_of_ours_is_named(data: bytes, reason: str) -> None:
    """A reply that is too short, of another transaction or another action is refused with its reason."""
    with pytest.raises(TrackerReplyError, match=reason):
        udp.decode_connect_reply(data, TRANSACTION)
    number = udp.transaction_of(data)
    assert number == (int.from_bytes(data[4:8], "big") if len(data) >= 8 else None)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "at least 16"),
        (bytes(15), "at least 16"),
        (bytes(16), "protocol id"),
        (CONNECTION + bytes.fromhex("0000000312345678"), "unknown action"),
        (CONNECTION + bytes.fromhex("ffffffff12345678"), "unknown action"),
        (ANNOUNCE_SAMPLE[:97], "at least 98"),
        (ANNOUNCE_SAMPLE[:16], "at least 98"),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, problem: str) -> None:
    """Truncated requests, forged actions and connects without the magic are refused, and told why."""
    with pytest.raises(TrackerRequestError, match=problem):
        udp.decode_request(data)


def test_odd_numbers_of_an_announce_are_tolerated() -> None:
    """An unknown event counts as none, a negative numwant as unsaid, and zero is what it says."""
    odd = bytearray(ANNOUNCE_SAMPLE)
    odd[80:84] = (9).to_bytes(4, "big")
    odd[92:96] = (-7).to_bytes(4, "big", signed=True)
    none = bytearray(ANNOUNCE_SAMPLE)
    none[92:96] = bytes(4)

    strange, nothing = udp.decode_request(bytes(odd)), udp.decode_request(bytes(none))

    assert isinstance(strange, udp.UdpAnnounce)
    assert isinstance(nothing, udp.UdpAnnounce)
    assert (strange.request.event, strange.request.numwant) == (Event.NONE, None)
    assert nothing.request.numwant == 0


@pytest.mark.parametrize(
    ("options", "url_data"),
    [
        (b"", b""),
        (b"\x02\x0c" + PATH, PATH),
        (b"\x02\x0c" + PATH + b"\x01\x01\x00", PATH),
        (b"\x02\x00", b""),
        (b"\x02\x04/dir\x02\x08?a=b&c=d", PATH),
        (b"\x01\x07\x03abc\x02\x0c" + PATH, PATH),
        (b"\x00\x02\x0c" + PATH, b""),
        (b"\x02\x04/dir\x02", b"/dir"),
        (b"\x02\x04/dir\x02\x09?a=b&c=d", b"/dir"),
        (b"\x07\x00\x02\x01/", b"/"),
        (b"\x02\xff" + b"/" * 255, b"/" * 255),
    ],
)
def test_options_are_read(options: bytes, url_data: bytes) -> None:
    """BEP 41's samples, and options split, padded, unknown or torn, give the path that they hold."""
    announce = udp.decode_request(ANNOUNCE_SAMPLE + options)

    assert isinstance(announce, udp.UdpAnnounce)
    assert announce.url_data == url_data
    assert announce.request == ANNOUNCE


def test_options_are_written() -> None:
    """A path of any length is written in options of 255 bytes, and cut where no URL would be that long."""
    sample = udp.encode_announce(ANNOUNCE, CONNECTION, TRANSACTION, url_data=PATH)
    long = udp.encode_url_data(b"/" + b"x" * 300)

    assert sample == ANNOUNCE_SAMPLE + b"\x02\x0c" + PATH
    assert (long[:3], long[257:260]) == (b"\x02\xff/", b"\x02\x2ex")
    assert udp.decode_url_data(long) == b"/" + b"x" * 300
    assert udp.decode_url_data(udp.encode_url_data(b"y" * 9999)) == b"y" * udp.MAX_URL_DATA


@given(
    request=st.builds(
        AnnounceRequest,
        infohash=st.binary(min_size=20, max_size=20),
        peer_id=st.binary(min_size=20, max_size=20),
        port=st.integers(0, 65535),
        uploaded=st.integers(0, 2**64 - 1),
        downloaded=st.integers(0, 2**64 - 1),
        left=st.integers(0, 2**64 - 1),
        event=st.sampled_from(Event),
        key=st.integers(0, 2**32 - 1),
        numwant=st.none() | st.integers(0, 2**31 - 1),
    ),
    url_data=st.binary(max_size=600),
)
def test_announces_come_out_as_they_went_in(request: AnnounceRequest, url_data: bytes) -> None:
    """Whatever can be said in an announce is read as it was written."""
    data = udp.encode_announce(request, CONNECTION, 7, url_data=url_data)

    assert udp.decode_request(data) == udp.UdpAnnounce(CONNECTION, 7, request, url_data)


@given(data=st.binary(max_size=200), asked=st.integers(0, 80))
def test_any_reply_is_read_or_refused(data: bytes, asked: int) -> None:
    """Arbitrary bytes are a reply, a failure, or a named refusal to each of the readers, in both families."""
    number = udp.transaction_of(data) or 0
    for read in (
        lambda: udp.decode_connect_reply(data, number),
        lambda: udp.decode_announce_reply(data, number, Family.IPV4),
        lambda: udp.decode_announce_reply(data, number, Family.IPV6),
        lambda: udp.decode_scrape_reply(data, number, asked),
    ):
        found = None
        with contextlib.suppress(TrackerReplyError):
            found = read()
        assert found is None or isinstance(found, bytes | tuple | AnnounceAnswer | TrackerFailure)
