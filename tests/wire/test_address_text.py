"""Compact addresses as text: equal to the kernel's, there and back."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire.compact import format_address, pack_address, parse_address, unpack_address

PORTS = st.integers(0, 65535)
# Zero groups must be likely, or no run of them would ever be tested.
GROUPS = st.sampled_from([b"\0\0", b"\0\0", b"\0\x01", b"\xff\xff", b"\x10\0", b"\0\x10"]) | st.binary(
    min_size=2, max_size=2
)
IPV6 = st.lists(GROUPS, min_size=8, max_size=8).map(b"".join)


@given(st.binary(min_size=4, max_size=4), PORTS)
def test_ipv4_text_is_the_kernels(ip: bytes, port: int) -> None:
    """Dotted decimal equals inet_ntop's and packs to the same bytes again."""
    compact = ip + port.to_bytes(2, "big")
    host = socket.inet_ntop(socket.AF_INET, ip)
    assert unpack_address(compact) == (host, port)
    assert pack_address((host, port)) == compact
    assert format_address(compact) == f"{host}:{port}"


@given(IPV6, PORTS)
def test_ipv6_text_is_the_kernels(ip: bytes, port: int) -> None:
    """IPv6 text equals inet_ntop's, mixed notation included, and packs to the same bytes again."""
    compact = ip + port.to_bytes(2, "big")
    host = socket.inet_ntop(socket.AF_INET6, ip)
    assert unpack_address(compact) == (host, port)
    assert pack_address((host, port)) == compact
    assert format_address(compact) == f"[{host}]:{port}"


@given(st.binary(min_size=4, max_size=4))
def test_embedded_ipv4_is_written_as_the_kernel_does(ip: bytes) -> None:
    """v4-mapped and v4-compatible addresses end in dotted decimal exactly where inet_ntop's do."""
    for prefix in (bytes(10) + b"\xff\xff", bytes(12), bytes(8) + b"\xff\xff\0\0"):
        assert unpack_address(prefix + ip + b"\0\1")[0] == socket.inet_ntop(socket.AF_INET6, prefix + ip)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("0:0:0:0:0:0:0:0", "::"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("1:0:0:0:0:0:0:0", "1::"),
        ("::FFFF:1.2.3.4", "::ffff:1.2.3.4"),
        ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ("2001:0DB8::000a", "2001:db8::a"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_ipv6_text_is_canonical(text: str, expected: str) -> None:
    """RFC 5952's rules hold: longest run first, no single zero group shortened, lower case, no zone."""
    assert unpack_address(pack_address((text, 1)))[0] == expected


def is_literal(text: str) -> bool:
    """Whether the standard library reads an address in this text."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@given(st.text("0123456789abcdefABCDEF:. \n_+x", max_size=24) | st.text(max_size=12))
def test_only_literals_are_packed(text: str) -> None:
    """Any text either packs to what ipaddress reads in it, or raises ValueError."""
    try:
        compact = pack_address((text, 7))
    except ValueError:
        assert not is_literal(text)
    else:
        assert compact == ipaddress.ip_address(text).packed + b"\0\7"


NO_LITERALS = [
    *(
        "",
        "router.example",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.2.3.4",
        "1.2.3.-4",
        "+1.2.3.4",
        " 1.2.3.4",
    ),
    *(":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4::5:6:7:8", "12345::", "g::"),
    *("::1.2.3", "1.2.3.4::", "::1.2.3.4:5", " ::1", ":: 1", "::1_0", ":1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:"),
    *("a b c:: ab c", "1.2.3.4%eth0"),
]


@pytest.mark.parametrize("host", NO_LITERALS)
def test_what_is_no_literal_is_refused(host: str) -> None:
    """Names and near misses raise ValueError instead of packing to something."""
    with pytest.raises(ValueError, match="literal"):
        pack_address((host, 1))


@pytest.mark.parametrize("address", [("1.2.3.4", 65536), ("1.2.3.4", -1), ("::1", 65536), ("::1", -1)])
def test_ports_have_sixteen_bits(address: tuple[str, int]) -> None:
    """A port outside 0..65535 is named in the error, in either family."""
    with pytest.raises(ValueError, match="port"):
        pack_address(address)


@pytest.mark.parametrize("size", [0, 4, 5, 7, 16, 17, 19, 26])
def test_other_lengths_are_no_compact_addresses(size: int) -> None:
    """Only 6 and 18 bytes are unpacked."""
    for function in (unpack_address, format_address):
        with pytest.raises(ValueError, match="6 or 18"):
            function(bytes(size))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3.4:6881", ("1.2.3.4", 6881)),
        ("[2001:db8::1]:51413", ("2001:db8::1", 51413)),
        ("[::1]:0", ("::1", 0)),
        ("[2001:DB8:0::1]:65535", ("2001:db8::1", 65535)),
    ],
)
def test_parse_address_reads_literals(text: str, expected: tuple[str, int]) -> None:
    """An address with its port is read, and its host comes back in canonical text."""
    assert parse_address(text) == expected


NO_ADDRESSES = [
    *(
        "",
        "1.2.3.4",
        "1.2.3.4:",
        ":6881",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:+1",
        "1.2.3.4: 1",
        "1.2.3.4:\u0663",
    ),
    *("::1:6881", "[::1]", "[1.2.3.4]:1", "[::1:1", "::1]:1", "[fe80::1%eth0]:1", "example.org:6881", "[]:1"),
]


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_parse_address_refuses_the_rest_in_one_line(text: str) -> None:
    """Names, missing ports, bare IPv6 and zones raise one line that shows how to write it."""
    with pytest.raises(ValueError, match=r"write 1\.2\.3\.4:6881") as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


@given(st.binary(min_size=6, max_size=6) | st.binary(min_size=18, max_size=18))
def test_what_is_formatted_parses_back(compact: bytes) -> None:
    """format_address and parse_address are inverse to each other."""
    assert pack_address(parse_address(format_address(compact))) == compact
