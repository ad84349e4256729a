"""HTTP trackers' query strings and bodies: the BEPs' samples, and every deviation of the fact sheet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire.compact import pack_address
from crawler.wire.tracker import (
    MAX_TEXT,
    NEVER,
    AnnounceAnswer,
    AnnounceRequest,
    Event,
    ScrapeCounts,
    TrackerFailure,
    TrackerReplyError,
    TrackerRequestError,
)
from crawler.wire.tracker_http import (
    ScrapeAnswer,
    announce_query,
    decode_announce,
    decode_scrape,
    encode_announce,
    encode_failure,
    encode_scrape,
    parse_announce,
    parse_scrape,
    scrape_path,
    scrape_query,
)

HASH = bytes.fromhex("123456789abcdef123456789abcdef123456789a")
PEER_ID = b"-XX0001-abcdefghijkl"
REQUEST = AnnounceRequest(
    HASH, PEER_ID, 6881, uploaded=3, downloaded=1, left=2, event=Event.STARTED, key=0xDEADBEEF, numwant=50
)
A, B = pack_address(("1.2.3.4", 6881)), pack_address(("5.6.7.8", 80))
A6 = pack_address(("2001:db8::1", 51413))


def test_announce_is_written_as_bep_3_says() -> None:
    """Raw bytes are percent-encoded unless unreserved, numbers are decimal, and no address is told."""
    assert announce_query(REQUEST) == (
        "info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A&peer_id=-XX0001-abcdefghijkl&port=6881"
        "&uploaded=3&downloaded=1&left=2&event=started&compact=1&numwant=50&key=DEADBEEF"
    )


def test_what_is_not_said_stays_out() -> None:
    """A periodic announce without extras has the six parameters that BEP 3 asks for, and no more."""
    query = announce_query(AnnounceRequest(HASH, PEER_ID, 1, compact=None))

    assert [part.partition("=")[0] for part in query.split("&")] == [
        *("info_hash", "peer_id", "port", "uploaded", "downloaded", "left")
    ]


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        AnnounceRequest(HASH, PEER_ID, 0, event=Event.STOPPED, compact=False),
        AnnounceRequest(HASH, PEER_ID, 65535, event=Event.COMPLETED, compact=None, no_peer_id=True),
        AnnounceRequest(HASH, PEER_ID, 1, left=2**63 - 1, key=0, numwant=0, paused=True, tracker_id=b"\0&=%"),
    ],
)
def test_announce_reads_back(request_: AnnounceRequest) -> None:
    """The server reads exactly what the client wrote."""
    assert parse_announce(announce_query(request_).encode()) == request_


@given(infohash=st.binary(min_size=20, max_size=20), peer_id=st.binary(min_size=20, max_size=20))
def test_any_bytes_survive_the_query_string(infohash: bytes, peer_id: bytes) -> None:
    """Whatever the 20 bytes are, they arrive, and the query string is plain ASCII without white space."""
    query = announce_query(AnnounceRequest(infohash, peer_id, 1))

    assert query.isascii()
    assert " " not in query
    read = parse_announce(query.encode())
    assert (read.infohash, read.peer_id) == (infohash, peer_id)


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        (b"", "port"),
        (b"port=6881", "info_hash"),
        (b"port=6881&info_hash=short&peer_id=" + PEER_ID, "info_hash"),
        (b"port=6881&info_hash=" + b"a" * 20, "peer_id"),
        (b"port=6881&info_hash=" + b"a" * 20 + b"&peer_id=" + b"a" * 21, "peer_id"),
        *(
            (b"port=" + port + b"&info_hash=" + b"a" * 20 + b"&peer_id=" + PEER_ID, "port")
            for port in (b"", b"x", b"-1", b"65536", b"6881;", b"9" * 5000, b"\xd9\xa1")
        ),
    ],
)
def test_unusable_announces_are_refused_with_a_reason(query: bytes, complaint: str) -> None:
    """Without a usable infohash, peer id and port there is no announce, and the client is told which."""
    with pytest.raises(TrackerRequestError, match=complaint):
        parse_announce(query)


def test_odd_announces_are_read_as_far_as_they_go() -> None:
    """Unknown events, nonsense numbers, repeated and unknown parameters and addresses do no harm."""
    query = (
        b"&&=&x&ip=127.0.0.1&ipv6=::1&info_hash=%61%61%61%61%61aaaaaaaaaaaaaaa&info_hash=b&peer_id=" + PEER_ID
    ) + b"&port=6881&uploaded=-5&downloaded=x&left=99999999999999999999&event=evil&numwant=-1&key=hello"

    read = parse_announce(query)

    assert read == AnnounceRequest(b"a" * 20, PEER_ID, 6881, left=1, compact=None, key=read.key)
    assert read.key is not None
    assert read.key == parse_announce(query).key


def test_scrape_query_round_trip() -> None:
    """Several infohashes are asked about at once; repeats count once; none means all."""
    assert scrape_query([HASH]) == "info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A"
    assert parse_scrape(scrape_query([HASH, PEER_ID, HASH]).encode()) == (HASH, PEER_ID)
    assert parse_scrape(b"") == ()
    with pytest.raises(TrackerRequestError, match="20 bytes"):
        parse_scrape(b"info_hash=abc")
    with pytest.raises(TrackerRequestError, match="too many"):
        parse_scrape(scrape_query([HASH, PEER_ID]).encode(), max_hashes=1)


@pytest.mark.parametrize(
    ("path", "scraped_at"),
    [
        ("/announce", "/scrape"),
        ("/x/announce.php", "/x/scrape.php"),
        ("/announce/announce", "/announce/scrape"),
        ("/a", None),
        ("/announce/x", None),
        ("/xannounce", None),
        ("/", None),
        ("", None),
    ],
)
def test_where_to_scrape(path: str, scraped_at: str | None) -> None:
    """Only a path whose last component begins with announce has a place to scrape at (BEP 48)."""
    assert scrape_path(path) == scraped_at


def test_bep_7_sample() -> None:
    """BEP 7's printed answer gives one peer of each family."""
    read = decode_announce(b"d8:intervali1800e5:peers6:iiiipp6:peers618:iiiiiiiiiiiiiiiippe")

    assert read == AnnounceAnswer(interval=1800, peers=(b"iiiipp", b"iiiiiiiiiiiiiiiipp"))


ANSWER = AnnounceAnswer(
    interval=1800,
    min_interval=30,
    seeders=1,
    leechers=2,
    completed=3,
    downloaders=1,
    peers=(A, B, A6),
    warning="slow down",
    tracker_id=b"\xffid",
    external_ip=b"\x09\x09\x09\x09",
)


@pytest.mark.parametrize("compact", [True, False])
def test_answer_reads_back(compact: bool) -> None:
    """The client reads what the server wrote, from strings and from dicts, both families at once."""
    assert decode_announce(encode_announce(ANSWER, compact=compact)) == ANSWER


def test_answer_in_the_dictionary_model() -> None:
    """A peer's dict has its id where it is known, and leaves it out where it is not (no_peer_id)."""
    answer = AnnounceAnswer(interval=1, peers=(A, B))

    assert encode_announce(answer, compact=False, peer_ids={A: PEER_ID}) == (
        b"d8:intervali1e5:peersld2:ip7:1.2.3.47:peer id20:-XX0001-abcdefghijkl4:porti6881ee"
        b"d2:ip7:5.6.7.84:porti80eeee"
    )
    assert encode_announce(AnnounceAnswer(interval=1)) == b"d8:intervali1e5:peers0:e"


@pytest.mark.parametrize(
    ("body", "peers", "unusable"),
    [
        (b"d5:peers6:\x01\x02\x03\x04\x1a\xe18:intervali9ee\r\n", (A,), 0),
        (b"d5:peers0:e", (), 0),
        (b"d5:peerslee", (), 0),
        (b"d5:peersi4ee", (), 0),
        (b"de", (), 0),
        (b"d5:peers8:\x01\x02\x03\x04\x1a\xe1\x05\x06e", (A,), 1),
        (b"d6:peers619:" + A6 + b"xe", (A6,), 1),
        (b"d5:peers12:" + A + A + b"e", (A,), 0),
        (b"d5:peersld2:ip14:::ffff:1.2.3.44:porti6881eeee", (A,), 0),
        (b"d5:peersld2:ip11:2001:db8::14:porti51413eeee", (A6,), 0),
        (b"d5:peersld4:porti6881e2:ip7:1.2.3.4eee", (A,), 0),
        (b"d5:peersld2:ip11:example.org4:porti6881eed2:ip7:1.2.3.44:porti6881eeee", (A,), 1),
        (b"d5:peersld2:ip7:1.2.3.44:porti65536eed2:ip7:1.2.3.44:porti-1eeee", (), 2),
        (b"d5:peersl3:abci1eled2:ipi1e4:porti1eed2:ip7:1.2.3.4eee", (), 5),
        (b"d5:peersld2:ip7:1.2.3.44:porti99999999999999999999999999eeee", (), 1),
    ],
)
def test_peers_in_every_form(body: bytes, peers: tuple[bytes, ...], unusable: int) -> None:
    """Strings, lists, broken tails, unsorted keys: what is a peer is taken, the rest is counted."""
    read = decode_announce(body)

    assert isinstance(read, AnnounceAnswer)
    assert (read.peers, read.unusable) == (peers, unusable)


def test_peers_are_capped() -> None:
    """More peers than wanted are counted and left out, whatever a tracker sends."""
    body = b"d5:peers60000:" + b"".join(number.to_bytes(6, "big") for number in range(10_000)) + b"e"

    read = decode_announce(body, max_peers=200)

    assert isinstance(read, AnnounceAnswer)
    assert (len(read.peers), read.unusable) == (200, 9800)


@pytest.mark.parametrize("number", [b"i-1e", b"i2147483648e", b"i99999999999999999999999e", b"1:5", b"le"])
def test_nonsense_numbers_count_as_absent(number: bytes) -> None:
    """A count or an interval below zero, beyond 2³¹ or of the wrong type is unknown."""
    keys = (b"8:complete", b"10:downloaded", b"10:incomplete", b"8:interval", b"12:min interval")

    assert decode_announce(b"d" + b"".join(key + number for key in keys) + b"e") == AnnounceAnswer()


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (b"d14:failure reason3:noee", TrackerFailure("noe")),
        (b"d14:failure reason2:no8:retry in1:5e", TrackerFailure("no", 300.0)),
        (b"d14:failure reason2:no8:retry ini5ee", TrackerFailure("no", 300.0)),
        (b"d14:failure reason2:no8:retry in5:nevere", TrackerFailure("no", NEVER)),
        (b"d14:failure reason2:no8:retry ini-5ee", TrackerFailure("no")),
        (b"d14:failure reason2:no8:retry in2:-5e", TrackerFailure("no")),
        (b"d14:failure reason2:no8:retry inlee", TrackerFailure("no")),
        (b"d14:failure reasoni7e5:peers6:\x01\x02\x03\x04\x1a\xe1e", TrackerFailure("")),
        (b"d14:failure reason3:\xff\x1b\x00e", TrackerFailure("\N{REPLACEMENT CHARACTER}\x1b")),
        (b"d14:failure reason5000:" + b"x" * 5000 + b"e", TrackerFailure("x" * MAX_TEXT)),
    ],
)
def test_failures(body: bytes, failure: TrackerFailure) -> None:
    """A failure wins over peers, its text is cut, and `retry in` is minutes in either form (BEP 31)."""
    assert decode_announce(body) == failure
    assert decode_scrape(body) == failure


@pytest.mark.parametrize("retry_in", [None, 60.0, 300.0, NEVER])
def test_failure_reads_back(retry_in: float | None) -> None:
    """The client reads the refusal that the server wrote."""
    assert decode_announce(encode_failure(TrackerFailure("näh", retry_in))) == TrackerFailure("näh", retry_in)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"<html><body>502 Bad Gateway</body></html>",
        b"le",
        b"i5e",
        b"4:spam",
        b"d8:interval",
        b"d8:intervali5e",
        b"l" * 1_000_000,
        b"d1:a" + b"l" * 500_000 + b"e" * 500_000 + b"e",
        b"d1:al" + b"le" * 500_000 + b"ee",
    ],
)
def test_what_is_no_dict_is_refused(body: bytes) -> None:
    """HTML, nothing, broken, deep or endless bencode: one error with a reason to count by."""
    with pytest.raises(TrackerReplyError, match="not_bencode"):
        decode_announce(body)
    with pytest.raises(TrackerReplyError, match="not_bencode"):
        decode_scrape(body)


def test_scrape_sample() -> None:
    """The corrected sample of BEP 48 reads as it should, and writing it gives it back."""
    body = b"d5:filesd20:xxxxxxxxxxxxxxxxxxxxd8:completei11e10:downloadedi13772e10:incompletei19eeee"
    counts = {b"x" * 20: ScrapeCounts(seeders=11, completed=13772, leechers=19)}

    assert decode_scrape(body) == ScrapeAnswer(counts)
    assert encode_scrape(counts) == body


def test_scrape_of_a_chatty_tracker() -> None:
    """Unwanted infohashes, odd keys and nonsense are left out; flags tell when to come again."""
    body = (
        b"d5:filesd3:abcde20:aaaaaaaaaaaaaaaaaaaad8:completei-1e10:incompletei2e4:name3:\xff\xff\xffe"
        b"20:bbbbbbbbbbbbbbbbbbbbi5e20:ccccccccccccccccccccd8:completei1eee"
        b"5:flagsd20:min_request_intervali900eee"
    )

    read = decode_scrape(body, {b"a" * 20, b"b" * 20})

    assert read == ScrapeAnswer({b"a" * 20: ScrapeCounts(leechers=2)}, 900)
    with pytest.raises(TrackerReplyError, match="no_files"):
        decode_scrape(b"d8:intervali5ee")


def test_scraped_infohashes_in_utf_8() -> None:
    """Keys whose bytes were written as characters in UTF-8, as npm's bittorrent-tracker does, are read."""
    body = b"d5:filesd21:" + b"\x02" * 19 + b"\xc3\xbfd8:completei1e10:downloadedi1e10:incompletei0eeee"

    assert decode_scrape(body, {b"\x02" * 19 + b"\xff"}) == ScrapeAnswer(
        {b"\x02" * 19 + b"\xff": ScrapeCounts(1, 1, 0)}
    )
