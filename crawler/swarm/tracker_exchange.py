"""One request to one UDP tracker, from the connection id to the answer (BEP 15), as a state machine.

connect → announce or scrape. A request is sent again after 15·2ⁿ s. A connection id serves every exchange
with its tracker's address for 60 s; when it is too old by the time of a retransmission, or the tracker does
not want it, another one is asked for first. A datagram that does not fit is left to others and waited on.

The owner sends what :meth:`Exchange.data_to_send` gives, hands every datagram of that address to
:meth:`Exchange.receive_datagram`, and looks at ``finished``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from crawler.wire import tracker_udp
from crawler.wire.compact import Family
from crawler.wire.tracker import AnnounceAnswer, ScrapeCounts, TrackerFailure, TrackerReplyError

if TYPE_CHECKING:
    from random import Random

    from crawler.wire.tracker import AnnounceRequest

_FIRST_WAIT: Final = 15.0
_ID_LIFETIME: Final = 60.0
_STALE_ID: Final = "connection id"
MAX_SCRAPED: Final = tracker_udp.MAX_HASHES


class ConnectionIds:
    """Connection ids by compact address of the tracker, port included; no more than ``capacity``."""

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._known: dict[bytes, tuple[bytes, float]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, address: bytes, now: float) -> bytes | None:
        """Return the id that may still be used at ``address``."""
        found = self._known.get(address)
        return found[0] if found is not None and now < found[1] else None

    def put(self, address: bytes, connection_id: bytes, now: float) -> None:
        """Keep an id that was received ``now``; the oldest makes room."""
        self._known.pop(address, None)
        self._known[address] = connection_id, now + _ID_LIFETIME
        if len(self._known) > self._capacity:
            del self._known[next(iter(self._known))]

    def drop(self, address: bytes) -> None:
        """Forget the id of ``address``."""
        self._known.pop(address, None)


@attrs.frozen
class Scrape:
    """The other request: how large the swarms of some infohashes are; at most `MAX_SCRAPED`."""

    infohashes: tuple[bytes, ...]


Answer = AnnounceAnswer | tuple[ScrapeCounts, ...] | TrackerFailure


@attrs.define
class _Stage:
    """One of the two requests of an exchange: how often it was sent, and with which transaction numbers."""

    sent: int = 0
    transactions: set[int] = attrs.field(factory=set)


class Exchange:
    """One request to the tracker at one address.

    Args:
        address: compact address of the tracker.
        request: what to ask.
        ids: connection ids, shared by all exchanges.
        rng: draws transaction numbers; they must not be guessed.
        retries: how often a request is sent again.
        url_data: path and query of the tracker's URL, which are sent with an announce (BEP 41).

    Attributes:
        answer: what the tracker said; None before that, and when it did not answer.
        finished: whether the exchange is over.
    """

    def __init__(
        self,
        address: bytes,
        request: AnnounceRequest | Scrape,
        ids: ConnectionIds,
        rng: Random,
        *,
        retries: int = 3,
        url_data: bytes = b"",
    ) -> None:
        self.answer: Answer | None = None
        self.finished = False
        self._address = address
        self._request = request
        self._ids = ids
        self._rng = rng
        self._retries = retries
        self._url_data = url_data
        self._connect = _Stage()
        self._ask = _Stage()
        self._due = float("-inf")
        self._reconnected = False

    def data_to_send(self, now: float) -> bytes | None:
        """Return the datagram that is to go to the tracker now, if any."""
        if self.finished or now < self._due:
            return None
        connection_id = self._ids.get(self._address, now)
        stage = self._connect if connection_id is None else self._ask
        if stage.sent > self._retries:
            self.finished = True
            return None
        transaction = self._rng.getrandbits(32)
        stage.transactions.add(transaction)
        self._due = now + _FIRST_WAIT * 2**stage.sent
        stage.sent += 1
        if connection_id is None:
            return tracker_udp.encode_connect(transaction)
        return self._encode(connection_id, transaction)

    def next_timer(self) -> float:
        """Return when :meth:`data_to_send` has something again, or the exchange ends."""
        return self._due

    def receive_datagram(self, data: bytes, now: float) -> bool:
        """Take a datagram from the tracker's address; returns whether it belongs to this exchange."""
        transaction = tracker_udp.transaction_of(data)
        if self.finished or transaction is None:
            return False
        try:
            if transaction in self._connect.transactions:
                self._connected(tracker_udp.decode_connect_reply(data, transaction), now)
            elif transaction in self._ask.transactions:
                self._answered(self._decode(data, transaction), now)
            else:
                return False
        except TrackerReplyError:
            return False
        return True

    def _encode(self, connection_id: bytes, transaction: int) -> bytes:
        if isinstance(self._request, Scrape):
            return tracker_udp.encode_scrape(self._request.infohashes, connection_id, transaction)
        return tracker_udp.encode_announce(self._request, connection_id, transaction, url_data=self._url_data)

    def _decode(self, data: bytes, transaction: int) -> Answer:
        if isinstance(self._request, Scrape):
            return tracker_udp.decode_scrape_reply(data, transaction, len(self._request.infohashes))
        return tracker_udp.decode_announce_reply(data, transaction, Family.of(self._address))

    def _connected(self, said: bytes | TrackerFailure, now: float) -> None:
        if isinstance(said, TrackerFailure):
            self._finish(said)
            return
        self._ids.put(self._address, said, now)
        self._connect = _Stage()
        self._due = now

    def _answered(self, answer: Answer, now: float) -> None:
        if (
            isinstance(answer, TrackerFailure)
            and _STALE_ID in answer.reason.lower()
            and not self._reconnected
        ):
            # A tracker that was restarted, or that sees us at another address now, knows our id no more.
            self._reconnected = True
            self._ids.drop(self._address)
            self._due = now
            return
        self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        self.answer, self.finished = answer, True
