"""Announcing ourselves as a peer: a search for the closest nodes, then an announce_peer to each (BEP 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from crawler.net.dht import QueryFailedError, RefusedError
from crawler.wire import krpc
from crawler.wire.compact import format_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.client.search import Holder, LookupResult, Search


@attrs.frozen
class AnnounceResult:
    """What came of an announce.

    Attributes:
        accepted: the nodes that store us now, as ``ip:port``, up to 8 for each family and infohash.
        refused: nodes that answered with an error.
        silent: nodes that did not answer.
        lookup: the search that led to them.
    """

    accepted: tuple[str, ...]
    refused: int
    silent: int
    lookup: LookupResult

    @property
    def asked(self) -> int:
        """How many announces were sent and came to an end."""
        return len(self.accepted) + self.refused + self.silent


class Announce:
    """One announce, to be run once.

    Args:
        search: finds the nodes; fresh.
        port: where we are to be reached; with ``implied_port`` nodes take the UDP port that they see instead.
        implied_port: see there.
        seed: whether we have everything (BEP 33); None says nothing about it.
        on_event: is told ``on_event(name, **fields)`` of every node that answered or did not.

    Raises:
        ValueError: a port that is none.
    """

    def __init__(
        self,
        search: Search,
        port: int,
        *,
        implied_port: bool = False,
        seed: bool | None = None,
        on_event: Callable[..., None],
    ) -> None:
        if not 0 < port < 1 << 16:
            raise ValueError(f"port = {port}: allowed is 1 to 65535")
        self.search = search
        self._port = port
        self._implied_port = implied_port
        self._seed = seed
        self._on_event = on_event
        self._accepted: list[str] = []
        self._refused = self._silent = 0

    async def run(self) -> None:
        """Search and announce; `result` tells what came of it, even when this is cancelled half-way."""
        await self.search.run()
        async with trio.open_nursery() as nursery:
            for holder in self.search.holders():
                nursery.start_soon(self._announce_to, holder)

    def result(self) -> AnnounceResult:
        """Return what has been reached so far."""
        return AnnounceResult(tuple(self._accepted), self._refused, self._silent, self.search.result())

    async def _announce_to(self, holder: Holder) -> None:
        def build(tid: bytes, own_id: bytes) -> bytes:
            return krpc.announce_peer(
                tid,
                own_id,
                holder.infohash,
                self._port,
                holder.token,
                implied_port=self._implied_port,
                seed=self._seed,
                read_only=True,
            )

        where = format_address(holder.address)
        try:
            await holder.endpoint.query(holder.address, b"announce_peer", build)
        except QueryFailedError as error:
            refused = isinstance(error, RefusedError)
            self._refused += refused
            self._silent += not refused
            self._on_event("not announced", node=where, problem=str(error) or "no answer")
        else:
            self._accepted.append(where)
            self._on_event("announced", node=where, infohash=holder.infohash.hex())
