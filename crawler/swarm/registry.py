"""A tracker's memory: who is in which swarm. Announces in, swarm sizes and a draw of other peers out.

It knows nothing of how it is asked. What an announce costs depends on how many peers are given out and never
on how many there are. Every bound is a setting; ``now`` may not run backwards.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from crawler.settings import setting
from crawler.swarm.population import LIFETIME_SLOTS, Population
from crawler.wire.tracker import Event, ScrapeCounts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from crawler.wire.compact import Family

_COMPLETED, _STOPPED = int(Event.COMPLETED), int(Event.STOPPED)
_IPV4_BYTES: Final = 6
_PORT_BYTES: Final = 2
_NO_PORT: Final = bytes(_PORT_BYTES)
_NO_PEER_ID: Final = bytes(20)
_LIFETIME_INTERVALS: Final = 2.2
"""So that a client may miss one announce."""


@attrs.frozen
class RegistryBounds:
    """How much `dht-crawler tracker` remembers, and for how long."""

    lifetime: float | None = setting(
        None,
        unit="s",
        help="A peer that is not heard of for so long is forgotten; none: after 2.2 of the intervals that "
        "clients are told.",
        above=1,
    )
    max_swarms: int = setting(
        200_000, unit="swarms", help="Swarms held; announces to any further one are not kept.", minimum=1
    )
    max_peers: int = setting(
        2_000_000,
        unit="peers",
        help="Peers held, all swarms together; then a newcomer takes the place of one in its own swarm.",
        minimum=1,
    )
    max_peers_per_swarm: int = setting(
        1_000_000,
        unit="peers",
        help="Peers held of one swarm, each family apart; then a newcomer takes the place of one.",
        minimum=1,
    )
    keep_peer_ids: bool = setting(
        True,
        unit="",
        help="Keep peer ids, 20 bytes each, for clients that ask over HTTP for peers that are not compact.",
    )


@attrs.define
class RegistryCounters:
    """What became of announces: stored = held + stopped + expired + displaced.

    Attributes:
        stored: peers that were new to their swarm.
        refreshed: announces of peers that were known there.
        stopped: peers that took their leave.
        completed: downloads that were completed.
        expired: peers that were not heard of for too long.
        displaced: peers that had to make room for newcomers.
        refused: announces that were not kept, for want of room.
        portless: announces of peers that can't be dialled, which are not kept either.
    """

    stored: int = 0
    refreshed: int = 0
    stopped: int = 0
    completed: int = 0
    expired: int = 0
    displaced: int = 0
    refused: int = 0
    portless: int = 0


class Standing(NamedTuple):
    """The size of a swarm, both families together, and compact addresses of the announcer's own, joined."""

    seeders: int
    leechers: int
    completed: int
    peers: bytes


_standing = partial(tuple.__new__, Standing)
"""A `Standing` of a tuple, in half the time."""


_NOBODY: Final = Standing(0, 0, 0, b"")


class _Swarm:
    """The two populations of a swarm, each there once there was somebody."""

    __slots__ = ("completed", "four", "heard", "six")

    def __init__(self) -> None:
        self.completed = 0
        self.heard = 0
        self.four: Population | None = None
        self.six: Population | None = None

    def population(self, size: int) -> Population | None:
        return self.four if size == _IPV4_BYTES else self.six

    def populations(self) -> list[Population]:
        return [population for population in (self.four, self.six) if population is not None]

    def standing(self, peers: bytes = b"") -> Standing:
        four, six = self.four, self.six
        if four is not None and six is None:
            seeds, everybody = four.seeds, len(four)
        else:
            seeds = sum([population.seeds for population in self.populations()])
            everybody = len(self)
        return _standing((seeds, everybody - seeds, self.completed, peers))

    def __len__(self) -> int:
        return sum(map(len, self.populations()))


class Registry:
    """All swarms of a tracker.

    Args:
        config: its bounds.
        rng: draws who is given out.
        interval: seconds between the announces of a peer.

    Attributes:
        counters: what became of announces.
    """

    def __init__(self, config: RegistryBounds, rng: Random, *, interval: float = 1800.0) -> None:
        self.counters = RegistryCounters()
        self._config = config
        self._rng = rng
        lifetime = _LIFETIME_INTERVALS * interval if config.lifetime is None else config.lifetime
        self._slot_seconds = lifetime / LIFETIME_SLOTS
        self._swarms: dict[bytes, _Swarm] = {}
        self._held = 0
        self._to_sweep: list[bytes] = []
        self._round = 0
        self._swept_until = float("-inf")

    @property
    def swarm_count(self) -> int:
        """Swarms that are known, also those whose peers have all left but that were completed lately."""
        return len(self._swarms)

    @property
    def peer_count(self) -> int:
        """Peers that are held, all swarms together."""
        return self._held

    def announce(
        self,
        infohash: bytes,
        address: bytes,
        event: int,
        numwant: int,
        now: float,
        *,
        seed: bool,
        peer_id: bytes = _NO_PEER_ID,
    ) -> Standing:
        """Note what a peer says, and return how its swarm stands, with at most ``numwant`` others.

        Args:
            infohash: 20 bytes.
            address: the peer's compact address; with port 0 it is answered and not kept.
            event: one of `Event`.
            numwant: how many peers to give, none when it has stopped.
            now: seconds.
            seed: whether it lacks nothing.
            peer_id: the 20 bytes that it calls itself.
        """
        slot = int(now // self._slot_seconds)
        swarm = self._swarms.get(infohash)
        population = at = None
        if swarm is not None:
            population = swarm.four if len(address) == _IPV4_BYTES else swarm.six
        if population is not None:
            if population.swept != slot:
                self._expired(population.sweep(slot))
            at = population.find(address)
        if event == _STOPPED:
            return self._leave(infohash, address)
        if swarm is None or population is None or at is None or event == _COMPLETED:
            return self._greet(infohash, address, peer_id, event, numwant, slot, seed=seed)
        # The hot path: it is there, as most are.
        self.counters.refreshed += 1
        swarm.heard = slot
        population.refresh(at, peer_id, slot, seed=seed)
        return swarm.standing(population.draw(numwant, self._rng, at))

    def _greet(
        self,
        infohash: bytes,
        address: bytes,
        peer_id: bytes,
        event: int,
        numwant: int,
        slot: int,
        *,
        seed: bool,
    ) -> Standing:
        """Note a peer that is new, or has news."""
        swarm, size = self._swarms.get(infohash), len(address)
        if address.endswith(_NO_PORT):
            self.counters.portless += 1
            population = None if swarm is None else swarm.population(size)
            peers = b"" if population is None else population.draw(numwant, self._rng)
            return _NOBODY if swarm is None else swarm.standing(peers)
        if swarm is None:
            swarm = self._new_swarm(infohash)
            if swarm is None:
                return _NOBODY
        population = swarm.population(size)
        if population is None:
            population = self._new_population(swarm, size, slot)
        at = self._keep(swarm, population, address, peer_id, event, slot, seed=seed)
        return swarm.standing(population.draw(numwant, self._rng, at))

    def _leave(self, infohash: bytes, address: bytes) -> Standing:
        swarm = self._swarms.get(infohash)
        if swarm is None:
            return _NOBODY
        population = swarm.population(len(address))
        if population is not None and population.drop(address):
            self.counters.stopped += 1
            self._held -= 1
        self._forget_if_nothing_is_left(infohash)
        return swarm.standing()

    def draw(self, infohash: bytes, family: Family, numwant: int, now: float) -> bytes:
        """At most ``numwant`` compact addresses of ``family``, drawn by lot and joined."""
        self._sweep(infohash, now)
        swarm = self._swarms.get(infohash)
        population = None if swarm is None else swarm.population(family.address_bytes)
        return b"" if population is None else population.draw(numwant, self._rng)

    def peer_ids(self, infohash: bytes, addresses: Iterable[bytes]) -> dict[bytes, bytes]:
        """The peer ids that peers of a swarm gave last, by compact address; those not kept are left out."""
        swarm = self._swarms.get(infohash)
        if swarm is None:
            return {}
        found = {}
        for address in addresses:
            population = swarm.population(len(address))
            peer_id = None if population is None else population.id_of(address)
            if peer_id is not None:
                found[address] = peer_id
        return found

    def scrape(self, infohash: bytes, now: float) -> ScrapeCounts:
        """The size of a swarm; zeros for one that is not known."""
        self._sweep(infohash, now)
        swarm = self._swarms.get(infohash)
        standing = _NOBODY if swarm is None else swarm.standing()
        return ScrapeCounts(standing.seeders, standing.completed, standing.leechers)

    def sweep(self, now: float) -> None:
        """Forget peers whose time is over, a share of all swarms that fits the time since the last call."""
        passed = now - self._swept_until
        self._swept_until = now
        if not self._to_sweep:
            self._to_sweep = list(self._swarms)
            self._round = len(self._to_sweep)
        # Twice as fast as needed, so that everybody had a turn within each slot.
        share = min(2 * passed / self._slot_seconds, 1.0)
        for _ in range(min(int(share * self._round) + 1, len(self._to_sweep))):
            self._sweep(self._to_sweep.pop(), now)

    def _sweep(self, infohash: bytes, now: float) -> None:
        swarm = self._swarms.get(infohash)
        if swarm is None:
            return
        slot = int(now // self._slot_seconds)
        for population in swarm.populations():
            if gone := population.sweep(slot):
                self._expired(gone)
        if slot > swarm.heard + LIFETIME_SLOTS:
            swarm.completed = 0
        self._forget_if_nothing_is_left(infohash)

    def _expired(self, gone: int) -> None:
        self.counters.expired += gone
        self._held -= gone

    def _new_swarm(self, infohash: bytes) -> _Swarm | None:
        if len(self._swarms) >= self._config.max_swarms or self._held >= self._config.max_peers:
            self.counters.refused += 1
            return None
        swarm = self._swarms[infohash] = _Swarm()
        return swarm

    def _keep(
        self,
        swarm: _Swarm,
        population: Population,
        address: bytes,
        peer_id: bytes,
        event: int,
        slot: int,
        *,
        seed: bool,
    ) -> int | None:
        """Put a peer into its population and return where it is; None where nobody can make room."""
        at = population.find(address)
        if event == _COMPLETED and (at is None or not population.is_seed(at)):
            swarm.completed += 1
            self.counters.completed += 1
        swarm.heard = slot
        if at is not None:
            self.counters.refreshed += 1
            population.refresh(at, peer_id, slot, seed=seed)
        elif self._made_room(population):
            self.counters.stored += 1
            self._held += 1
            at = population.add(address, peer_id, slot, self._rng, seed=seed)
        return at

    def _new_population(self, swarm: _Swarm, size: int, slot: int) -> Population:
        population = Population(size, slot, ids=self._config.keep_peer_ids)
        if size == _IPV4_BYTES:
            swarm.four = population
        else:
            swarm.six = population
        return population

    def _made_room(self, population: Population) -> bool:
        """Whether there is room for one more, made by somebody of its population where need be."""
        if self._held < self._config.max_peers and len(population) < self._config.max_peers_per_swarm:
            return True
        if not len(population):
            self.counters.refused += 1
            return False
        population.drop_any(self._rng)
        self.counters.displaced += 1
        self._held -= 1
        return True

    def _forget_if_nothing_is_left(self, infohash: bytes) -> None:
        swarm = self._swarms.get(infohash)
        if swarm is not None and not swarm.completed and not len(swarm):
            del self._swarms[infohash]
