from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crawler.dht.transactions import TID_BYTES, Transaction, Transactions, TransactionsConfig
from crawler.wire.compact import pack_address

if TYPE_CHECKING:
    from crawler.wire.compact import Address

HOST = ("45.1.2.3", 6881)
OTHER_PORT = ("45.1.2.3", 6882)
OTHER_HOST = ("45.1.2.4", 6881)


def transactions(capacity: int = 100, **choices: float) -> Transactions:
    return Transactions(TransactionsConfig(capacity, **choices), random.Random(1))


def ask(table: Transactions, now: float, address: Address = HOST, context: object = None) -> bytes:
    return table.open(address, pack_address(address), b"ping", "owner", context, now)


def contexts(overdue: list[Transaction]) -> list[object]:
    return [transaction.context for transaction in overdue]


def test_an_answer_ends_its_query() -> None:
    """The answer with the id, from the address, in time, gives the query back as it was opened, once."""
    table = transactions()
    tid = ask(table, 5.0, context="context")

    found = table.match(tid, HOST, 5.5)

    assert found is not None
    assert (found.tid, found.address, found.compact) == (tid, HOST, pack_address(HOST))
    assert (found.method, found.owner, found.context, found.sent) == (b"ping", "owner", "context", 5.0)
    assert not found.late
    assert table.match(tid, HOST, 5.6) is None
    assert len(table) == 0


@pytest.mark.parametrize("source", [OTHER_PORT, OTHER_HOST])
def test_an_answer_from_elsewhere_ends_nothing(source: Address) -> None:
    """Who guesses or overhears an id but sends from another host or port changes nothing."""
    table = transactions()
    tid = ask(table, 0.0)

    assert table.match(tid, source, 0.1) is None
    assert len(table) == 1
    assert table.match(tid, HOST, 0.2) is not None


def test_an_id_nobody_drew_ends_nothing() -> None:
    """Ids of any other length or value match nothing."""
    table = transactions()
    tid = ask(table, 0.0)
    for guess in (b"", tid[:3], tid + b"\0", bytes(4), tid[::-1] + b"x"):
        assert table.match(guess, HOST, 0.1) is None
    assert len(table) == 1


def test_a_query_times_out_once_and_stays_open_for_a_late_answer() -> None:
    """Past the timeout it is reported once; an answer until the longest timeout still counts, as late."""
    table = transactions()
    tid = ask(table, 0.0, context=1)
    assert table.expire(1.9) == []

    assert contexts(table.expire(2.1)) == [1]
    assert table.expire(2.2) == []
    assert len(table) == 0
    assert table.room == 99
    found = table.match(tid, HOST, 9.9)
    assert found is not None
    assert found.late
    assert (len(table), table.room) == (0, 100)


def test_after_the_longest_timeout_nothing_matches() -> None:
    """An answer later than the longest timeout is no answer, whether or not somebody has looked since."""
    table = transactions()
    tid = ask(table, 0.0)
    assert table.match(tid, HOST, 10.1) is None
    assert len(table.expire(10.1)) == 1
    assert table.match(tid, HOST, 10.1) is None
    assert (len(table), table.room) == (0, 100)


def test_timeouts_follow_the_answers() -> None:
    """A slow network moves the deadline of the queries that are on their way already."""
    table = transactions()
    ask(table, 0.0)
    table.rtt.measured(1.5)

    assert table.rtt.timeout == 4.5
    assert table.expire(4.0) == []
    assert len(table.expire(4.6)) == 1


def test_ids_are_four_bytes_and_unlike_each_other() -> None:
    """Every id in flight is another one, of the length that every implementation can echo."""
    table = transactions(capacity=5000)
    tids = [ask(table, 0.0) for _ in range(5000)]
    assert len(set(tids)) == 5000
    assert {len(tid) for tid in tids} == {TID_BYTES}
    assert table.room == 0


class Repetitive(random.Random):
    """Draws the same few transaction ids over and over."""

    def randbytes(self, n: int) -> bytes:
        return b"".join((i % 3).to_bytes(4, "big") for i in range(n // 4))


def test_an_id_in_flight_is_not_drawn_again() -> None:
    """Even a source of chance that repeats itself gives no two queries in flight the same id."""
    table = Transactions(TransactionsConfig(), Repetitive())
    first = [ask(table, 0.0) for _ in range(3)]
    assert len(set(first)) == 3
    assert table.match(first[1], HOST, 0.1) is not None
    assert ask(table, 0.2) == first[1]


def test_a_reused_id_is_not_taken_for_its_predecessor() -> None:
    """When an id comes round again, the answered query that had it before does not time out its successor."""
    table = Transactions(TransactionsConfig(), Repetitive())
    tid = ask(table, 0.0, context="old")
    table.match(tid, HOST, 0.1)
    others = [ask(table, 1.9, context="others") for _ in range(2)]
    assert ask(table, 1.9, context="new") == tid

    assert table.expire(2.5) == []
    assert contexts(table.expire(4.0)) == ["others", "others", "new"]
    assert len(others) == 2


def test_a_reused_id_is_not_taken_for_a_late_predecessor() -> None:
    """The end of the wait for a late answer, given long since, does not end the query that has its id now."""
    table = Transactions(TransactionsConfig(), Repetitive())
    tids = [ask(table, 0.0) for _ in range(3)]
    assert len(table.expire(3.0)) == 3
    table.match(tids[0], HOST, 4.0)
    assert ask(table, 9.9, context="new") == tids[0]
    assert table.expire(10.5) == []
    assert (len(table), table.room) == (1, TransactionsConfig().max_in_flight - 1)
    found = table.match(tids[0], HOST, 10.6)
    assert found is not None
    assert found.context == "new"


@pytest.mark.parametrize(
    "choices",
    [{"shortest_timeout": 11.0}, {"initial_timeout": 11.0}, {"longest_timeout": 0.5}],
)
def test_timeouts_that_contradict_each_other_are_refused(choices: dict[str, float]) -> None:
    """A longest timeout below the others would end queries before they time out: one clear line instead."""
    with pytest.raises(ValueError, match="longest_timeout"):
        TransactionsConfig(**choices)  # type: ignore[arg-type] # only floats are passed


class Book(RuleBasedStateMachine):
    """A table beside a list of (tid, address, sent, told) that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.table = transactions(capacity=16)
        self.now = 0.0
        self.open: dict[bytes, tuple[Address, float]] = {}
        self.told: set[bytes] = set()

    @rule(pause=st.floats(0, 4))
    def wait(self, pause: float) -> None:
        """Time passes and nobody looks."""
        self.now += pause

    @precondition(lambda self: self.table.room > 0)
    @rule(address=st.sampled_from([HOST, OTHER_PORT, OTHER_HOST]))
    def ask(self, address: Address) -> None:
        """A query leaves as long as there is room."""
        tid = ask(self.table, self.now, address)
        assert tid not in self.open
        self.open[tid] = (address, self.now)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), source=st.sampled_from([HOST, OTHER_PORT, OTHER_HOST]))
    def answer(self, data: st.DataObject, source: Address) -> None:
        """An answer matches exactly if id, address and longest timeout fit."""
        tid = data.draw(st.sampled_from(sorted(self.open)))
        address, sent = self.open[tid]
        found = self.table.match(tid, source, self.now)
        if source == address and self.now - sent <= 10.0:
            assert found is not None
            assert found.late == (tid in self.told)
            del self.open[tid]
            self.told.discard(tid)
            self.table.rtt.measured(self.now - sent)
        else:
            assert found is None

    @rule()
    def expire(self) -> None:
        """Exactly those past the timeout are told, once each, oldest first; then the longest ends them."""
        timeout = self.table.rtt.timeout
        overdue = self.table.expire(self.now)
        due = {t for t, (_, sent) in self.open.items() if sent < self.now - timeout} - self.told
        assert {transaction.tid for transaction in overdue} == due
        assert len(overdue) == len(due)
        assert [t.sent for t in overdue] == sorted(t.sent for t in overdue)
        self.told |= due
        for tid in [t for t in self.told if self.open[t][1] < self.now - 10.0]:
            del self.open[tid]
            self.told.discard(tid)

    @invariant()
    def counts(self) -> None:
        """Room and length are those of the list, and neither leaves its bounds."""
        assert len(self.table) == len(self.open) - len(self.told)
        assert self.table.room == 16 - len(self.open)
        assert 0 <= self.table.room <= 16


Book.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestBook = Book.TestCase
