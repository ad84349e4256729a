"""Queries that await their answer, matched by transaction id *and* address *and* deadline (BEP 5).

All wait for the same adaptive timeout, so they expire in the order sent and one queue finds the overdue
ones: no timer and no task per query. The table has a capacity; when it is full, nothing more is asked.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import attrs

from crawler.dht.rtt import RttEstimator
from crawler.settings import setting

if TYPE_CHECKING:
    from random import Random

    from crawler.wire.compact import Address

TID_BYTES = 4
"""The length every implementation can echo and pubky's can parse (krpc.md deviation 1)."""

_POOL_TIDS = 1024


@attrs.frozen
class TransactionsConfig:
    """How many queries may await their answer, and for how long."""

    max_in_flight: int = setting(
        50_000, unit="queries", help="Queries that may await an answer at once, per socket.", minimum=16
    )
    initial_timeout: float = setting(
        2.0, unit="s", help="Timeout of a query before the first answer was seen.", above=0
    )
    shortest_timeout: float = setting(
        1.0, unit="s", help="The adaptive timeout never falls below this.", above=0
    )
    longest_timeout: float = setting(
        10.0, unit="s", help="The adaptive timeout never rises above this.", above=0
    )

    def __attrs_post_init__(self) -> None:
        if self.longest_timeout < max(self.initial_timeout, self.shortest_timeout):
            raise ValueError(
                f"longest_timeout = {self.longest_timeout}: allowed is at least initial_timeout, "
                f"{self.initial_timeout}, and shortest_timeout, {self.shortest_timeout}"
            )


@attrs.define(eq=False)
class Transaction:
    """One query on its way.

    Attributes:
        tid: the four bytes that the answer must echo.
        address: where it went, as the socket names it.
        compact: the same in compact form.
        method: the KRPC method.
        owner: whoever is told of the outcome; opaque here.
        context: what the owner wants to have beside the outcome; opaque here.
        sent: when, in seconds.
        late: whether its owner has been told that it timed out; a late answer is still an answer.
    """

    tid: bytes
    address: Address
    compact: bytes
    method: bytes
    owner: Any
    context: Any
    sent: float
    late: bool = False


class Transactions:
    """The queries in flight of one socket."""

    def __init__(self, config: TransactionsConfig, rng: Random) -> None:
        """Start with none; ids are drawn from ``rng``, which should be unguessable in the wild."""
        self._capacity = config.max_in_flight
        self._rng = rng
        self._open: dict[bytes, Transaction] = {}
        self._order: deque[Transaction] = deque()
        self._late: deque[Transaction] = deque()
        self._late_open = 0
        self._longest = config.longest_timeout
        self._pool: list[bytes] = []
        self.rtt = RttEstimator(config.initial_timeout, config.shortest_timeout, config.longest_timeout)

    def __len__(self) -> int:
        """Return how many queries are in flight, without those given up but still open to a late answer."""
        return len(self._open) - self._late_open

    @property
    def room(self) -> int:
        """How many more queries may be opened."""
        return self._capacity - len(self._open)

    def open(
        self, address: Address, compact: bytes, method: bytes, owner: Any, context: Any, now: float
    ) -> bytes:
        """Open a transaction and return its four-byte id. The caller has checked :attr:`room`."""
        tid = self._draw()
        transaction = Transaction(tid, address, compact, method, owner, context, now)
        self._open[tid] = transaction
        self._order.append(transaction)
        return tid

    def match(self, tid: bytes, address: Address, now: float) -> Transaction | None:
        """Close and return the transaction that an answer with ``tid`` from ``address`` ends, if any."""
        transaction = self._open.get(tid)
        if transaction is None or transaction.address != address:
            return None
        if now - transaction.sent > self._longest:
            return None
        del self._open[tid]
        self._late_open -= transaction.late
        return transaction

    def expire(self, now: float) -> list[Transaction]:
        """Return the transactions whose timeout has passed since the last call.

        They stay open to a late answer until the longest timeout has passed too.
        """
        order, still_open = self._order, self._open
        latest = now - self.rtt.timeout
        overdue = []
        while order and order[0].sent < latest:
            transaction = order.popleft()
            if still_open.get(transaction.tid) is transaction:
                transaction.late = True
                overdue.append(transaction)
        self._late.extend(overdue)
        self._late_open += len(overdue)
        while self._late and self._late[0].sent < now - self._longest:
            transaction = self._late.popleft()
            if still_open.get(transaction.tid) is transaction:
                del still_open[transaction.tid]
                self._late_open -= 1
        return overdue

    def _draw(self) -> bytes:
        while True:
            if not self._pool:
                drawn = self._rng.randbytes(_POOL_TIDS * TID_BYTES)
                self._pool = [drawn[i : i + TID_BYTES] for i in range(0, len(drawn), TID_BYTES)]
            tid = self._pool.pop()
            if tid not in self._open:
                return tid
