"""One node of the DHT on one socket (BEP 5): every datagram passes here, and every query of ours leaves here.

It decodes a datagram or moves one counter; gives a query to the responder and queues the reply; matches a
response to its transaction and queues the outcome as an event. What the outcome means is not known here: the
crawl, a lookup and a ping are all just owners of transactions. Nothing here waits, and nothing remote raises.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import attrs

from crawler.dht.events import Answered, Event, PingWanted, Refused, Sighting, TimedOut
from crawler.wire import krpc
from crawler.wire.compact import is_global, pack_address

if TYPE_CHECKING:
    from crawler.dht.identity import ExternalAddress
    from crawler.dht.reply_budget import ReplyBudget
    from crawler.dht.responder import Responder
    from crawler.dht.routing import RoutingTable
    from crawler.dht.transactions import Transaction, Transactions
    from crawler.wire.compact import Address, Family

_VOTE_EVERY = 8
"""One answer in so many votes on our address; that is soon enough."""

_MAX_EVENTS = 100_000
"""While so many events wait for the shell, what strangers' queries lead to is dropped and counted.

The outcomes of our own queries always find room: their number is bounded by that of the transactions.
"""


@attrs.define
class NodeCounters:
    """What passed through a node since it started.

    ``queries_sent`` = ``answers`` + ``refusals`` + ``timeouts`` - ``late_answers`` + those in flight: a late
    answer or refusal ends a query that was counted as timed out before.
    """

    datagrams_in: int = 0
    bytes_in: int = 0
    queries_in: int = 0
    replies: int = 0
    answers: int = 0
    refusals: int = 0
    timeouts: int = 0
    late_answers: int = 0
    queries_sent: int = 0
    bytes_out: int = 0
    sent: Counter[bytes] = attrs.field(factory=Counter)
    dropped: Counter[str] = attrs.field(factory=Counter)


class Node:
    """The state machine behind one socket."""

    def __init__(
        self,
        family: Family,
        *,
        table: RoutingTable,
        transactions: Transactions,
        responder: Responder,
        reply_budget: ReplyBudget,
        external: ExternalAddress,
        allow_private: bool = False,
    ) -> None:
        """Join the parts; the node's id is the table's."""
        self.family = family
        self.table = table
        self.transactions = transactions
        self.responder = responder
        self.external = external
        self.counters = NodeCounters()
        self.reply_budget = reply_budget
        self._allow_private = allow_private
        self._events: deque[Event] = deque()
        self._replies: list[tuple[bytes, Address]] = []

    @property
    def id(self) -> bytes:
        """Our 20-byte node id on this socket."""
        return self.table.own_id

    def change_id(self, own_id: bytes, now: float) -> None:
        """Go by another 20-byte id from now on, as when our external address became known (BEP 42)."""
        self.table.rebuild(own_id, now)
        self.responder.own_id = own_id

    def receive_datagram(self, data: bytes, source: Address, now: float) -> None:
        """Take one datagram that came from ``source``; replies and events wait to be taken."""
        counters = self.counters
        counters.datagrams_in += 1
        counters.bytes_in += len(data)
        try:
            message = krpc.decode(data)
        except krpc.MalformedMessageError as error:
            counters.dropped["malformed_" + error.reason] += 1
            return
        if type(message) is krpc.Response:
            self._receive_response(message, source, now)
        elif type(message) is krpc.Query:
            self._receive_query(message, len(data), source, now)
        elif type(message) is krpc.Error:
            self._receive_error(message, source, now)

    def open_query(
        self, address: Address, compact: bytes, method: bytes, owner: Any, context: Any, now: float
    ) -> bytes:
        """Open a transaction for a query that the caller is about to send; returns its id."""
        self.counters.queries_sent += 1
        self.counters.sent[method] += 1
        return self.transactions.open(address, compact, method, owner, context, now)

    def handle_timer(self, now: float) -> None:
        """Turn every overdue transaction into an event."""
        for transaction in self.transactions.expire(now):
            self._time_out(transaction, now)

    def take_events(self) -> deque[Event]:
        """Return the events since the last call, oldest first."""
        events, self._events = self._events, deque()
        return events

    def take_replies(self) -> list[tuple[bytes, Address]]:
        """Return the replies to send, oldest first."""
        replies, self._replies = self._replies, []
        return replies

    def _receive_response(self, message: krpc.Response, source: Address, now: float) -> None:
        transaction = self.transactions.match(message.tid, source, now)
        if transaction is None:
            self.counters.dropped["response_unmatched"] += 1
            return
        if message.id == self.table.own_id:
            self.counters.dropped["response_with_our_id"] += 1
            if not transaction.late:
                self._time_out(transaction, now)
            return
        self.counters.answers += 1
        if transaction.late:
            self.counters.late_answers += 1
        rtt = now - transaction.sent
        self.transactions.rtt.measured(rtt)
        doubtful = self.table.heard(message.id, transaction.compact, now)
        if doubtful is not None:
            self._events.append(PingWanted(doubtful.id, doubtful.address))
        if message.ip is not None and self.counters.answers % _VOTE_EVERY == 1:
            self.external.vote(message.ip, transaction.compact, now)
        self._events.append(Answered(transaction, message, rtt))

    def _receive_error(self, message: krpc.Error, source: Address, now: float) -> None:
        transaction = self.transactions.match(message.tid, source, now)
        if transaction is None:
            self.counters.dropped["error_unmatched"] += 1
            return
        self.counters.refusals += 1
        if transaction.late:
            self.counters.late_answers += 1
        self.transactions.rtt.measured(now - transaction.sent)
        self._events.append(Refused(transaction, message))

    def _receive_query(self, query: krpc.Query, size: int, source: Address, now: float) -> None:
        self.counters.queries_in += 1
        if source[1] == 0:
            self.counters.dropped["query_from_port_0"] += 1
            return
        if query.id == self.table.own_id:
            self.counters.dropped["query_with_our_id"] += 1
            return
        compact = pack_address(source)
        if not (self._allow_private or is_global(compact)):
            self.counters.dropped["query_from_private_address"] += 1
            return
        if self.reply_budget.refuses(compact, now):
            self.counters.dropped["reply_over_budget"] += 1
            return
        answer = self.responder.answer(query, compact, now)
        if answer.sighting is not None:
            self._tell(answer.sighting)
        worth_knowing = bool(query.id) and not query.read_only
        if worth_knowing and not self.table.queried_by(query.id, compact, now):
            self._tell(PingWanted(query.id, compact))
        self._reply(answer.reply, size, source, compact, now)

    def _tell(self, event: Sighting | PingWanted) -> None:
        """Queue what a stranger's query led to."""
        if len(self._events) < _MAX_EVENTS:
            self._events.append(event)
        else:
            self.counters.dropped["events_full"] += 1

    def _time_out(self, transaction: Transaction, now: float) -> None:
        self.counters.timeouts += 1
        self.table.failed(None, transaction.compact, now)
        self._events.append(TimedOut(transaction))

    def _reply(self, reply: bytes | None, size_in: int, source: Address, compact: bytes, now: float) -> None:
        if reply is None:
            return
        if not self.reply_budget.allow(compact, size_in, len(reply), now):
            self.counters.dropped["reply_over_budget"] += 1
            return
        self.counters.replies += 1
        self.counters.bytes_out += len(reply)
        self._replies.append((reply, source))
