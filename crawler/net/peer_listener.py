"""Peers that dial us: they hear who we are, and get the metadata that we are willing to give.

There is a fixed number of seats. When all are taken, whoever sits there longest without having shaken
hands must go, so that silent visitors cannot keep talking ones out; when all have, the newcomer is turned
away. A visitor's fault ends that visit and moves a counter, never more.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from crawler.net.listening import Door
from crawler.net.tcp import Link, LinkError, converse
from crawler.settings import setting
from crawler.swarm.connection import ConnectionConfig, PeerConnection, PeerFault
from crawler.swarm.serving import MetadataCache, ServedPeer, ServingConfig
from crawler.wire.compact import parse_address

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


@attrs.frozen
class ListenerConfig:
    """How many peers may visit."""

    max_visitors: int = setting(
        256, unit="connections", help="Peers that dialled us and are connected at once.", minimum=1
    )
    max_per_ip: int = setting(4, unit="connections", help="Visitors from one IP address at once.", minimum=1)
    longest_visit: float = setting(
        600.0, unit="s", help="A visit ends after this long, whatever the peer does.", above=0
    )


@attrs.define
class ListenerCounters:
    """What became of those who dialled us: accepted = open + each way to end.

    In `ended` stands, beside those ways, what kept some from being accepted, see `Door`.
    """

    accepted: int = 0
    refused: int = 0
    pieces_served: int = 0
    requests_rejected: int = 0
    ended: Counter[str] = attrs.field(factory=Counter)


@attrs.define(eq=False)
class _Visitor:
    """One who dialled us."""

    ip: str
    peer: ServedPeer
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class PeerListener:
    """A bound TCP socket for peers.

    Args:
        listen: ``ADDR:PORT``, a literal; port 0 picks one.
        peer_id: our 20 bytes in the peer wire.
        cache: the metadata that we give.
        takes_part: whether we want to be known as a peer of an infohash that is not in the cache.
        client: what we call ourselves.
        config: seats.
        connection: patience with a connection.
        serving: what one visitor may ask for.

    Attributes:
        local: the bound address.

    Raises:
        OSError: the address cannot be bound.
        ValueError: it is no literal address and port.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each section of the configuration
        self,
        listen: str,
        peer_id: bytes,
        cache: MetadataCache,
        *,
        takes_part: Callable[[bytes], bool] = lambda _infohash: False,
        client: bytes | None = None,
        config: ListenerConfig | None = None,
        connection: ConnectionConfig | None = None,
        serving: ServingConfig | None = None,
    ) -> None:
        self.counters = ListenerCounters()
        self._peer_id = peer_id
        self._cache = cache
        self._takes_part = takes_part
        self._client = client
        self._config = config or ListenerConfig()
        self._connection = connection or ConnectionConfig()
        self._serving = serving or ServingConfig()
        self._visitors: dict[_Visitor, None] = {}
        self._per_ip: Counter[str] = Counter()
        self._door = Door(parse_address(listen), self.counters.ended)
        self.local = self._door.local

    @property
    def visitors(self) -> int:
        """How many are connected."""
        return len(self._visitors)

    async def run(self) -> NoReturn:
        """Let peers in until cancelled, then close the door and all visits."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    sock, (ip, _) = await self._door.accept()
                    self._welcome(nursery, sock, ip)
        finally:
            self._door.close()
        raise AssertionError("the loop above ends by cancellation only")

    def _welcome(self, nursery: trio.Nursery, sock: socket.socket, ip: str) -> None:
        self.counters.accepted += 1
        if self._per_ip[ip] >= self._config.max_per_ip or not self._make_room():
            self.counters.refused += 1
            self.counters.ended["no_seat"] += 1
            sock.close()
            return
        nursery.start_soon(self._visit, Link(sock), self._seat(ip))

    def _make_room(self) -> bool:
        if len(self._visitors) < self._config.max_visitors:
            return True
        silent = next((one for one in self._visitors if not one.peer.established), None)
        if silent is None:
            return False
        self._leave(silent)
        silent.scope.cancel()
        return True

    def _seat(self, ip: str) -> _Visitor:
        connection = PeerConnection(
            self._peer_id, None, now=trio.current_time(), client=self._client, config=self._connection
        )
        peer = ServedPeer(connection, self._cache, takes_part=self._takes_part, config=self._serving)
        visitor = _Visitor(ip, peer)
        self._visitors[visitor] = None
        self._per_ip[ip] += 1
        return visitor

    def _leave(self, visitor: _Visitor) -> None:
        if visitor not in self._visitors:
            return
        del self._visitors[visitor]
        self._per_ip[visitor.ip] -= 1
        if not self._per_ip[visitor.ip]:
            del self._per_ip[visitor.ip]

    async def _visit(self, link: Link, visitor: _Visitor) -> None:
        ended = "shown_out"
        visitor.scope.deadline = trio.current_time() + self._config.longest_visit
        try:
            with link, visitor.scope:
                await converse(link, visitor.peer)
        except (LinkError, PeerFault) as error:
            ended = error.reason
        finally:
            self._leave(visitor)
            self.counters.ended[ended] += 1
            self.counters.pieces_served += visitor.peer.served
            self.counters.requests_rejected += visitor.peer.rejected
