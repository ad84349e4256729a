"""A second, plain KRPC: what the benches speak and judge with.

It shares no code with the crawler, so a mistake of ours cannot hide in both. Bencode is fastbencode's, whose
strict decoder refuses whatever is not canonical. Blocking sockets only: benches run in threads and scripts.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import fastbencode
import google_crc32c

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

Address = tuple[str, int]

RECEIVE_BYTES = 65_535
_transaction_numbers = itertools.count(1)


def decode(data: bytes) -> dict[bytes, Any]:
    """Return the message in ``data``; ValueError if it is not one canonical bencoded dict."""
    message = fastbencode.bdecode(data)  # type: ignore[attr-defined]  # re-exported without a stub
    if not isinstance(message, dict):
        # One error for every kind of refusal keeps the callers short.
        raise ValueError(f"not a dict: {message!r}")  # noqa: TRY004
    return message


def encode(message: dict[bytes, Any]) -> bytes:
    """Return the canonical form of ``message``."""
    return bytes(fastbencode.bencode(message))  # type: ignore[attr-defined]  # as above


def is_canonical(data: bytes) -> bool:
    """Tell whether ``data`` is exactly what a canonical encoder would have made of its contents."""
    try:
        return encode(decode(data)) == data
    except ValueError:
        return False


def is_query(data: bytes) -> bool:
    """Tell whether ``data`` decodes as a query."""
    try:
        return decode(data).get(b"y") == b"q"
    except ValueError:
        return False


def pack_address(address: Address) -> bytes:
    """Return the 6-byte compact form of an IPv4 address and port."""
    return socket.inet_aton(address[0]) + struct.pack("!H", address[1])


def pack_nodes(nodes: Iterable[tuple[bytes, Address]]) -> bytes:
    """Return the 26-byte entries of ``nodes`` joined (BEP 5)."""
    return b"".join(node_id + pack_address(address) for node_id, address in nodes)


def secure_id(host: str, rng: random.Random) -> bytes:
    """Return a node id that BEP 42 allows for an IPv4 address."""
    chance = rng.randrange(256)
    masked = int.from_bytes(socket.inet_aton(host), "big") & 0x030F3FFF | (chance & 7) << 29
    checksum = int(google_crc32c.value(masked.to_bytes(4, "big")))
    top = checksum & 0xFFFFF800 | rng.getrandbits(11)
    return top.to_bytes(4, "big") + rng.randbytes(15) + bytes([chance])


def parse_address(text: str) -> Address:
    """Return ``"1.2.3.4:5"`` as address and port."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def format_address(address: Address) -> str:
    """Return an address and port as text, an IPv6 address in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def make_query(method: bytes, **args: bytes | int) -> tuple[bytes, bytes]:
    """Return ``(tid, datagram)`` of a read-only query (BEP 43), so that nobody adds the asker to a table."""
    tid = struct.pack("!I", next(_transaction_numbers))
    arguments: dict[bytes, Any] = {b"id": b"plain krpc test node"}
    arguments.update({name.encode(): value for name, value in args.items()})
    return tid, encode({b"a": arguments, b"q": method, b"ro": 1, b"t": tid, b"v": b"PK\0\1", b"y": b"q"})


def bound_socket(address: Address) -> socket.socket:
    """Return a UDP socket bound to ``address``; port 0 lets the kernel choose."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(address)
    return bound


def ask(
    sock: socket.socket, node: Address, method: bytes, *, within: float = 2.0, **args: bytes | int
) -> dict[bytes, Any] | None:
    """Send one query and return its answer or error message, or None if none came ``within`` seconds.

    Queries that others send meanwhile are skipped.
    """
    tid, datagram = make_query(method, **args)
    sock.sendto(datagram, node)
    deadline = time.monotonic() + within
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data, source = sock.recvfrom(RECEIVE_BYTES)
        except TimeoutError:
            return None
        if source == node and not is_query(data) and decode(data).get(b"t") == tid:
            return decode(data)
    return None


def answers_ping(source: str, node: Address, *, within: float = 2.0) -> bool:
    """Tell whether ``node`` answers a ping that comes from a fresh port of the address ``source``."""
    with bound_socket((source, 0)) as sock:
        answer = ask(sock, node, b"ping", within=within)
    return answer is not None and answer.get(b"y") == b"r"
