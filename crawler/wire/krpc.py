"""KRPC messages (BEP 5): what a datagram says, as one of three records, tolerant as krpc.md §11 asks.

Decoding looks at the envelope only: kind, transaction id, sender's id. What the keys of a body mean is for
whoever asked, and so is the size of its integers, since a look at every value would cost each answer 0.2 µs.
Queries, which are rarer, are checked. Encoding is in `krpc_encode`, re-exported here.

The records are values, and nobody changes them. They are not frozen because that makes one cost 0.3 µs
more, and every datagram makes one.
"""

from __future__ import annotations

from typing import Any

import attrs

from crawler.wire.bencode import BencodeError, decode_datagram
from crawler.wire.bencode_tolerant import INT64_MAX, INT64_MIN
from crawler.wire.krpc_encode import (
    CLIENT_VERSION,
    TID_BYTES,
    QueryTemplate,
    announce_peer,
    error,
    find_node,
    get_peers,
    ping,
    response,
    sample_infohashes,
)

__all__ = [
    "CLIENT_VERSION",
    "TID_BYTES",
    "Error",
    "MalformedMessageError",
    "Query",
    "QueryTemplate",
    "Response",
    "announce_peer",
    "decode",
    "error",
    "find_node",
    "get_peers",
    "ping",
    "response",
    "sample_infohashes",
]

_ID_BYTES = 20
_MAX_TID_BYTES = 32
_IP_SIZES = (4, 6, 16, 18)
_DICT = b"d"[0]


class MalformedMessageError(ValueError):
    """A datagram is no KRPC message that can be used: the one error of `decode`.

    Attributes:
        reason: a short snake_case token, one of a fixed set, for counters.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.define
class Query:
    """A question from another node.

    `id` is 20 bytes, or empty where the sender gave no valid one, so that it can be answered with error 203.
    `args` is all of `a`, unchecked but that its integers fit int64. `read_only` is BEP 43's mark.
    """

    tid: bytes
    method: bytes
    id: bytes
    args: dict[bytes, Any]
    read_only: bool
    version: bytes | None


@attrs.define
class Response:
    """An answer: `id` is 20 bytes, `body` is all of `r`, `ip` our own address as the other saw it (BEP 42).

    Integers in `body` may have hundreds of digits: clamp those that you read. `ip` has 4 or 16 bytes (no
    port), or 6 or 18 (with one).
    """

    tid: bytes
    id: bytes
    body: dict[bytes, Any]
    ip: bytes | None
    version: bytes | None


@attrs.define
class Error:
    """A refusal; `code` is 0 where the sender's error was not ``[int, bytes]`` (krpc.md §11 row 9)."""

    tid: bytes
    code: int
    message: bytes
    ip: bytes | None
    version: bytes | None


def decode(data: bytes) -> Query | Response | Error:
    """The message in a datagram.

    Raises:
        MalformedMessageError: it is not one; never answer it (krpc.md §4).
    """
    if not data or data[0] != _DICT:
        raise MalformedMessageError("not_a_dict")
    try:
        message: dict[bytes, Any] = decode_datagram(data)
    except BencodeError:
        raise MalformedMessageError("bad_bencode") from None
    get = message.get
    tid = get(b"t")
    if tid.__class__ is not bytes or not 0 < len(tid) <= _MAX_TID_BYTES:
        raise MalformedMessageError("bad_transaction_id")
    version, ip = get(b"v"), get(b"ip")
    if version.__class__ is not bytes:
        version = None
    if ip.__class__ is not bytes or len(ip) not in _IP_SIZES:
        ip = None
    kind = get(b"y")
    if kind == b"r":
        body = get(b"r")
        if body.__class__ is not dict:
            raise MalformedMessageError("bad_body")
        id_ = body.get(b"id")
        if id_.__class__ is not bytes or len(id_) != _ID_BYTES:
            raise MalformedMessageError("bad_id")
        return Response(tid, id_, body, ip, version)
    if kind == b"q":
        return _query(message, tid, version)
    return _error(message, tid, ip, version)


def _query(message: dict[bytes, Any], tid: bytes, version: bytes | None) -> Query:
    method = message.get(b"q")
    if method.__class__ is not bytes:
        raise MalformedMessageError("bad_method")
    args = message.get(b"a")
    if args.__class__ is not dict:
        args = {}
    _check_ints(args)
    id_ = args.get(b"id")
    if id_.__class__ is not bytes or len(id_) != _ID_BYTES:
        id_ = b""
    return Query(tid, method, id_, args, message.get(b"ro") == 1, version)


def _error(message: dict[bytes, Any], tid: bytes, ip: bytes | None, version: bytes | None) -> Error:
    if message.get(b"y") != b"e":
        raise MalformedMessageError("bad_kind")
    return Error(tid, *_code_and_message(message.get(b"e")), ip, version)


def _check_ints(body: dict[bytes, Any]) -> None:
    for value in body.values():
        if value.__class__ is int and not INT64_MIN <= value <= INT64_MAX:
            raise MalformedMessageError("huge_integer")


def _code_and_message(value: object) -> tuple[int, bytes]:
    """What can be used of `e`: krpc.md §11 row 9 lists what is sent."""
    match value:
        case [int(code), bytes(message), *_] if INT64_MIN <= code <= INT64_MAX:
            return code, message
        case bytes(message) | [bytes(message), *_]:
            return 0, message
    return 0, b""
