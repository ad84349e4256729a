"""The way in: asks the bootstrap hosts, and lets lookups begin as soon as the first of them has answered.

A host that is slow, dead or unknown to the resolver costs nothing while another one answers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import trio

from crawler.net.dht import QueryFailedError
from crawler.net.resolve import ResolveError, resolve, split_host_port
from crawler.wire import krpc
from crawler.wire.compact import Family, format_address, pack_address, parse_address, split_nodes
from crawler.wire.ids import random_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from crawler.dht.events import Answered
    from crawler.net.dht import Endpoint

_TRIES: Final = 2
"""Somebody vouches for these hosts, so a lost datagram is more likely than a dead one."""
_RESOLVE_SECONDS: Final = 10.0
_MAX_SEEDS: Final = 512
_ERRNO: Final = re.compile(r"^\[Errno [^]]*\] ")
_BOTH: Final = (Family.IPV4.want, Family.IPV6.want)


class Seeds:
    """The nodes that lookups begin with, per family, as they become known.

    Args:
        hosts: ``HOST:PORT``, whom to ask.
        endpoints: over which to ask, at most one per family.
        rng: draws what they are asked for.
        on_event: is told ``on_event(name, **fields)`` what happens.

    Attributes:
        problems: why hosts did not help, a line each.
        answered: how many addresses of hosts answered.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        endpoints: Sequence[Endpoint],
        rng: Random,
        on_event: Callable[..., None],
    ) -> None:
        self.problems: list[str] = []
        self.answered = 0
        self._hosts = hosts
        self._endpoints = {endpoint.node.family: endpoint for endpoint in endpoints}
        self._rng = rng
        self._on_event = on_event
        self._nodes: dict[Family, dict[bytes, bytes]] = {family: {} for family in self._endpoints}
        self._news = trio.Event()
        self._over = False

    @property
    def failed(self) -> bool:
        """Whether everybody was asked in vain."""
        return self._over and not self.answered

    def reopen(self) -> None:
        """Forget that everybody was asked in vain: another `ask_all` is about to start."""
        self._over = False
        self.problems.clear()

    async def ask_all(self) -> None:
        """Ask all hosts, once; nobody's silence is a fault here."""
        async with trio.open_nursery() as nursery:
            for host in self._hosts:
                nursery.start_soon(self._ask_host, host)
        self._over = True
        self._tell()

    async def beyond(self, family: Family, known: int) -> list[tuple[bytes, bytes]]:
        """Wait for more than ``known`` nodes of ``family`` and return those, as (id, compact address).

        Nothing is returned when all hosts have been asked and there are no more.
        """
        nodes = self._nodes[family]
        while len(nodes) <= known and not self._over:
            await self._news.wait()
        return [(node_id, address) for address, node_id in nodes.items()][known:]

    async def _ask_host(self, host: str) -> None:
        """Ask every address of ``host``; say why when none could be asked or answered."""
        outcomes: list[str] = []
        async with trio.open_nursery() as nursery:
            for endpoint in self._endpoints.values():
                if _may_have(host, endpoint.node.family):
                    nursery.start_soon(self._ask_over, endpoint, host, outcomes)
        if "" not in outcomes:
            self.problems.append(f"{host}: {outcomes[-1] if outcomes else 'no socket of its address family'}")

    async def _ask_over(self, endpoint: Endpoint, host: str, outcomes: list[str]) -> None:
        """Ask the addresses of ``host`` in one family; add what is wrong, or ``""`` for an answer."""
        try:
            addresses = await resolve(host, endpoint.node.family, timeout=_RESOLVE_SECONDS)
        except ResolveError as error:
            problem = str(error).removeprefix(f"{split_host_port(host)[0]}: ")
            outcomes.append(_ERRNO.sub("", problem))
            self._on_event("host unresolved", host=host, problem=outcomes[-1])
            return
        async with trio.open_nursery() as nursery:
            for address in addresses:
                if endpoint.may_contact(address):
                    nursery.start_soon(self._ask, endpoint, address, outcomes)
                    continue
                where = format_address(address)
                self._on_event("host not public", host=host, address=where)
                outcomes.append(f"{where} is no address of the public Internet")

    async def _ask(self, endpoint: Endpoint, address: bytes, outcomes: list[str]) -> None:
        for _ in range(_TRIES):
            try:
                answer = await endpoint.query(address, b"find_node", self._build)
            except QueryFailedError as error:
                self._on_event("host failed", node=format_address(address), problem=str(error) or "no answer")
            else:
                self._learn(answer, endpoint, address)
                outcomes.append("")
                return
        outcomes.append("no answer")

    def _build(self, tid: bytes, own_id: bytes) -> bytes:
        want = _BOTH if len(self._endpoints) > 1 else ()
        return krpc.find_node(tid, own_id, random_id(self._rng), want=want, read_only=True)

    def _learn(self, answer: Answered, endpoint: Endpoint, address: bytes) -> None:
        self.answered += 1
        self._add(endpoint, [(answer.response.id, address)])
        named = 0
        for family, other in self._endpoints.items():
            nodes = split_nodes(answer.response.body.get(family.nodes_key), family)
            named += len(nodes)
            self._add(other, nodes)
        self._on_event("host answered", node=format_address(address), nodes=named)
        self._tell()

    def _add(self, endpoint: Endpoint, nodes: Sequence[tuple[bytes, bytes]]) -> None:
        held = self._nodes[endpoint.node.family]
        for node_id, address in nodes:
            if len(held) < _MAX_SEEDS and endpoint.may_contact(address):
                held.setdefault(address, node_id)

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


def _may_have(host: str, family: Family) -> bool:
    """Whether ``HOST:PORT`` can have an address of ``family``: a literal has one of its own only."""
    try:
        return Family.of(pack_address(parse_address(host))) is family
    except ValueError:
        return True
