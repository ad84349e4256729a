"""Compact addresses to text and back, without the socket module.

A compact address is ``ip ‖ port``, big endian: 6 bytes for IPv4, 18 for IPv6 (BEP 5, BEP 32). Text is what the
kernel would give: dotted decimal, or RFC 5952 with the mixed notation of ``inet_ntop``. Both directions of IPv4
go through tables because every datagram that comes or goes pays for one of them.
"""

from __future__ import annotations

import re
import struct

Address = tuple[str, int]

IPV4_COMPACT_BYTES = 6
IPV6_COMPACT_BYTES = 18

_PORT_MAX = 0xFFFF
_IPV6_WORDS = 8
_MAPPED_MARK = 0xFFFF
_COMPATIBLE_ZEROS, _MAPPED_ZEROS = 6, 5

_OCTET_TEXT = tuple(str(value) for value in range(256))
_OCTET_VALUE = {text: value for value, text in enumerate(_OCTET_TEXT)}
_PACK_IPV4 = struct.Struct(">BBBBH").pack
_UNPACK_IPV6 = struct.Struct(">8HH").unpack
_HEX_WORD = re.compile(r"[0-9A-Fa-f]{1,4}", re.ASCII)
_PORT_TEXT = re.compile(r"[0-9]{1,5}", re.ASCII)


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
    *words, port = _UNPACK_IPV6(compact)
    text = ":".join([f"{word:x}" for word in words])
    if 0 not in words:
        return text, port
    start, length = _longest_zero_run(words)
    if length < 2:  # noqa: PLR2004 - RFC 5952 §4.2.2: one group of zeros is written out
        return text, port
    if start == 0 and _ends_as_ipv4(words, length):
        a, b, c, d = compact[12:16]
        mark = "ffff:" if length == _MAPPED_ZEROS else ""
        return f"::{mark}{a}.{b}.{c}.{d}", port
    head = ":".join([f"{word:x}" for word in words[:start]])
    tail = ":".join([f"{word:x}" for word in words[start + length :]])
    return f"{head}::{tail}", port


def _longest_zero_run(words: list[int]) -> tuple[int, int]:
    """Where the first longest run of zero groups starts, and how long it is (RFC 5952 §4.2.3)."""
    best_start = best = run = 0
    for index, word in enumerate(words):
        run = 0 if word else run + 1
        if run > best:
            best, best_start = run, index - run + 1
    return best_start, best


def _ends_as_ipv4(words: list[int], zeros: int) -> bool:
    """Whether `inet_ntop` writes the last two groups in dotted decimal: v4-mapped and v4-compatible."""
    return zeros == _COMPATIBLE_ZEROS or (zeros == _MAPPED_ZEROS and words[_MAPPED_ZEROS] == _MAPPED_MARK)


def _pack_ipv6(host: str) -> bytes:
    """The 16 bytes of an IPv6 literal, in any of the forms of RFC 4291 §2.2."""
    head, gap, tail = host.partition("::")
    left = _groups(head, last=not gap)
    right = _groups(tail, last=True)
    missing = 2 * _IPV6_WORDS - len(left) - len(right)
    if missing < 2 if gap else missing != 0:
        raise ValueError(f"not an address literal: {host!r}")
    return left + bytes(missing) + right


def _groups(text: str, *, last: bool) -> bytes:
    """The bytes of colon-separated hex groups; where `last`, the final one may be dotted decimal."""
    if not text:
        return b""
    groups = text.split(":")
    packed = b""
    if last and "." in groups[-1]:
        packed = _pack_dotted(groups.pop())
    for group in reversed(groups):
        if not _HEX_WORD.fullmatch(group):
            raise ValueError(f"not an address literal: {text!r}")
        packed = int(group, 16).to_bytes(2, "big") + packed
    return packed


def _pack_dotted(text: str) -> bytes:
    try:
        a, b, c, d = (_OCTET_VALUE[octet] for octet in text.split("."))
    except (ValueError, KeyError):
        raise ValueError(f"not an address literal: {text!r}") from None
    return bytes((a, b, c, d))
