"""Who lives in the simulated network and what they store, drawn once from the seed.

Everything is kept in flat lists and arrays, indexed by a node's *rank* (its place in the order of node ids)
or by an infohash's place in the order of infohashes, so that a subtree of the keyspace is always one slice.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import attrs

from crawler.settings import setting

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

ID_BYTES: Final = 20
ID_BITS: Final = 8 * ID_BYTES
NODE_BYTES: Final = ID_BYTES + 6
"""A node in an answer: id, IPv4 address, port."""
REPLICAS: Final = 8
"""On how many of the closest living nodes an infohash is stored (BEP 5's K)."""

DEAD: Final = 0
"""Never answers, though others still have it in their tables."""
SAMPLES: Final = 1
"""Answers everything, sample_infohashes too."""
REFUSES: Final = 2
"""Answers sample_infohashes with error 204."""
IGNORES: Final = 3
"""Is silent on sample_infohashes."""
FALLS_BACK: Final = 4
"""Answers sample_infohashes as if it were find_node."""

_FIRST_HOST: Final = 0x010000
"""127.1.0.0: all of 127.0.0.0/16 stays free for the sockets of real programs."""
_LAST_HOST: Final = 0xFFFEFF
"""Below 127.255.255.255, to which the kernel sends only broadcasts."""
_RANK_BITS: Final = 32
_RANK_MASK: Final = (1 << _RANK_BITS) - 1


@attrs.frozen
class WorldConfig:
    """What the simulated network is like."""

    nodes: int = setting(2000, unit="nodes", help="Virtual nodes.", minimum=1, maximum=5_000_000)
    infohashes: int = setting(
        10_000, unit="infohashes", help="Infohashes, each on its 8 closest living nodes.", minimum=0
    )
    dead: float = setting(0.3, unit="", help="Share of the nodes that never answer.", minimum=0, maximum=1)
    bep51: float = setting(
        0.7, unit="", help="Share of the living nodes that answer sample_infohashes.", minimum=0, maximum=1
    )
    loss: float = setting(
        0.02,
        unit="",
        help="Share of queries whose answer never arrives, lost either way.",
        minimum=0,
        maximum=1,
    )
    interval: int = setting(
        600,
        unit="s",
        help="The interval of BEP 51, for which a sample stays the same.",
        minimum=0,
        maximum=21600,
    )
    peers: int = setting(
        5, unit="peers", help="An infohash has from 1 to this many peers.", minimum=1, maximum=50
    )
    seed: int = setting(1, unit="", help="Same seed, same network.")
    bootstrap: str = setting("127.64.0.1", unit="", help="Address of the node that never dies.")
    port: int = setting(7001, unit="", help="The UDP port of every node.", minimum=1, maximum=65535)


class Population:
    """The nodes, the infohashes and which node stores which, all drawn at construction.

    About 2 s and 40 MB for 20,000 nodes and 100,000 infohashes.

    Attributes:
        nodes: by rank, 26 bytes each: id, address, port; sorted.
        ids: by rank, the node ids as integers.
        kinds: by rank, :data:`DEAD` … :data:`FALLS_BACK`.
        rank_of: rank of the node at an IPv4 address of 4 bytes.
        infohashes: sorted.
        storage: by rank, places in ``infohashes``, ascending; empty for dead nodes.

    Args:
        config: how many of what.
        bootstrap: IPv4 address (4 bytes) of the node that never dies.
        rng: where ids, addresses and kinds come from.
        infohashes: 20 bytes each, in place of random ones.
    """

    def __init__(
        self,
        config: WorldConfig,
        bootstrap: bytes,
        rng: random.Random,
        infohashes: Iterable[bytes] | None = None,
    ) -> None:
        port = config.port.to_bytes(2, "big")
        ids = _random_ids(config.nodes, rng)
        hosts = _random_hosts(config.nodes, rng)
        self.kinds = _random_kinds(config, rng)
        _settle(bootstrap, hosts, self.kinds, rng)
        self.nodes = [node_id + host + port for node_id, host in zip(ids, hosts, strict=True)]
        self.ids = [int.from_bytes(node_id, "big") for node_id in ids]
        self.rank_of = {host: rank for rank, host in enumerate(hosts)}
        self.infohashes = _random_ids(config.infohashes, rng) if infohashes is None else sorted(infohashes)
        self.storage = _place(self.infohashes, self.ids, self.kinds)


def _random_ids(count: int, rng: random.Random) -> list[bytes]:
    """Return ids in ascending order, in memory too: what is close in the keyspace is asked for together."""
    return _split(b"".join(sorted(_split(rng.randbytes(ID_BYTES * count)))))


def _split(blob: bytes) -> list[bytes]:
    return [blob[start : start + ID_BYTES] for start in range(0, len(blob), ID_BYTES)]


def _random_hosts(count: int, rng: random.Random) -> list[bytes]:
    hosts = rng.sample(range(_FIRST_HOST, _LAST_HOST + 1), count)
    return [(0x7F000000 | host).to_bytes(4, "big") for host in hosts]


def _random_kinds(config: WorldConfig, rng: random.Random) -> bytearray:
    dead = min(round(config.dead * config.nodes), config.nodes - 1)
    living = config.nodes - dead
    speakers = round(config.bep51 * living)
    others = bytes([REFUSES, IGNORES, FALLS_BACK])
    rest = living - speakers
    kinds = bytearray([SAMPLES]) * speakers + (others * (rest // 3 + 1))[:rest] + bytearray(dead)
    rng.shuffle(kinds)
    return kinds


def _settle(bootstrap: bytes, hosts: list[bytes], kinds: bytearray, rng: random.Random) -> None:
    """Give the bootstrap address to a living node; who had it takes that node's address."""
    rank = rng.choice([rank for rank, kind in enumerate(kinds) if kind != DEAD])
    if bootstrap in hosts:
        hosts[hosts.index(bootstrap)] = hosts[rank]
    hosts[rank] = bootstrap


def _place(infohashes: list[bytes], ids: list[int], kinds: bytearray) -> list[Sequence[int]]:
    """Return for each rank the places of the infohashes that this node stores."""
    living = [rank for rank, kind in enumerate(kinds) if kind != DEAD]
    storage: list[Sequence[int]] = [()] * len(ids)
    stores = [array("I") for _ in living]
    for rank, store in zip(living, stores, strict=True):
        storage[rank] = store
    keys = [ids[rank] << _RANK_BITS | number for number, rank in enumerate(living)]
    _Placement(infohashes, keys, stores).fill()
    return storage


@attrs.define
class _Placement:
    """One walk over the living nodes' trie, in key order, that puts each infohash on its closest nodes.

    Going down towards an infohash, the last subtree with enough nodes holds all of its closest ones: nothing
    outside is closer than anything inside.
    """

    infohashes: list[bytes]
    keys: list[int]
    """Of the living nodes: the id, then the node's number in 32 bits that an infohash leaves alone."""
    stores: list[array[int]]

    def fill(self) -> None:
        if len(self.keys) <= REPLICAS:
            self._store(self.keys, 0, len(self.infohashes))
        else:
            self._descend(0, len(self.keys), 0, len(self.infohashes), 0)

    def _descend(self, low: int, high: int, first: int, end: int, depth: int) -> None:
        """Place the infohashes ``first:end`` of the subtree at ``depth`` whose nodes are ``low:high``."""
        if first == end:
            return
        bit = ID_BITS - 1 - depth
        prefix = self.keys[low] >> (bit + 1 + _RANK_BITS) << 1 | 1
        half = prefix << bit
        middle = bisect_left(self.keys, half << _RANK_BITS, low, high)
        cut = bisect_left(self.infohashes, half.to_bytes(ID_BYTES, "big"), first, end)
        for part in ((low, middle, first, cut), (middle, high, cut, end)):
            if part[1] - part[0] >= REPLICAS:
                self._descend(*part, depth + 1)
            else:
                self._store(self.keys[low:high], part[2], part[3])

    def _store(self, keys: list[int], first: int, end: int) -> None:
        for place in range(first, end):
            target = int.from_bytes(self.infohashes[place], "big") << _RANK_BITS
            for distance in sorted([key ^ target for key in keys])[:REPLICAS]:
                self.stores[distance & _RANK_MASK].append(place)
