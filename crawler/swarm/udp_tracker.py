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
_ACTION: Final = slice(8, 12)
_CONNECT_ACTION: Final = wire.CONNECT.to_bytes(4, "big")


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
        self._config = config
        self._doorman = doorman
        self._ids = ids

    def answer(self, data: bytes, source: bytes, now: float) -> bytes | None:
        """Return the reply to ``data`` from the compact address ``source``, or None for silence."""
        counters = self.counters
        counters.received += 1
        counters.bytes_in += len(data)
        reply = self._answer(data, source, now)
        if reply is not None:
            counters.bytes_out += len(reply)
        return reply

    def _answer(self, data: bytes, source: bytes, now: float) -> bytes | None:
        ignored = self._why_ignored(data, source, now)
        if ignored:
            self.counters.dropped[ignored] += 1
            return None
        connection_id, action, transaction = wire.read_head(data)
        ip = source[:-_PORT_BYTES]
        if action == wire.CONNECT:
            self.counters.answered["connect"] += 1
            return wire.encode_connect_reply(transaction, self._ids.issue(ip, now))
        if not self._ids.valid(connection_id, ip, now):
            return self._refuse_unproved(data, action, transaction)
        if action == wire.ANNOUNCE:
            return self._announce(data, ip, now)
        if action == wire.SCRAPE:
            return self._scrape(data, transaction, now)
        return self._refuse(transaction, "unknown_action", "unknown action")

    def _why_ignored(self, data: bytes, source: bytes, now: float) -> str:
        """Return why ``data`` is worth no look; "" if it is, and then its sender's budget has paid for it."""
        if len(data) < wire.HEAD_BYTES:
            return "too_short"
        if source.endswith(_NO_PORT):
            return "port_zero"
        if data[_ACTION] == _CONNECT_ACTION and not data.startswith(wire.PROTOCOL_ID):
            return "no_protocol_id"
        return "over_rate" if self._doorman.wait(source[:-_PORT_BYTES], now) else ""

    def _announce(self, data: bytes, ip: bytes, now: float) -> bytes:
        if len(data) < wire.ANNOUNCE_BYTES:
            text = f"an announce has at least {wire.ANNOUNCE_BYTES} bytes"
            return self._refuse(wire.read_head(data)[2], "bad_announce", text)
        # The hot path: a plain tuple costs a tenth of the values that decode_request makes.
        _, _, transaction, infohash, peer_id, _, left, _, event, _, _, numwant, port = wire.read_announce(
            data
        )
        if not self._doorman.serves(infohash):
            return self._refuse(transaction, "not_allowed", _NOT_ALLOWED)
        address = ip + port.to_bytes(_PORT_BYTES, "big")
        count = min(self._config.peers_for(numwant), _MOST_PEERS[len(address)])
        seeders, leechers, _, peers = self._registry.announce(
            infohash, address, event, count, now, seed=not left, peer_id=peer_id
        )
        self.counters.answered["announce"] += 1
        return wire.encode_announce_reply(transaction, self._config.interval, leechers, seeders, peers)

    def _scrape(self, data: bytes, transaction: int, now: float) -> bytes:
        try:
            infohashes = wire.scraped_infohashes(data)
        except TrackerRequestError as error:
            return self._refuse(transaction, "bad_scrape", str(error))
        if not all(map(self._doorman.serves, infohashes)):
            return self._refuse(transaction, "not_allowed", _NOT_ALLOWED)
        self.counters.answered["scrape"] += 1
        return wire.encode_scrape_reply(transaction, [self._registry.scrape(h, now) for h in infohashes])

    def _refuse_unproved(self, data: bytes, action: int, transaction: int) -> bytes | None:
        """Tell a client at once that its id is no good, but never in more bytes than it sent."""
        error = wire.encode_error(transaction, "bad connection id")
        if action not in {wire.ANNOUNCE, wire.SCRAPE} or len(error) > len(data):
            self.counters.dropped["bad_connection_id"] += 1
            return None
        self.counters.refused["bad_connection_id"] += 1
        return error

    def _refuse(self, transaction: int, reason: str, text: str) -> bytes:
        self.counters.refused[reason] += 1
        return wire.encode_error(transaction, text)
