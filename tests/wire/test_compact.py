"""Compact nodes, peers and samples: split from whatever a stranger sent, and joined again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire.compact import (
    Family,
    ip_of,
    join_nodes,
    pack_address,
    prefix_of,
    split_node_addresses,
    split_nodes,
    split_peers,
    split_samples,
)

if TYPE_CHECKING:
    import random

NOT_BYTES: list[Any] = [None, 7, [], {}, "text", [b"x" * 26], bytearray(26)]
FAMILIES = st.sampled_from(Family)


def test_families_know_their_sizes_and_keys() -> None:
    """Sizes and keys are BEP 5's for IPv4 and BEP 32's for IPv6."""
    assert (Family.IPV4.address_bytes, Family.IPV4.node_bytes) == (6, 26)
    assert (Family.IPV6.address_bytes, Family.IPV6.node_bytes) == (18, 38)
    assert (Family.IPV4.nodes_key, Family.IPV4.want) == (b"nodes", b"n4")
    assert (Family.IPV6.nodes_key, Family.IPV6.want) == (b"nodes6", b"n6")


def test_a_compact_address_tells_its_family() -> None:
    """Six bytes are IPv4, eighteen IPv6, anything else a fault of ours."""
    assert Family.of(bytes(6)) is Family.IPV4
    assert Family.of(bytes(18)) is Family.IPV6
    with pytest.raises(ValueError, match="6 or 18"):
        Family.of(bytes(4))


def test_parts_of_a_compact_address() -> None:
    """The IP is all but the port; the prefix is a /24 or a /64."""
    v4, v6 = pack_address(("1.2.3.4", 5)), pack_address(("2001:db8:1:2:3:4:5:6", 5))
    assert ip_of(v4) == bytes([1, 2, 3, 4])
    assert prefix_of(v4) == bytes([1, 2, 3])
    assert ip_of(v6) == v6[:16]
    assert prefix_of(v6) == bytes.fromhex("20010db800010002")


@given(FAMILIES, st.data())
def test_nodes_survive_joining_and_splitting(family: Family, data: st.DataObject) -> None:
    """Splitting is the inverse of joining, for any number of nodes of one family."""
    entry = st.tuples(
        st.binary(min_size=20, max_size=20),
        st.binary(min_size=family.address_bytes, max_size=family.address_bytes),
    )
    nodes = data.draw(st.lists(entry, max_size=20))
    assert split_nodes(join_nodes(nodes), family) == nodes


@given(st.binary(max_size=200), FAMILIES)
def test_a_broken_tail_is_left_out(blob: bytes, family: Family) -> None:
    """Row 14: of a length that is no multiple, the whole entries are used."""
    nodes = split_nodes(blob, family)
    assert len(nodes) == len(blob) // family.node_bytes
    assert blob.startswith(join_nodes(nodes))


def test_more_nodes_than_we_would_send_are_read() -> None:
    """Row 15: sixteen nodes of old routers and twenty of pubky are all used."""
    for count in (16, 20):
        assert len(split_nodes(bytes(26 * count), Family.IPV4)) == count


@given(st.integers(0, 25), st.integers(0, 37), FAMILIES, st.randoms(use_true_random=False))
def test_addresses_alone_are_those_of_the_nodes(
    count: int, rest: int, family: Family, rng: random.Random
) -> None:
    """Addresses without their ids are the same ones, in order, however many there are."""
    blob = rng.randbytes(count * family.node_bytes + rest)
    assert list(split_node_addresses(blob, family)) == [address for _, address in split_nodes(blob, family)]


@pytest.mark.parametrize("blob", NOT_BYTES)
def test_nodes_that_are_no_bytes_are_none(blob: object) -> None:
    """Anything but a byte string holds no nodes."""
    assert split_nodes(blob, Family.IPV4) == []
    assert split_nodes(blob, Family.IPV6) == []


def test_peers_of_both_families_may_be_mixed() -> None:
    """BEP 32: `values` may hold 6- and 18-byte strings over either transport."""
    values: list[object] = [b"a" * 6, b"b" * 18, b"c" * 6]
    assert split_peers(values, Family.IPV4) == values
    assert split_peers(values, Family.IPV6) == values


@pytest.mark.parametrize("values", [b"abcdefghijkl", [b"abcdefghijkl"]])
def test_old_mainline_peers_are_split(values: object) -> None:
    """Row 11: one long string, bare or alone in its list, is 6-byte peers if it came over IPv4."""
    assert split_peers(values, Family.IPV4) == [b"abcdef", b"ghijkl"]
    assert split_peers(values, Family.IPV6) == []


def test_one_peer_of_eighteen_bytes_depends_on_its_transport() -> None:
    """Alone in a list, 18 bytes are an IPv6 peer over IPv6, and old mainline's three peers over IPv4."""
    assert split_peers([b"a" * 18], Family.IPV6) == [b"a" * 18]
    assert split_peers([b"a" * 18], Family.IPV4) == [b"a" * 6] * 3


def test_peers_of_other_lengths_are_skipped() -> None:
    """Row 12: what is no peer is skipped, and the rest is used."""
    values: list[object] = [b"", b"a" * 5, b"b" * 6, b"c" * 7, b"d" * 12, 7, [b"e" * 6], {b"f": 1}, None]
    assert split_peers(values, Family.IPV4) == [b"b" * 6]
    assert split_peers(values, Family.IPV6) == [b"b" * 6]


@pytest.mark.parametrize("values", [None, 7, [], {}, b"", b"abcde", [b"abcde"], [7], [[b"abcdef"]], "abcdef"])
def test_values_without_peers_are_empty(values: object) -> None:
    """Whatever `values` is, splitting never raises."""
    assert split_peers(values, Family.IPV4) == []
    assert split_peers(values, Family.IPV6) == []


@given(st.lists(st.binary(min_size=20, max_size=20), max_size=80))
def test_samples_are_split_into_infohashes(infohashes: list[bytes]) -> None:
    """Samples are split in order, whether or not their number is one of the prepared ones."""
    assert split_samples(b"".join(infohashes)) == tuple(infohashes)


def test_empty_samples_are_not_missing_ones() -> None:
    """BEP 51: an empty string says that the node takes part; no string says that it does not."""
    assert split_samples(b"") == ()
    assert split_samples(None) is None


@pytest.mark.parametrize("samples", [b"x", bytes(19), bytes(21), bytes(399), *NOT_BYTES])
def test_samples_of_a_wrong_shape_are_none(samples: object) -> None:
    """Row 21: samples that are not 20·n bytes are ignored as a whole."""
    assert split_samples(samples) is None
