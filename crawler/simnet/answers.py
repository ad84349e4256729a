"""What each virtual node says to each query: one short method a query, as BEP 5 and BEP 51 have it."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import attrs

from crawler.simnet import exchange
from crawler.simnet.population import FALLS_BACK, ID_BYTES, IGNORES, SAMPLES
from crawler.simnet.samples import Samples
from crawler.simnet.swarms import Swarms
from crawler.simnet.views import Views

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from crawler.simnet.population import Population, WorldConfig

_MAX_VALUES: Final = 50
_MAX_PORT: Final = 65535


@attrs.frozen
class Refusal:
    """A KRPC error in place of an answer (BEP 5, errors)."""

    code: int
    message: bytes


UNKNOWN_METHOD: Final = Refusal(204, b"Method Unknown")
_NO_TARGET: Final = Refusal(203, b"A 20-byte target or info_hash is missing")
_BAD_TOKEN: Final = Refusal(203, b"Bad token")
_BAD_PORT: Final = Refusal(203, b"Bad port")

Answer = bytes | Refusal | None
"""The body of a response, an error, or silence."""


class Answers:
    """All that the nodes of a population know and say.

    Attributes:
        methods: the queries that are known, each with what answers it: a function of the node's rank, the
            request, the sender's compact address and the time.
        samples: what sample_infohashes gives away.
        swarms: the peers.
    """

    def __init__(self, population: Population, config: WorldConfig, rng: random.Random) -> None:
        sampled = [
            stored if kind == SAMPLES else ()
            for kind, stored in zip(population.kinds, population.storage, strict=True)
        ]
        self.samples = Samples(population.infohashes, sampled, config.interval, config.seed)
        self.swarms = Swarms(config.seed, config.peers)
        self.methods: dict[bytes, Callable[[int, exchange.Request, bytes, float], Answer]] = {
            b"ping": self._ping,
            b"find_node": self._find_node,
            b"get_peers": self._get_peers,
            b"announce_peer": self._announce_peer,
            b"sample_infohashes": self._sample_infohashes,
        }
        self._interval = config.interval
        self._population = population
        self._kinds = population.kinds
        self._nodes = population.nodes
        self._views = Views(population.nodes, population.ids, config.seed, rng)

    def stored(self, rank: int, infohash: bytes) -> list[bytes]:
        """Return the peers that node ``rank`` has for ``infohash``."""
        announced = self.swarms.announced_to(rank, infohash)
        infohashes, storage = self._population.infohashes, self._population.storage[rank]
        place = bisect_left(infohashes, infohash)
        if place == len(infohashes) or infohashes[place] != infohash:
            return announced
        at = bisect_left(storage, place)
        if at == len(storage) or storage[at] != place:
            return announced
        return self.swarms.peers_of(infohash) + announced

    def _ping(self, rank: int, _request: exchange.Request, _source: bytes, _now: float) -> Answer:
        return exchange.pong(self._id(rank))

    def _find_node(self, rank: int, request: exchange.Request, _source: bytes, _now: float) -> Answer:
        if request.target is None:
            return _NO_TARGET
        return exchange.nodes_body(self._id(rank), self._closest(rank, request.target))

    def _get_peers(self, rank: int, request: exchange.Request, source: bytes, _now: float) -> Answer:
        infohash = request.target
        if infohash is None:
            return _NO_TARGET
        nodes = self._closest(rank, infohash)
        token = self.swarms.token(rank, source[:-2], infohash)
        return exchange.peers_body(self._id(rank), nodes, token, self.stored(rank, infohash)[:_MAX_VALUES])

    def _announce_peer(self, rank: int, request: exchange.Request, source: bytes, _now: float) -> Answer:
        args, infohash = request.args, request.target
        if args is None or infohash is None:
            return _NO_TARGET
        if args.get(b"token") != self.swarms.token(rank, source[:-2], infohash):
            return _BAD_TOKEN
        port = int.from_bytes(source[-2:], "big") if args.get(b"implied_port") else args.get(b"port")
        if not isinstance(port, int) or not 0 < port <= _MAX_PORT:
            return _BAD_PORT
        self.swarms.announce(rank, infohash, source[:-2] + port.to_bytes(2, "big"))
        return exchange.pong(self._id(rank))

    def _sample_infohashes(self, rank: int, request: exchange.Request, source: bytes, now: float) -> Answer:
        kind = self._kinds[rank]
        if kind != SAMPLES:
            if kind == FALLS_BACK:
                return self._find_node(rank, request, source, now)
            return None if kind == IGNORES else UNKNOWN_METHOD
        if request.target is None:
            return _NO_TARGET
        return exchange.samples_body(
            self._id(rank),
            self._closest(rank, request.target),
            self._interval,
            self.samples.total(rank),
            self.samples.take(rank, now),
        )

    def _id(self, rank: int) -> bytes:
        return self._nodes[rank][:ID_BYTES]

    def _closest(self, rank: int, target: bytes) -> bytes:
        return self._views.closest(rank, int.from_bytes(target, "big"))
