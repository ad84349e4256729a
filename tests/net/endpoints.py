"""Endpoints and scripted nodes on a memory network, for tests of what runs on an endpoint."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.dht.events import Answered
from crawler.dht.identity import ExternalAddress
from crawler.dht.node import Node
from crawler.dht.peers import PeerStore, PeerStoreConfig
from crawler.dht.reply_budget import ReplyBudget, ReplyBudgetConfig
from crawler.dht.responder import Responder, ResponderConfig
from crawler.dht.routing import RoutingConfig, RoutingTable
from crawler.dht.tokens import Tokens
from crawler.dht.transactions import Transactions, TransactionsConfig
from crawler.net.dht import Endpoint
from crawler.net.limits import LimitsConfig, QueryBudget
from crawler.simnet.memory import MemoryNetwork
from crawler.wire import krpc
from crawler.wire.compact import Family, join_nodes, pack_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.dht.events import Outcome
    from crawler.simnet.memory import MemorySocket
    from crawler.wire.compact import Address

HERE: Address = ("127.0.0.1", 6881)


def network(**options: float) -> MemoryNetwork:
    """Return a network without a world whose journeys all take the same time, 0.1 s there and back."""
    return MemoryNetwork(None, rng=random.Random(1), jitter=0, **options)


def make_node(family: Family = Family.IPV4, *, node_id: bytes = b"o" * 20, **options: Any) -> Node:
    """Return a node with everything it needs; ``options`` are settings of its transactions."""
    rng = random.Random(2)
    table = RoutingTable(node_id, RoutingConfig(), rng=rng, exempt_ip_limits=True)
    store = PeerStore(PeerStoreConfig(), rng)
    return Node(
        family,
        table=table,
        transactions=Transactions(TransactionsConfig(**options), rng),
        responder=Responder(
            node_id, {family: table}, store, Tokens(rng), ResponderConfig(), allow_private=True
        ),
        reply_budget=ReplyBudget(ReplyBudgetConfig()),
        external=ExternalAddress(),
        allow_private=True,
    )


def make_endpoint(
    net: MemoryNetwork, local: Address = HERE, *, limits: dict[str, float] | None = None, **options: Any
) -> Endpoint:
    """Return an endpoint at ``local`` that may contact private addresses; ``options`` as its own."""
    family = Family.of(pack_address(local))
    budget = QueryBudget(LimitsConfig(**{"max_rate": 1000.0, **(limits or {})}))  # type: ignore[arg-type] # floats
    return Endpoint(
        options.pop("node", None) or make_node(family),
        net.socket(local),
        budget,
        **{"allow_private": True, **options},
    )


@attrs.define
class ScriptedNode:
    """A node that answers as its script says, and writes down what it heard and when.

    Attributes:
        id: its id.
        socket: where it lives.
        script: from a query to the body of a response, to a whole datagram, or to None for silence.
        heard: (time, query) in order.
    """

    id: bytes
    socket: MemorySocket
    script: Callable[[krpc.Query], dict[bytes, Any] | bytes | None]
    heard: list[tuple[float, krpc.Query]] = attrs.field(factory=list)

    @property
    def compact(self) -> bytes:
        """Its compact address."""
        return pack_address(self.socket.local)

    @property
    def contact(self) -> tuple[bytes, bytes]:
        """Its id and compact address."""
        return self.id, self.compact

    @property
    def methods(self) -> list[bytes]:
        """The methods of the queries heard."""
        return [query.method for _, query in self.heard]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled."""
        task_status.started()
        while True:
            for data, source in await self.socket.receive_batch():
                query = krpc.decode(data)
                if not isinstance(query, krpc.Query):
                    continue
                self.heard.append((trio.current_time(), query))
                answer = self.script(query)
                if isinstance(answer, dict):
                    answer = krpc.response(query.tid, {b"id": self.id, **answer}, pack_address(source))
                if answer is not None:
                    self.socket.send_batch([(answer, source)])


def names(*nodes: ScriptedNode) -> Callable[[krpc.Query], dict[bytes, Any]]:
    """Return the script of a node that names ``nodes`` to everybody."""
    return lambda _query: {b"nodes": join_nodes(node.contact for node in nodes)}


def silent(_query: krpc.Query) -> None:
    """Say nothing."""


def refuse(code: int) -> Callable[[krpc.Query], bytes]:
    """Return the script of a node that answers everything with an error."""
    return lambda query: krpc.error(query.tid, code, b"no")


def scripted(
    net: MemoryNetwork,
    number: int,
    script: Callable[[krpc.Query], dict[bytes, Any] | bytes | None] = names(),  # noqa: B008 - it has no state
) -> ScriptedNode:
    """Return node ``number`` (1 to 254), at 127.0.``number``.1 with an id that begins with that byte."""
    socket = net.socket((f"127.0.{number}.1", 6881))
    return ScriptedNode(bytes([number]) * 20, socket, script)


@attrs.define
class Owner:
    """Keeps the outcomes of the transactions that it owns."""

    outcomes: list[Outcome] = attrs.field(factory=list)

    def settle(self, outcome: Outcome, _now: float) -> None:
        """Take one outcome."""
        self.outcomes.append(outcome)

    @property
    def answers(self) -> list[Answered]:
        """The outcomes that are answers."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Answered)]
