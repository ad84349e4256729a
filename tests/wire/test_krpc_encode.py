"""KRPC encoding: every builder against the published packets and its own decoding, and the query template."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire import bencode, krpc
from crawler.wire.krpc import Error, Query, Response

if TYPE_CHECKING:
    from collections.abc import Callable

ID, TARGET = b"abcdefghij0123456789", b"mnopqrstuvwxyz123456"
IDS = st.binary(min_size=20, max_size=20)
TIDS = st.binary(min_size=1, max_size=32)
WANTS = st.sampled_from([(), (b"n4",), (b"n6",), (b"n4", b"n6")])
_VERSION = b"1:v4:" + krpc.CLIENT_VERSION


def without_version(message: bytes) -> bytes:
    """The message less our `v`, which the published packets have not."""
    assert message.count(_VERSION) == 1
    return message.replace(_VERSION, b"")


@pytest.mark.parametrize(
    ("message", "published"),
    [
        (krpc.ping(b"aa", ID), b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"),
        (krpc.response(b"aa", {b"id": TARGET}), b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re"),
        (
            krpc.find_node(b"aa", ID, TARGET),
            b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
        ),
        (
            krpc.get_peers(b"aa", ID, TARGET),
            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
        ),
        (
            krpc.response(b"aa", {b"values": [b"axje.u", b"idhtnm"], b"token": b"aoeusnth", b"id": ID}),
            b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
        ),
        (
            krpc.announce_peer(b"aa", ID, TARGET, 6881, b"aoeusnth", implied_port=True),
            (
                b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz123456"
                b"4:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe"
            ),
        ),
        (
            krpc.error(b"aa", 201, b"A Generic Error Ocurred"),
            b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
        ),
    ],
)
def test_builders_give_the_published_packets(message: bytes, published: bytes) -> None:
    """Less our version, what we send is what BEP 5 publishes, byte for byte."""
    assert without_version(message) == published


def test_version_has_four_bytes() -> None:
    """Row 3: pubky reads `v` only if it has 4 bytes: two letters and two of version."""
    assert len(krpc.CLIENT_VERSION) == 4
    assert krpc.CLIENT_VERSION.startswith(b"DC")


@given(TIDS, IDS, st.booleans())
def test_ping_survives_the_wire(tid: bytes, node_id: bytes, read_only: bool) -> None:
    """A ping decodes to what it was built from."""
    expected = Query(tid, b"ping", node_id, {b"id": node_id}, read_only, krpc.CLIENT_VERSION)
    assert krpc.decode(krpc.ping(tid, node_id, read_only=read_only)) == expected


@given(TIDS, IDS, IDS, WANTS, st.booleans(), st.sampled_from([krpc.find_node, krpc.sample_infohashes]))
def test_target_queries_survive_the_wire(
    tid: bytes,
    node_id: bytes,
    target: bytes,
    want: tuple[bytes, ...],
    read_only: bool,
    build: Callable[..., bytes],
) -> None:
    """find_node and sample_infohashes decode to what they were built from; an empty `want` is not sent."""
    args: dict[bytes, Any] = {b"id": node_id, b"target": target}
    if want:
        args[b"want"] = list(want)
    method = build.__name__.encode()
    expected = Query(tid, method, node_id, args, read_only, krpc.CLIENT_VERSION)
    assert krpc.decode(build(tid, node_id, target, want=want, read_only=read_only)) == expected


@given(TIDS, IDS, IDS, WANTS, st.booleans(), st.booleans(), st.booleans())
def test_get_peers_survives_the_wire(
    tid: bytes,
    node_id: bytes,
    infohash: bytes,
    want: tuple[bytes, ...],
    scrape: bool,
    noseed: bool,
    read_only: bool,
) -> None:
    """get_peers decodes to what it was built from; flags that are off are not sent."""
    flags = {b"scrape": scrape, b"noseed": noseed}
    args: dict[bytes, Any] = {b"id": node_id, b"info_hash": infohash}
    args |= {key: 1 for key, on in flags.items() if on}
    if want:
        args[b"want"] = list(want)
    built = krpc.get_peers(
        tid, node_id, infohash, want=want, scrape=scrape, noseed=noseed, read_only=read_only
    )
    assert krpc.decode(built) == Query(tid, b"get_peers", node_id, args, read_only, krpc.CLIENT_VERSION)


@given(
    TIDS,
    IDS,
    IDS,
    st.integers(0, 65535),
    st.binary(max_size=20),
    st.booleans(),
    st.sampled_from([None, 0, 1]),
)
def test_announce_peer_survives_the_wire(
    tid: bytes, node_id: bytes, infohash: bytes, port: int, token: bytes, implied: bool, seed: int | None
) -> None:
    """announce_peer decodes to what it was built from; `seed` is sent only where it is known."""
    args = {b"id": node_id, b"info_hash": infohash, b"port": port, b"token": token}
    if implied:
        args[b"implied_port"] = 1
    if seed is not None:
        args[b"seed"] = seed
    built = krpc.announce_peer(
        tid, node_id, infohash, port, token, implied_port=implied, seed=None if seed is None else bool(seed)
    )
    expected = Query(tid, b"announce_peer", node_id, args, read_only=False, version=krpc.CLIENT_VERSION)
    assert krpc.decode(built) == expected


BODIES = st.dictionaries(
    st.binary(min_size=3, max_size=8),
    st.binary(max_size=300)
    | st.integers(-(2**63), 2**63 - 1)
    | st.lists(st.binary(min_size=6, max_size=6), max_size=9),
    max_size=5,
)
ADDRESSES = st.none() | st.binary(min_size=6, max_size=6) | st.binary(min_size=18, max_size=18)


@given(TIDS, IDS, BODIES, ADDRESSES)
def test_responses_survive_the_wire(
    tid: bytes, node_id: bytes, body: dict[bytes, Any], ip: bytes | None
) -> None:
    """A response decodes to what it was built from."""
    body[b"id"] = node_id
    assert krpc.decode(krpc.response(tid, body, ip)) == Response(tid, node_id, body, ip, krpc.CLIENT_VERSION)


@given(TIDS, st.integers(-(2**63), 2**63 - 1), st.binary(max_size=100), ADDRESSES)
def test_errors_survive_the_wire(tid: bytes, code: int, message: bytes, ip: bytes | None) -> None:
    """An error decodes to what it was built from."""
    assert krpc.decode(krpc.error(tid, code, message, ip)) == Error(
        tid, code, message, ip, krpc.CLIENT_VERSION
    )


@pytest.mark.parametrize("size", [0, 4, 16, 19])
def test_replies_carry_a_whole_address(size: int) -> None:
    """Row 3: `ip` has 6 or 18 bytes; another size is our own fault and raises."""
    with pytest.raises(ValueError, match="6 or 18"):
        krpc.response(b"aa", {b"id": ID}, bytes(size))
    with pytest.raises(ValueError, match="6 or 18"):
        krpc.error(b"aa", 203, b"Protocol Error", bytes(size))


def test_replies_are_canonical_whatever_order_the_body_has() -> None:
    """Rows 5 and 6: keys are sorted and spelled canonically, as jech and rakshasa need them."""
    sent = krpc.response(b"aa", {b"token": b"xy", b"nodes": b"", b"id": ID}, b"x" * 6)
    assert sent == b"d2:ip6:xxxxxx1:rd2:id20:" + ID + b"5:nodes0:5:token2:xye1:t2:aa" + _VERSION + b"1:y1:re"
    assert bencode.encode(bencode.decode(sent)) == sent


PLAIN: dict[bytes, Callable[..., bytes]] = {
    b"find_node": krpc.find_node,
    b"sample_infohashes": krpc.sample_infohashes,
    b"get_peers": krpc.get_peers,
}


@given(
    st.sampled_from(sorted(PLAIN)),
    IDS | st.sampled_from([b"1:t4:" * 4, b"6:target20:" + bytes(9)]),
    IDS,
    st.binary(min_size=4, max_size=4),
    WANTS,
    st.booleans(),
)
def test_a_filled_template_is_the_plain_query(
    method: bytes, node_id: bytes, target: bytes, tid: bytes, want: tuple[bytes, ...], read_only: bool
) -> None:
    """Filling a template gives the bytes that the builder gives, even for an id that looks like bencode."""
    template = krpc.QueryTemplate(method, node_id, want, read_only)
    assert template.fill(target, tid) == PLAIN[method](tid, node_id, target, want=want, read_only=read_only)


def test_a_template_can_be_filled_again() -> None:
    """One template serves any number of targets, one after another."""
    rng = random.Random(5)
    template = krpc.QueryTemplate(b"sample_infohashes", ID)
    for _ in range(3):
        target, tid = rng.randbytes(20), rng.randbytes(4)
        assert template.fill(target, tid) == krpc.sample_infohashes(tid, ID, target)


@pytest.mark.parametrize(
    ("method", "node_id"), [(b"ping", ID), (b"announce_peer", ID), (b"get_peers", b"short")]
)
def test_a_template_needs_a_target_and_a_whole_id(method: bytes, node_id: bytes) -> None:
    """Methods without a target, and ids of another length, have no template."""
    with pytest.raises(ValueError, match="no template"):
        krpc.QueryTemplate(method, node_id)
