from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.dht.scrape_filter import FILTER_BYTES, SwarmSize, estimate, filter_of, union

# BEP 33, "Test Vectors": 192.0.2.0-192.0.2.255 and 2001:DB8::-2001:DB8::3E7.
PUBLISHED = bytes.fromhex(
    "F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75EE7CCBAEFE5EEDB1FBFAFF67F6ABFF5E"
    "43DDBCA3FD9B9FFDF4FFD3E9DFF12D1BDF59DB53DBE9FA5B7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE14"
    "8246C2BC5DBFF7E7EFDCF24FD8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81FC7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3"
    "FA1FC77BFE07FFF905B7B7FFC7FEFEFFE0B8370BB0CD3F5B7F2BD93FEB4386CFDD6F7FD5BFAF2E9EBFFFFEECD67ADBF7"
    "C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB5762ABE8FF237279BFEFBFEEF5FFC5FEBFDFE5ADFFADFEE1FB"
    "737FFFFBFD9F6AEFFEEE76B6FD8F72EF"
)
ADDRESSES = [bytes((192, 0, 2, host)) for host in range(256)]
ADDRESSES += [bytes.fromhex("20010db8") + number.to_bytes(12, "big") for number in range(1000)]


def test_published_vector() -> None:
    """The filter of BEP 33's 1256 addresses is the published one, bit for bit, and estimates 1224.93."""
    ours = filter_of(ADDRESSES)

    assert ours == PUBLISHED
    assert hashlib.sha256(ours).hexdigest() == (
        "462ba3f17929325cb8d21231802c7b564058f741af9e54af8d74c88c3fd53325"
    )
    assert 2048 - int.from_bytes(ours, "little").bit_count() == 619
    assert estimate(ours) == pytest.approx(1224.9308, abs=1e-4)


def test_single_address() -> None:
    """One address sets the two bits that its SHA-1 names."""
    bits = int.from_bytes(filter_of([bytes((192, 168, 1, 1))]), "little")

    assert {bit for bit in range(2048) if bits >> bit & 1} == {1711, 1831}


def test_empty_and_full() -> None:
    """An empty filter estimates nobody, a full one stays finite."""
    assert filter_of([]) == bytes(FILTER_BYTES)
    assert estimate(bytes(FILTER_BYTES)) == pytest.approx(0.5, abs=0.51)
    assert estimate(b"\xff" * FILTER_BYTES) == pytest.approx(7806, abs=1)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=4, max_size=4)), st.lists(st.binary(min_size=16, max_size=16)))
def test_union_is_the_filter_of_both(left: list[bytes], right: list[bytes]) -> None:
    """Filters of two nodes merge into the filter of everything that both hold."""
    assert union([filter_of(left), filter_of(right)]) == filter_of(left + right)


def test_a_made_up_filter_spoils_nothing() -> None:
    """One with more bits than BEP 33 lets a swarm set is left out and counted, so is one of another size."""
    size = SwarmSize()
    size.take({b"BFsd": filter_of([b"aaaa", b"bbbb"]), b"BFpe": filter_of([b"cccc"])})
    size.take({b"BFsd": b"\xff" * 256, b"BFpe": b"\xff" * 255})
    size.take({b"BFsd": 7})

    assert (size.seeds, size.leechers, size.refused) == (2, 1, 3)


def test_both_names_of_the_seeds_filter_are_read() -> None:
    """What mldht calls BFse is read too; its seeds and those under the right name are one swarm."""
    size = SwarmSize()
    assert (size.seeds, size.leechers) == (None, None)
    size.take({b"BFse": filter_of([b"aaaa", b"bbbb"])})
    size.take({b"BFsd": filter_of([b"bbbb", b"cccc"])})
    assert (size.seeds, size.leechers, size.refused) == (3, None, 0)
