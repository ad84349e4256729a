"""The sample crawl (BEP 51) of one socket: asks contacts of the frontier, settles what they answer.

The hot path. No task, event or cancel scope per query: the pace asks for a batch of queries, the endpoint
hands back outcomes, and both are plain calls.

Which target a query carries decides which nodes its answer names: the ones in the asked node's bucket for it.
Half of the queries aim at the asked node's own neighbourhood, which makes the sweep complete; the others at
one of its farther buckets, drawn evenly, which carries the sweep to parts of the key space not seen yet.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import attrs

from crawler.crawl.frontier import Contact, Standing
from crawler.dht.events import Answered, Refused
from crawler.records import InfohashesFound
from crawler.settings import setting
from crawler.wire.compact import prefix_of, split_node_addresses, split_samples, unpack_address
from crawler.wire.ids import ID_BYTES, random_id_near

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from crawler.crawl.credit import Credit
    from crawler.crawl.frontier import Frontier
    from crawler.crawl.locate import Locator
    from crawler.crawl.outlet import Outlet
    from crawler.crawl.rumours import RumourGuard
    from crawler.crawl.seen import Seen
    from crawler.dht.events import Outcome
    from crawler.net.dht import Endpoint
    from crawler.wire.compact import Address

_METHOD = b"sample_infohashes"
_LONGEST_INTERVAL = 21600
_MAX_BLAMED = 50_000
_MAX_NODES = 32
"""Nodes taken from one answer: honest ones name up to 20 (krpc.md §11 row 15), a lie could name thousands."""
_PATIENCE = 64
"""So many contacts that must wait are passed over in one batch: a flood in one network is no endless loop."""
_PROVED = {Standing.GIVES, Standing.MUTE}


@attrs.frozen
class SampleConfig:
    """How the sampling goes about."""

    near_share: float = setting(
        0.5,
        unit="",
        help="Share of the queries that aim at the asked node's own neighbourhood.",
        minimum=0,
        maximum=1,
    )
    max_samples: int = setting(
        100, unit="infohashes", help="Samples taken from one answer; more are dropped.", minimum=1
    )


@attrs.define
class SampleCounters:
    """What sampling came to."""

    asked: int = 0
    gave: int = 0
    muted: int = 0
    silent: int = 0
    samples: int = 0
    new: int = 0
    dropped: Counter[str] = attrs.field(factory=Counter)


class Sampler:
    """Asks for samples over one endpoint."""

    def __init__(  # noqa: PLR0913 - it joins the frontier to the stages after it
        self,
        config: SampleConfig,
        endpoint: Endpoint,
        *,
        frontier: Frontier,
        rumours: RumourGuard,
        credit: Credit,
        seen: Seen,
        locator: Locator | None,
        outlet: Outlet,
        rng: Random,
    ) -> None:
        """Join the parts; without a ``locator`` no peers are sought.

        ``on_answer`` is told the id and the compact address of every node that answers, and when; ``on_new``
        is told of infohashes that nobody named before.
        """
        self.on_answer: Callable[[bytes, bytes, float], None] = _ignore_answer
        self.on_new: Callable[[Sequence[bytes]], None] = _ignore_infohashes
        self.counters = SampleCounters()
        self.frontier = frontier
        self._config = config
        self._endpoint = endpoint
        self._family = endpoint.node.family
        self._rumours = rumours
        self._credit = credit
        self._seen = seen
        self._locator = locator
        self._outlet = outlet
        self._rng = rng
        self._blamed: deque[Contact] = deque(maxlen=_MAX_BLAMED)

    def next_queries(self, count: int, now: float) -> list[tuple[bytes, Address]]:
        """Return up to ``count`` queries to send now; fewer when nobody else may be asked."""
        frontier, budget, node = self.frontier, self._endpoint.budget, self._endpoint.node
        fill = self._endpoint.template(_METHOD).fill
        frontier.wake(now)
        queries: list[tuple[bytes, Address]] = []
        patience = _PATIENCE + count
        while patience and len(queries) < count:
            contact = frontier.take()
            if contact is None:
                break
            address = contact.address
            wait = budget.hold(address, now)
            if wait:
                frontier.postponed(contact, now + wait)
                patience -= 1
                continue
            if contact.standing not in _PROVED and not self._rumours.allows(address[:-2], now):
                frontier.failed(contact, now)
                patience -= 1
                continue
            where = unpack_address(address)
            tid = node.open_query(where, address, _METHOD, self, contact, now)
            queries.append((fill(self._target(contact.id), tid), where))
        self.counters.asked += len(queries)
        return queries

    def settle(self, outcome: Outcome, now: float) -> None:
        """Take the outcome of one query."""
        contact: Contact = outcome.transaction.context
        if type(outcome) is Answered:
            self._settle_answer(contact, outcome.response.id, outcome.response.body, now)
        elif type(outcome) is Refused:
            self.counters.muted += 1
            self.frontier.muted(contact, now)
        else:
            self.counters.silent += 1
            self.frontier.failed(contact, now)
            self._blamed.append(contact)

    def pardon(self) -> None:
        """The uplink was down: whoever was blamed for silence since the last answer is asked again."""
        for contact in self._blamed:
            self.frontier.pardoned(contact)
        self._blamed.clear()

    def met(self, answer: Answered) -> None:
        """A node answered some other question of ours: it may be asked for samples too."""
        self.learn([(answer.response.id, answer.transaction.compact)], vouched=True)

    def learn(
        self,
        nodes: list[tuple[bytes, bytes]],
        *,
        namer: bytes = b"",
        now: float = 0.0,
        vouched: bool = False,
    ) -> int:
        """Take rumours of nodes that may be contacted into the frontier; returns how many are new.

        ``namer``, a compact address, is who named them, and is held to what its network may name; nobody in
        particular when it is empty.
        """
        ids = {address: node_id for node_id, address in nodes[:_MAX_NODES]}
        unknown = list(dict.fromkeys(self.frontier.heard(list(ids), vouched=vouched)))
        if namer and unknown:
            unknown = unknown[: self._rumours.takes(prefix_of(namer), len(unknown), now)]
        return sum(self._add(ids[address], address, vouched=vouched) for address in unknown)

    def _add(self, node_id: bytes, address: bytes, *, vouched: bool) -> bool:
        if not self._endpoint.may_contact(address):
            self.counters.dropped["node_not_contactable"] += 1
            return False
        return self.frontier.add(node_id, address, vouched=vouched) is not None

    def _learn_blob(self, blob: bytes, namer: bytes, now: float, *, vouched: bool) -> None:
        """As :meth:`learn` from an answer's `nodes`; the ids of nodes that we know are not even read."""
        addresses = split_node_addresses(blob[: _MAX_NODES * self._family.node_bytes], self._family)
        unknown = list(dict.fromkeys(self.frontier.heard(addresses, vouched=vouched)))
        if not unknown:
            return
        for address in unknown[: self._rumours.takes(prefix_of(namer), len(unknown), now)]:
            at = addresses.index(address) * self._family.node_bytes
            self._add(blob[at : at + ID_BYTES], address, vouched=vouched)

    def _settle_answer(self, contact: Contact, node_id: bytes, body: dict[bytes, object], now: float) -> None:
        contact.id = node_id
        self._blamed.clear()
        self.on_answer(node_id, contact.address, now)
        claimed = body.get(b"samples")
        samples = split_samples(claimed) if claimed is not None else None
        new: list[bytes] = []
        if samples is None:
            # Without `samples` the node took us for asking find_node; malformed ones are as good as none.
            self.counters.dropped["samples_malformed"] += claimed is not None
            self.counters.muted += 1
            self.frontier.muted(contact, now)
        else:
            new = self._take_samples(contact, samples, now)
            interval = _whole(body.get(b"interval"), _LONGEST_INTERVAL, _LONGEST_INTERVAL)
            num = _whole(body.get(b"num"), len(samples), 1 << 32)
            self.frontier.gave(contact, len(new), num, interval, now)
        nodes = body.get(self._family.nodes_key)
        if isinstance(nodes, bytes):
            self._learn_blob(nodes, contact.address, now, vouched=bool(new))

    def _take_samples(self, contact: Contact, samples: tuple[bytes, ...], now: float) -> list[bytes]:
        counters, credit = self.counters, self._credit
        counters.gave += 1
        if not credit.takes_answer(contact.address):
            counters.dropped["samples_discredited"] += len(samples)
            return []
        room = credit.room_for_new(contact.address, now)
        if len(samples) > room:
            counters.dropped["samples_over_budget"] += len(samples) - room
            samples = samples[:room]
        if len(samples) > self._config.max_samples:
            counters.dropped["samples_too_many"] += len(samples) - self._config.max_samples
            samples = samples[: self._config.max_samples]
        counters.samples += len(samples)
        new = self._seen.sift(samples)
        if new:
            counters.new += len(new)
            credit.gave_new(contact.address, len(new))
            outlet = self._outlet
            outlet.put(InfohashesFound(outlet.wall_clock(now), "sample", contact.address, tuple(new)))
            self.on_new(new)
            if self._locator is not None:
                self._locator.sampled(contact.address, new)
        return new

    def _target(self, node_id: bytes) -> bytes:
        if self._rng.random() < self._config.near_share:
            return node_id
        depth = len(self.frontier).bit_length()
        return random_id_near(node_id, int(self._rng.random() * depth), self._rng)


def _ignore_answer(_node_id: bytes, _address: bytes, _now: float) -> None:
    """Stand in until somebody listens."""


def _ignore_infohashes(_infohashes: Sequence[bytes]) -> None:
    """Stand in until somebody listens."""


def _whole(value: object, default: int, largest: int) -> int:
    """Return ``value`` if it is a whole number from 0 to ``largest``, cut to that; else ``default``."""
    if type(value) is not int or value < 0:
        return default
    return min(value, largest)
