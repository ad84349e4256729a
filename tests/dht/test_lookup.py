from __future__ import annotations

import heapq
import random
from collections import Counter

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.dht.lookup import Lookup, LookupConfig
from crawler.wire.compact import ip_of, prefix_of
from crawler.wire.ids import common_prefix_bits, distance, random_id

Node = tuple[bytes, bytes]

TARGET = bytes(20)


def key(number: int) -> bytes:
    """Return an id of eight bits that count, so that distances from zero are the numbers themselves."""
    return bytes((number,)) + bytes(19)


def address(number: int) -> bytes:
    """Return a compact address in a /24 of its own."""
    return (45 << 24 | number << 8 | 1).to_bytes(4, "big") + b"\x1a\xe1"


def node(number: int) -> Node:
    return key(number), address(number)


def lookup(*numbers: int, spread: bool = True, **choices: float) -> Lookup:
    ours = Lookup(TARGET, LookupConfig(**choices), spread=spread)  # type: ignore[arg-type] # numbers of either kind
    ours.learn([node(number) for number in numbers])
    return ours


def asked(ours: Lookup, now: float = 0.0) -> list[int]:
    """Advance, and return the numbers of those that are asked."""
    return [int.from_bytes(where[1:3], "big") for _, where in ours.advance(now)]


def answer(ours: Lookup, number: int, *named: int) -> None:
    ours.answered(address(number), key(number), [node(each) for each in named])


def over(ours: Lookup) -> bool:
    return ours.done


def found(ours: Lookup) -> list[int]:
    return [candidate.id[0] for candidate in ours.closest()]


def test_asks_the_closest_first_and_so_many_at_once() -> None:
    """Of what it knows, the four closest are asked; each outcome makes room for the next."""
    ours = lookup(9, 3, 7, 1, 5, 8)
    assert asked(ours) == [1, 3, 5, 7]
    assert asked(ours) == []

    answer(ours, 5, 2)
    assert asked(ours) == [2]
    ours.failed(address(1))
    assert asked(ours) == [8]


def test_over_when_the_closest_have_answered() -> None:
    """It ends with the k closest live nodes, though farther ones were never asked."""
    ours = lookup(*range(1, 30), closest=3)
    assert asked(ours)[:3] == [1, 2, 3]
    answer(ours, 1)
    ours.failed(address(2))
    answer(ours, 3)
    assert not over(ours)
    assert asked(ours) == [4]
    answer(ours, 4)

    assert over(ours)
    assert found(ours) == [1, 3, 4]
    assert asked(ours) == []


def test_nothing_to_ask_is_an_end() -> None:
    """Without candidates, or with none left alive, the lookup is over and found nobody."""
    assert over(lookup())
    ours = lookup(1)
    assert asked(ours) == [1]
    ours.failed(address(1))
    assert over(ours)
    assert ours.closest() == []
    assert ours.next_timer() is None


def test_a_silent_node_frees_its_slot_and_its_late_answer_counts() -> None:
    """Past the short timeout another is asked meanwhile; the late answer is one of the found, once."""
    ours = lookup(1, 2, 3, parallel=1)
    assert asked(ours, 10.0) == [1]
    assert ours.next_timer() == 11.0
    assert asked(ours, 10.9) == []
    assert asked(ours, 11.0) == [2]

    answer(ours, 1, 4)
    assert asked(ours, 11.1) == []
    answer(ours, 2)
    assert asked(ours, 11.2) == [3]
    answer(ours, 1, 5)
    assert asked(ours, 11.3) == []
    answer(ours, 3)
    assert asked(ours, 11.4) == [4]
    answer(ours, 4)
    assert over(ours)
    assert found(ours) == [1, 2, 3, 4]


def test_waits_for_the_slow_before_it_ends() -> None:
    """While a close node may still answer late, the lookup is not over."""
    ours = lookup(1, parallel=1)
    asked(ours, 0.0)
    asked(ours, 5.0)
    assert not over(ours)
    assert ours.next_timer() is None
    answer(ours, 1)
    assert over(ours)


@given(st.floats(0, 1e6), st.floats(0.01, 10))
def test_the_timer_is_kept_when_it_rings(start: float, patience: float) -> None:
    """At the very moment that next_timer names, the slot is free: whoever sleeps till then never spins."""
    ours = lookup(1, 2, parallel=1, short_timeout=patience)
    asked(ours, start)
    timer = ours.next_timer()
    assert timer is not None
    assert asked(ours, timer) == [2]


def test_an_outcome_of_somebody_not_asked_changes_nothing() -> None:
    """Answers from strangers, from candidates not asked yet, and second outcomes are passed over."""
    ours = lookup(1, 2, parallel=1)
    answer(ours, 99, 50)
    answer(ours, 2, 51)
    ours.failed(address(2))
    assert asked(ours) == [1]
    ours.failed(address(1))
    answer(ours, 1, 52)
    assert asked(ours) == [2]
    answer(ours, 2)
    assert over(ours)
    assert found(ours) == [2]


def test_ranks_a_node_by_the_id_that_it_answers_with() -> None:
    """A rumour of a close id earns no place among the closest if the node itself has another id."""
    ours = lookup(1, 20, closest=1)
    assert asked(ours) == [1]
    ours.answered(address(1), key(30), [])
    assert asked(ours) == [20]
    answer(ours, 20)
    assert found(ours) == [20]
    assert over(ours)


def test_hops_count_the_answers_on_the_way() -> None:
    """The hops are the length of the longest chain of answers."""
    ours = lookup(40)
    for number, following in ((40, 30), (30, 20), (20, 10)):
        assert asked(ours) == [number]
        answer(ours, number, following)
    assert (asked(ours), ours.hops) == ([10], 3)
    answer(ours, 10, 40)
    assert ours.hops == 4


def test_never_asks_more_than_the_most() -> None:
    """A chain of ever closer liars ends at the bound on queries, and then the lookup is over."""
    ours = lookup(255, max_queries=10)
    for number in range(255, 245, -1):
        assert asked(ours) == [number]
        answer(ours, number, number - 1)
    assert asked(ours) == []
    assert over(ours)
    assert ours.queries == 10
    assert len(found(ours)) == 8


def test_one_node_of_an_ip_and_two_of_a_network() -> None:
    """Many ids at one IP address, or in one /24, get one query and two."""
    same_ip = [(key(number), address(1)[:4] + number.to_bytes(2, "big")) for number in range(1, 9)]
    same_net = [(key(number), address(2)[:3] + bytes((number,)) + b"\x1a\xe1") for number in range(11, 19)]
    ours = lookup(parallel=100)
    ours.learn(same_ip + same_net)
    assert len(ours.advance(0.0)) == 1 + 2

    private = lookup(spread=False, parallel=100)
    private.learn(same_ip + same_net)
    assert len(private.advance(0.0)) == 8


def test_one_network_of_ipv6_is_a_64() -> None:
    """The cap per network takes IPv6 addresses by their /64."""
    nodes = [(key(n), bytes.fromhex("2a00145040010081") + n.to_bytes(8, "big") + b"\1\1") for n in range(9)]
    ours = lookup(parallel=100)
    ours.learn(nodes)
    assert len(ours.advance(0.0)) == 2


def test_a_flood_of_neighbours_costs_bounded_memory() -> None:
    """Whatever one answer lists, no more than the closest candidates are kept."""
    ours = lookup(200)
    asked(ours)
    ours.answered(address(200), key(200), [(key(201), address(n)) for n in range(1000, 6000)])
    assert len(ours._candidates) <= 101
    assert len(ours._ranked) == len(ours._candidates) == len(ours._ips)
    assert sum(ours._prefixes.values()) == len(ours._candidates)


def test_a_flood_of_neighbours_does_not_keep_closer_ones_out() -> None:
    """Somebody far away who fills the list cannot end the lookup: closer candidates displace his."""
    ours = lookup(200, 210, candidates=10)
    assert asked(ours) == [200, 210]
    ours.answered(address(210), key(210), [(key(150), address(n)) for n in range(1000, 1100)])
    answer(ours, 200, 1, 2, 3)
    assert asked(ours)[:3] == [1, 2, 3]


def test_who_is_dropped_leaves_his_place_to_others() -> None:
    """An IP address whose candidate gave way to closer ones may be named again, if closer itself."""
    ours = lookup(*range(101, 109), candidates=8)
    ours.learn([node(100)])
    assert address(108) not in ours._candidates
    again = (key(1), address(108)[:4] + b"\x1a\xe2")
    ours.learn([again])
    assert ours.advance(0.0)[0] == again


def test_somebody_farther_displaces_nobody() -> None:
    """When the list is full of closer candidates the newcomer is dropped, even if closer than some asked."""
    ours = lookup(100, 101, 102, 103, candidates=8)
    assert asked(ours) == [100, 101, 102, 103]
    ours.learn([node(number) for number in range(1, 9)])
    ours.learn([node(50)])
    assert len(ours._candidates) == 12
    assert address(50) not in ours._candidates
    assert address(8) in ours._candidates


@attrs.define
class Mirror:
    """What a lookup should hold, worked out by sorting everything each time."""

    config: LookupConfig
    states: dict[bytes, str] = attrs.field(factory=dict)
    ids: dict[bytes, bytes] = attrs.field(factory=dict)
    ever_asked: list[bytes] = attrs.field(factory=list)

    def rank(self, where: bytes) -> tuple[int, bytes]:
        return distance(self.ids[where], TARGET), where

    def learn(self, nodes: list[Node]) -> None:
        for node_id, where in nodes:
            networks = Counter(prefix_of(each) for each in self.ids)
            ips = {ip_of(each) for each in self.ids}
            if ip_of(where) in ips or networks[prefix_of(where)] >= self.config.per_prefix:
                continue
            fresh = [each for each in self.ids if self.states[each] == "fresh"]
            if len(fresh) >= self.config.candidates:
                farthest = max(fresh, key=self.rank)
                if self.rank(farthest) <= (distance(node_id, TARGET), where):
                    continue
                del self.ids[farthest], self.states[farthest]
            self.ids[where], self.states[where] = node_id, "fresh"

    def frontier(self) -> list[bytes]:
        alive = [where for where in self.ids if self.states[where] != "failed"]
        return sorted(alive, key=self.rank)[: self.config.closest]

    def expected(self, slots: int) -> list[bytes]:
        room = min(slots, self.config.max_queries - len(self.ever_asked))
        return [where for where in self.frontier() if self.states[where] == "fresh"][: max(room, 0)]


# Few ids, few networks, few hosts and two ports, so that everything collides.
NODES = st.lists(
    st.builds(
        lambda number, network, host, port: (key(number), bytes((45, 1, network, host, 26, port))),
        st.integers(0, 255),
        st.integers(0, 20),
        st.integers(1, 3),
        st.integers(1, 2),
    ),
    max_size=16,
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["answer", "answer", "fail", "late"]), st.integers(0, 99), NODES), max_size=40
)


@settings(deadline=None)
@given(NODES, STEPS)
def test_does_what_sorting_everything_each_time_would_do(
    seeds: list[Node], steps: list[tuple[str, int, list[Node]]]
) -> None:
    """Against any answers it asks whom the mirror would ask, never anybody twice, and ends when it would."""
    config = LookupConfig(closest=4, parallel=3, candidates=8, max_queries=12)
    ours, mirror = Lookup(TARGET, config), Mirror(config)
    ours.learn(seeds)
    mirror.learn(seeds)
    now = 0.0
    for kind, choice, nodes in [*steps, *[("fail", 0, [])] * 12]:
        waiting = [where for where, state in mirror.states.items() if state == "waiting"]
        chosen = [where for _, where in ours.advance(now)]
        assert chosen == mirror.expected(config.parallel - len(waiting))
        mirror.ever_asked += chosen
        mirror.states.update(dict.fromkeys(chosen, "waiting"))
        states = [mirror.states[where] for where in mirror.frontier()]
        left = config.max_queries - len(mirror.ever_asked)
        assert ours.done == (not {"waiting", "slow"} & set(states) and not (left and "fresh" in states))
        pending = sorted(where for where, state in mirror.states.items() if state in {"waiting", "slow"})
        if kind == "late":
            now += 5.0
            mirror.states.update({w: "slow" for w in pending if mirror.states[w] == "waiting"})
        elif pending:
            where = pending[choice % len(pending)]
            mirror.states[where] = "failed" if kind == "fail" else "answered"
            if kind == "fail":
                ours.failed(where)
            else:
                mirror.ids[where] = key(choice)
                mirror.learn(nodes)
                ours.answered(where, key(choice), nodes)
    assert len(set(mirror.ever_asked)) == len(mirror.ever_asked) == ours.queries <= config.max_queries
    answered = sorted((w for w, s in mirror.states.items() if s == "answered"), key=mirror.rank)
    assert [candidate.address for candidate in ours.closest()] == answered[: config.closest]
    assert len(mirror.ids) <= config.candidates + config.max_queries


class Network:
    """Nodes that know what Kademlia nodes know: up to eight others of each distance."""

    def __init__(self, size: int, rng: random.Random) -> None:
        self.rng = rng
        self.nodes = {address(n): random_id(rng) for n in range(size)}
        self.dead = {where for where in self.nodes if rng.random() < 0.1}
        self._views = {where: self._view(where) for where in self.nodes}

    def _view(self, owner: bytes) -> list[Node]:
        buckets: dict[int, list[Node]] = {}
        for where, node_id in self.rng.sample(sorted(self.nodes.items()), len(self.nodes)):
            bucket = buckets.setdefault(common_prefix_bits(node_id, self.nodes[owner]), [])
            if where != owner and len(bucket) < 8:
                bucket.append((node_id, where))
        return [each for bucket in buckets.values() for each in bucket]

    def lives(self, where: bytes) -> bool:
        return where in self.nodes and where not in self.dead

    def closest_of(self, where: bytes, target: bytes) -> list[Node]:
        return sorted(self._views[where], key=lambda each: distance(each[0], target))[:8]

    def truly_closest(self, target: bytes) -> list[bytes]:
        alive = [where for where in self.nodes if where not in self.dead]
        return sorted(alive, key=lambda where: distance(self.nodes[where], target))[:8]

    def seeds(self) -> list[Node]:
        return [(self.nodes[where], where) for where in self.rng.sample(sorted(self.nodes), 8)]

    def run(self, ours: Lookup) -> float:
        """Run ``ours`` to its end in virtual time; returns how long it took."""
        now, counter, asked_at, on_the_way = 0.0, 0, dict[bytes, float](), list[tuple[float, int, bytes]]()
        while True:
            for _, where in ours.advance(now):
                assert where not in asked_at
                asked_at[where], counter = now, counter + 1
                lasts = self.rng.expovariate(2.0) if self.lives(where) else 5.0
                heapq.heappush(on_the_way, (now + lasts, counter, where))
            assert sum(now < asked_at[where] + 1.0 for _, _, where in on_the_way) <= 4
            if ours.done:
                return now
            timer = ours.next_timer()
            if timer is not None and timer < on_the_way[0][0]:
                now = timer
                continue
            now, _, where = heapq.heappop(on_the_way)
            if self.lives(where):
                ours.answered(where, self.nodes[where], self.closest_of(where, ours.target))
            else:
                ours.failed(where)


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(600, random.Random(20))


def test_finds_the_truly_closest_of_a_network(network: Network) -> None:
    """With a tenth of 600 nodes dead and some slow, lookups find 97 % of the eight closest, each in time.

    What is missing was never named: dead nodes fill places in the answers of their neighbours.
    """
    hits, queries, slowest = 0, 0, 0.0
    for _ in range(60):
        target = random_id(network.rng)
        ours = Lookup(target, LookupConfig())
        ours.learn(network.seeds())
        slowest = max(slowest, network.run(ours))
        hits += len({c.address for c in ours.closest()} & set(network.truly_closest(target)))
        queries += ours.queries
    assert hits >= 0.97 * 60 * 8
    assert queries <= 60 * 32
    assert slowest < 30.0


def test_is_no_worse_for_a_flood_of_far_neighbours(network: Network) -> None:
    """When a tenth of the nodes answer with 2,000 invented far nodes, the closest are found all the same."""
    rng = random.Random(5)
    liars = {where for where in network.nodes if rng.random() < 0.1}
    honest = network.closest_of

    class Lying(Network):
        def __init__(self) -> None:
            vars(self).update(vars(network))

        def closest_of(self, where: bytes, target: bytes) -> list[Node]:
            if where not in liars:
                return honest(where, target)
            far = bytes((target[0] ^ 0x80,)) + target[1:]
            return [(far, address(n)) for n in rng.sample(range(10_000, 60_000), 2000)]

    hits = 0
    for _ in range(10):
        target = random_id(network.rng)
        ours = Lookup(target, LookupConfig())
        ours.learn(network.seeds())
        Lying().run(ours)
        hits += len({c.address for c in ours.closest()} & set(network.truly_closest(target)))
    assert hits >= 0.9 * 10 * 8
