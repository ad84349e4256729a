# ruff: noqa: A002 - `id` is KRPC's own name for the argument
"""KRPC messages of ours to bytes: canonical, sorted, with our version and nothing that a strict peer rejects.

Every builder takes the transaction id and our node id first. krpc.md §11 rules what we send: four bytes of
transaction id, four of version, keys in order. A query that is sent thousands of times a second is a
`QueryTemplate`: bytes joined, never a dict encoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawler.wire.bencode import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENT_VERSION = b"DC\x00\x01"
"""`v` of every message: two letters, then major and minor version."""

TID_BYTES = 4
"""Length of the transaction ids we send: the only one that every client can read (krpc.md §11 row 1)."""

_TARGET_KEYS = {b"find_node": b"target", b"sample_infohashes": b"target", b"get_peers": b"info_hash"}
_ID_BYTES = 20
_ADDRESS_SIZES = (6, 18)


def _query(tid: bytes, method: bytes, args: dict[bytes, Any], read_only: bool) -> bytes:
    message: dict[bytes, Any] = {b"a": args, b"q": method, b"t": tid, b"v": CLIENT_VERSION, b"y": b"q"}
    if read_only:
        message[b"ro"] = 1
    return encode(message)


def ping(tid: bytes, id: bytes, *, read_only: bool = False) -> bytes:
    """A `ping` query (BEP 5); `read_only` marks a node that answers nobody (BEP 43)."""
    return _query(tid, b"ping", {b"id": id}, read_only)


def find_node(
    tid: bytes, id: bytes, target: bytes, *, want: Sequence[bytes] = (), read_only: bool = False
) -> bytes:
    """A `find_node` query (BEP 5); `want` lists ``b"n4"``, ``b"n6"`` (BEP 32)."""
    args: dict[bytes, Any] = {b"id": id, b"target": target}
    if want:
        args[b"want"] = list(want)
    return _query(tid, b"find_node", args, read_only)


def get_peers(
    tid: bytes,
    id: bytes,
    info_hash: bytes,
    *,
    want: Sequence[bytes] = (),
    scrape: bool = False,
    noseed: bool = False,
    read_only: bool = False,
) -> bytes:
    """A `get_peers` query (BEP 5); `scrape` asks for swarm sizes, `noseed` for no seeds (BEP 33)."""
    args: dict[bytes, Any] = {b"id": id, b"info_hash": info_hash}
    if noseed:
        args[b"noseed"] = 1
    if scrape:
        args[b"scrape"] = 1
    if want:
        args[b"want"] = list(want)
    return _query(tid, b"get_peers", args, read_only)


def announce_peer(  # noqa: PLR0913 - BEP 5 and BEP 33 have that many arguments
    tid: bytes,
    id: bytes,
    info_hash: bytes,
    port: int,
    token: bytes,
    *,
    implied_port: bool = False,
    seed: bool | None = None,
    read_only: bool = False,
) -> bytes:
    """An `announce_peer` query (BEP 5); `implied_port` means the UDP source port; `seed` is BEP 33's."""
    args: dict[bytes, Any] = {b"id": id, b"info_hash": info_hash, b"port": port, b"token": token}
    if implied_port:
        args[b"implied_port"] = 1
    if seed is not None:
        args[b"seed"] = int(seed)
    return _query(tid, b"announce_peer", args, read_only)


def sample_infohashes(
    tid: bytes, id: bytes, target: bytes, *, want: Sequence[bytes] = (), read_only: bool = False
) -> bytes:
    """A `sample_infohashes` query (BEP 51); `target` only steers the nodes that come with the samples."""
    args: dict[bytes, Any] = {b"id": id, b"target": target}
    if want:
        args[b"want"] = list(want)
    return _query(tid, b"sample_infohashes", args, read_only)


def response(tid: bytes, body: dict[bytes, Any], ip: bytes | None = None) -> bytes:
    """A response; `body` holds ``b"id"`` and the rest, `ip` is the asker's compact address (BEP 42).

    Raises:
        ValueError: `ip` is neither 6 nor 18 bytes long.
    """
    return _reply({b"r": body, b"t": tid, b"v": CLIENT_VERSION, b"y": b"r"}, ip)


def error(tid: bytes, code: int, message: bytes, ip: bytes | None = None) -> bytes:
    """An error reply: 201 generic, 202 server, 203 protocol, 204 method unknown (BEP 5).

    Raises:
        ValueError: `ip` is neither 6 nor 18 bytes long.
    """
    return _reply({b"e": [code, message], b"t": tid, b"v": CLIENT_VERSION, b"y": b"e"}, ip)


def _reply(message: dict[bytes, Any], ip: bytes | None) -> bytes:
    if ip is not None:
        if len(ip) not in _ADDRESS_SIZES:
            raise ValueError(f"`ip` is a compact address of 6 or 18 bytes, not {len(ip)}")
        message[b"ip"] = ip
    return encode(message)


class QueryTemplate:
    """A `find_node`, `sample_infohashes` or `get_peers` query with holes for target and transaction id.

    Args:
        method: one of those three.
        id: our node id, 20 bytes.
        want: ``b"n4"``, ``b"n6"``, or none of them (BEP 32).
        read_only: whether to mark us as read-only (BEP 43).

    Raises:
        ValueError: another method, or an id that has not 20 bytes.
    """

    __slots__ = ("_head", "_middle", "_tail")

    def __init__(self, method: bytes, id: bytes, want: Sequence[bytes] = (), read_only: bool = False) -> None:
        key = _TARGET_KEYS.get(method)
        if key is None or len(id) != _ID_BYTES:
            raise ValueError(f"no template for {method!r} with an id of {len(id)} bytes")
        args: dict[bytes, Any] = {b"id": id, key: bytes(_ID_BYTES)}
        if want:
            args[b"want"] = list(want)
        filled = _query(bytes(TID_BYTES), method, args, read_only)
        target_at = len(b"d1:ad2:id20:%b%d:%b20:" % (id, len(key), key))
        tid_at = filled.rindex(b"1:t4:") + len(b"1:t4:")
        self._head = filled[:target_at]
        self._middle = filled[target_at + _ID_BYTES : tid_at]
        self._tail = filled[tid_at + TID_BYTES :]

    def fill(self, target: bytes, tid: bytes) -> bytes:
        """The query for a 20-byte target or infohash and a 4-byte transaction id; lengths are unchecked."""
        return self._head + target + self._middle + tid + self._tail
