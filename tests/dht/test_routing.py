from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.dht.routing import RoutingConfig, RoutingTable
from crawler.wire.compact import ip_of, prefix_of
from crawler.wire.ids import common_prefix_bits, distance, random_id_near

if TYPE_CHECKING:
    from crawler.dht.bucket import RoutingNode

OWN = bytes.fromhex("5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401")
GOOD_FOR = 900.0


def table(*, exempt: bool = False, **choices: float) -> RoutingTable:
    return RoutingTable(OWN, RoutingConfig(**choices), rng=random.Random(0), exempt_ip_limits=exempt)  # type: ignore[arg-type] # numbers of either kind


def address(number: int, port: int = 6881) -> bytes:
    """Return an address in a /24 of its own for each number."""
    return bytes((45, number >> 8, number & 255, 1)) + port.to_bytes(2, "big")


def far_id(number: int) -> bytes:
    """Return an id in the half of the keyspace that is not ours."""
    return bytes((OWN[0] ^ 0x80,)) + number.to_bytes(19, "big")


def near_id(bits: int, rng: random.Random) -> bytes:
    """Return a random id that shares exactly ``bits`` bits with ours."""
    flipped = (int.from_bytes(OWN, "big") ^ 1 << (159 - bits)).to_bytes(20, "big")
    return random_id_near(flipped, bits + 1, rng)


def fill_far_bucket(ours: RoutingTable, now: float = 0.0) -> None:
    """Put eight good nodes into the far half, and split it off from our own half."""
    for number in range(8):
        assert ours.heard(far_id(number), address(number), now) is None
    ours.heard(OWN[:-1] + b"\0", address(999), now)
    assert len(ours) == 9


def ids(nodes: list[RoutingNode]) -> list[bytes]:
    return [node.id for node in nodes]


def holds(ours: RoutingTable, node_id: bytes) -> bool:
    return any(node.id == node_id for node in ours)


def check_laws(ours: RoutingTable, config: RoutingConfig, now: float, *, exempt: bool = False) -> None:
    """Check everything that must be true of a table at any time."""
    buckets = ours._buckets.buckets
    everybody = [node for bucket in buckets for node in bucket.nodes + bucket.spares]
    assert len(buckets) <= config.max_buckets
    for depth, bucket in enumerate(buckets):
        assert len(bucket.nodes) <= config.bucket_size
        assert len(bucket.spares) <= config.spares
        assert not bucket.spares or len(bucket.nodes) == config.bucket_size
        for node in bucket.nodes + bucket.spares:
            assert node.bucket is bucket
            assert node.spare == (node in bucket.spares)
            assert min(common_prefix_bits(node.id, OWN), len(buckets) - 1) == depth
        networks = Counter(prefix_of(node.address) for node in bucket.nodes + bucket.spares)
        assert exempt or max(networks.values(), default=0) <= config.max_per_network_bucket
        if now < bucket.settled_until:
            assert len(bucket.nodes) == config.bucket_size
            assert not any(ours._liveness.is_bad(node, now) for node in bucket.nodes)
    networks = Counter(prefix_of(node.address) for node in everybody)
    assert exempt or max(networks.values(), default=0) <= config.max_per_network
    assert len({ip_of(node.address) for node in everybody}) == len(everybody) == len(ours._index)
    assert len({node.id for node in everybody}) == len(everybody)
    assert networks == ours._index._networks
    assert OWN not in {node.id for node in everybody}
    figures = ours.statistics(now)
    assert figures.nodes == figures.good + figures.questionable + figures.bad == len(ours)
    assert figures.nodes == figures.added - figures.removed
    assert figures.spares == len(everybody) - len(ours)


@st.composite
def crawls(draw: st.DrawFn) -> list[tuple[str, bytes, bytes, float]]:
    """Draw what a small, hostile world does: few IPs, ids near ours, changed ids, silence, long pauses."""
    event = st.tuples(
        st.sampled_from(["heard"] * 6 + ["failed"] * 3 + ["failed_unknown", "queried", "maintain"]),
        st.integers(0, 24),
        st.sampled_from([0] * 12 + [1, 2]),
        st.sampled_from([0] * 12 + [1, 2]),
        st.sampled_from([0.0, 0.1, 5.0, 20.0, 400.0]),
    )
    rng = random.Random(draw(st.integers(0, 999)))
    known = [near_id(min(rng.randrange(9), 7), rng) for _ in range(25)]
    return [
        (
            kind,
            known[(number + swap) % 25] if swap else known[number],
            bytes((45, 0, number // 5, number % 5, 26, port)),
            pause,
        )
        for kind, number, swap, port, pause in draw(st.lists(event, min_size=20, max_size=250))
    ]


@settings(max_examples=60, deadline=None)
@given(crawls(), st.booleans(), st.sampled_from([0, 2]))
def test_laws_hold_whatever_happens(
    events: list[tuple[str, bytes, bytes, float]], exempt: bool, spares: int
) -> None:
    """One node for each IP and id, bucket sizes, network caps, sums and true answers, after any history."""
    config = RoutingConfig(bucket_size=3, spares=spares, max_buckets=5)
    ours = RoutingTable(OWN, config, rng=random.Random(0), exempt_ip_limits=exempt)
    now, rng = 0.0, random.Random(1)
    for kind, node_id, where, pause in events:
        now += pause
        if kind == "heard":
            ours.heard(node_id, where, now)
        elif kind == "failed":
            ours.failed(node_id, where, now)
        elif kind == "failed_unknown":
            ours.failed(None, where, now)
        elif kind == "queried":
            ours.queried_by(node_id, where, now)
        else:
            ours.questionable(now)
            ours.due_refresh(now)
        check_laws(ours, config, now, exempt=exempt)
    for bits in range(9):
        target = random_id_near(OWN, bits, rng)
        by_distance = sorted(ours.good_nodes(now), key=lambda node: distance(node.id, target))
        assert ours.closest(target, 4, now=now) == by_distance[:4]


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(0, 12), st.integers(1, 20))
def test_closest_equals_brute_force(seed: int, bits: int, count: int) -> None:
    """In a table of many depths, the closest nodes are exactly those that sorting all good ones gives."""
    rng = random.Random(seed)
    ours = table()
    for number in range(300):
        ours.heard(near_id(min(int(rng.expovariate(0.5)), 150), rng), address(number), 0.0)
    for node in list(ours):
        if rng.random() < 0.3:
            ours.queried_by(node.id, node.address, 0.0)
        elif rng.random() < 0.3:
            ours.heard(node.id, node.address, 600.0)
    target = random_id_near(OWN, bits, rng)
    good = [node for node in ours if node.last_seen > 0.0]

    assert (
        ours.closest(target, count, now=GOOD_FOR)
        == sorted(good, key=lambda node: distance(node.id, target))[:count]
    )


def test_only_answers_enter() -> None:
    """A node that merely queries us is not entered, since its address may be forged."""
    ours = table()

    assert not ours.queried_by(far_id(1), address(1), 0.0)
    assert len(ours) == 0
    ours.heard(far_id(1), address(1), 0.0)
    assert ours.queried_by(far_id(1), address(1), 1.0)
    assert not ours.queried_by(far_id(2), address(1), 1.0)
    assert ids(list(ours)) == [far_id(1)]


def test_own_id_is_ignored() -> None:
    """Whoever answers with our own id is a mirror and stays outside."""
    ours = table()
    ours.heard(OWN, address(1), 0.0)

    assert len(ours) == 0
    assert ours.statistics(0.0).refused_id == 1


def test_good_then_questionable_then_good() -> None:
    """A node is good for 15 minutes after an answer, and after a query once it has answered; then not."""
    ours = table()
    ours.heard(far_id(1), address(1), 0.0)
    assert ids(ours.good_nodes(GOOD_FOR - 1)) == [far_id(1)]
    assert ours.good_nodes(GOOD_FOR) == []
    assert ours.statistics(GOOD_FOR).questionable == 1

    ours.queried_by(far_id(1), address(1), GOOD_FOR)

    assert ids(ours.good_nodes(2 * GOOD_FOR - 1)) == [far_id(1)]
    assert ours.good_nodes(2 * GOOD_FOR) == []


def test_three_failures_make_bad_and_an_answer_heals() -> None:
    """Three failures in a row make a node bad; an answer in between, or after, makes it good again."""
    ours = table()
    ours.heard(far_id(1), address(1), 0.0)
    for second in (1.0, 2.0):
        ours.failed(far_id(1), address(1), second)
    ours.heard(far_id(1), address(1), 3.0)
    for second in (4.0, 5.0):
        ours.failed(None, address(1), second)
    assert ids(ours.good_nodes(5.0)) == [far_id(1)]

    ours.failed(far_id(1), address(1), 6.0)

    assert ours.good_nodes(6.0) == []
    assert ours.statistics(6.0).bad == 1
    ours.heard(far_id(1), address(1), 7.0)
    assert ids(ours.good_nodes(7.0)) == [far_id(1)]


def test_failures_of_others_do_not_count() -> None:
    """A failure under another id or from another port says nothing about our node."""
    ours = table()
    ours.heard(far_id(1), address(1), 0.0)
    for _ in range(5):
        ours.failed(far_id(2), address(1), 1.0)
        ours.failed(far_id(1), address(1, 7000), 1.0)

    assert ids(ours.good_nodes(1.0)) == [far_id(1)]


def test_full_bucket_of_good_nodes_keeps_them() -> None:
    """A newcomer to a full bucket of good nodes becomes a spare; nobody is displaced or pinged."""
    ours = table()
    fill_far_bucket(ours)

    assert ours.heard(far_id(100), address(100), 1.0) is None
    assert not holds(ours, far_id(100))
    assert ours.statistics(1.0).spares == 1


def test_bad_node_makes_room() -> None:
    """A bad node is replaced by the spare heard of last, or stays until a newcomer is heard."""
    ours = table()
    fill_far_bucket(ours)
    ours.heard(far_id(100), address(100), 1.0)
    ours.heard(far_id(101), address(101), 2.0)
    for _ in range(3):
        ours.failed(far_id(3), address(3), 3.0)
        ours.failed(far_id(4), address(4), 3.0)
        ours.failed(far_id(5), address(5), 3.0)

    assert {node.id for node in ours if node.id[0] != OWN[0]} == {
        far_id(number) for number in (0, 1, 2, 5, 6, 7, 100, 101)
    }
    ours.heard(far_id(102), address(102), 4.0)
    assert holds(ours, far_id(102))
    assert not holds(ours, far_id(5))


def test_questionable_node_is_pinged_twice_then_replaced() -> None:
    """The least recently seen questionable node is named for a ping; two silences give its place away."""
    ours = table()
    fill_far_bucket(ours)
    for number in range(8):
        if number != 5:
            ours.heard(far_id(number), address(number), 10.0)
    now = GOOD_FOR + 1

    to_ping = ours.heard(far_id(100), address(100), now)
    assert to_ping is not None
    assert to_ping.id == far_id(5)
    assert ours.heard(far_id(101), address(101), now + 1) is None
    ours.failed(far_id(5), address(5), now + 5)
    assert holds(ours, far_id(5))
    assert ours.heard(far_id(102), address(102), now + 16) is to_ping
    ours.failed(far_id(5), address(5), now + 20)

    assert not holds(ours, far_id(5))
    assert holds(ours, far_id(102))


def test_questionable_node_that_answers_stays() -> None:
    """A questionable node that answers its ping keeps its place, and the next one is named."""
    ours = table()
    for number in range(8):
        ours.heard(far_id(number), address(number), float(number))
    ours.heard(OWN[:-1] + b"\0", address(999), 0.0)
    now = GOOD_FOR + 100

    first = ours.heard(far_id(100), address(100), now)
    assert first is not None
    assert first.id == far_id(0)
    ours.heard(first.id, first.address, now + 1)
    second = ours.heard(far_id(101), address(101), now + 2)

    assert second is not None
    assert second.id == far_id(1)
    assert holds(ours, far_id(0))


def test_settled_bucket_wakes_when_its_promise_ends() -> None:
    """A full bucket with all spares drops newcomers unseen, until one of its nodes turns questionable."""
    ours = table(spares=1, spare_pause=10_000.0)
    fill_far_bucket(ours)
    ours.heard(far_id(100), address(100), 1.0)
    ours.heard(far_id(101), address(101), 2.0)
    assert ours.statistics(2.0).dropped_full == 1

    to_ping = ours.heard(far_id(102), address(102), GOOD_FOR + 1)

    assert to_ping is not None
    assert to_ping.id == far_id(0)
    assert ours.statistics(GOOD_FOR).dropped_spares == 1


def test_spares_stay_fresh() -> None:
    """A settled bucket exchanges its oldest spare now and then, so that whoever moves up is likely alive."""
    ours = table(spares=1)
    fill_far_bucket(ours)
    for second in range(200):
        ours.heard(far_id(100 + second), address(100 + second), float(second))
    for _ in range(3):
        ours.failed(far_id(0), address(0), 200.0)

    assert holds(ours, far_id(280))
    assert ours.statistics(200.0).dropped_spares == 3


def test_settled_bucket_wakes_when_a_ping_is_overdue() -> None:
    """A full bucket that awaits a ping looks at newcomers again when the ping may be repeated."""
    ours = table(spares=1)
    fill_far_bucket(ours)
    first = ours.heard(far_id(100), address(100), GOOD_FOR)
    assert ours.heard(far_id(101), address(101), GOOD_FOR + 14) is None
    assert ours.statistics(GOOD_FOR).dropped_full == 1

    assert ours.heard(far_id(102), address(102), GOOD_FOR + 15) is first is not None


def test_settled_bucket_wakes_when_a_node_turns_bad() -> None:
    """Where no spares are kept, a newcomer takes the place of a node that turned bad a moment ago."""
    ours = table(spares=0)
    fill_far_bucket(ours)
    ours.heard(far_id(100), address(100), 1.0)
    ours.heard(far_id(101), address(101), 1.0)
    assert ours.statistics(1.0).spares == 0
    for _ in range(3):
        ours.failed(far_id(0), address(0), 2.0)

    ours.heard(far_id(102), address(102), 3.0)

    assert holds(ours, far_id(102))


def test_settled_bucket_wakes_when_a_node_leaves() -> None:
    """Where no spares are kept, the place of an evicted node is free for the next newcomer."""
    ours = table(spares=0)
    fill_far_bucket(ours)
    ours.heard(far_id(100), address(100), 1.0)
    ours.heard(far_id(200), address(0), 2.0)

    ours.heard(far_id(101), address(101), 3.0)

    assert holds(ours, far_id(101))


def test_spare_heard_of_again_is_first_in_line() -> None:
    """The spare that answered last gets the next free place; one that failed gets none."""
    ours = table()
    fill_far_bucket(ours)
    for number in (100, 101, 102):
        ours.heard(far_id(number), address(number), 1.0)
    ours.heard(far_id(100), address(100), 2.0)
    ours.failed(far_id(102), address(102), 2.0)
    for victim, heir in ((0, 100), (1, 101)):
        for _ in range(3):
            ours.failed(far_id(victim), address(victim), 3.0)

        assert holds(ours, far_id(heir))
    assert ours.statistics(3.0).spares == 0


def test_id_of_a_spare_protects_nobody() -> None:
    """A spare gives way to another IP that answers under its id."""
    ours = table()
    fill_far_bucket(ours)
    ours.heard(far_id(100), address(100), 1.0)
    ours.heard(far_id(100), address(101), 2.0)
    for _ in range(3):
        ours.failed(far_id(0), address(0), 3.0)

    assert address(101) in {node.address for node in ours}


def test_changed_id_is_evicted_and_kept_out() -> None:
    """An address that answers under another id loses its place at once and stays out for 40 minutes."""
    ours = table()
    ours.heard(far_id(1), address(1), 0.0)
    ours.heard(far_id(2), address(1), 1.0)
    assert len(ours) == 0
    ours.heard(far_id(2), address(1), 2.0)
    ours.heard(far_id(1), address(1, 7000), 3.0)
    assert len(ours) == 0

    ours.heard(far_id(2), address(1), 2402.0)

    assert ids(list(ours)) == [far_id(2)]
    figures = ours.statistics(2402.0)
    assert (figures.id_changes, figures.refused_banned) == (1, 2)


def test_place_of_a_changed_id_goes_to_a_spare() -> None:
    """The place of an evicted node is taken by a spare."""
    ours = table()
    fill_far_bucket(ours)
    ours.heard(far_id(100), address(100), 1.0)
    ours.heard(far_id(200), address(3), 2.0)

    assert holds(ours, far_id(100))
    assert not holds(ours, far_id(3))
    assert not holds(ours, far_id(200))


def test_bans_are_bounded() -> None:
    """No more than the set number of banned addresses is remembered."""
    ours = table(max_banned=10)
    for number in range(50):
        ours.heard(far_id(number), address(number), 0.0)
        ours.heard(far_id(number + 100), address(number), 0.0)

    assert len(ours._bans) == 10


def test_one_node_for_each_ip() -> None:
    """A second node of an IP is refused while the first lives, and takes its place when that is bad."""
    ours = table()
    ours.heard(far_id(1), address(1, 1000), 0.0)
    ours.heard(far_id(2), address(1, 2000), 0.0)
    assert ids(list(ours)) == [far_id(1)]
    assert ours.statistics(0.0).refused_ip == 1
    for _ in range(3):
        ours.failed(far_id(1), address(1, 1000), 1.0)

    ours.heard(far_id(2), address(1, 2000), 2.0)

    assert ids(list(ours)) == [far_id(2)]


def test_node_that_moves_to_another_port_is_followed() -> None:
    """A node that answers under its id from another port of its IP is the same node."""
    ours = table()
    ours.heard(far_id(1), address(1, 1000), 0.0)
    ours.heard(far_id(1), address(1, 2000), 1.0)

    assert [(node.id, node.address) for node in ours] == [(far_id(1), address(1, 2000))]


def test_copied_id_is_refused_while_its_owner_lives() -> None:
    """Another IP cannot take over the id of a living node, but that of a bad one."""
    ours = table()
    ours.heard(far_id(1), address(1), 0.0)
    ours.heard(far_id(1), address(2), 0.0)
    assert [node.address for node in ours] == [address(1)]
    for _ in range(3):
        ours.failed(far_id(1), address(1), 1.0)

    ours.heard(far_id(1), address(2), 2.0)

    assert [node.address for node in ours] == [address(2)]


def test_networks_are_capped() -> None:
    """A /24 holds two places of a bucket and four of the table; private networks are exempt."""
    rng = random.Random(0)
    strict, exempt = table(), table(exempt=True)
    for number in range(400):
        where = bytes((45, 1, 1 + number // 200, number % 200)) + b"\x1a\xe1"
        for ours in (strict, exempt):
            ours.heard(near_id(number % 8, rng), where, 0.0)
    for number in range(500):
        strict.heard(near_id(number % 8, rng), address(1000 + number), 0.0)
    for number in range(400):
        strict.heard(near_id(number % 8, rng), bytes((45, 1, 1, number % 200)) + b"\x1a\xe1", 1.0)

    assert Counter(prefix_of(node.address) for node in strict)[bytes((45, 1, 1))] <= 4
    assert strict.statistics(1.0).refused_network > 0
    assert len(exempt) > 50


def test_ipv6_networks_are_64s() -> None:
    """For IPv6 the cap is for each /64."""
    ours = table()
    for number in range(10):
        host = bytes.fromhex("2a00000000000001") + bytes(7) + bytes((number,))
        ours.heard(far_id(number), host + b"\x1a\xe1", 0.0)

    assert len(ours) == 2


def test_only_our_own_bucket_splits() -> None:
    """The far half keeps eight nodes however many are heard; each step towards us adds a bucket."""
    rng = random.Random(0)
    ours = table()
    for number in range(5000):
        ours.heard(rng.randbytes(20), address(number), 0.0)

    depths = Counter(common_prefix_bits(node.id, OWN) for node in ours)
    assert [depths[bits] for bits in range(7)] == [8] * 7
    assert 9 <= len(ours._buckets) <= 13
    check_laws(ours, RoutingConfig(), 0.0)


def test_depth_is_bounded() -> None:
    """Nodes that crowd around our id cannot split the table beyond its depth."""
    rng = random.Random(0)
    ours = table(max_buckets=10)
    for number in range(2000):
        ours.heard(random_id_near(OWN, 100, rng), address(number), 0.0)

    assert len(ours._buckets) == 10
    assert len(ours) == 8
    check_laws(ours, RoutingConfig(max_buckets=10), 0.0)


def test_unchanged_buckets_are_refreshed_within_their_range() -> None:
    """After 15 minutes without change each bucket gets a random target of its own range, once."""
    rng = random.Random(0)
    ours = table()
    for number in range(200):
        ours.heard(near_id(min(number % 12, 8), rng), address(number), 0.0)
    last = len(ours._buckets) - 1
    assert ours.due_refresh(GOOD_FOR - 1) == []
    touched = ours._buckets.buckets[2].nodes[0]
    ours.heard(touched.id, touched.address, 100.0)

    targets = ours.due_refresh(GOOD_FOR)

    depths = [min(common_prefix_bits(target, OWN), last) for target in targets]
    assert depths == [depth for depth in range(last + 1) if depth != 2]
    assert ours.due_refresh(GOOD_FOR + 1) == []
    assert len(ours.due_refresh(2 * GOOD_FOR)) == last + 1


def test_questionable_nodes_are_named_for_pings() -> None:
    """All questionable nodes are named, longest silent first, and not again before the pause is over."""
    ours = table()
    for number, heard in enumerate([5.0, 1.0, 3.0, 800.0]):
        ours.heard(far_id(number), address(number), heard)
    now = GOOD_FOR + 10

    assert ids(ours.questionable(now)) == [far_id(1), far_id(2), far_id(0)]
    assert ours.questionable(now + 14) == []
    assert len(ours.questionable(now + 15)) == 3


def test_lost_uplink_does_not_cost_the_table() -> None:
    """When everybody falls silent nobody is handed out or forgotten, and the first answers heal the table."""
    ours = table()
    fill_far_bucket(ours)
    everybody = [(node.id, node.address) for node in ours]
    for node_id, where in everybody:
        for _ in range(4):
            ours.failed(node_id, where, 10.0)
    assert ours.closest(OWN, now=10.0) == []
    assert ours.closest(OWN, now=10.0, questionable=True) == []
    assert len(ours) == 9

    for node_id, where in everybody:
        ours.heard(node_id, where, 20.0)

    assert len(ours.good_nodes(20.0)) == 9


def test_questionable_nodes_serve_only_ourselves() -> None:
    """Questionable nodes are found only on demand, as a start for lookups of our own."""
    ours = table()
    ours.heard(far_id(1), address(1), 0.0)
    ours.heard(far_id(2), address(2), 500.0)

    assert ids(ours.closest(far_id(0), now=1000.0)) == [far_id(2)]
    assert ids(ours.closest(far_id(0), now=1000.0, questionable=True)) == [far_id(1), far_id(2)]
    assert ids(ours.closest(far_id(0), 1, now=600.0)) == [far_id(1)]


def test_rebuild_around_a_new_id() -> None:
    """When our own id changes, everybody is sorted anew, the laws hold and nobody good is lost needlessly."""
    rng = random.Random(0)
    ours = table()
    for number in range(2000):
        ours.heard(rng.randbytes(20), address(number), 0.0)
    before = {node.id for node in ours}
    new_id = bytes((OWN[0] ^ 0x80,)) + OWN[1:]

    ours.rebuild(new_id, 1.0)

    assert ours.own_id == new_id
    assert ours.due_refresh(1.0) == []
    far = [node for node in ours if common_prefix_bits(node.id, new_id) == 0]
    assert len(far) == 8
    assert {node.id for node in far} <= before
    figures = ours.statistics(1.0)
    assert figures.nodes == figures.added - figures.removed >= 16
    ours.heard(new_id, address(3000), 2.0)
    assert not holds(ours, new_id)
    ours.rebuild(OWN, 3.0)
    check_laws(ours, RoutingConfig(), 3.0)


def test_rebuild_drops_who_has_our_new_id() -> None:
    """A node that has the id we take is not kept."""
    ours = table()
    ours.heard(far_id(1), address(1), 0.0)
    ours.rebuild(far_id(1), 1.0)

    assert len(ours) == 0


def test_compact_node_is_id_and_address() -> None:
    """A node lists itself as KRPC's `nodes` does."""
    ours = table()
    ours.heard(far_id(1), address(1), 0.0)

    assert next(iter(ours)).compact == far_id(1) + address(1)


@pytest.mark.parametrize("setting", ["bucket_size", "max_buckets", "max_failures"])
def test_senseless_settings_are_refused(setting: str) -> None:
    """A table that could hold nothing is refused by the name of the setting."""
    with pytest.raises(ValueError, match=f"{setting} = 0"):
        RoutingConfig(**{setting: 0})
