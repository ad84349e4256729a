"""What we answer to the queries of others: the server side of BEP 5, 32, 33, 42, 43 and 51.

One query in, at most one reply out; nothing is sent from here. A reply never exceeds 1024 bytes (BEP 32):
peers that do not fit are left out first, then nodes. We say nothing at all where an answer could only help a
reflection attack or a loop: to port 0, to addresses that are not of the public internet, to our own id.
How many replies leave us is `reply_budget`'s business.

Error codes: 203 for an argument or token that is wrong, 202 for an announce that the store has no room for,
204 for a method unknown to us without a target to answer as find_node. 201 (generic) is never the best word.

A querier is not entered into a routing table here: only an answer to our own ping proves it, and the node
decides on one (not for `Query.read_only`, BEP 43).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from crawler.dht.events import Sighting
from crawler.settings import setting
from crawler.wire import krpc
from crawler.wire.compact import Family, ip_of, is_global, join_nodes
from crawler.wire.ids import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crawler.dht.bucket import RoutingNode
    from crawler.dht.peers import PeerStore
    from crawler.dht.routing import RoutingTable
    from crawler.dht.tokens import Tokens

MAX_REPLY_BYTES = 1024
"""The largest payload that every node must accept (BEP 32)."""

SERVER_ERROR = 202
PROTOCOL_ERROR = 203
METHOD_UNKNOWN = 204

_MAX_PORT = 65_535
_VALUES_OVERHEAD = len(b"6:valuesle")


@attrs.frozen
class ResponderConfig:
    """How much one reply holds at most."""

    max_nodes: int = setting(8, unit="nodes", help="Nodes of one family in a reply.", minimum=1, maximum=8)
    max_values: int = setting(
        50, unit="peers", help="IPv4 peers in a reply to get_peers.", minimum=0, maximum=100
    )
    max_values6: int = setting(
        16, unit="peers", help="IPv6 peers in a reply to get_peers.", minimum=0, maximum=40
    )


@attrs.frozen
class Answer:
    """What a query leads to.

    Attributes:
        reply: the datagram to send back, or None for silence.
        sighting: the infohash that the query named, if it named one that we believe.
    """

    reply: bytes | None = None
    sighting: Sighting | None = None


@attrs.frozen
class ResponderStatistics:
    """Queries by what they led to; each is in exactly one of these.

    ``other`` are unknown methods answered as find_node; the errors are named by their code.
    """

    ping: int
    find_node: int
    get_peers: int
    announce_peer: int
    sample_infohashes: int
    other: int
    errors_202: int
    errors_203: int
    errors_204: int
    silent: int


class _RefusedError(Exception):
    """A query is answered with a KRPC error."""

    def __init__(self, code: int, message: bytes, sighting: Sighting | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.sighting = sighting


class Responder:
    """Answers queries that reach the socket of one family; ``own_id`` follows when our id changes."""

    def __init__(
        self,
        own_id: bytes,
        tables: Mapping[Family, RoutingTable],
        store: PeerStore,
        tokens: Tokens,
        config: ResponderConfig,
        *,
        allow_private: bool = False,
    ) -> None:
        """Answer out of what is given.

        Args:
            own_id: our id, 20 bytes.
            tables: the routing table of each family that is on; may be shared with the other family's
                responder, as may ``store`` and ``tokens``.
            store: the peers announced to us.
            tokens: issues and checks write tokens.
            config: sizes of replies.
            allow_private: answer addresses that are not of the public internet, too.
        """
        self.own_id = own_id
        self._tables = tables
        self._store = store
        self._tokens = tokens
        self._config = config
        self._allow_private = allow_private
        self._counts: Counter[str] = Counter()
        self._methods: dict[bytes, Callable[[krpc.Query, bytes, float], Answer]] = {
            b"ping": self._ping,
            b"find_node": self._find_node,
            b"get_peers": self._get_peers,
            b"announce_peer": self._announce_peer,
            b"sample_infohashes": self._sample_infohashes,
        }

    def answer(self, query: krpc.Query, source: bytes, now: float) -> Answer:
        """Return what to do about ``query`` from compact address ``source``; ``now`` in seconds."""
        if self._keeps_silent(query, source):
            self._counts["silent"] += 1
            return Answer()
        method = self._methods.get(query.method, self._unknown)
        try:
            _check_id(query)
            answer = method(query, source, now)
        except _RefusedError as refused:
            self._counts[f"errors_{refused.code}"] += 1
            return Answer(krpc.error(query.tid, refused.code, refused.message, source), refused.sighting)
        self._counts[query.method.decode() if query.method in self._methods else "other"] += 1
        return answer

    def statistics(self) -> ResponderStatistics:
        """Return the queries counted by what they led to."""
        return ResponderStatistics(
            **{field.name: self._counts[field.name] for field in attrs.fields(ResponderStatistics)}
        )

    # One method per query

    def _ping(self, query: krpc.Query, source: bytes, _now: float) -> Answer:
        return Answer(self._reply(query, source, {}))

    def _find_node(self, query: krpc.Query, source: bytes, now: float) -> Answer:
        target = _id_argument(query, b"target")
        return Answer(self._reply(query, source, {}, self._nodes(query, source, target, now)))

    def _get_peers(self, query: krpc.Query, source: bytes, now: float) -> Answer:
        info_hash = _id_argument(query, b"info_hash")
        body: dict[bytes, Any] = {}
        if self._store.accepts(info_hash, now):
            body[b"token"] = self._tokens.issue(ip_of(source), info_hash, now)
        filters = self._store.scrape(info_hash, now) if _flag(query, b"scrape") else None
        if filters is not None:
            body[b"BFsd"], body[b"BFpe"] = filters
        nodes = self._nodes(query, source, info_hash, now)
        peers = self._peers(query, source, info_hash, now)
        reply = self._reply(query, source, body, nodes, peers)
        if query.args.get(b"bs") == 1:
            # libtorrent refreshes its table by get_peers for random targets, and says so: no torrent meant.
            return Answer(reply)
        return Answer(reply, Sighting(info_hash, "get_peers", source, None))

    def _announce_peer(self, query: krpc.Query, source: bytes, now: float) -> Answer:
        info_hash = _id_argument(query, b"info_hash")
        token = query.args.get(b"token")
        if not isinstance(token, bytes) or not self._tokens.valid(token, ip_of(source), info_hash, now):
            raise _RefusedError(PROTOCOL_ERROR, b"bad token")
        peer = _announced_peer(query, source)
        seed = query.args.get(b"seed")
        sighting = Sighting(info_hash, "announce", source, peer)
        if not self._store.announce(info_hash, peer, now, seed == 1 if isinstance(seed, int) else None):
            raise _RefusedError(SERVER_ERROR, b"no room for this announce", sighting)
        return Answer(self._reply(query, source, {}), sighting)

    def _sample_infohashes(self, query: krpc.Query, source: bytes, now: float) -> Answer:
        target = _id_argument(query, b"target")
        samples, stored, interval = self._store.sample(now)
        body = {b"samples": samples, b"num": stored, b"interval": interval}
        return Answer(self._reply(query, source, body, self._nodes(query, source, target, now)))

    def _unknown(self, query: krpc.Query, source: bytes, now: float) -> Answer:
        """Answer as find_node where there is a target, so that what we do not speak still routes."""
        for key in (b"target", b"info_hash"):
            target = query.args.get(key)
            if isinstance(target, bytes) and len(target) == ID_BYTES:
                return Answer(self._reply(query, source, {}, self._nodes(query, source, target, now)))
        raise _RefusedError(METHOD_UNKNOWN, b"method unknown")

    # What replies are made of

    def _keeps_silent(self, query: krpc.Query, source: bytes) -> bool:
        if source.endswith(b"\0\0") or query.id == self.own_id:
            return True
        return not self._allow_private and not is_global(source)

    def _nodes(
        self, query: krpc.Query, source: bytes, target: bytes, now: float
    ) -> dict[Family, list[RoutingNode]]:
        """Return the good nodes closest to ``target`` of each wanted family; none of one that is off."""
        count, tables = self._config.max_nodes, self._tables
        return {
            family: tables[family].closest(target, count, now=now) if family in tables else []
            for family in _wanted(query, source)
        }

    def _peers(self, query: krpc.Query, source: bytes, info_hash: bytes, now: float) -> list[bytes]:
        """Return peers that the asker can reach: of the family that it asked over (BEP 32)."""
        family = Family.of(source)
        limit = self._config.max_values if family is Family.IPV4 else self._config.max_values6
        return self._store.get(info_hash, family, now, limit, noseed=_flag(query, b"noseed"))

    def _reply(
        self,
        query: krpc.Query,
        source: bytes,
        body: dict[bytes, Any],
        nodes: Mapping[Family, Sequence[RoutingNode]] | None = None,
        peers: Sequence[bytes] = (),
    ) -> bytes:
        """Encode a response of at most 1024 bytes: as many nodes as fit, then as many peers."""
        body[b"id"] = self.own_id
        for count in range(self._config.max_nodes, -1, -1):
            for family, closest in (nodes or {}).items():
                body[family.nodes_key] = join_nodes((node.id, node.address) for node in closest[:count])
            reply = krpc.response(query.tid, body, source)
            if len(reply) <= MAX_REPLY_BYTES:
                break
        if not peers:
            return reply
        room = MAX_REPLY_BYTES - len(reply) - _VALUES_OVERHEAD
        fitting = max(0, room // len(b"%d:%s" % (len(peers[0]), peers[0])))
        if not fitting:
            return reply
        body[b"values"] = list(peers[:fitting])
        return krpc.response(query.tid, body, source)


def _check_id(query: krpc.Query) -> None:
    if len(query.id) != ID_BYTES:
        raise _RefusedError(PROTOCOL_ERROR, b"id must be 20 bytes")


def _id_argument(query: krpc.Query, key: bytes) -> bytes:
    """Return the 20 bytes of an argument that the method cannot do without."""
    value = query.args.get(key)
    if isinstance(value, bytes) and len(value) == ID_BYTES:
        return value
    raise _RefusedError(PROTOCOL_ERROR, key + b" must be 20 bytes")


def _flag(query: krpc.Query, key: bytes) -> bool:
    value = query.args.get(key)
    return isinstance(value, int) and value != 0


def _announced_peer(query: krpc.Query, source: bytes) -> bytes:
    """Return the compact address of the peer that an announce is for: the sender's IP, always (BEP 5)."""
    if _flag(query, b"implied_port"):
        return source
    port = query.args.get(b"port")
    if not isinstance(port, int) or not 0 < port <= _MAX_PORT:
        raise _RefusedError(PROTOCOL_ERROR, b"port must be 1 to 65535")
    return ip_of(source) + port.to_bytes(2, "big")


def _wanted(query: krpc.Query, source: bytes) -> list[Family]:
    """Return the families whose nodes to send: those in ``want``, else that of the transport (BEP 32)."""
    want = query.args.get(b"want")
    if isinstance(want, list):
        wanted = [family for family in Family if family.want in want]
        if wanted:
            return wanted
    return [Family.of(source)]
