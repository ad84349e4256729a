from __future__ import annotations

import random
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crawler.crawl import ledger
from crawler.crawl.frontier import Contact, Frontier, Phase, Standing
from tests.crawl.small_frontier import MUTE_REST, RETRY, SHORTEST, SILENT_REST, small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def address(number: int) -> bytes:
    return number.to_bytes(4, "big") + b"\x1a\xe1"


@attrs.define(eq=False)
class Question:
    """A query for samples that is on its way, or was given up and may be answered late."""

    contact: Contact
    sent: float
    given_up: bool = False


class World:
    """A small ledger in a rough world, beside a book on when each address may be asked again.

    Answers may come late, when somebody is asked again or was forgotten, or never because of a restart.
    ``strict`` is what a node told us (an interval, no BEP 51); ``soft`` are the rests after silence, which
    being forgotten or pardoned may cut short. A ``pick`` chooses among what there is at the moment.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity = capacity
        self.rng = random.Random(seed)
        self.ours = Frontier(small(capacity), self.rng)
        self.now = 1000.0
        self.questions: list[Question] = []
        self.claims: list[int] = []
        self.strict: dict[bytes, float] = {}
        self.soft: dict[bytes, float] = {}
        self.added = self.refused = 0
        self.silent: list[Contact] = []

    def wait(self, pause: float) -> None:
        """Time passes; whoever keeps us waiting for ten seconds is given up."""
        self.now += pause
        while (waiting := self.in_flight()) and waiting[0].sent < self.now - 10.0:
            self.time_out(0)

    def in_flight(self) -> list[Question]:
        return [question for question in self.questions if not question.given_up]

    def rests_after_one_try(self, where: bytes) -> bool:
        """Whether a node failed once and got no retry because only one node had named it."""
        contact = self.ours.get(where)
        return contact is not None and contact.listed and (contact.failures, contact.named) == (1, 1)

    def hear(self, numbers: Iterable[int], *, vouched: bool) -> None:
        """Somebody names nodes, perhaps one twice; those unknown are added as long as there is room."""
        addresses = [address(number) for number in numbers]
        resting = {each for each in addresses if self.rests_after_one_try(each)}
        unknown = self.ours.heard(addresses, vouched=vouched)
        for where in resting:
            # The second mention earns the retry that was denied.
            self.soft.pop(where, None)
        assert unknown == [each for each in addresses if self.ours.get(each) is None]
        for where in unknown:
            before = {contact.address for contact in self.ours}
            goes = self.expected_victim() if len(before) == self.capacity and where not in before else None
            contact = self.ours.add(bytes((where[3],)) + bytes(19), where, vouched=vouched)
            after = {contact.address for contact in self.ours}
            self.added += contact is not None
            self.refused += contact is None and where not in before
            assert before - after == ({goes.address} if goes is not None else set())
            assert after - before == ({where} if contact is not None else set())
            assert (contact is None) == (where in before or (len(before) == self.capacity and goes is None))

    def expected_victim(self) -> Contact | None:
        """Whoever went silent first, of those who are silent and not being asked."""
        while self.silent:
            contact = self.silent.pop(0)
            asked = contact in [question.contact for question in self.in_flight()]
            if contact.standing is Standing.SILENT and not asked and contact.phase is not Phase.GONE:
                self.soft.pop(contact.address, None)
                return contact
        return None

    def sample(self, count: int, *, postpone: bool = False) -> None:
        """The sampler takes whom it may ask: never anybody before his time, never anybody twice at once."""
        self.ours.wake(self.now)
        for _ in range(count):
            contact = self.ours.take()
            if contact is None:
                return
            where = contact.address
            assert self.ours.get(where) is contact
            assert self.strict.get(where, 0.0) <= self.now
            assert self.soft.get(where, 0.0) <= self.now
            assert contact not in [question.contact for question in self.in_flight()]
            if postpone:
                self.soft[where] = self.now + 1.5
                self.ours.postponed(contact, self.now + 1.5)
            else:
                self.questions.append(Question(contact, self.now))

    def answer(self, pick: int, interval: float | None) -> None:
        """An answer comes, perhaps late: with samples and an interval, or without (None)."""
        if not self.questions:
            return
        question = self.questions.pop(pick % len(self.questions))
        contact, where = question.contact, question.contact.address
        if contact.phase is Phase.GONE and self.ours.get(where) is None:
            found_room = len(self.ours) < self.capacity or self.expected_victim() is not None
            self.added += found_room
            self.refused += not found_room
        if interval is None:
            self.ours.muted(contact, self.now)
        else:
            self.ours.gave(contact, self.rng.randrange(20), 5, interval, self.now)
        if self.ours.get(where) is contact:
            self.strict[where] = self.now + (MUTE_REST if interval is None else max(interval, SHORTEST))
            self.soft.pop(where, None)

    def time_out(self, pick: int) -> None:
        """A query is given up; its answer may still come."""
        in_flight = self.in_flight()
        if in_flight:
            question = in_flight[pick % len(in_flight)]
            question.given_up = True
            self.silence(question.contact, lambda: self.ours.failed(question.contact, self.now))

    def silence(self, contact: Contact, tell: Callable[[], None]) -> None:
        """Note what a silence leads to, if anything: one retry soon, or a rest of up to eight times."""
        phase, due = contact.phase, contact.due
        tell()
        if phase not in {Phase.ASKED, Phase.CLAIMED} or contact.phase is not Phase.WAITING:
            assert contact.due == due
            return
        rests = [times * SILENT_REST for times in range(1, 9)]
        assert contact.due in [self.now + pause for pause in (RETRY, *rests)]
        self.soft[contact.address] = contact.due
        if contact.due > self.now + RETRY and contact not in self.silent:
            self.silent.append(contact)

    def pardon(self, number: int) -> None:
        """The uplink is back: somebody, whoever it may be, is pardoned."""
        contact = self.ours.get(address(number))
        if contact is not None:
            self.ours.pardoned(contact)
            self.soft.pop(contact.address, None)

    def claim(self, number: int) -> None:
        """A lookup wants to ask somebody."""
        if self.ours.claim(address(number)):
            self.claims.append(number)

    def release(self, pick: int, *, answered: bool) -> None:
        """What a lookup asked comes to an end."""
        if self.claims:
            where = address(self.claims.pop(pick % len(self.claims)))
            contact = self.ours.get(where) or Contact(where, bytes(20))
            self.silence(contact, lambda: self.ours.release(where, self.now, answered=answered))

    def restart(self, offset: float) -> None:
        """The daemon stops and starts again: queries on their way are lost, and every rest is kept."""
        before = {contact.address: contact for contact in self.ours}
        pieces = list(ledger.to_pieces(self.ours, offset))
        self.ours = Frontier(small(self.capacity), self.rng)
        ledger.restore(self.ours, pieces, offset)
        assert {contact.address for contact in self.ours} == set(before)
        for where, contact in before.items():
            if contact.phase is not Phase.WAITING or contact.standing in {Standing.UNTRIED, Standing.VOUCHED}:
                self.soft.pop(where, None)
        self.silent = [contact for contact in self.ours if contact.standing is Standing.SILENT]
        self.questions.clear()
        self.claims.clear()
        self.added, self.refused = len(self.ours), 0
        self.now += 0.25

    def check_books(self) -> None:
        """The ledger keeps to its capacity; what came in is held, was forgotten or was refused."""
        statistics = self.ours.statistics()
        contacts = list(self.ours)
        assert len(contacts) == len(self.ours) == statistics.nodes <= self.capacity
        ready = sum(contact.phase is Phase.READY for contact in contacts)
        assert statistics.ready == self.ours.ready == ready
        assert statistics.waiting == statistics.nodes - ready
        assert self.added == statistics.nodes + statistics.evicted_silent
        assert self.refused == statistics.dropped_full
        assert sum(len(ring) for ring in self.ours._rings) <= 2 * len(contacts) + 1
        assert len(self.ours._forgettable) <= 2 * self.capacity

    def check_nobody_is_lost(self) -> None:
        """When all is settled and time has passed, everybody is ready again, once."""
        while self.in_flight():
            self.time_out(0)
        while self.claims:
            self.release(0, answered=False)
        self.ours.wake(self.now + 1e6)
        taken = [contact.address for contact in iter(self.ours.take, None)]
        assert sorted(taken) == sorted(contact.address for contact in self.ours)


NUMBERS = 9
INTERVALS = (0, 30, 400, 5000, None)
PAUSES = (0.1, 1.0, 2.0, 5.0, 61.0, 301.0, 2000.0)


@pytest.mark.parametrize("seed", range(40))
def test_a_long_walk(seed: int) -> None:
    """In thousands of random steps nobody is asked before his time, and the books balance throughout."""
    rng = random.Random(seed)
    world = World(rng.randrange(1, 9), seed)
    steps: list[Callable[[], None]] = [
        lambda: world.wait(rng.choice(PAUSES[: rng.randrange(1, len(PAUSES) + 1)])),
        lambda: world.hear([rng.randrange(NUMBERS) for _ in range(3)], vouched=rng.random() < 0.5),
        lambda: world.sample(rng.randrange(1, 4), postpone=rng.random() < 0.2),
        lambda: world.answer(rng.randrange(100), rng.choice(INTERVALS)),
        lambda: world.time_out(rng.randrange(100)),
        lambda: world.pardon(rng.randrange(NUMBERS)),
        lambda: world.claim(rng.randrange(NUMBERS)),
        lambda: world.release(rng.randrange(100), answered=rng.random() < 0.5),
        lambda: world.restart(rng.choice([0.0, 1.7e9])),
    ]
    for _ in range(600):
        rng.choices(steps, (4, 3, 6, 3, 5, 1, 1, 1, 0.1))[0]()
        world.check_books()
    world.check_nobody_is_lost()


PICK = st.integers(0, 50)


class Machine(RuleBasedStateMachine):
    """The same world, walked by hypothesis, which looks for the shortest way to break it."""

    @initialize(capacity=st.integers(1, 8), seed=st.integers(0, 9))
    def begin(self, capacity: int, seed: int) -> None:
        """Begin with an empty ledger."""
        self.world = World(capacity, seed)

    @rule(pause=st.sampled_from(PAUSES))
    def wait(self, pause: float) -> None:
        """Time passes."""
        self.world.wait(pause)

    @rule(numbers=st.lists(st.integers(0, NUMBERS), min_size=1, max_size=6), vouched=st.booleans())
    def hear(self, numbers: list[int], vouched: bool) -> None:
        """Somebody names nodes."""
        self.world.hear(numbers, vouched=vouched)

    @rule(count=st.integers(1, 6), postpone=st.booleans())
    def sample(self, count: int, postpone: bool) -> None:
        """The sampler asks."""
        self.world.sample(count, postpone=postpone)

    @rule(pick=PICK, interval=st.sampled_from(INTERVALS))
    def answer(self, pick: int, interval: float | None) -> None:
        """An answer comes."""
        self.world.answer(pick, interval)

    @rule(pick=PICK)
    def time_out(self, pick: int) -> None:
        """A query is given up."""
        self.world.time_out(pick)

    @rule(number=st.integers(0, NUMBERS))
    def pardon(self, number: int) -> None:
        """Somebody is pardoned."""
        self.world.pardon(number)

    @rule(number=st.integers(0, NUMBERS))
    def claim(self, number: int) -> None:
        """A lookup wants to ask somebody."""
        self.world.claim(number)

    @rule(pick=PICK, answered=st.booleans())
    def release(self, pick: int, answered: bool) -> None:
        """A lookup's query comes to an end."""
        self.world.release(pick, answered=answered)

    @rule(offset=st.sampled_from([0.0, 1.7e9]))
    def restart(self, offset: float) -> None:
        """The daemon starts anew from its saved ledger."""
        self.world.restart(offset)

    @invariant()
    def books(self) -> None:
        """The books balance."""
        if hasattr(self, "world"):
            self.world.check_books()

    def teardown(self) -> None:
        """Nobody is lost."""
        if hasattr(self, "world"):
            self.world.check_nobody_is_lost()


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
