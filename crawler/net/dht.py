"""A DHT node on a socket: pumps datagrams in and replies out, turns the timer, and lets coroutines ask.

Two ways to ask. The crawl opens transactions itself, in batches, and gets the outcomes by a plain call. What
is rare (pings, lookups, announces) awaits `query`, which waits for the budget, then for the outcome. Both end
in `_dispatch`: an outcome goes to the owner of its transaction, whoever that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from crawler.dht.events import Answered, PingWanted, Refused, Sighting, TimedOut
from crawler.wire import krpc
from crawler.wire.compact import Family, is_global, pack_address, unpack_address

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from crawler.dht.events import Outcome
    from crawler.dht.node import Node
    from crawler.net.limits import QueryBudget
    from crawler.wire.compact import Address

_NO_PORTS = {b"\0\0", b"\0\1"}
"""Port 0 does not exist; port 1 is what broken clients say (krpc.md §11 row 16)."""
_TRICKLE, _GATHER = 32, 0.005
"""After a smaller batch than this, arrivals gather for so many seconds: a wake-up costs like ten of them."""
_LONGER_THAN_ANY_TIMEOUT = 3600.0
_MULTICAST, _MULTICAST6 = 224, 0xFF
_EXPIRY_TICK = 0.1
_MAX_WANTED_PINGS = 256
_BOTH = (Family.IPV4.want, Family.IPV6.want)


class DatagramSocket(Protocol):
    """What an endpoint needs of a socket; :class:`crawler.net.udp.UdpSocket` is one."""

    local: Address
    errors: Counter[str]

    def send_batch(self, datagrams: Sequence[tuple[bytes, Address]]) -> int:
        """Send what goes at once; drop and count the rest."""

    async def receive_batch(self) -> list[tuple[bytes, Address]]:
        """Wait for datagrams and their senders."""

    def close(self) -> None:
        """Close, waking whoever waits."""


class QueryFailedError(Exception):
    """A node did not give the answer it was asked for: a remote fault, for the caller to count."""


class NoAnswerError(QueryFailedError):
    """No answer came before the deadline."""


class RefusedError(QueryFailedError):
    """The node answered with a KRPC error; ``code`` is its number."""

    def __init__(self, code: int) -> None:
        super().__init__(f"KRPC error {code}")
        self.code = code


@attrs.define(eq=False)
class _Waiter:
    """The owner of a coroutine's transaction."""

    done: trio.Event = attrs.field(factory=trio.Event)
    outcome: Outcome | None = None

    def settle(self, outcome: Outcome, _now: float) -> None:
        self.outcome = outcome
        self.done.set()


def _always_open() -> bool:
    return False


@attrs.define(eq=False)
class Endpoint:
    """One node on one socket, with the budget that all sockets share.

    Attributes:
        node: the state machine.
        socket: the bound socket; the endpoint closes it.
        budget: what we may send.
        allow_private: whether non-global addresses may be contacted.
        house_full: says that arriving datagrams must be shed, because what they bring could not be kept.
        on_sighting: takes infohashes that others' queries named.
        waiting: coroutines that wait for the budget right now.
        want_pings: nodes that a ping would tell something about, newest last, bounded.
    """

    node: Node
    socket: DatagramSocket
    budget: QueryBudget
    allow_private: bool = False
    house_full: Callable[[], bool] = _always_open
    on_sighting: Callable[[Sighting, float], None] | None = None
    waiting: int = 0
    shed: int = 0
    last_answer: float = float("-inf")
    want_pings: dict[bytes, PingWanted] = attrs.field(factory=dict)
    own_addresses: set[bytes] = attrs.field(factory=set)
    _templates: dict[bytes, tuple[bytes, krpc.QueryTemplate]] = attrs.field(factory=dict, init=False)

    def may_contact(self, address: bytes) -> bool:
        """Whether compact ``address`` is one that we ever send to: no port 0 or 1, not private, not us."""
        if address in self.own_addresses:
            return False
        if address[-2:] in _NO_PORTS:
            return False
        if not self.allow_private:
            return is_global(address)
        # Even in a private network nobody is at 0/8, at multicast or reserved addresses, at :: or ff00::/8.
        if len(address) == Family.IPV4.address_bytes:
            return 0 < address[0] < _MULTICAST
        return address[0] != _MULTICAST6 and any(address[:-2])

    def template(self, method: bytes) -> krpc.QueryTemplate:
        """Return the template for queries of ``method`` that carry our id as it is now."""
        node_id, template = self._templates.get(method, (b"", None))
        if template is None or node_id != self.node.id:
            template = krpc.QueryTemplate(method, self.node.id)
            self._templates[method] = self.node.id, template
        return template

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pump datagrams until cancelled, then close the socket."""
        self.own_addresses.add(pack_address(self.socket.local))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive)
                nursery.start_soon(self._turn_timer)
                task_status.started()
        finally:
            self.socket.close()

    def give_up(self) -> None:
        """Count what is in flight as unanswered: at the end of a run, the ledger is to save it as tried."""
        now = trio.current_time()
        self.node.handle_timer(now + _LONGER_THAN_ANY_TIMEOUT)
        self._dispatch(now)

    def send_queries(self, queries: Sequence[tuple[bytes, Address]], now: float) -> None:
        """Send queries whose transactions are open and whose budget is taken."""
        size = sum(len(data) for data, _ in queries)
        self.node.counters.bytes_out += size
        self.budget.sent(len(queries), size, now)
        self.socket.send_batch(queries)

    async def query(self, address: bytes, method: bytes, build: Callable[[bytes, bytes], bytes]) -> Answered:
        """Ask compact ``address`` and wait for its answer.

        Args:
            address: compact address.
            method: the KRPC method, for the counters.
            build: makes the datagram from the transaction id and our node id.

        Raises:
            NoAnswerError: none came in time, or the address is not one we send to.
            RefusedError: the node answered with an error.
        """
        if not self.may_contact(address):
            raise NoAnswerError
        await self._admitted(address)
        now = trio.current_time()
        waiter, where = _Waiter(), unpack_address(address)
        tid = self.node.open_query(where, address, method, waiter, None, now)
        self.send_queries([(build(tid, self.node.id), where)], now)
        await waiter.done.wait()
        outcome = waiter.outcome
        if isinstance(outcome, Answered):
            return outcome
        if isinstance(outcome, Refused):
            raise RefusedError(outcome.error.code)
        raise NoAnswerError

    async def ping(self, address: bytes) -> Answered:
        """Ping ``address``; raises as :meth:`query`."""
        return await self.query(address, b"ping", krpc.ping)

    async def find_node(self, address: bytes, target: bytes, *, both_families: bool = False) -> Answered:
        """Ask ``address`` for the nodes closest to ``target``; raises as :meth:`query`."""
        want = _BOTH if both_families else ()
        return await self.query(
            address, b"find_node", lambda tid, own_id: krpc.find_node(tid, own_id, target, want=want)
        )

    async def get_peers(self, address: bytes, infohash: bytes, *, scrape: bool = False) -> Answered:
        """Ask ``address`` for peers of ``infohash``; raises as :meth:`query`.

        With ``scrape`` it is asked how many there are (BEP 33); many nodes then name none.
        """
        return await self.query(
            address, b"get_peers", lambda tid, own_id: krpc.get_peers(tid, own_id, infohash, scrape=scrape)
        )

    async def _admitted(self, address: bytes) -> None:
        """Wait until the budget and the transaction table have room for a query to ``address``."""
        self.waiting += 1
        try:
            while True:
                now = trio.current_time()
                if self.node.transactions.room <= 0:
                    wait = _EXPIRY_TICK
                elif self.budget.available(now) > 0:
                    wait = self.budget.hold(address, now)
                else:
                    wait = self.budget.wait(now)
                if not wait:
                    return
                await trio.sleep(max(wait, 0.001))
        finally:
            self.waiting -= 1

    async def _receive(self) -> None:
        node, budget = self.node, self.budget
        receive = node.receive_datagram
        while True:
            batch = await self.socket.receive_batch()
            if self.house_full():
                self.shed += len(batch)
                continue
            now = trio.current_time()
            size = 0
            for data, source in batch:
                size += len(data)
                receive(data, source, now)
            budget.received(size, now)
            self._dispatch(now)
            replies = node.take_replies()
            if replies:
                self.socket.send_batch(replies)
            if len(batch) < _TRICKLE:
                await trio.sleep(_GATHER)

    async def _turn_timer(self) -> None:
        while True:
            await trio.sleep(_EXPIRY_TICK)
            now = trio.current_time()
            self.node.handle_timer(now)
            self._dispatch(now)

    def _dispatch(self, now: float) -> None:
        for event in self.node.take_events():
            if type(event) is Answered:
                self.last_answer = now
                event.transaction.owner.settle(event, now)
            elif isinstance(event, Sighting):
                if self.on_sighting is not None:
                    self.on_sighting(event, now)
            elif isinstance(event, PingWanted):
                if len(self.want_pings) < _MAX_WANTED_PINGS:
                    self.want_pings[event.address] = event
            else:
                if not isinstance(event, TimedOut):
                    self.last_answer = now
                event.transaction.owner.settle(event, now)
