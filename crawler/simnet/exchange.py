"""The two ends of one exchange as a virtual node sees it: reading the query, writing the reply.

Queries come in a few exact shapes, thousands a second, so those are matched as bytes; whatever has another
shape goes through `wire.krpc`. Replies are put together from ready bytes, in canonical form (BEP 5, 42, 51).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from crawler.simnet.population import ID_BYTES
from crawler.wire import krpc

if TYPE_CHECKING:
    from collections.abc import Iterable

_VERSION: Final = b"SN\x00\x01"
_USUAL: Final = re.compile(
    rb"d1:ad2:id20:.{20}"
    rb"(?:6:target20:(.{20})(?:4:wantl(?:2:n4)?(?:2:n6)?e)?e1:q(?:17:(sample_infohashes)|9:(find_node))"
    rb"|9:info_hash20:(.{20})(?:4:wantl(?:2:n4)?(?:2:n6)?e)?e1:q9:(get_peers)"
    rb"|e1:q4:(ping))"
    rb"(?:2:roi1e)?1:t(?:4:(.{4})|2:(.{2}))(?:1:v4:.{4})?1:y1:qe",
    re.DOTALL,
)


class Request(NamedTuple):
    """A query, reduced to what an answer depends on."""

    method: bytes
    tid: bytes
    target: bytes | None
    """`target` or `info_hash` if it has 20 bytes."""
    args: dict[bytes, Any] | None
    """All arguments, or None when the query came in a usual shape and has no more than the above."""


def read(data: bytes) -> Request | None:
    """Return the query in ``data``; None for anything else, and for a query without the sender's id."""
    match = _USUAL.fullmatch(data)
    if match:
        target, sample, find, infohash, peers, ping, four, two = match.groups()
        return Request(sample or find or peers or ping, four or two, target or infohash, None)
    try:
        message = krpc.decode(data)
    except krpc.MalformedMessageError:
        return None
    if not isinstance(message, krpc.Query) or not message.id:
        return None
    target = message.args.get(b"target", message.args.get(b"info_hash"))
    if not isinstance(target, bytes) or len(target) != ID_BYTES:
        target = None
    return Request(message.method, message.tid, target, message.args)


def pong(node_id: bytes) -> bytes:
    """Return the body that says only who answers."""
    return b"d2:id20:%be" % node_id


def nodes_body(node_id: bytes, nodes: bytes) -> bytes:
    """Return the body of an answer to find_node."""
    return b"d2:id20:%b5:nodes%d:%be" % (node_id, len(nodes), nodes)


def peers_body(node_id: bytes, nodes: bytes, token: bytes, peers: Iterable[bytes]) -> bytes:
    """Return the body of an answer to get_peers; `values` only when there are peers."""
    values = b"".join([b"%d:%b" % (len(peer), peer) for peer in peers])
    listed = b"6:valuesl%be" % values if values else b""
    return b"d2:id20:%b5:nodes%d:%b5:token%d:%b%be" % (node_id, len(nodes), nodes, len(token), token, listed)


def samples_body(node_id: bytes, nodes: bytes, interval: int, total: int, samples: bytes) -> bytes:
    """Return the body of an answer to sample_infohashes."""
    return b"d2:id20:%b8:intervali%de5:nodes%d:%b3:numi%de7:samples%d:%be" % (
        node_id,
        interval,
        len(nodes),
        nodes,
        total,
        len(samples),
        samples,
    )


def reply(tid: bytes, source: bytes, body: bytes) -> bytes:
    """Return the response to ``source`` (a compact address, told to it as BEP 42's `ip`)."""
    return b"d2:ip%d:%b1:r%b1:t%d:%b1:v4:%b1:y1:re" % (len(source), source, body, len(tid), tid, _VERSION)


def refusal(tid: bytes, source: bytes, code: int, message: bytes) -> bytes:
    """Return the error in answer to ``source``."""
    return b"d1:eli%de%d:%be2:ip%d:%b1:t%d:%b1:v4:%b1:y1:ee" % (
        code,
        len(message),
        message,
        len(source),
        source,
        len(tid),
        tid,
        _VERSION,
    )
