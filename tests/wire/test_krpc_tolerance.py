"""Each deviation of krpc.md §11 that touches decoding: what others get wrong, and what we make of it."""

from __future__ import annotations

import pytest

from crawler.wire import krpc
from crawler.wire.compact import Family, split_nodes, split_peers, split_samples
from crawler.wire.krpc import Error, MalformedMessageError, Query, Response

ID = b"abcdefghij0123456789"
HEAD = b"2:id20:" + ID


def response(body: bytes = b"", *, before: bytes = b"", after: bytes = b"") -> Response:
    """Decode a response with this bencoded body after its id, and this before and after `r`."""
    message = krpc.decode(b"d" + before + b"1:rd" + HEAD + body + b"e" + after + b"1:t2:aa1:y1:re")
    assert isinstance(message, Response)
    return message


def query(args: bytes = b"", *, after: bytes = b"") -> Query:
    """Decode a query with these bencoded arguments after its id, and this after `q`."""
    message = krpc.decode(b"d1:ad" + HEAD + args + b"e1:q9:get_peers" + after + b"1:t2:aa1:y1:qe")
    assert isinstance(message, Query)
    return message


@pytest.mark.parametrize("size", [1, 2, 4, 6, 8, 10, 20, 32])
def test_row_1_transaction_ids_of_any_length(size: int) -> None:
    """Transaction ids of 1 to 32 bytes are kept byte for byte, zeros and separators included."""
    tid = b"\0e:\xff"[: size % 4] + b"x" * (size - size % 4)
    message = krpc.decode(b"d1:ad%be1:q4:ping1:t%d:%b1:y1:qe" % (HEAD, len(tid), tid))
    assert message.tid == tid


@pytest.mark.parametrize("tid", [b"", b"1:t0:", b"1:ti7e", b"1:tle"])
def test_row_4_no_transaction_id_no_message(tid: bytes) -> None:
    """A missing or empty transaction id makes a query malformed, so that it is dropped silently."""
    with pytest.raises(MalformedMessageError):
        krpc.decode(b"d1:ad" + HEAD + b"e1:q4:ping" + tid + b"1:y1:qe")


def test_row_5_unsorted_envelope() -> None:
    """Keys of the envelope may come in any order, and those of the body too."""
    message = krpc.decode(b"d1:y1:r1:t2:aa1:rd5:token2:xy" + HEAD + b"ee")
    assert message == Response(b"aa", ID, {b"token": b"xy", b"id": ID}, ip=None, version=None)


def test_row_7_leading_zeros_yes_duplicates_no() -> None:
    """Leading zeros are read over; a duplicate key makes the message malformed."""
    assert response(b"3:numi007e").body[b"num"] == 7
    with pytest.raises(MalformedMessageError):
        response(b"3:numi7e3:numi8e")
    with pytest.raises(MalformedMessageError):
        krpc.decode(b"d1:rd" + HEAD + b"e1:t2:aa1:y1:r1:y1:re")


def test_row_8_trailing_bytes_yes_truncation_no() -> None:
    """Bytes after the message are ignored; a message that is cut off anywhere is malformed."""
    whole = b"d1:rd" + HEAD + b"5:token8:aoeusnthe1:t2:aa1:y1:re"
    assert krpc.decode(whole + b"\0garbage") == krpc.decode(whole)
    for end in range(len(whole)):
        with pytest.raises(MalformedMessageError):
            krpc.decode(whole[:end])


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"li203e14:Protocol Errore", 203, b"Protocol Error"),
        (b"li203e0:e", 203, b""),
        (b"li203e3:abc3:defe", 203, b"abc"),
        (b"14:Protocol Error", 0, b"Protocol Error"),
        (b"li203ee", 0, b""),
        (b"l3:abce", 0, b"abc"),
        (b"l3:abci203ee", 0, b"abc"),
        (b"i203e", 0, b""),
        (b"le", 0, b""),
        (b"de", 0, b""),
        (b"li203ei204ee", 0, b""),
        (b"ll3:abceli1eee", 0, b""),
        (b"li99999999999999999999e3:abce", 0, b""),
    ],
)
def test_row_9_errors_of_any_shape(body: bytes, code: int, message: bytes) -> None:
    """An error that is not [int, bytes] has code 0, and its text if there is one."""
    assert krpc.decode(b"d1:e" + body + b"1:t2:aa1:y1:ee") == Error(
        b"aa", code, message, ip=None, version=None
    )


def test_row_9_an_error_without_its_list() -> None:
    """An error message that lacks `e` altogether is still an error."""
    assert krpc.decode(b"d1:t2:aa1:y1:ee") == Error(b"aa", 0, b"", ip=None, version=None)


@pytest.mark.parametrize("values", [b"12:abcdefghijkl", b"l12:abcdefghijkle"])
def test_row_11_values_as_one_string(values: bytes) -> None:
    """Old mainline's values decode, and split into two peers."""
    body = response(b"6:values" + values).body
    assert split_peers(body[b"values"], Family.IPV4) == [b"abcdef", b"ghijkl"]


def test_row_12_values_of_other_lengths() -> None:
    """Odd strings among the values are skipped."""
    body = response(b"6:valuesl3:abc6:abcdefi7ee").body
    assert split_peers(body[b"values"], Family.IPV4) == [b"abcdef"]


@pytest.mark.parametrize("body", [b"", b"5:nodes0:", b"6:valuesle", b"5:token2:xy", b"5:nodes0:5:token2:xy"])
def test_row_13_parts_of_a_get_peers_answer_may_miss(body: bytes) -> None:
    """Nodes only, values only, neither, or no token: each decodes."""
    assert response(body).id == ID


@pytest.mark.parametrize(("size", "nodes"), [(25, 0), (26, 1), (27, 1), (51, 1), (52, 2)])
def test_row_14_nodes_of_an_odd_length(size: int, nodes: int) -> None:
    """The whole entries of an odd `nodes` string are used."""
    body = response(b"5:nodes%d:%b" % (size, b"x" * size)).body
    assert len(split_nodes(body[b"nodes"], Family.IPV4)) == nodes


@pytest.mark.parametrize("count", [16, 20])
def test_row_15_more_than_eight_nodes(count: int) -> None:
    """Sixteen and twenty nodes of either family are read."""
    body = response(
        b"5:nodes%d:%b6:nodes6%d:%b" % (26 * count, bytes(26 * count), 38 * count, bytes(38 * count))
    ).body
    assert len(split_nodes(body[b"nodes"], Family.IPV4)) == count
    assert len(split_nodes(body[b"nodes6"], Family.IPV6)) == count


@pytest.mark.parametrize("size", [4, 6, 16, 18])
def test_row_17_our_address_in_four_sizes(size: int) -> None:
    """`ip` is taken with and without a port, in both families, from responses and errors."""
    ip = b"2:ip%d:%b" % (size, b"x" * size)
    assert response(before=ip).ip == b"x" * size
    assert krpc.decode(b"d1:eli201e1:xe" + ip + b"1:t2:aa1:y1:ee") == Error(
        b"aa", 201, b"x", b"x" * size, None
    )


@pytest.mark.parametrize("ip", [b"2:ip0:", b"2:ip5:xxxxx", b"2:ip7:1.2.3.4", b"2:ipi1e", b"2:iple"])
def test_row_17_other_addresses_are_ignored(ip: bytes) -> None:
    """An `ip` of another size or type is as good as absent."""
    assert response(before=ip).ip is None


def test_row_17_addresses_on_queries_are_ignored() -> None:
    """`ip` on a query does no harm."""
    assert krpc.decode(b"d1:ad" + HEAD + b"e2:ip6:xxxxxx1:q4:ping1:t2:aa1:y1:qe").tid == b"aa"


def test_rows_18_to_20_unknown_keys_are_kept_and_ignored() -> None:
    """`p`, `bs`, `n`, `name`, `BFse` and keys never heard of decode, and stay for whoever knows them."""
    assert response(b"1:pi6881e").body[b"p"] == 6881
    assert query(b"2:bsi1e1:n3:foo4:name3:bar").args == {b"id": ID, b"bs": 1, b"n": b"foo", b"name": b"bar"}
    assert response(b"4:BFse256:" + bytes(256)).body[b"BFse"] == bytes(256)
    assert query(after=b"6:qwertyi1e").method == b"get_peers"


@pytest.mark.parametrize("samples", [b"", b"7:samplesi5e", b"7:samplesle", b"7:samples19:" + b"x" * 19])
def test_row_21_samples_that_are_none(samples: bytes) -> None:
    """Samples that are not 20·n bytes leave the message decodable, with its nodes."""
    body = response(b"8:intervali-5e5:nodes26:" + b"x" * 26 + samples).body
    assert split_samples(body.get(b"samples")) is None
    assert len(split_nodes(body[b"nodes"], Family.IPV4)) == 1
    assert body[b"interval"] == -5


def test_row_22_a_find_node_answer_has_no_samples() -> None:
    """The presence of `samples`, even empty, tells a BEP 51 node from one that fell back to find_node."""
    assert split_samples(response(b"5:nodes0:").body.get(b"samples")) is None
    assert split_samples(response(b"7:samples0:").body.get(b"samples")) == ()


def test_row_23_announce_with_port_zero() -> None:
    """Port 0 with an implied port, of any number, decodes as sent."""
    args = query(b"12:implied_porti7e4:porti0e").args
    assert (args[b"implied_port"], args[b"port"]) == (7, 0)


@pytest.mark.parametrize("want", [b"2:n4", b"i4e", b"de", b"l2:n42:n62:n9i1ee", b"le"])
def test_row_25_want_of_any_shape(want: bytes) -> None:
    """Whatever `want` is, the query decodes."""
    assert b"want" in query(b"4:want" + want).args


def test_row_26_only_y_decides() -> None:
    """A response that carries `q` and `a` is a response; mangled keys are only unknown ones."""
    message = krpc.decode(b"d1:ade1:q4:ping1:rd" + HEAD + b"7:nodes.v0:e1:t2:aa1:y1:re")
    assert message == Response(b"aa", ID, {b"id": ID, b"nodes.v": b""}, ip=None, version=None)
