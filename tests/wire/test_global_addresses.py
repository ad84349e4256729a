"""The martian filter: what is refused, what passes, and what the standard library says to it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire.compact import is_global, pack_address

MARTIANS = """
    0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1
    127.255.255.255 169.254.0.0 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.1 192.0.2.1
    192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.255
    224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 :: ::1 ::1.2.3.4 ::ffff:93.184.216.34
    64:ff9b::5db8:d822 64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378::1 2001:2::1 2001:10::1
    2001:20::1 2001:1ff::1 2001:db8::1 2002:5db8:d822::1 3ffe::1 3fff::1 3fff:fff::1 4000::1 5f00::1
    fc00::1 fdff::1 fe80::1 fec0::1 ff02::1
"""
NEIGHBOURS = """
    1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255
    192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0
    203.0.112.255 203.0.114.0 223.255.255.255 2001:200::1 2001:db7::1 2001:db9::1 2003::1
    2001:4860:4860::8888 2a00:1450:4001:81b::200e 3ffd::1 3fff:1000::1
"""


@pytest.mark.parametrize("host", MARTIANS.split())
def test_martians_are_refused(host: str) -> None:
    """No address of a special-purpose block may be sent to, up to the block's edges."""
    assert not is_global(pack_address((host, 6881)))


@pytest.mark.parametrize("host", NEIGHBOURS.split())
def test_neighbours_of_martians_pass(host: str) -> None:
    """The first address outside of each block is an ordinary one."""
    assert is_global(pack_address((host, 6881)))


@pytest.mark.parametrize("host", ["93.184.216.34", "192.1.2.3", "2a00:1450:4001:81b::200e"])
def test_ports_zero_and_one_are_refused(host: str) -> None:
    """Ports 0 and 1 are never sent to; 2 and 256 are (krpc.md §11 row 16)."""
    verdicts = {port: is_global(pack_address((host, port))) for port in (0, 1, 2, 256, 65535)}
    assert verdicts == {0: False, 1: False, 2: True, 256: True, 65535: True}


@pytest.mark.parametrize("size", [0, 1, 4, 5, 7, 16, 17, 19])
def test_what_is_no_compact_address_is_not_global(size: int) -> None:
    """Other lengths are refused without an error."""
    assert not is_global(b"\x20" * size)


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=15, max_size=15).map(b"\x20".__add__))
def test_what_passes_is_global_to_the_standard_library(ip: bytes) -> None:
    """Nothing passes that the standard library's registry calls private, reserved or multicast."""
    if is_global(ip + b"\x1a\xe1"):
        address = ipaddress.ip_address(ip)
        assert address.is_global
        assert not address.is_multicast
