"""KRPC decoding: the published packets, and the envelope's rules. Deviations are in test_krpc_tolerance."""

from __future__ import annotations

from typing import Any

import pytest

from crawler.wire import bencode, krpc
from crawler.wire.compact import Family, split_nodes, split_peers
from crawler.wire.krpc import Error, MalformedMessageError, Query, Response

ID, ID2, ID3 = b"abcdefghij0123456789", b"mnopqrstuvwxyz123456", b"0123456789abcdefghij"

# krpc.md §4: the packets that BEP 5 publishes, exact.
QUERIES: dict[bytes, tuple[bytes, dict[bytes, Any]]] = {
    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe": (b"ping", {}),
    b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe": (
        b"find_node",
        {b"target": ID2},
    ),
    b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe": (
        b"get_peers",
        {b"info_hash": ID2},
    ),
    b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e"
    b"5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe": (
        b"announce_peer",
        {b"implied_port": 1, b"info_hash": ID2, b"port": 6881, b"token": b"aoeusnth"},
    ),
}
RESPONSES: dict[bytes, tuple[bytes, dict[bytes, Any]]] = {
    b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re": (ID2, {}),
    b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re": (ID3, {b"nodes": b"def456..."}),
    b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re": (
        ID,
        {b"token": b"aoeusnth", b"values": [b"axje.u", b"idhtnm"]},
    ),
    b"d1:rd2:id20:abcdefghij01234567895:nodes9:def456...5:token8:aoeusnthe1:t2:aa1:y1:re": (
        ID,
        {b"nodes": b"def456...", b"token": b"aoeusnth"},
    ),
}
ERROR = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee"


@pytest.mark.parametrize("packet", QUERIES)
def test_published_queries_decode(packet: bytes) -> None:
    """Every query that BEP 5 publishes decodes to what it says."""
    method, args = QUERIES[packet]
    expected = Query(b"aa", method, ID, {b"id": ID, **args}, read_only=False, version=None)
    assert krpc.decode(packet) == expected


@pytest.mark.parametrize("packet", RESPONSES)
def test_published_responses_decode(packet: bytes) -> None:
    """Every response that BEP 5 publishes decodes to what it says."""
    node_id, body = RESPONSES[packet]
    assert krpc.decode(packet) == Response(b"aa", node_id, {b"id": node_id, **body}, ip=None, version=None)


def test_published_error_decodes() -> None:
    """BEP 5's error decodes, with the typing error that it is published with."""
    assert krpc.decode(ERROR) == Error(b"aa", 201, b"A Generic Error Ocurred", ip=None, version=None)


@pytest.mark.parametrize("packet", [*QUERIES, *RESPONSES, ERROR])
def test_published_packets_are_canonical(packet: bytes) -> None:
    """Decoding and encoding a published packet gives the same bytes."""
    assert bencode.encode(bencode.decode(packet)) == packet


def test_published_values_are_peers_and_placeholders_no_nodes() -> None:
    """The two peers of BEP 5's answer come out; its placeholder for nodes gives none."""
    response = krpc.decode(list(RESPONSES)[2])
    assert isinstance(response, Response)
    assert split_peers(response.body[b"values"], Family.IPV4) == [b"axje.u", b"idhtnm"]
    assert split_nodes(b"def456...", Family.IPV4) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_a_dict"),
        (b"l1:ae", "not_a_dict"),
        (b"GET / HTTP/1.1\r\n\r\n", "not_a_dict"),
        (b"d1:y1:q", "bad_bencode"),
        (b"d" * 1472, "bad_bencode"),
        (b"d1:y1:qe", "bad_transaction_id"),
        (b"d1:t0:1:y1:qe", "bad_transaction_id"),
        (b"d1:ti1e1:y1:qe", "bad_transaction_id"),
        (b"d1:t33:" + b"x" * 33 + b"1:y1:qe", "bad_transaction_id"),
        (b"d1:t2:aae", "bad_kind"),
        (b"d1:t2:aa1:y1:xe", "bad_kind"),
        (b"d1:t2:aa1:yi1ee", "bad_kind"),
        (b"d1:t2:aa1:y2:qqe", "bad_kind"),
        (b"d1:t2:aa1:yl1:qee", "bad_kind"),
        (b"d1:t2:aa1:y1:qe", "bad_method"),
        (b"d1:qi1e1:t2:aa1:y1:qe", "bad_method"),
        (b"d1:t2:aa1:y1:re", "bad_body"),
        (b"d1:rle1:t2:aa1:y1:re", "bad_body"),
        (b"d1:rde1:t2:aa1:y1:re", "bad_id"),
        (b"d1:rd2:id19:0123456789012345678e1:t2:aa1:y1:re", "bad_id"),
        (b"d1:rd2:id21:012345678901234567890e1:t2:aa1:y1:re", "bad_id"),
        (b"d1:rd2:idi1ee1:t2:aa1:y1:re", "bad_id"),
        (
            b"d1:ad2:id20:abcdefghij01234567894:porti-9223372036854775809ee1:q4:ping1:t2:aa1:y1:qe",
            "huge_integer",
        ),
    ],
)
def test_malformed_messages_say_why(data: bytes, reason: str) -> None:
    """What cannot be used raises the one error, with a reason from a small set for counting."""
    with pytest.raises(MalformedMessageError) as caught:
        krpc.decode(data)
    assert caught.value.reason == reason
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "args",
    [
        b"",
        b"1:ade",
        b"1:ale",
        b"1:ai1e",
        b"1:ad2:id3:abce",
        b"1:ad2:idi1ee",
        b"1:ad2:id21:012345678901234567890e",
    ],
)
def test_a_query_without_a_valid_id_can_be_answered(args: bytes) -> None:
    """A query whose id or arguments are missing or wrong is decoded with an empty id, to be answered 203."""
    query = krpc.decode(b"d" + args + b"1:q4:ping1:t2:aa1:y1:qe")
    assert isinstance(query, Query)
    assert (query.tid, query.method, query.id) == (b"aa", b"ping", b"")


@pytest.mark.parametrize(
    ("mark", "read_only"),
    [(b"", False), (b"2:roi1e", True), (b"2:roi0e", False), (b"2:ro1:1", False), (b"2:role", False)],
)
def test_read_only_is_an_integer_one(mark: bytes, read_only: bool) -> None:
    """BEP 43: `ro` is 1 at the top level; anything else is as good as absent."""
    query = krpc.decode(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping" + mark + b"1:t2:aa1:y1:qe")
    assert isinstance(query, Query)
    assert query.read_only is read_only


def test_version_is_kept_if_it_is_bytes() -> None:
    """`v` is kept as sent, and dropped where it is no byte string."""
    for version, expected in ((b"4:LT\x02\x01", b"LT\x02\x01"), (b"2:UT", b"UT"), (b"i1e", None)):
        message = krpc.decode(b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:v" + version + b"1:y1:re")
        assert message.version == expected


def test_huge_integers_of_a_response_are_for_its_reader() -> None:
    """A response with an integer beyond int64 decodes, as checking every answer would cost the hot path."""
    response = krpc.decode(b"d1:rd2:id20:mnopqrstuvwxyz1234563:numi9223372036854775808ee1:t2:aa1:y1:re")
    assert isinstance(response, Response)
    assert response.body[b"num"] == 2**63


def test_messages_are_cheap_values() -> None:
    """Messages compare by content and have slots, so that one costs little."""
    first, second = krpc.decode(ERROR), krpc.decode(ERROR)
    assert first == second
    assert not hasattr(first, "__dict__")
