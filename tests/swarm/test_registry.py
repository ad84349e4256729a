"""A tracker's memory against a plain model of it, at its bounds, and over days of virtual time."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.swarm.population import LIFETIME_SLOTS, Population
from crawler.swarm.registry import Registry, RegistryBounds
from crawler.wire.compact import Family, split_peers
from crawler.wire.tracker import Event, ScrapeCounts

if TYPE_CHECKING:
    from crawler.swarm.registry import Standing

SWARM, OTHER = b"a" * 20, b"b" * 20
LIFETIME = 1600.0  # 16 slots of 100 s


def address(number: int, size: int = 6) -> bytes:
    return (number + 1).to_bytes(size - 2, "big") + b"\x1a\xe1"


def registry(**bounds: Any) -> Registry:
    return Registry(RegistryBounds(lifetime=LIFETIME, **bounds), random.Random(1))


def join(
    tracker: Registry,
    peer: bytes,
    *,
    infohash: bytes = SWARM,
    event: Event = Event.STARTED,
    numwant: int = 50,
    now: float = 0.0,
    seed: bool = False,
) -> Standing:
    return tracker.announce(infohash, peer, event, numwant, now, seed=seed)


def named(blob: bytes, family: Family = Family.IPV4) -> list[bytes]:
    return [blob[at : at + family.address_bytes] for at in range(0, len(blob), family.address_bytes)]


def test_peers_find_each_other_and_not_themselves() -> None:
    """Whoever announces gets the others of its swarm and family, and never itself."""
    tracker = registry()

    assert join(tracker, address(1)).peers == b""
    assert join(tracker, address(2)).peers == address(1)
    assert join(tracker, address(1)).peers == address(2)
    assert join(tracker, address(3), infohash=OTHER).peers == b""
    assert join(tracker, address(4, 18)).peers == b""
    assert join(tracker, address(5, 18)).peers == address(4, 18)
    assert tracker.draw(SWARM, Family.IPV6, 1, 0.0) in {address(4, 18), address(5, 18)}
    assert (tracker.swarm_count, tracker.peer_count) == (2, 5)


def test_counts_follow_left_and_events() -> None:
    """Seeders and leechers follow what peers lack, both families together; a download counts once."""
    tracker = registry()
    join(tracker, address(1), seed=True)
    join(tracker, address(2))
    join(tracker, address(3, 18))
    assert tracker.scrape(SWARM, 0.0) == ScrapeCounts(seeders=1, completed=0, leechers=2)

    for _ in range(3):
        assert join(tracker, address(2), event=Event.COMPLETED, seed=True)[:3] == (2, 1, 1)
    assert join(tracker, address(1), event=Event.STOPPED, seed=True) == (1, 1, 1, b"")
    assert join(tracker, address(1), event=Event.STOPPED, seed=True) == (1, 1, 1, b"")
    assert join(tracker, address(2), event=Event.NONE)[:3] == (0, 2, 1)
    assert tracker.scrape(OTHER, 0.0) == ScrapeCounts(0, 0, 0)


def test_a_swarm_is_forgotten_with_its_last_peer() -> None:
    """A swarm that everybody left is gone; one that somebody completed is remembered for a lifetime more."""
    tracker = registry()
    join(tracker, address(1))
    join(tracker, address(1), event=Event.STOPPED)
    assert tracker.swarm_count == 0

    join(tracker, address(1), event=Event.COMPLETED, seed=True)
    join(tracker, address(1), event=Event.STOPPED)
    join(tracker, address(2))
    join(tracker, address(2), event=Event.STOPPED)
    assert tracker.scrape(SWARM, LIFETIME) == ScrapeCounts(0, 1, 0)
    assert tracker.swarm_count == 1
    assert tracker.scrape(SWARM, LIFETIME + 200) == ScrapeCounts(0, 0, 0)
    assert tracker.swarm_count == 0


def test_a_peer_without_a_port_is_answered_and_not_kept() -> None:
    """Who can't be dialled is told of others and given to nobody."""
    tracker = registry()
    join(tracker, address(1))

    assert join(tracker, address(2)[:4] + bytes(2)).peers == address(1)
    assert (tracker.peer_count, tracker.counters.portless) == (1, 1)


@pytest.mark.parametrize("family", Family)
def test_draws_are_fair(family: Family) -> None:
    """Of 60 peers, each is given out about as often as any other, whoever came or left meanwhile."""
    tracker, size = registry(), family.address_bytes
    for number in range(120):
        join(tracker, address(number, size))
    for number in range(60):
        join(tracker, address(number, size), event=Event.STOPPED)

    drawn = Counter[bytes]()
    for _ in range(3000):
        found = named(join(tracker, address(60, size), numwant=10).peers, family)
        assert len(set(found)) == 10
        drawn.update(found)

    assert set(drawn) == {address(number, size) for number in range(61, 120)}
    assert min(drawn.values()) > 400  # 508 on average
    assert max(drawn.values()) < 620


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 100])
def test_as_many_as_wanted_are_given(count: int) -> None:
    """With five others in the swarm, numwant or five are given, whichever is less, all different."""
    tracker = registry()
    for number in range(6):
        join(tracker, address(number))

    for number in range(6):
        found = named(join(tracker, address(number), numwant=count).peers)
        assert len(found) == len(set(found)) == min(count, 5)
        assert address(number) not in found


def test_silent_peers_expire_and_others_stay() -> None:
    """A peer is there for its lifetime, gone a sixteenth later, and stays for as long as it announces."""
    tracker = registry()
    join(tracker, address(1), seed=True)
    for minute in range(0, 10_000, 300):
        assert join(tracker, address(2), now=float(minute)).seeders == (minute < LIFETIME + 100)
    assert tracker.draw(SWARM, Family.IPV4, 9, 10_000.0) == address(2)
    assert tracker.draw(SWARM, Family.IPV4, 9, 1e9) == b""
    assert (tracker.swarm_count, tracker.peer_count, tracker.counters.expired) == (0, 0, 2)


def test_without_a_lifetime_it_is_a_little_over_two_intervals() -> None:
    """A peer may miss one announce; after two, and the sixteenth of a lifetime, it is gone."""
    tracker = Registry(RegistryBounds(), random.Random(1), interval=100.0)
    join(tracker, address(1))
    assert tracker.scrape(SWARM, 219.0).leechers == 1
    assert tracker.scrape(SWARM, 240.0).leechers == 0


def test_sweeping_forgets_swarms_that_nobody_asks_for() -> None:
    """Swarms that nobody names again are forgotten within a slot of their time, by sweeps of any rhythm."""
    for step in (1.0, 7.0, 99.0):
        tracker = registry()
        for number in range(500):
            join(tracker, address(number), infohash=number.to_bytes(20, "big"))
        now = 0.0
        while now < LIFETIME + 300:
            now += step
            tracker.sweep(now)
            assert tracker.swarm_count == 500 or now > LIFETIME
        assert (tracker.swarm_count, tracker.peer_count, tracker.counters.expired) == (0, 0, 500)


def test_bounds_are_kept() -> None:
    """Swarms, peers and peers of a swarm stay within their bounds, and everybody is accounted for."""
    tracker = registry(max_swarms=3, max_peers=20, max_peers_per_swarm=10)
    for number in range(400):
        join(tracker, address(number), infohash=bytes([number % 5]) * 20)
        counters = tracker.counters
        assert tracker.swarm_count <= 3
        assert tracker.peer_count <= 20
        assert all(len(tracker.draw(bytes([n]) * 20, Family.IPV4, 99, 0.0)) <= 60 for n in range(5))
        assert counters.stored == tracker.peer_count + counters.displaced
    assert counters.stored + counters.refused == 400
    assert counters.refused >= 160


def test_a_family_without_room_is_refused() -> None:
    """Where nobody of its own family could make room, a newcomer is not kept, and counted."""
    tracker = registry(max_peers=1)
    join(tracker, address(1))

    assert join(tracker, address(2, 18))[:3] == (0, 1, 0)
    assert (tracker.peer_count, tracker.counters.refused) == (1, 1)
    assert join(tracker, address(1)).leechers == 1
    assert tracker.counters.refreshed == 1


class WatchedMarks(bytearray):
    """Notes from where it is searched."""

    def __init__(self, marks: bytes) -> None:
        super().__init__(marks)
        self.begins: list[int] = []

    def find(self, mark: Any, begin: Any = 0, end: Any = None) -> int:
        """Search, and note it."""
        self.begins.append(begin)
        return super().find(mark, begin, end)


def test_a_sweep_goes_through_a_swarm_once() -> None:
    """Whatever share of a large swarm expires, each mark is looked at once, so that a sweep stays short."""
    rng = random.Random(1)
    population = Population(6, 0)
    for number in range(3400):
        population.add(address(number), bytes(20), number % 17, rng, seed=number % 2 == 0)
    population.swept = 16
    population._marks = marks = WatchedMarks(bytes(population._marks))

    assert population.sweep(17) == 200
    assert len(population) == 3200
    turns = [at for at in range(1, len(marks.begins)) if marks.begins[at] < marks.begins[at - 1]]
    assert len(turns) == 1  # once for leechers and once for seeds


PEERS = st.integers(0, 12)
STEPS = st.lists(
    st.tuples(PEERS, st.sampled_from(Event), st.booleans(), st.sampled_from([0.0, 1.0, 99.0, 700.0, 4000.0])),
    max_size=60,
)


@given(steps=STEPS, seed=st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_it_behaves_as_a_plain_model(steps: list[tuple[int, Event, bool, float]], seed: int) -> None:
    """Whatever comes in whatever order, members, counts and draws are those of a dict of peers."""
    tracker = Registry(RegistryBounds(lifetime=LIFETIME), random.Random(seed))
    model: dict[bytes, tuple[int, bool]] = {}
    now = 0.0
    for number, event, is_seed, pause in steps:
        now += pause
        slot = int(now // (LIFETIME / LIFETIME_SLOTS))
        model = {peer: said for peer, said in model.items() if slot - said[0] <= LIFETIME_SLOTS}
        if event is Event.STOPPED:
            model.pop(address(number), None)
        else:
            model[address(number)] = (slot, is_seed)

        standing = join(tracker, address(number), event=event, now=now, seed=is_seed)

        seeds = sum(said[1] for said in model.values())
        assert (standing.seeders, standing.leechers) == (seeds, len(model) - seeds)
        others = set(model) - {address(number)}
        assert set(split_peers([standing.peers], Family.IPV4)) == (
            set() if event is Event.STOPPED else others
        )
        assert tracker.peer_count == len(model)


@given(
    numbers=st.lists(st.tuples(st.integers(0, 30), st.booleans())), seed=st.integers(0, 99), ids=st.booleans()
)
def test_a_population_stays_whole(numbers: list[tuple[int, bool]], seed: int, ids: bool) -> None:
    """However peers come and go, each lies where the index says, once, beside the peer id it gave last."""
    rng = random.Random(seed)
    population, members = Population(6, 0, ids=ids), dict[bytes, bytes]()
    for number, comes in numbers:
        peer, peer_id = address(number), rng.randbytes(20)
        if comes:
            at = population.find(peer)
            assert (at is None) == (peer not in members)
            if at is None:
                at = population.add(peer, peer_id, 0, rng, seed=False)
            else:
                population.refresh(at, peer_id, 0, seed=False)
            assert population.find(peer) == at
            members[peer] = peer_id
        else:
            assert population.drop(peer) == (peer in members)
            members.pop(peer, None)
        assert sorted(named(population.draw(99, rng))) == sorted(members)
        assert {peer: at for at, peer in enumerate(named(bytes(population._packed)))} == population._at
        assert {peer: population.id_of(peer) for peer in members} == (
            members if ids else dict.fromkeys(members)
        )
    assert population.id_of(address(99)) is None


def test_peer_ids_are_those_given_last() -> None:
    """The latest peer ids of a swarm are known, of either family; without the setting none is."""
    for kept in (True, False):
        tracker = registry(keep_peer_ids=kept)
        for peer_id in (b"1" * 20, b"2" * 20):
            for peer in (address(1), address(2, 18)):
                tracker.announce(SWARM, peer, Event.STARTED, 0, 0.0, seed=False, peer_id=peer_id)
        asked = [address(1), address(2, 18), address(3)]
        expected = {address(1): b"2" * 20, address(2, 18): b"2" * 20} if kept else {}
        assert tracker.peer_ids(SWARM, asked) == expected
        assert tracker.peer_ids(OTHER, asked) == {}
