"""The peers that others announced to us: a bounded, expiring store (BEP 5), with BEP 51's sample of it.

What happens when it is full, in the order it is checked:

- An announcer (IPv4 address, IPv6 /64) that fills ``max_per_ip`` entries is refused further ones.
- A new infohash is refused when ``max_infohashes`` are held, or ``max_peers_total`` peers.
- A new peer of a swarm that has ``max_peers``, or of any held swarm when ``max_peers_total`` is reached,
  displaces the peer of that swarm that was silent longest.

Every announce is counted once: announced = stored + refreshed + refused; stored = held + expired + displaced.

Worst-case memory at the defaults: 50,000 peers of about 280 bytes, as many announcers of about 180, and 2,000
swarms of about 500: 24 MB.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from crawler.dht import scrape_filter
from crawler.settings import setting
from crawler.wire.compact import Family, ip_of

if TYPE_CHECKING:
    from random import Random

_SWEEP_PAUSE = 10.0
"""A full store looks for expired peers at most this often, in seconds: looking costs time for every swarm."""


@attrs.frozen
class PeerStoreConfig:
    """How much is kept for others, and for how long."""

    max_infohashes: int = setting(
        2000, unit="infohashes", help="Infohashes held; when full, new ones are refused.", minimum=1
    )
    max_peers: int = setting(
        500,
        unit="peers",
        help="Peers of one infohash; the one silent longest makes room.",
        minimum=1,
        maximum=scrape_filter.CAPACITY,
    )
    max_peers_total: int = setting(50_000, unit="peers", help="Peers of all infohashes together.", minimum=1)
    max_per_ip: int = setting(
        20, unit="infohashes", help="Infohashes that one IPv4 address or IPv6 /64 may announce.", minimum=1
    )
    lifetime: float = setting(
        2700.0, unit="s", help="A peer is forgotten this long after its announce.", above=0
    )
    sample_size: int = setting(
        20, unit="infohashes", help="Infohashes in an answer to sample_infohashes.", minimum=1, maximum=20
    )
    sample_interval: int = setting(
        300,
        unit="s",
        help="How long a sample stays the same; told to whoever asks (BEP 51).",
        minimum=0,
        maximum=21_600,
    )


@attrs.frozen
class PeerStoreStatistics:
    """The store at one moment and what came of all announces; for the sums, see the module."""

    infohashes: int
    peers: int
    announcers: int
    announced: int
    stored: int
    refreshed: int
    refused_ip: int
    refused_infohash: int
    expired: int
    displaced: int


@attrs.frozen
class _Peer:
    address: bytes
    announced: float
    seed: bool


@attrs.define(eq=False)
class _Swarm:
    """The peers of one infohash by IP, longest silent first; the filters are made when asked for."""

    peers: dict[bytes, _Peer] = attrs.field(factory=dict)
    filters: tuple[bytes, bytes] | None = None


class PeerStore:
    """Peers by infohash, one for each IP, both families together."""

    def __init__(self, config: PeerStoreConfig, rng: Random) -> None:
        """Start empty; ``rng`` chooses the peers and samples that are given away."""
        self._config = config
        self._rng = rng
        self._swarms: dict[bytes, _Swarm] = {}
        self._entries_of: Counter[bytes] = Counter()
        self._held = 0
        self._events: Counter[str] = Counter()
        self._swept = float("-inf")
        self._sample = b""
        self._sample_until = float("-inf")

    def announce(self, info_hash: bytes, peer: bytes, now: float, seed: bool | None = None) -> bool:
        """Store or refresh a peer whose announce carried a valid token.

        Args:
            info_hash: 20 bytes.
            peer: compact address.
            now: seconds.
            seed: whether it says it has everything (BEP 33); None, when it does not say, counts as no.

        Returns:
            Whether it is in the store now.
        """
        self._events["announced"] += 1
        self._expire_swarm(info_hash, now)
        swarm = self._swarms.get(info_hash)
        entry = _Peer(peer, now, bool(seed))
        if swarm is not None and swarm.peers.pop(ip_of(peer), None) is not None:
            self._events["refreshed"] += 1
        elif not self._make_room(info_hash, peer, now):
            return False
        else:
            swarm = self._swarms.setdefault(info_hash, _Swarm())
            self._entries_of[_announcer(peer)] += 1
            self._held += 1
            self._events["stored"] += 1
        # Put back last, so that a swarm stays in the order of its announces.
        swarm.peers[ip_of(peer)] = entry
        swarm.filters = None
        return True

    def accepts(self, info_hash: bytes, now: float) -> bool:
        """Tell whether a peer of ``info_hash`` could be stored: no only for a new one in a full store."""
        if info_hash in self._swarms or not self._is_full():
            return True
        if now - self._swept >= _SWEEP_PAUSE:
            self.expire(now)
        return not self._is_full()

    def has(self, info_hash: bytes) -> bool:
        """Tell whether any peer of ``info_hash`` is held."""
        return info_hash in self._swarms

    def get(
        self, info_hash: bytes, family: Family, now: float, limit: int, *, noseed: bool = False
    ) -> list[bytes]:
        """Return at most ``limit`` compact addresses of ``family`` for ``info_hash``, a random choice.

        ``noseed`` leaves out those that said they are seeds (BEP 33).
        """
        self._expire_swarm(info_hash, now)
        swarm = self._swarms.get(info_hash)
        if swarm is None:
            return []
        size = family.address_bytes
        peers = [
            peer.address
            for peer in swarm.peers.values()
            if len(peer.address) == size and not (noseed and peer.seed)
        ]
        return peers if len(peers) <= limit else self._rng.sample(peers, limit)

    def scrape(self, info_hash: bytes, now: float) -> tuple[bytes, bytes] | None:
        """Return BEP 33's filters of seeds and of downloaders, 256 bytes each, or None if nothing is held."""
        self._expire_swarm(info_hash, now)
        swarm = self._swarms.get(info_hash)
        if swarm is None:
            return None
        if swarm.filters is None:
            swarm.filters = (
                scrape_filter.filter_of(ip for ip, peer in swarm.peers.items() if peer.seed),
                scrape_filter.filter_of(ip for ip, peer in swarm.peers.items() if not peer.seed),
            )
        return swarm.filters

    def sample(self, now: float) -> tuple[bytes, int, int]:
        """Return what sample_infohashes tells (BEP 51): samples of 20 bytes each, how many we hold, interval.

        The samples stay the same for an interval, unless there were none.
        """
        config = self._config
        if now >= self._sample_until or not self._sample:
            self.expire(now)
            chosen = self._rng.sample(list(self._swarms), min(config.sample_size, len(self._swarms)))
            self._sample = b"".join(chosen)
            self._sample_until = now + config.sample_interval
        return self._sample, len(self._swarms), config.sample_interval

    def expire(self, now: float) -> None:
        """Forget every peer whose lifetime is over."""
        self._swept = now
        for info_hash in list(self._swarms):
            self._expire_swarm(info_hash, now)

    def statistics(self) -> PeerStoreStatistics:
        """Return the store's figures."""
        events = self._events
        return PeerStoreStatistics(
            infohashes=len(self._swarms),
            peers=self._held,
            announcers=len(self._entries_of),
            announced=events["announced"],
            stored=events["stored"],
            refreshed=events["refreshed"],
            refused_ip=events["refused_ip"],
            refused_infohash=events["refused_infohash"],
            expired=events["expired"],
            displaced=events["displaced"],
        )

    def _is_full(self) -> bool:
        return len(self._swarms) >= self._config.max_infohashes or self._held >= self._config.max_peers_total

    def _make_room(self, info_hash: bytes, peer: bytes, now: float) -> bool:
        """Make room for a new peer, if it may have any."""
        if self._entries_of[_announcer(peer)] >= self._config.max_per_ip:
            self._events["refused_ip"] += 1
            return False
        if not self.accepts(info_hash, now):
            self._events["refused_infohash"] += 1
            return False
        swarm = self._swarms.get(info_hash)
        if swarm is not None and (
            len(swarm.peers) >= self._config.max_peers or self._held >= self._config.max_peers_total
        ):
            self._forget_oldest(swarm)
            self._events["displaced"] += 1
        return True

    def _expire_swarm(self, info_hash: bytes, now: float) -> None:
        swarm = self._swarms.get(info_hash)
        if swarm is None:
            return
        latest = now - self._config.lifetime
        while swarm.peers and next(iter(swarm.peers.values())).announced <= latest:
            self._forget_oldest(swarm)
            self._events["expired"] += 1
        if not swarm.peers:
            del self._swarms[info_hash]

    def _forget_oldest(self, swarm: _Swarm) -> None:
        oldest = next(iter(swarm.peers))
        announcer = _announcer(swarm.peers.pop(oldest).address)
        swarm.filters = None
        self._held -= 1
        self._entries_of[announcer] -= 1
        if not self._entries_of[announcer]:
            del self._entries_of[announcer]


def _announcer(peer: bytes) -> bytes:
    """Who is behind a compact address: the IPv4 address, or the IPv6 /64, which one host can fill alone."""
    return peer[:4] if Family.of(peer) is Family.IPV4 else peer[:8]
