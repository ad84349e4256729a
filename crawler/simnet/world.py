"""A simulated Mainline DHT as one state machine: a datagram in, an answer or silence out.

Here are the way of a datagram to its node and back, its loss, and what is counted on the way; what nodes
say is in `answers`. There is no socket, no clock and no delay: `server` and `memory` carry the datagrams.
What a node says depends on the seed and on what it was told; only the loss follows the order in which
datagrams come.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Final

import attrs

from crawler.simnet import exchange
from crawler.simnet.answers import UNKNOWN_METHOD, Answers, Refusal
from crawler.simnet.etiquette import Etiquette
from crawler.simnet.population import DEAD, SAMPLES, Population, WorldConfig
from crawler.wire.compact import Address, pack_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Traffic", "Truth", "World", "WorldConfig"]

_SAMPLE_INFOHASHES: Final = b"sample_infohashes"


@attrs.define
class Traffic:
    """What came to the world and what became of it.

    Every datagram received is counted in exactly one of ``stray``, ``malformed``, ``queries_lost``,
    ``to_dead``, ``kept_silent``, ``replies_lost`` and ``answered``.
    """

    received: int = 0
    stray: int = 0
    """Sent to an address where no node is."""
    malformed: int = 0
    """No KRPC query; never answered."""
    queries_lost: int = 0
    to_dead: int = 0
    kept_silent: int = 0
    """sample_infohashes to living nodes that are silent on it."""
    replies_lost: int = 0
    answered: int = 0
    """Responses and errors that leave the world."""
    errors: int = 0
    """Errors among the replies, lost ones too."""
    sample_useless: int = 0
    """sample_infohashes to living nodes that do not speak BEP 51, lost ones too."""
    unique_asked: int = 0
    """Nodes that were asked anything."""
    unique_sampled: int = 0
    """Nodes whose sample reached somebody."""
    queries: dict[str, int] = attrs.field(factory=dict)
    """Queries sent to nodes, by kind, lost ones too."""


@attrs.frozen
class Truth:
    """What there is to be found of one infohash.

    Attributes:
        infohash: 20 bytes.
        reachable: whether a living node that speaks BEP 51 gives it in its first sample.
        peers: compact addresses.
    """

    infohash: bytes
    reachable: bool
    peers: list[bytes]


class World:
    """A simulated network of Kademlia nodes, dead ones among them, and of infohashes stored on them.

    Datagrams get lost on either way with the same probability, such that ``config.loss`` is the share of
    exchanges that fail.

    Attributes:
        config: what was asked for.
        traffic: counters of what was received and answered.
        bootstrap: the address of the node that never dies.

    Args:
        config: how many of what.
        infohashes: what is stored, 20 bytes each, in place of so many random ones.

    Raises:
        ValueError: the bootstrap address is not one of 127.0.0.0/8.
    """

    def __init__(self, config: WorldConfig, infohashes: Iterable[bytes] | None = None) -> None:
        rng = random.Random(config.seed)
        self.config = config
        self.traffic = Traffic()
        self.bootstrap: Address = (config.bootstrap, config.port)
        host = pack_address(self.bootstrap)[:-2]
        if host[:1] != b"\x7f":
            raise ValueError(f"{config.bootstrap}: the bootstrap node needs an address in 127.0.0.0/8")
        self._population = Population(config, host, rng, infohashes)
        self._answers = Answers(self._population, config, rng)
        self._etiquette = Etiquette(config.nodes, config.interval)
        self._counts = dict.fromkeys((*self._answers.methods, b"unknown"), 0)
        self._asked = bytearray(config.nodes)
        self._sampled = bytearray(config.nodes)
        self._one_way_loss = 1 - math.sqrt(1 - config.loss)
        self._chance = rng.random

    def receive(self, data: bytes, source: Address, destination: Address, now: float) -> bytes | None:
        """Deliver one datagram and return the reply, or None for silence.

        Args:
            data: what was sent.
            source: who sent it, IPv4.
            destination: to whom; another port than the world's reaches nobody.
            now: in seconds, never going back.
        """
        if destination[1] != self.config.port:
            self.traffic.received += 1
            self.traffic.stray += 1
            return None
        return self.answer(data, pack_address(source), pack_address(destination)[:-2], now)

    def answer(self, data: bytes, source: bytes, host: bytes, now: float) -> bytes | None:
        """Do what :meth:`receive` does, given a compact source and the 4 bytes of the destination."""
        traffic = self.traffic
        traffic.received += 1
        rank = self._population.rank_of.get(host)
        if rank is None:
            traffic.stray += 1
            return None
        request = exchange.read(data)
        if request is None:
            traffic.malformed += 1
            return None
        method = request.method
        self._count(rank, method, source, now)
        reply = self._exchange(rank, request, source, now)
        if method == _SAMPLE_INFOHASHES:
            self._note_sample(rank, source, now, delivered=reply is not None)
        return reply

    def _exchange(self, rank: int, request: exchange.Request, source: bytes, now: float) -> bytes | None:
        traffic, loss = self.traffic, self._one_way_loss
        if loss and self._chance() < loss:
            traffic.queries_lost += 1
            return None
        if self._population.kinds[rank] == DEAD:
            traffic.to_dead += 1
            return None
        method = self._answers.methods.get(request.method)
        answer = method(rank, request, source, now) if method else UNKNOWN_METHOD
        if answer is None:
            traffic.kept_silent += 1
            return None
        if loss and self._chance() < loss:
            traffic.replies_lost += 1
            return None
        traffic.answered += 1
        if isinstance(answer, Refusal):
            traffic.errors += 1
            return exchange.refusal(request.tid, source, answer.code, answer.message)
        return exchange.reply(request.tid, source, answer)

    def truth(self) -> Iterator[Truth]:
        """Tell of every infohash whether it can be found, and its peers.

        Reachable is counted over first samples; a visitor that stays for several intervals can find more.
        """
        reachable = bytearray(len(self._population.infohashes))
        for rank, kind in enumerate(self._population.kinds):
            if kind == SAMPLES:
                for place in self._answers.samples.places(rank, 1):
                    reachable[place] = 1
        for infohash, found in zip(self._population.infohashes, reachable, strict=True):
            yield Truth(infohash, bool(found), self._answers.swarms.peers_of(infohash))

    def statistics(self) -> dict[str, Any]:
        """Return all counters, nested as in the summary's JSON form."""
        self.traffic.queries = {method.decode(): count for method, count in self._counts.items()}
        swarms = self._answers.swarms
        return {
            **attrs.asdict(self.traffic),
            **attrs.asdict(self._etiquette.conduct),
            "announced": swarms.announced,
            "announces_dropped": swarms.announces_dropped,
        }

    def _count(self, rank: int, method: bytes, source: bytes, now: float) -> None:
        if method in self._counts:
            self._counts[method] += 1
        else:
            self._counts[b"unknown"] += 1
        if not self._asked[rank]:
            self._asked[rank] = 1
            self.traffic.unique_asked += 1
        self._etiquette.asked(source[:-2], rank, now)

    def _note_sample(self, rank: int, source: bytes, now: float, *, delivered: bool) -> None:
        kind = self._population.kinds[rank]
        if kind == SAMPLES:
            self._etiquette.sampled(source[:-2], rank, now, delivered=delivered)
            if delivered and not self._sampled[rank]:
                self._sampled[rank] = 1
                self.traffic.unique_sampled += 1
        elif kind != DEAD:
            self.traffic.sample_useless += 1
