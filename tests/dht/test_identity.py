from __future__ import annotations

import random

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.dht.identity import ExternalAddress, IdentityConfig, is_exempt, is_secure, secure_id
from crawler.dht.identity import _bound_bits as bound_bits
from crawler.wire.compact import pack_address

NOW = 1000.0

# BEP 42, "test vectors": address, random byte, node id; the checksum is derived.
PUBLISHED = [
    ("124.31.75.21", 1, "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401", 0x5FBFBDB2),
    ("21.75.31.124", 86, "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256", 0x5A3CE9B0),
    ("65.23.51.170", 22, "a5d43220bc8f112a3d426c84764f8c2a1150e616", 0xA5D4344A),
    ("84.124.73.14", 65, "1b0321dd1bb1fe518101ceef99462b947a01ff41", 0x1B03217B),
    ("43.213.53.83", 90, "e56f6cbf5b7c4be0237986d5243b87aa6d51305a", 0xE56F6972),
]
DERIVED = [
    ("2001:db8:100:0:d5c8:db3f:995e:c0f7", 1, 0xACCC069C),
    ("2001:db8:100:0:d5c8:db3f:995e:c0f7", 86, 0x8FCD3E53),
    ("2a00:1450:4001:81b::200e", 22, 0xA15EE539),
]


def ip(text: str) -> bytes:
    return pack_address((text, 1))[:-2]


def voter(number: int) -> bytes:
    return bytes((80, number >> 8, number & 255, 9)) + b"\x1a\xe1"


def test_checksum_is_crc32c() -> None:
    """The checksum in use is CRC32C: it has that polynomial's check value."""
    assert google_crc32c.value(b"123456789") == 0xE3069283


@pytest.mark.parametrize(("address", "rand", "node_id", "crc"), PUBLISHED)
def test_published_vectors(address: str, rand: int, node_id: str, crc: int) -> None:
    """Every id that BEP 42 publishes is valid at its address, by the checksum that it must have."""
    assert bytes.fromhex(node_id)[19] == rand
    assert bound_bits(ip(address), rand) == crc >> 11
    assert is_secure(bytes.fromhex(node_id), ip(address))


@pytest.mark.parametrize(("address", "rand", "crc"), DERIVED)
def test_ipv6_checksums(address: str, rand: int, crc: int) -> None:
    """IPv6 ids are bound to the first eight bytes of the address."""
    assert bound_bits(ip(address), rand) == crc >> 11


@pytest.mark.parametrize("bit", range(21))
def test_each_bound_bit_matters(bit: int) -> None:
    """Flipping any of the 21 bound bits of a published id makes it invalid."""
    address, _, node_id, _ = PUBLISHED[0]
    forged = int(node_id, 16) ^ 1 << (159 - bit)

    assert not is_secure(forged.to_bytes(20, "big"), ip(address))


@settings(deadline=None)
@given(
    st.integers(0, 2**32), st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
)
def test_generated_ids_verify(seed: int, address: bytes) -> None:
    """Whatever id is generated for an address verifies at it."""
    node_id = secure_id(address, random.Random(seed))

    assert len(node_id) == 20
    assert int.from_bytes(node_id[:3], "big") >> 3 == bound_bits(address, node_id[19])
    assert is_secure(node_id, address)


def test_random_ids_rarely_verify() -> None:
    """A random id is valid at a public address about once in two million."""
    rng = random.Random(5)

    assert not any(is_secure(rng.randbytes(20), ip("8.8.8.8")) for _ in range(2000))


def test_host_bits_do_not_matter_where_masked() -> None:
    """Hosts of one IPv6 /64 may use the same ids: only the first eight bytes are bound."""
    node_id = secure_id(ip("2a00:1450:4001:81b::1"), random.Random(1))

    assert is_secure(node_id, ip("2a00:1450:4001:81b:ffff:1234::9"))


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "127.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.9.9",
        "100.64.0.1",
        "100.127.255.255",
        "::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "fc00::1",
        "fdff::1",
    ],
)
def test_local_addresses_are_exempt(address: str) -> None:
    """At addresses of local networks any id is allowed."""
    assert is_exempt(ip(address))
    assert is_secure(bytes(20), ip(address))


@pytest.mark.parametrize(
    "address",
    [
        "11.0.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.1.1",
        "169.253.1.1",
        "100.63.0.1",
        "100.128.0.1",
        "2a00::1",
        "fe00::1",
        "ff02::1",
        "::2",
    ],
)
def test_neighbours_of_local_ranges_are_not_exempt(address: str) -> None:
    """The exemption ends exactly where each local range ends."""
    assert not is_exempt(ip(address))


def test_wrong_length_is_our_own_fault() -> None:
    """An address that is neither IPv4 nor IPv6 is refused with a clear line."""
    with pytest.raises(ValueError, match="4 or 16 bytes, not 5"):
        secure_id(b"12345", random.Random(0))


def test_quorum_then_majority() -> None:
    """An address is believed as soon as a quorum of networks has spoken and most of them agree."""
    external = ExternalAddress(IdentityConfig(quorum=4))
    ours = ip("45.1.2.3")
    for number in range(3):
        external.vote(ours + b"\x00\x50", voter(number), NOW)
    assert external.current is None

    external.vote(ip("6.6.6.6"), voter(3), NOW)

    assert external.current is None
    external.vote(ours, voter(4), NOW)
    assert external.current == ours


def test_one_network_one_vote() -> None:
    """A network that speaks often counts once, with its latest word."""
    external = ExternalAddress(IdentityConfig(quorum=3))
    for host in range(100):
        external.vote(ip("6.6.6.6"), bytes((80, 1, 1, host)) + b"\x1a\xe1", NOW)

    assert external.current is None
    assert external.statistics().votes == 1


def test_minority_changes_nothing() -> None:
    """A belief stays while liars are fewer than the honest."""
    external = ExternalAddress(IdentityConfig(quorum=5, max_votes=50, vote_pause=0))
    for number in range(26):
        external.vote(ip("45.1.2.3"), voter(number), NOW)
    for number in range(100, 124):
        external.vote(ip("6.6.6.6"), voter(number), NOW)

    assert external.current == ip("45.1.2.3")


def test_address_change_is_noticed() -> None:
    """After our address changed, the newer votes push out the older ones and win."""
    external = ExternalAddress(IdentityConfig(quorum=5, max_votes=20, vote_pause=0))
    for number in range(20):
        external.vote(ip("45.1.2.3"), voter(number), NOW)
    for number in range(11):
        external.vote(ip("45.9.9.9"), voter(100 + number), NOW + 60)

    assert external.current == ip("45.9.9.9")
    assert external.statistics().votes == 20


def test_flood_of_votes_is_thinned_out() -> None:
    """Once an address is believed in, a flood of votes is skipped, so that honest networks outlast it."""
    external = ExternalAddress(IdentityConfig(quorum=20, max_votes=100))
    for number in range(100):
        external.vote(ip("45.1.2.3"), voter(number), NOW + number)
    for number in range(100, 2100):
        external.vote(ip("6.6.6.6"), voter(number), NOW + 100 + number / 1000)

    assert external.current == ip("45.1.2.3")
    assert external.statistics().skipped > 1900


def test_old_votes_do_not_count() -> None:
    """Votes past their lifetime neither count nor take up room."""
    external = ExternalAddress(IdentityConfig(quorum=3, vote_lifetime=100.0))
    external.vote(ip("45.1.2.3"), voter(0), NOW)
    external.vote(ip("45.1.2.3"), voter(1), NOW)
    external.vote(ip("45.1.2.3"), voter(2), NOW + 101)

    assert external.current is None
    assert external.statistics().votes == 1


def test_useless_votes_are_ignored_and_counted() -> None:
    """Private addresses, addresses of the other family and odd lengths are no votes."""
    external = ExternalAddress()
    for number, observed in enumerate(
        [ip("192.168.1.2"), ip("2a00::1"), ip("2a00::1") + b"\0\1", b"", b"12345"]
    ):
        external.vote(observed, voter(number), NOW)

    statistics = external.statistics()
    assert (statistics.counted, statistics.ignored, statistics.skipped) == (0, 5, 0)


def test_ipv6_votes_count_by_64() -> None:
    """For IPv6 a network is a /64."""
    external = ExternalAddress(IdentityConfig(quorum=2))
    ours = ip("2a00:99::1")
    external.vote(ours, pack_address(("2a01:1:1:1::1", 1)), NOW)
    external.vote(ours, pack_address(("2a01:1:1:1::2", 1)), NOW)
    assert external.current is None

    external.vote(ours, pack_address(("2a01:1:1:2::1", 1)), NOW)

    assert external.current == ours


def test_quorum_must_be_reachable() -> None:
    """A quorum that the window of votes cannot hold is refused by name."""
    with pytest.raises(ValueError, match="quorum = 300: allowed is at most max_votes, 200"):
        IdentityConfig(quorum=300)
