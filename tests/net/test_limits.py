from __future__ import annotations

import random
from collections import Counter

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.net.limits import Bucket, KeyedBuckets, LimitsConfig, QueryBudget, RecentDestinations

# Quarters of a second, so that sums are exact and two ways of counting can be compared to the last bit.
QUARTERS = st.integers(0, 12).map(lambda quarters: quarters / 4)
KEYS = [bytes((number,)) for number in range(5)]


def address(network: int, host: int = 1, port: int = 6881) -> bytes:
    return bytes((45, network >> 8, network & 255, host)) + port.to_bytes(2, "big")


class TestBucket:
    """One bucket."""

    def test_full_at_first_and_never_fuller(self) -> None:
        """However long nobody asks, no more than the depth is saved up."""
        bucket = Bucket(10.0, 25.0)
        assert bucket.available(0.0) == 25.0
        assert bucket.available(1e9) == 25.0
        bucket.take(5, 0.0)
        assert bucket.available(0.0) == 20.0
        assert bucket.available(0.25) == pytest.approx(22.5)
        assert bucket.available(10.0) == 25.0

    @pytest.mark.parametrize("rate", [0.1, 0.7, 3.0625, 49.0, 98.0, 103.0, 1e6 / 3])
    def test_a_full_bucket_has_its_depth_at_any_rate(self, rate: float) -> None:
        """Rounding never costs the last token, which would stop the crawl where the depth is one."""
        assert Bucket(rate, 0.5).available(12345.678) == 1.0
        assert Bucket(rate, 7.0).available(0.1) == 7.0

    def test_a_debt_is_paid_off_at_the_rate(self) -> None:
        """What is taken beyond the depth is waited for to the token."""
        bucket = Bucket(100.0, 50.0)
        bucket.take(250, 0.0)
        assert bucket.available(0.0) == pytest.approx(-200)
        assert bucket.wait(1, 0.0) == pytest.approx(2.01)
        assert bucket.available(2.0) == pytest.approx(0)
        assert bucket.wait(1, 3.0) == 0.0

    @given(st.floats(0.1, 1e4), st.floats(0.1, 1e4), st.lists(st.tuples(st.floats(0, 5), st.floats(0, 50))))
    def test_is_a_token_bucket(self, rate: float, depth: float, taken: list[tuple[float, float]]) -> None:
        """It holds at every moment what a count of tokens, filled up step by step, would hold."""
        bucket, now = Bucket(rate, depth), 0.0
        level = depth = max(depth, 1.0)
        for pause, tokens in taken:
            now += pause
            level = min(level + rate * pause, depth)
            tolerance = 1e-6 * (depth + rate * now + 1)
            assert bucket.available(now) == pytest.approx(level, abs=tolerance)
            bucket.take(tokens, now)
            level -= tokens
            assert bucket.available(now + bucket.wait(1, now)) >= 1 - tolerance

    def test_another_rate_holds_from_now_on(self) -> None:
        """After a change neither the old depth nor the old rate counts any more."""
        bucket = Bucket(100.0, 100.0)
        bucket.take(40, 0.0)
        bucket.set_rate(10.0, 5.0)
        assert bucket.available(0.0) <= 5.0
        assert bucket.available(100.0) == 5.0
        bucket.take(5, 100.0)
        assert bucket.available(100.2) == pytest.approx(2.0)


class TestKeyedBuckets:
    """A bucket per key."""

    @pytest.mark.parametrize("now", [0.0, 0.1, 12345.678, 1e9 + 0.3])
    def test_burst_then_rate(self, now: float) -> None:
        """Each key gets its burst at once and then its rate, at any value of the clock."""
        buckets = KeyedBuckets(rate=1.0, burst=5.0, capacity=100)
        for key in KEYS:
            assert [buckets.take(key, now) == 0 for _ in range(7)] == [True] * 5 + [False] * 2
        assert buckets.take(KEYS[0], now) == pytest.approx(1.0, abs=1e-5)
        assert buckets.take(KEYS[0], now + 1.001) == 0
        assert buckets.take(KEYS[0], now + 1.001) > 0

    @given(st.lists(st.tuples(st.sampled_from(KEYS), QUARTERS), max_size=150))
    def test_generations_lose_nothing(self, asked: list[tuple[bytes, float]]) -> None:
        """Two generations decide like a bucket per key that is kept for ever."""
        buckets, for_ever, now = KeyedBuckets(rate=2.0, burst=3.0, capacity=100), dict[bytes, Bucket](), 0.0
        for key, pause in asked:
            now += pause
            kept = for_ever.setdefault(key, Bucket(2.0, 3.0))
            wait = buckets.take(key, now)
            assert wait == pytest.approx(kept.wait(1, now), abs=1e-5)
            if not wait:
                kept.take(1, now)

    def test_a_swap_forgives_nothing(self) -> None:
        """A key that has just spent its burst is still out of tokens right after the generations swap."""
        buckets = KeyedBuckets(rate=2.0, burst=3.0, capacity=100)
        assert buckets.take(b"other", 0.0) == 0
        assert [buckets.take(b"k", 1.25) for _ in range(3)] == [0, 0, 0]
        assert buckets.take(b"other", 1.5) == 0
        assert buckets.take(b"k", 1.5) == 0.25
        assert buckets.take(b"k", 1.75) == 0
        assert buckets.take(b"k", 1.75) == 0.5

    @given(
        st.floats(0.2, 20),
        st.integers(1, 6),
        st.lists(st.tuples(st.sampled_from(KEYS), st.floats(0, 2), st.booleans()), max_size=150),
    )
    def test_no_window_gets_more_than_burst_and_rate(
        self, rate: float, burst: int, asked: list[tuple[bytes, float, bool]]
    ) -> None:
        """Between any two grants to a key lie no more than the burst and what the time between adds."""
        buckets, now = KeyedBuckets(rate, burst, capacity=2), 0.0
        grants: dict[bytes, list[float]] = {key: [] for key in KEYS}
        for key, pause, keep in asked:
            now += pause
            if buckets.take(key, now):
                continue
            if keep:
                grants[key].append(now)
            else:
                buckets.give_back(key)
        for times in grants.values():
            for first, start in enumerate(times):
                for count, end in enumerate(times[first:], start=1):
                    assert count <= burst + rate * (end - start) + 1e-3

    @given(st.lists(st.tuples(st.integers(0, 30), QUARTERS), max_size=200))
    def test_memory_is_bounded_and_newcomers_wait_for_it(self, asked: list[tuple[int, float]]) -> None:
        """No generation outgrows the capacity; who finds no room comes again within a generation's time."""
        buckets, now = KeyedBuckets(rate=2.0, burst=2.0, capacity=3), 0.0
        for number, pause in asked:
            now += pause
            wait = buckets.take(bytes((number,)), now)
            assert 0 <= wait <= 1.0 + 1e-5
            assert len(buckets._young) <= 3
            assert len(buckets) <= 6
        wait = buckets.take(b"new", now)
        assert not wait or not buckets.take(b"new", now + wait + 1e-6)

    def test_who_comes_back_counts_like_a_newcomer(self) -> None:
        """Keys of the elder generation do not swell the younger beyond its capacity."""
        buckets = KeyedBuckets(rate=1.0, burst=5.0, capacity=2)
        for now, names in ((0.0, "ab"), (5.1, "cd"), (5.2, "ab"), (10.3, "ef"), (10.4, "abcd")):
            for name in names:
                buckets.take(name.encode(), now)
            assert len(buckets._young) <= 2

    def test_the_moment_of_the_swap(self) -> None:
        """At the very moment that a newcomer was told to come again there is room, and it is taken."""
        buckets = KeyedBuckets(rate=1.0, burst=5.0, capacity=1)
        assert buckets.take(b"a", 0.0) == 0
        assert buckets.take(b"b", 0.0) == 5.0
        assert buckets.take(b"b", 5.0) == 0
        buckets.give_back(b"b")
        assert len(buckets) == 2

    @given(st.lists(QUARTERS, max_size=30))
    def test_what_is_given_back_was_never_taken(self, pauses: list[float]) -> None:
        """Taking and giving back any number of times leaves a key as it was."""
        one, other = (KeyedBuckets(rate=2.0, burst=3.0, capacity=9) for _ in range(2))
        now = 0.0
        for pause in pauses:
            now += pause
            if not one.take(b"k", now):
                one.give_back(b"k")
            assert one.take(b"k", now) == pytest.approx(other.take(b"k", now), abs=1e-9)


class TestRecentDestinations:
    """Who was contacted lately."""

    @given(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 8)), max_size=100))
    def test_remembers_for_the_memory_and_at_most_twice_that(self, contacts: list[tuple[bytes, int]]) -> None:
        """Who was contacted within the memory is known; who was not within twice the memory is new."""
        recent, now, last = RecentDestinations(10.0, 100), 0.0, dict[bytes, float]()
        for key, pause in contacts:
            now += pause
            for other in KEYS:
                age = now - last.get(other, float("-inf"))
                if age <= 10.0:
                    assert recent.knows(other, now)
                if age > 20.0:
                    assert not recent.knows(other, now)
            recent.add(key, now)
            last[key] = now

    def test_a_full_memory_errs_towards_waiting(self) -> None:
        """Past its capacity it forgets early, never grows, and takes the forgotten for new."""
        recent = RecentDestinations(1000.0, 10)
        for number in range(100):
            recent.add(bytes((number,)), 0.0)
            assert recent.knows(bytes((number,)), 0.0)
            assert len(recent._young) <= 10
            assert len(recent._old) <= 10
        assert not recent.knows(bytes((50,)), 0.0)


def in_any_window(times: list[float], burst: float, rate: float) -> bool:
    """Return whether between any two of ``times`` lie no more than ``burst`` and what ``rate`` adds."""
    return all(
        count <= burst + rate * (end - start) + 1e-3
        for first, start in enumerate(times)
        for count, end in enumerate(times[first:], start=1)
    )


class TestQueryBudget:
    """All limits together."""

    @settings(deadline=None, max_examples=40)
    @given(st.integers(), st.sampled_from([0.0, 12345.678]))
    def test_all_limits_hold_at_once(self, seed: int, now: float) -> None:
        """Whatever is asked, no window exceeds the limit per IP, per network, of new ones or overall."""
        config = LimitsConfig(
            max_rate=20.0, burst=0.5, max_new_destinations=6.0, destination_memory=5.0, ip_rate=1.0
        )
        rng = random.Random(seed)
        budget = QueryBudget(attrs.evolve(config, ip_burst=2.0, prefix_rate=2.0, prefix_burst=4.0))
        sent: list[tuple[float, bytes]] = []
        for _ in range(200):
            now += rng.expovariate(15.0)
            where = address(rng.randrange(20), rng.randrange(3), rng.randrange(1, 5))
            if budget.available(now) >= 1 and not budget.hold(where, now):
                budget.sent(1, 100, now)
                sent.append((now, where))
        by_ip, by_network, fresh = (dict[bytes, list[float]]() for _ in range(3))
        last: dict[bytes, float] = {}
        for at, where in sent:
            by_ip.setdefault(where[:4], []).append(at)
            by_network.setdefault(where[:3], []).append(at)
            if at - last.get(where, float("-inf")) > 10.0:
                fresh.setdefault(b"", []).append(at)
            last[where] = at
        assert in_any_window([at for at, _ in sent], 10.0, 20.0)
        assert all(in_any_window(times, 2.0, 1.0) for times in by_ip.values())
        assert all(in_any_window(times, 4.0, 2.0) for times in by_network.values())
        assert in_any_window(fresh.get(b"", []), 3.0, 6.0)

    def test_a_refusal_takes_nothing(self) -> None:
        """What one limit refuses is not counted by the others."""
        config = LimitsConfig(ip_burst=3.0, prefix_burst=2.0, prefix_rate=10.0, max_new_destinations=50.0)
        budget = QueryBudget(config)
        assert [budget.hold(address(1), 0.0) > 0 for _ in range(8)] == [False, False] + [True] * 6
        assert [budget.hold(address(1), 0.2) > 0 for _ in range(2)] == [False, True]
        assert budget.held_back == Counter(prefix=6, ip=1)

    def test_a_refusal_of_a_new_destination_takes_nothing(self) -> None:
        """Who must wait for the ration of new addresses has lost no token of his IP or network by that."""
        config = LimitsConfig(ip_burst=2.0, prefix_burst=2.0, burst=1.0, max_new_destinations=1.0)
        budget = QueryBudget(config)
        assert budget.hold(address(1), 0.0) == 0
        assert [budget.hold(address(2), 0.0) for _ in range(9)] == [1.0] * 9
        assert [budget.hold(address(2), 1.0) == 0 for _ in range(3)] == [True, True, False]
        assert budget.held_back == Counter(new_destination=9, ip=1)

    def test_new_destinations_have_a_limit_of_their_own(self) -> None:
        """Addresses not talked to lately are rationed; the others pass."""
        budget = QueryBudget(LimitsConfig(max_rate=100.0, burst=1.0, max_new_destinations=10.0))
        asked = [budget.hold(address(number), 0.0) == 0 for number in range(100)]
        assert sum(asked) == 10
        assert budget.held_back["new_destination"] == 90
        assert budget.hold(address(0), 0.0) == 0
        assert budget.hold(address(99), 0.0) == pytest.approx(0.1)
        assert [budget.hold(address(number), 0.0) == 0 for number in range(10)].count(True) == 10

    def test_an_idle_hour_makes_every_destination_new(self) -> None:
        """After a pause routers have forgotten us, so nobody passes for lately talked to."""
        budget = QueryBudget(LimitsConfig(max_rate=100.0, burst=1.0, max_new_destinations=10.0))
        for number in range(100):
            assert budget.hold(address(number), number / 10) == 0
        passed = sum(budget.hold(address(number), 3600.0) == 0 for number in range(100))
        assert passed == 10

    def test_ipv6_goes_by_address_and_64(self) -> None:
        """IPv6 hosts have a limit each, and share that of their /64."""
        budget = QueryBudget(LimitsConfig(ip_burst=2.0, prefix_burst=5.0))
        network = bytes.fromhex("2a00145040010081")
        hosts = [network + host.to_bytes(8, "big") + b"\x1a\xe1" for host in range(10)]
        assert [budget.hold(hosts[0], 0.0) == 0 for _ in range(3)] == [True, True, False]
        assert sum(budget.hold(host, 0.0) == 0 for host in hosts[1:]) == 3
        assert budget.hold(bytes.fromhex("2a00145040010082") + hosts[0][8:], 0.0) == 0

    def test_overall_rate_and_burst(self) -> None:
        """The queries of many seconds add up to the rate, and at no time more than the burst is free."""
        budget, sent = QueryBudget(LimitsConfig(max_rate=100.0, burst=0.25)), 0
        for tick in range(1001):
            free = budget.available(tick / 100)
            assert 0 <= free <= 25
            budget.sent(free, 100 * free, tick / 100)
            sent += free
        assert sent == pytest.approx(25 + 1000, abs=1)

    @pytest.mark.parametrize("rate", [0.1, 1.0, 3.0625, 49.0, 100.0, 1e5 / 3])
    def test_every_rate_lets_something_through(self, rate: float) -> None:
        """At any rate a query goes when `wait` says so, and the rate is met."""
        budget, now, sent = QueryBudget(LimitsConfig(max_rate=rate, burst=0.001)), 0.0, 0
        for _ in range(500):
            now += budget.wait(now) + 1e-6
            assert budget.available(now) >= 1
            budget.sent(1, 100, now)
            sent += 1
        assert sent == pytest.approx(rate * now, rel=0.01, abs=1 + 0.001 * rate)

    def test_bytes_sent_are_paid_off(self) -> None:
        """Large queries make the next ones wait, as long as the byte rate says."""
        budget = QueryBudget(LimitsConfig(max_rate=100.0, burst=1.0, max_bytes_out=1000.0))
        budget.sent(10, 3000, 0.0)
        assert budget.available(0.0) == 0
        assert budget.held_back["bytes"] == 1
        assert budget.wait(0.0) == pytest.approx(2.001)
        assert budget.available(2.1) == 100

    def test_bytes_received_make_asking_pause(self) -> None:
        """When answers bring more than the limit, nothing is asked until they are paid off."""
        budget = QueryBudget(LimitsConfig(max_rate=100.0, max_bytes_in=1000.0))
        budget.received(2500, 0.0)
        assert budget.available(0.0) == 0
        assert budget.wait(0.0) == pytest.approx(1.501)
        assert budget.available(1.6) == 25

    def test_a_flood_stops_us_only_while_it_lasts(self) -> None:
        """After an hour of a hundred times the bytes that we allow we go on within seconds."""
        budget = QueryBudget(LimitsConfig(max_rate=100.0, max_bytes_in=1000.0))
        for second in range(3600):
            budget.received(100_000, float(second))
        assert budget.available(3600.0) == 0
        assert budget.wait(3600.0) <= 5.1
        assert budget.available(3605.1) == 25

    def test_a_reload_counts_at_once(self) -> None:
        """New overall rates hold from the next query on."""
        budget = QueryBudget(LimitsConfig(max_rate=100.0, burst=1.0))
        assert budget.available(0.0) == 100
        budget.reconfigure(LimitsConfig(max_rate=10.0, burst=1.0))
        assert budget.available(0.0) == 10
        assert budget.available(1e6) == 10

    def test_a_reload_counts_for_each_address_too(self) -> None:
        """New rates per IP address hold from the next query on; what was spent stays spent."""
        slow = LimitsConfig(ip_rate=1.0, ip_burst=2.0, prefix_rate=100.0, prefix_burst=100.0)
        budget = QueryBudget(slow)
        address = b"\x2d\x01\x02\x03\x1a\xe1"
        assert [budget.hold(address, 0.0) > 0 for _ in range(3)] == [False, False, True]
        budget.reconfigure(LimitsConfig(ip_rate=10.0, ip_burst=2.0, prefix_rate=100.0, prefix_burst=100.0))
        assert budget.hold(address, 0.5) > 0
        later = [budget.hold(address, 2.0 + step / 10) for step in range(10)]
        assert later == [0.0] * 10
