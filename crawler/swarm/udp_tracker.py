"""The server's half of BEP 15 as a state machine: a datagram in, at most one out.

Before its address is proved by a connection id, nobody is sent more bytes than came: a forged source makes
this tracker no amplifier. What is no request is met with silence; what is one, and can't be answered, is told
why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crawler.swarm.tracker_policy import TrackerCounters
from crawler.wire import tracker_udp as wire
from crawler.wire.compact import Family
from crawler.wire.tracker import TrackerRequestError

if TYPE_CHECKING:
    from crawler.swarm.connection_ids import ConnectionIds
    from crawler.swarm.registry import Registry
    from crawler.swarm.tracker_policy import Doorman, TrackerPolicy

LONGEST_REPLY: Final = 1400
"""Bytes that go through nearly every path in one piece."""
_REPLY_HEAD: Final = 20
_NOT_ALLOWED: Final = "this tracker does not serve that infohash"
_MOST_PEERS: Final = {
    family.address_bytes: (LONGEST_REPLY - _REPLY_HEAD) // family.address_bytes for family in Family
}
_PORT_BYTES: Final = 2
_NO_PORT: Final = bytes(_PORT_BYTES)
_ACTIONS: Final = frozenset({wire.CONNECT, wire.ANNOUNCE, wire.SCRAPE})


class UdpTracker:
    """Answers datagrams from one registry.

    Attributes:
        counters: what it was asked.
    """

    def __init__(
        self, registry: Registry, config: TrackerPolicy, doorman: Doorman, ids: ConnectionIds
    ) -> None:
        self.counters = TrackerCounters()
        self._registry = registry
        self._interval = config.interval
        self._most_peers = {
            size: (min(config.peers_for(None), most), min(config.max_numwant, most))
            for size, most in _MOST_PEERS.items()
        }
        self._doorman = doorman
        self._ids = ids

    def answer(self, data: bytes, source: bytes, now: float) -> bytes | None:
        """Return the reply to ``data`` from the compact address ``source``, or None for silence."""
        counters = self.counters
        counters.received += 1
        counters.bytes_in += len(data)
        reply = self._answer(data, source, now)
        counters.bytes_out += len(reply)
        return reply or None

    def _answer(self, data: bytes, source: bytes, now: float) -> bytes:
        if len(data) < wire.HEAD_BYTES or source.endswith(_NO_PORT):
            return self._ignore("too_short" if len(data) < wire.HEAD_BYTES else "port_zero")
        connection_id, action, transaction = wire.read_head(data)
        ip = source[:-_PORT_BYTES]
        if action == wire.CONNECT or not self._ids.valid(connection_id, ip, now):
            return self._answer_stranger(data, ip, now)
        if self._doorman.wait(ip, now):
            return self._ignore("over_rate")
        if action == wire.ANNOUNCE:
            return self._announce(data, ip, now)
        if action == wire.SCRAPE:
            return self._scrape(data, transaction, now)
        return self._refuse(transaction, "unknown_action", "unknown action")

    def _answer_stranger(self, data: bytes, ip: bytes, now: float) -> bytes:
        """Answer who has not proved its address: with an id, or that its id is no good, in no more bytes."""
        connection_id, action, transaction = wire.read_head(data)
        if action == wire.CONNECT and connection_id != wire.PROTOCOL_ID:
            return self._ignore("no_protocol_id")
        error = wire.encode_error(transaction, "bad connection id")
        if action not in _ACTIONS or (action != wire.CONNECT and len(error) > len(data)):
            return self._ignore("bad_connection_id")
        if self._doorman.wait_stranger(ip, now):
            return self._ignore("strangers_over_rate")
        if action == wire.CONNECT:
            self.counters.answered["connect"] += 1
            return wire.encode_connect_reply(transaction, self._ids.issue(ip, now))
        self.counters.refused["bad_connection_id"] += 1
        return error

    def _announce(self, data: bytes, ip: bytes, now: float) -> bytes:
        if len(data) < wire.ANNOUNCE_BYTES:
            text = f"an announce has at least {wire.ANNOUNCE_BYTES} bytes"
            return self._refuse(wire.read_head(data)[2], "bad_announce", text)
        # The hot path: a plain tuple costs a tenth of the values that decode_request makes.
        _, _, transaction, infohash, peer_id, _, left, _, event, _, _, numwant, port = wire.read_announce(
            data
        )
        allowed = self._doorman.allowed
        if allowed is not None and infohash not in allowed:
            return self._refuse(transaction, "not_allowed", _NOT_ALLOWED)
        address = ip + port.to_bytes(_PORT_BYTES, "big")
        usual, most = self._most_peers[len(address)]
        count = usual if numwant < 0 else min(numwant, most)
        seeders, leechers, _, peers = self._registry.announce(
            infohash, address, event, count, now, seed=not left, peer_id=peer_id
        )
        self.counters.answered["announce"] += 1
        return wire.encode_announce_reply(transaction, self._interval, leechers, seeders, peers)

    def _scrape(self, data: bytes, transaction: int, now: float) -> bytes:
        try:
            infohashes = wire.scraped_infohashes(data)
        except TrackerRequestError as error:
            return self._refuse(transaction, "bad_scrape", str(error))
        if not all(map(self._doorman.serves, infohashes)):
            return self._refuse(transaction, "not_allowed", _NOT_ALLOWED)
        self.counters.answered["scrape"] += 1
        return wire.encode_scrape_reply(transaction, [self._registry.scrape(h, now) for h in infohashes])

    def _ignore(self, reason: str) -> bytes:
        """Meet it with silence."""
        self.counters.dropped[reason] += 1
        return b""

    def _refuse(self, transaction: int, reason: str, text: str) -> bytes:
        self.counters.refused[reason] += 1
        return wire.encode_error(transaction, text)
