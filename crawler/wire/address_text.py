"""Compact addresses to text and back, without the socket module.

A compact address is ``ip ‖ port``, big endian: 6 bytes for IPv4, 18 for IPv6 (BEP 5, BEP 32). Text is what
the kernel would give: dotted decimal, or RFC 5952 with the mixed notation of `inet_ntop`. IPv4 goes through
tables in both directions, because every datagram that comes or goes pays for one of them.
"""

from __future__ import annotations

import re
import struct

Address = tuple[str, int]

IPV4_COMPACT_BYTES = 6
IPV6_COMPACT_BYTES = 18

_PORT_MAX = 0xFFFF
_IPV6_GROUPS = 8
_IPV6_IP_BYTES = 16

_OCTET_TEXT = tuple(str(value) for value in range(256))
_OCTET_VALUE = {text: value for value, text in enumerate(_OCTET_TEXT)}
_PACK_IPV4 = struct.Struct(">BBBBH").pack
_PORT_TEXT = re.compile(r"[0-9]{1,5}", re.ASCII)
_ZERO_GROUPS = tuple(":0" * count for count in range(_IPV6_GROUPS + 1))
_PADDING = ("", "000", "00", "0", "")
# How many groups of zeros stand before an embedded IPv4 address: "::1.2.3.4", and "::ffff:1.2.3.4".
_COMPATIBLE_ZEROS, _MAPPED_ZEROS, _MAPPED_MARK = 6, 5, ":ffff:"


def pack_address(address: Address) -> bytes:
    """The compact form of ``(host, port)``: 6 bytes for an IPv4 literal, 18 for an IPv6 one.

    An IPv6 zone (``%eth0``) is dropped, as the compact form has no place for it.

    Raises:
        ValueError: the host is no address literal, or the port is outside 0..65535.
    """
    host, port = address
    try:
        a, b, c, d = host.split(".")
        return _PACK_IPV4(_OCTET_VALUE[a], _OCTET_VALUE[b], _OCTET_VALUE[c], _OCTET_VALUE[d], port)
    except (ValueError, KeyError, struct.error):
        if not 0 <= port <= _PORT_MAX:
            raise ValueError(f"a port is 0 to 65535, not {port}") from None
    return _pack_ipv6(host.partition("%")[0]) + port.to_bytes(2, "big")


def unpack_address(compact: bytes) -> Address:
    """``(host, port)`` of a compact address; the host reads as ``inet_ntop`` would write it.

    Raises:
        ValueError: `compact` is neither 6 nor 18 bytes long.
    """
    if len(compact) == IPV4_COMPACT_BYTES:
        a, b, c, d, high, low = compact
        text = _OCTET_TEXT
        return f"{text[a]}.{text[b]}.{text[c]}.{text[d]}", high << 8 | low
    return _unpack_ipv6(compact)


def format_address(compact: bytes) -> str:
    """One word for a compact address: ``1.2.3.4:6881`` or ``[2001:db8::1]:51413``.

    Raises:
        ValueError: `compact` is neither 6 nor 18 bytes long.
    """
    if len(compact) == IPV4_COMPACT_BYTES:
        a, b, c, d, high, low = compact
        text = _OCTET_TEXT
        return f"{text[a]}.{text[b]}.{text[c]}.{text[d]}:{high << 8 | low}"
    host, port = _unpack_ipv6(compact)
    return f"[{host}]:{port}"


def parse_address(text: str) -> Address:
    """``(host, port)`` from ``1.2.3.4:6881`` or ``[::1]:0``: literals only, no names.

    The host comes back in its canonical text.

    Raises:
        ValueError: anything else; the message is one line for a person.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    literal = host[1:-1] if bracketed else host
    if colon and bracketed == (":" in literal) and "%" not in literal and _PORT_TEXT.fullmatch(port):
        try:
            return unpack_address(pack_address((literal, int(port))))
        except ValueError:
            pass
    raise ValueError(f"not an address: {text!r}; write 1.2.3.4:6881 or [2001:db8::1]:6881, port 0 to 65535")


def _unpack_ipv6(compact: bytes) -> Address:
    if len(compact) != IPV6_COMPACT_BYTES:
        raise ValueError(f"a compact address has 6 or 18 bytes, not {len(compact)}")
    port = compact[16] << 8 | compact[17]
    text = ":" + compact[:16].hex(":", 2)
    # Each replacement takes one leading zero off every group; a group keeps its fourth character.
    text = text.replace(":0", ":").replace(":0", ":").replace(":0", ":")
    if ":0:0" not in text:  # one group of zeros alone is written out, RFC 5952 §4.2.2
        return text[1:], port
    count = 2
    while count < _IPV6_GROUPS and _ZERO_GROUPS[count + 1] in text:
        count += 1
    start = text.index(_ZERO_GROUPS[count])  # the first of equally long runs, §4.2.3
    tail = text[start + 2 * count :]
    if start == 0 and (
        count == _COMPATIBLE_ZEROS or (count == _MAPPED_ZEROS and tail.startswith(_MAPPED_MARK))
    ):
        mark = _MAPPED_MARK[1:] if count == _MAPPED_ZEROS else ""
        return f"::{mark}{compact[12]}.{compact[13]}.{compact[14]}.{compact[15]}", port
    return f"{text[1:start]}::{tail[1:]}", port


def _pack_ipv6(host: str) -> bytes:
    """The 16 bytes of an IPv6 literal, in any of the forms of RFC 4291 §2.2."""
    if "." in host:
        host = _without_dots(host)
    head, gap, tail = host.partition("::")
    left = head.split(":") if head else []
    right = tail.split(":") if tail else []
    missing = _IPV6_GROUPS - len(left) - len(right)
    if (missing < 1) if gap else missing:
        raise ValueError(f"not an address literal: {host!r}")
    try:
        # A group that is empty or too long has no padding; white space, which fromhex skips, leaves bytes
        # short.
        digits = "".join([_PADDING[len(group)] + group for group in [*left, *["0"] * missing, *right]])
        packed = bytes.fromhex(digits)
    except (ValueError, IndexError):
        packed = b""
    if len(packed) != _IPV6_IP_BYTES:
        raise ValueError(f"not an address literal: {host!r}")
    return packed


def _without_dots(host: str) -> str:
    """The same literal with the dotted decimal at its end turned into two groups."""
    before, colon, dotted = host.rpartition(":")
    try:
        a, b, c, d = (_OCTET_VALUE[octet] for octet in dotted.split("."))
    except (ValueError, KeyError):
        raise ValueError(f"not an address literal: {host!r}") from None
    return f"{before}{colon}{a << 8 | b:x}:{c << 8 | d:x}"
