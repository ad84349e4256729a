"""The policy of the fetch: who is dialled when, what becomes of every job, and that nothing gets lost."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from crawler.crawl.failures import Failures, FailuresConfig
from crawler.crawl.fetch_job import Dial, FetchConfig, Origin
from crawler.crawl.fetch_jobs import FetchJobs
from crawler.crawl.seen import Seen, SeenConfig
from crawler.wire.compact import ip_of

CALM = FetchConfig(deadline=30.0, hedge_after=1.0, retry_after=600.0, retry_factor=4.0, max_retries=2)


def jobs_of(failures: FailuresConfig | None = None, **changes: Any) -> FetchJobs:
    """Return the policy with some settings changed."""
    memory = Failures(failures or FailuresConfig())
    return FetchJobs(
        attrs.evolve(CALM, **changes), memory, Seen(SeenConfig(capacity=1000, recent=1000), b"key")
    )


def peer(number: int, *, ip: int | None = None) -> bytes:
    """Return a compact address; peers have an IP address each unless it is given."""
    return bytes([10, 0, *(number if ip is None else ip).to_bytes(2, "big")]) + (1024 + number).to_bytes(
        2, "big"
    )


def infohash(number: int) -> bytes:
    """Return an infohash."""
    return number.to_bytes(20, "big")


def dial(jobs: FetchJobs, now: float) -> Dial:
    """Return the next dial, which there must be."""
    found = jobs.next_dial(now)
    assert found is not None
    return found


def dialled(jobs: FetchJobs, now: float) -> list[bytes]:
    """Return all peers that are dialled now."""
    found = []
    while (one := jobs.next_dial(now)) is not None:
        found.append(one.peer)
    return found


def accounts(jobs: FetchJobs) -> tuple[int, int]:
    """Return what came in, and what can be told of it."""
    counters = jobs.counters
    told = counters.fetched + counters.gave_up.total() + counters.dropped.total() + jobs.held
    return counters.jobs_in, told


def exhaust(jobs: FetchJobs, now: float) -> None:
    """Let every dial fail, and every lookup find nothing."""
    while True:
        while (one := jobs.next_dial(now)) is not None:
            jobs.failed(one, "refused", now)
        wanted = jobs.take_wanted()
        if not wanted:
            return
        for one_wanted in wanted:
            jobs.sought(one_wanted, now)


def test_the_next_peer_is_dialled_when_the_first_is_slow() -> None:
    """A second peer is dialled after a second, a third after another, while the first are still at it."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(n) for n in range(5)], Origin.NAMED, 0.0)

    assert dialled(jobs, 0.0) == [peer(0)]
    assert jobs.next_timer() == 1.0
    jobs.handle_timer(0.9)
    assert dialled(jobs, 0.9) == []
    jobs.handle_timer(1.0)
    assert dialled(jobs, 1.0) == [peer(1)]
    jobs.handle_timer(2.0)
    assert dialled(jobs, 2.0) == [peer(2)]
    assert (jobs.in_flight, jobs.counters.hedged) == (3, 2)


def test_the_next_peer_is_dialled_when_one_fails() -> None:
    """A failure is followed by the next dial at once, without waiting for the hedge."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(0), peer(1)], Origin.NAMED, 0.0)
    first = dial(jobs, 0.0)

    jobs.failed(first, "refused", 0.2)

    assert dialled(jobs, 0.2) == [peer(1)]


def test_an_old_failure_does_not_hurry_a_fresh_dial() -> None:
    """While the latest dial is young, the failure of a slow one starts no third."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(n) for n in range(3)], Origin.NAMED, 0.0)
    slow = dial(jobs, 0.0)
    jobs.handle_timer(1.0)
    assert dialled(jobs, 1.0) == [peer(1)]

    jobs.failed(slow, "too_slow", 1.5)

    assert dialled(jobs, 1.5) == []
    jobs.handle_timer(2.0)
    assert dialled(jobs, 2.0) == [peer(2)]


def test_announced_peers_go_first_then_fresh_ones_then_retries() -> None:
    """Of waiting jobs the announced begin first, then the newest fresh one; what has rested comes last."""
    jobs = jobs_of(retry_after=10.0)
    jobs.offer(infohash(9), [peer(9)], Origin.NAMED, 0.0)
    exhaust(jobs, 0.0)
    jobs.handle_timer(10.0)
    assert jobs.take_wanted() == [infohash(9)]
    jobs.offer(infohash(9), [peer(19)], Origin.NAMED, 10.0)
    jobs.offer(infohash(1), [peer(1)], Origin.NAMED, 10.0)
    jobs.offer(infohash(2), [peer(2)], Origin.NAMED, 10.0)
    jobs.offer(infohash(3), [peer(3)], Origin.ANNOUNCED, 10.0)

    assert dialled(jobs, 10.0) == [peer(3), peer(2), peer(1), peer(19)]


def test_within_a_job_announced_peers_go_first() -> None:
    """The peer that announced itself is dialled before those that nodes named, and those before hearsay."""
    jobs = jobs_of(max_dials=1)
    jobs.offer(infohash(1), [peer(1)], Origin.EXCHANGED, 0.0)
    jobs.offer(infohash(1), [peer(2)], Origin.NAMED, 0.0)
    jobs.offer(infohash(1), [peer(3)], Origin.ANNOUNCED, 0.0)

    order = []
    while (one := jobs.next_dial(0.0)) is not None:
        order.append(one.peer)
        jobs.failed(one, "refused", 0.0)
    assert order == [peer(3), peer(2), peer(1)]


def test_an_announce_moves_a_waiting_job_forward() -> None:
    """A job that waits among the fresh ones begins before all of them once a peer announces itself."""
    jobs = jobs_of()
    for number in range(3):
        jobs.offer(infohash(number), [peer(number)], Origin.NAMED, 0.0)
    jobs.offer(infohash(0), [peer(50)], Origin.ANNOUNCED, 0.0)

    assert dialled(jobs, 0.0) == [peer(50), peer(2), peer(1)]


def test_there_are_limits_at_once_per_job_and_per_ip() -> None:
    """Never more dials than allowed in all, for one infohash, or at one IP address."""
    jobs = jobs_of(max_dials=5, max_per_job=2, max_per_ip=1)
    jobs.offer(infohash(1), [peer(n) for n in range(9)], Origin.NAMED, 0.0)
    jobs.offer(infohash(2), [peer(n, ip=77) for n in range(20, 29)], Origin.NAMED, 0.0)
    for number in range(3, 9):
        jobs.offer(infohash(number), [peer(100 + number)], Origin.NAMED, 0.0)

    seen: list[bytes] = []
    for second in range(10):
        jobs.handle_timer(float(second))
        seen += dialled(jobs, float(second))
    assert jobs.in_flight == 5
    assert sum(one in seen for one in (peer(n, ip=77) for n in range(20, 29))) <= 1
    assert sum(one in seen for one in (peer(n) for n in range(9))) <= 2


def test_jobs_share_a_crowded_ip_in_turn() -> None:
    """Jobs whose only peer is at one address wait for room there, and each gets its turn."""
    jobs = jobs_of(max_per_ip=2)
    for number in range(20):
        jobs.offer(infohash(number), [peer(number, ip=7)], Origin.NAMED, 0.0)

    running = [dial(jobs, 0.0), dial(jobs, 0.0)]
    assert jobs.next_dial(0.0) is None
    served = 0
    while running:
        one = running.pop()
        assert jobs.fetched(one) == []
        jobs.over(one.job)
        served += 1
        while (more := jobs.next_dial(0.0)) is not None:
            running.append(more)
        assert len(running) <= 2
    assert (served, jobs.held) == (20, 0)


def test_room_that_its_first_waiter_does_not_take_goes_to_the_next() -> None:
    """When a job that waited at an address no longer wants it, the job behind it is not forgotten."""
    jobs = jobs_of(max_per_ip=1, deadline=5.0)
    for number in range(3):
        jobs.offer(infohash(number), [peer(number, ip=7)], Origin.NAMED, 0.0)
    holder = dial(jobs, 0.0)
    assert jobs.next_dial(0.0) is None
    jobs.sought(infohash(1), 0.0)
    # The first in the row has got another peer meanwhile, and is talking to it.
    jobs.offer(infohash(1), [peer(50)], Origin.NAMED, 0.0)
    other = dial(jobs, 0.0)
    jobs.fetched(other)
    jobs.over(other.job)

    jobs.failed(holder, "refused", 1.0)

    assert dial(jobs, 1.0).job.infohash == infohash(0)


def test_waiting_at_a_crowded_ip_has_an_end() -> None:
    """A job that never gets room where its peers are seeks others in the end."""
    jobs = jobs_of(max_per_ip=1, deadline=30.0)
    jobs.offer(infohash(1), [peer(1, ip=7)], Origin.NAMED, 0.0)
    dial(jobs, 0.0)
    jobs.offer(infohash(2), [peer(2, ip=7)], Origin.NAMED, 0.0)
    assert jobs.next_dial(0.0) is None

    jobs.handle_timer(300.0)
    assert jobs.next_dial(300.0) is None

    assert jobs.take_wanted() == [infohash(2)]


def test_nobody_is_dialled_after_the_deadline() -> None:
    """When the deadline is over and the last dial has ended, the job goes to look for other peers."""
    jobs = jobs_of(deadline=3.0)
    jobs.offer(infohash(1), [peer(n) for n in range(99)], Origin.NAMED, 0.0)
    running = []
    for second in range(3):
        jobs.handle_timer(float(second))
        running.append(dial(jobs, float(second)))
    assert {one.deadline for one in running} == {3.0}

    for one in running:
        jobs.failed(one, "deadline", 3.0)

    assert jobs.next_dial(3.0) is None
    assert jobs.take_wanted() == [infohash(1)]


def test_dead_peers_are_remembered_across_jobs() -> None:
    """Who refused is dialled for nobody for a while; who lacked one torrent, for that one only."""
    jobs = jobs_of(FailuresConfig(lifetime=300.0))
    jobs.offer(infohash(1), [peer(1), peer(2)], Origin.NAMED, 0.0)
    jobs.failed(dial(jobs, 0.0), "refused", 0.0)
    jobs.failed(dial(jobs, 0.0), "rejected", 0.0)

    jobs.offer(infohash(2), [peer(1), peer(2)], Origin.NAMED, 1.0)
    assert dialled(jobs, 1.0) == [peer(2)]
    assert jobs.counters.peers_dead_lately == 1

    jobs.offer(infohash(3), [peer(1)], Origin.NAMED, 300.0)
    assert dialled(jobs, 300.0) == [peer(1)]


def test_a_job_without_peers_seeks_once_then_rests_longer_each_time() -> None:
    """All dead: a lookup; dead again: 600 s of rest, then 2400 s, each followed by a lookup; then the end."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(1)], Origin.NAMED, 0.0)
    jobs.failed(dial(jobs, 0.0), "refused", 0.0)
    assert jobs.next_dial(0.0) is None
    assert jobs.take_wanted() == [infohash(1)]
    jobs.sought(infohash(1), 5.0)

    assert (jobs.resting, jobs.next_timer()) == (1, 605.0)
    jobs.handle_timer(604.0)
    assert jobs.take_wanted() == []
    jobs.handle_timer(605.0)
    assert jobs.take_wanted() == [infohash(1)]
    jobs.sought(infohash(1), 605.0)
    assert jobs.next_timer() == 605.0 + 2400.0
    jobs.handle_timer(3005.0)
    assert jobs.take_wanted() == [infohash(1)]
    jobs.sought(infohash(1), 3005.0)

    assert jobs.counters.gave_up == {"all_dead": 1}
    assert (jobs.held, accounts(jobs)) == (0, (1, 1))


def test_a_retry_dials_only_what_a_new_lookup_found() -> None:
    """Peers of an earlier attempt are forgotten; what the lookup finds now is dialled, even if it is old."""
    jobs = jobs_of(FailuresConfig(lifetime=1.0), retry_after=10.0)
    jobs.offer(infohash(1), [peer(1), peer(2)], Origin.NAMED, 0.0)
    exhaust(jobs, 0.0)
    jobs.handle_timer(10.0)
    jobs.take_wanted()

    jobs.offer(infohash(1), [peer(2), peer(3)], Origin.NAMED, 11.0)
    jobs.sought(infohash(1), 11.0)

    first = dial(jobs, 11.0)
    assert first.peer == peer(2)
    jobs.failed(first, "refused", 11.0)
    assert dial(jobs, 11.0).peer == peer(3)


def test_a_new_peer_wakes_a_job_that_rests_but_a_dead_one_does_not() -> None:
    """Whoever rests is tried at once when an unknown peer announces itself; known dead ones wake nobody."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(1)], Origin.NAMED, 0.0)
    exhaust(jobs, 0.0)

    jobs.offer(infohash(1), [peer(1)], Origin.ANNOUNCED, 1.0)
    assert (jobs.next_dial(1.0), jobs.resting) == (None, 1)
    jobs.offer(infohash(1), [peer(2)], Origin.ANNOUNCED, 1.0)

    assert dial(jobs, 1.0).peer == peer(2)
    assert (jobs.resting, accounts(jobs)) == (0, (1, 1))


def test_only_so_many_seek_at_once_after_their_rest() -> None:
    """Jobs whose rest is over do not flood the lookups: a few seek, the others wait until those are done."""
    jobs = jobs_of(max_seeking=2, retry_after=10.0)
    for number in range(5):
        jobs.restore(infohash(number), 1, 0.0)

    jobs.handle_timer(0.0)
    assert (len(jobs.take_wanted()), jobs.seeking) == (2, 2)
    assert jobs.next_timer() == float("inf")
    jobs.sought(infohash(0), 0.0)
    jobs.handle_timer(0.0)
    assert len(jobs.take_wanted()) == 1


def test_a_fetched_infohash_is_not_fetched_again() -> None:
    """What was fetched is over for good, and its other dials are named so that they can be ended."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(1), peer(2)], Origin.NAMED, 0.0)
    first = dial(jobs, 0.0)
    jobs.handle_timer(1.0)
    second = dial(jobs, 1.0)

    assert jobs.fetched(first) == [second]
    jobs.failed(second, "outrun", 1.1, blame=False)
    jobs.over(first.job)
    jobs.offer(infohash(1), [peer(3)], Origin.ANNOUNCED, 2.0)

    assert jobs.next_dial(2.0) is None
    assert (jobs.held, jobs.counters.fetched, jobs.in_flight) == (0, 1, 0)


def test_two_peers_that_finish_together_count_once() -> None:
    """The second of two that give it in the same moment is told that it was too late."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(1), peer(2)], Origin.NAMED, 0.0)
    first = dial(jobs, 0.0)
    jobs.handle_timer(1.0)
    second = dial(jobs, 1.0)

    assert jobs.fetched(second) == [first]
    assert jobs.fetched(first) is None
    jobs.over(second.job)
    assert accounts(jobs) == (1, 1)


def test_unreadable_metadata_is_given_up_at_once() -> None:
    """What verified and cannot be read will not be readable the next time either."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(1)], Origin.NAMED, 0.0)
    one = dial(jobs, 0.0)
    jobs.fetched(one)
    jobs.over(one.job, "unreadable")

    assert jobs.counters.gave_up == {"unreadable": 1}
    jobs.offer(infohash(1), [peer(2)], Origin.NAMED, 0.0)
    assert jobs.next_dial(0.0) is None


def test_our_own_limits_cost_a_peer_nothing() -> None:
    """Out of memory or descriptors: the peer is tried again a second later, a few times, without blame."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(1)], Origin.NAMED, 0.0)
    now = 0.0
    for _ in range(3):
        jobs.failed(dial(jobs, now), "over_budget", now, blame=False)
        assert jobs.next_dial(now) is None
        now += 1.0
        jobs.handle_timer(now)
    jobs.failed(dial(jobs, now), "over_budget", now, blame=False)

    assert jobs.next_dial(now) is None
    assert jobs.take_wanted() == [infohash(1)]
    jobs.offer(infohash(2), [peer(1)], Origin.NAMED, now)
    assert dialled(jobs, now) == [peer(1)]


@attrs.define
class Gossip:
    """A peer that tells of others."""

    peers: tuple[bytes, ...]


def test_what_may_be_invented_goes_after_the_rest_but_for_its_turn() -> None:
    """Infohashes in doubt begin after fresh ones, but for one start in four, so that all can prove right."""
    jobs = jobs_of(max_jobs=1, max_dials=1)
    jobs.doubts = lambda wanted: wanted[-1] >= 100
    for number in range(6):
        jobs.offer(infohash(number), [peer(number)], Origin.NAMED, 0.0)
        jobs.offer(infohash(100 + number), [peer(100 + number)], Origin.NAMED, 0.0)
    jobs.offer(infohash(200), [peer(200)], Origin.ANNOUNCED, 0.0)

    begun = []
    while (one := jobs.next_dial(0.0)) is not None:
        begun.append(one.job.infohash[-1])
        jobs.fetched(one)
        jobs.over(one.job)
    assert begun == [200, 5, 4, 105, 3, 2, 1, 104, 0, 103, 102, 101, 100]


@pytest.mark.parametrize("reason", ["closed_in_handshake", "reset_in_handshake"])
def test_who_turns_away_a_second_call_is_called_again(reason: str) -> None:
    """Transmission takes one handshake of an IP address at a time: whose other one goes on has no blame."""
    failures = FailuresConfig()
    jobs = jobs_of(failures)
    jobs.offer(infohash(1), [peer(1)], Origin.NAMED, 0.0)
    jobs.offer(infohash(2), [peer(1)], Origin.NAMED, 0.0)
    first, second = dial(jobs, 0.0), dial(jobs, 0.0)

    jobs.failed(second, reason, 0.1)
    assert not jobs._failures.knows(peer(1), second.job.infohash, 0.1)
    assert jobs.next_dial(0.1) is None
    jobs.handle_timer(1.1)
    again = dial(jobs, 1.1)
    assert (again.job, again.peer) == (second.job, peer(1))

    assert jobs.fetched(first) == []
    jobs.failed(again, reason, 1.2)
    assert jobs._failures.knows(peer(1), second.job.infohash, 1.2), "alone it means no"


def test_peers_that_a_peer_names_help_the_same_job() -> None:
    """Whom a silent peer named by exchange is dialled for that job, while it is talked to and after."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(1)], Origin.NAMED, 0.0)
    one = dial(jobs, 0.0)
    gossip = Gossip(())
    one.hearsay = gossip
    jobs.handle_timer(1.0)
    assert jobs.next_dial(1.0) is None
    gossip.peers = (peer(2),)
    jobs.handle_timer(2.0)
    assert dialled(jobs, 2.0) == [peer(2)]

    gossip.peers = (peer(2), peer(3))
    jobs.failed(one, "rejected", 2.1)
    jobs.handle_timer(3.0)

    assert dialled(jobs, 3.0) == [peer(3)]
    assert jobs.counters.peers_exchanged == 2


def test_peers_of_one_job_are_bounded() -> None:
    """A flood of peers for one infohash is cut off and counted."""
    jobs = jobs_of(max_peers=10)
    jobs.offer(infohash(1), [peer(n) for n in range(15)], Origin.NAMED, 0.0)

    assert jobs.counters.peers_over_limit == 5


def test_what_waits_is_bounded_and_the_oldest_of_the_lowest_rank_is_dropped() -> None:
    """A full house drops the fresh job that waited longest, never one that announced itself."""
    jobs = jobs_of(max_waiting=3)
    jobs.offer(infohash(0), [peer(0)], Origin.ANNOUNCED, 0.0)
    for number in range(1, 6):
        jobs.offer(infohash(number), [peer(number)], Origin.NAMED, 0.0)

    assert jobs.counters.dropped == {"waiting": 3}
    assert dialled(jobs, 0.0) == [peer(0), peer(5), peer(4)]
    assert accounts(jobs) == (6, 6)


def test_what_rests_is_bounded_and_the_one_that_rested_most_is_dropped() -> None:
    """When too many rest, the one that was tried in vain most often goes, of equals the first."""
    jobs = jobs_of(max_resting=2)
    jobs.restore(infohash(1), 1, 100.0)
    jobs.restore(infohash(2), 2, 200.0)
    jobs.restore(infohash(3), 1, 300.0)

    assert jobs.counters.dropped == {"resting": 1}
    assert [row[0] for row in jobs.saved(0.0)] == [infohash(1), infohash(3)]


def test_all_jobs_are_saved_and_come_back() -> None:
    """What waits, runs or rests is there again after a restart, due at its time; nothing of peers is kept."""
    jobs = jobs_of()
    jobs.offer(infohash(3), [peer(3)], Origin.NAMED, 0.0)
    exhaust(jobs, 0.0)
    jobs.offer(infohash(1), [peer(1)], Origin.NAMED, 1.0)
    dial(jobs, 1.0)
    jobs.offer(infohash(2), [peer(2)], Origin.NAMED, 1.0)
    rows = list(jobs.saved(1.0))

    again = jobs_of()
    for row in rows:
        again.restore(*row)

    assert rows == [(infohash(1), 0, 1.0), (infohash(2), 0, 1.0), (infohash(3), 1, 600.0)]
    assert list(again.saved(50.0)) == rows
    again.handle_timer(1.0)
    assert again.take_wanted() == [infohash(1), infohash(2)]
    again.handle_timer(600.0)
    assert again.take_wanted() == [infohash(3)]
    assert accounts(again) == (3, 3)


@pytest.mark.parametrize("reason", ["forbidden_address", "outrun"])
def test_reasons_that_will_not_change_are_not_tried_again(reason: str) -> None:
    """An address that may not be dialled is let go without blame and without another try."""
    jobs = jobs_of()
    jobs.offer(infohash(1), [peer(1)], Origin.NAMED, 0.0)
    jobs.failed(dial(jobs, 0.0), reason, 0.0, blame=False)

    assert jobs.next_dial(0.0) is None
    assert jobs.take_wanted() == [infohash(1)]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: limits hold, nothing is lost, and everything ends."""

    def __init__(self) -> None:
        super().__init__()
        self.config = attrs.evolve(
            CALM, max_dials=6, max_per_ip=2, max_per_job=3, max_waiting=8, max_resting=4, max_seeking=2
        )
        failures = Failures(FailuresConfig(lifetime=20.0, max_tracked=8, max_per_ip=4))
        self.jobs = FetchJobs(self.config, failures, Seen(SeenConfig(capacity=1000, recent=1000), b"key"))
        self.now = 0.0
        self.dials: list[Dial] = []
        self.reading: list[Dial] = []
        self.wanted: list[bytes] = []

    @rule(
        number=st.integers(0, 15),
        peers=st.lists(st.integers(0, 11), max_size=5),
        origin=st.sampled_from(list(Origin)),
    )
    def offer(self, number: int, peers: list[int], origin: Origin) -> None:
        """Somebody has an infohash."""
        self.jobs.offer(infohash(number), [peer(n, ip=n % 5) for n in peers], origin, self.now)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0, 31.0, 700.0]))
    def pass_time(self, seconds: float) -> None:
        """Time passes, and dials that are too old end."""
        self.now += seconds
        for one in [one for one in self.dials if one.deadline <= self.now]:
            self.dials.remove(one)
            self.jobs.failed(one, "deadline", self.now)
        self.advance()

    @rule()
    def advance(self) -> None:
        """Do what is due."""
        self.jobs.handle_timer(self.now)
        while (one := self.jobs.next_dial(self.now)) is not None:
            self.dials.append(one)
        self.wanted += self.jobs.take_wanted()

    @rule(data=st.data(), reason=st.sampled_from(["refused", "rejected", "over_budget", "forbidden_address"]))
    def fail(self, data: st.DataObject, reason: str) -> None:
        """A dial fails."""
        if self.dials:
            one = self.dials.pop(data.draw(st.integers(0, len(self.dials) - 1)))
            blame = reason in {"refused", "rejected"}
            self.jobs.failed(one, reason, self.now, blame=blame)

    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        """A dial gives it."""
        if self.dials:
            one = self.dials.pop(data.draw(st.integers(0, len(self.dials) - 1)))
            others = self.jobs.fetched(one)
            if others is None:
                return
            self.reading.append(one)
            for other in others:
                self.dials.remove(other)
                self.jobs.failed(other, "outrun", self.now, blame=False)

    @rule(fault=st.sampled_from(["", "unreadable"]))
    def read(self, fault: str) -> None:
        """What was fetched has been read."""
        if self.reading:
            self.jobs.over(self.reading.pop().job, fault)

    @rule()
    def look_up(self) -> None:
        """A lookup ends."""
        if self.wanted:
            self.jobs.sought(self.wanted.pop(), self.now)

    @invariant()
    def nothing_is_lost(self) -> None:
        """In = fetched + gave up + dropped + held."""
        came, told = accounts(self.jobs)
        assert came == told

    @invariant()
    def limits_hold(self) -> None:
        """No limit is ever passed."""
        config = self.config
        assert self.jobs.in_flight == len(self.dials) <= config.max_dials
        for key, most in (
            (lambda d: ip_of(d.peer), config.max_per_ip),
            (lambda d: d.job, config.max_per_job),
        ):
            owners = [key(one) for one in self.dials]
            assert all(owners.count(owner) <= most for owner in owners)
        assert self.jobs.resting <= config.max_resting
        assert self.jobs.held - self.jobs.resting <= config.max_waiting + config.max_seeking

    def teardown(self) -> None:
        """Left alone, with every dial failing and every lookup in vain, all jobs come to an end."""
        for _ in range(2000):
            for one in self.dials:
                self.jobs.failed(one, "refused", self.now)
            self.dials.clear()
            for one in self.reading:
                self.jobs.over(one.job)
            self.reading.clear()
            for wanted in self.wanted:
                self.jobs.sought(wanted, self.now)
            self.wanted.clear()
            self.now = max(self.now, min(self.jobs.next_timer(), self.now + 10_000))
            self.advance()
            if not self.jobs.held:
                break
        assert self.jobs.held == 0
        self.nothing_is_lost()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
