from __future__ import annotations

import contextlib
import random
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.crawl import ledger
from crawler.crawl.frontier import Contact, Frontier, FrontierConfig, Phase, Standing
from crawler.crawl.ledger import LedgerFormError

CONTACTS = st.builds(
    Contact,
    address=st.one_of(st.binary(min_size=6, max_size=6), st.binary(min_size=18, max_size=18)),
    id=st.binary(min_size=20, max_size=20),
    standing=st.sampled_from(Standing),
    due=st.floats(0, 1e6),
    num=st.integers(0, 1 << 32),
    named=st.integers(1, 2),
    failures=st.integers(0, 20),
)
JUNK = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=20)
    ),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=8,
)
ROW = [b"\x2d\x01\x02\x03\x1a\xe1", bytes(20), 2, 1.7e9, 5, 1, 0]


def frontier() -> Frontier:
    return Frontier(FrontierConfig(), random.Random(1))


def filled(*contacts: Contact) -> Frontier:
    ours = frontier()
    for contact in contacts:
        ours.restore(contact)
    return ours


def through_a_file(pieces: Any) -> list[Any]:
    return [msgspec.msgpack.decode(msgspec.msgpack.encode(piece)) for piece in pieces]


def take_all(ours: Frontier, now: float) -> set[bytes]:
    ours.wake(now)
    return {contact.address for contact in iter(ours.take, None)}


@given(st.lists(CONTACTS, max_size=12, unique_by=lambda contact: contact.address), st.floats(-1e9, 1e9))
def test_what_is_saved_is_restored(contacts: list[Contact], ahead: float) -> None:
    """Every contact comes back as it was, and rests until the same moment, whatever the new clock says."""
    saved = filled(*contacts)
    restored = frontier()
    wall_minus_now = 1.7e9
    ledger.restore(restored, through_a_file(ledger.to_pieces(saved, wall_minus_now)), wall_minus_now - ahead)

    assert {contact.address for contact in restored} == {contact.address for contact in contacts}
    for before in saved:
        after = restored.get(before.address)
        assert after is not None
        assert after is not before
        assert (after.id, after.standing, after.num) == (before.id, before.standing, before.num)
        assert (after.named, after.failures, after.phase) == (before.named, before.failures, before.phase)
        if before.phase is Phase.WAITING:
            assert after.due == pytest.approx(before.due + ahead, abs=1e-4)


def test_pieces_are_small() -> None:
    """A large ledger is cut, so that saving it stops the crawl for milliseconds only."""
    ours = frontier()
    for number in range(2 * ledger.PIECE + 1):
        ours.add(bytes(20), number.to_bytes(6, "big"))
    assert [len(piece) for piece in ledger.to_pieces(ours, 0.0)] == [ledger.PIECE, ledger.PIECE, 1]
    assert list(ledger.to_pieces(frontier(), 0.0)) == []


def test_the_ledger_may_change_while_it_is_saved() -> None:
    """Who comes or is forgotten between two pieces disturbs nothing, and no rest gets shorter."""
    with attrs.validators.disabled():
        ours = Frontier(FrontierConfig(capacity=ledger.PIECE + 1), random.Random(1))
    for number in range(ledger.PIECE + 1):
        ours.restore(Contact(number.to_bytes(6, "big"), bytes(20), Standing.GIVES, due=500.0))
    last = ours.get(ledger.PIECE.to_bytes(6, "big"))
    assert last is not None
    last.standing = Standing.SILENT
    ours._list(last)
    pieces = ledger.to_pieces(ours, 0.0)
    first = next(pieces)
    assert ours.add(bytes(20), b"newest") is not None
    assert last.phase is Phase.GONE

    restored = frontier()
    ledger.restore(restored, [first, *pieces], 0.0)
    assert len(restored) == ledger.PIECE + 1
    assert take_all(restored, 499.0) == set()


def test_who_was_being_asked_may_be_asked_again() -> None:
    """A query that the end of the run cut off leaves its contact ready, as is everybody who was queued."""
    ours = frontier()
    for number in range(3):
        ours.add(bytes(20), number.to_bytes(6, "big"))
    assert ours.take() is not None
    assert ours.claim((2).to_bytes(6, "big"))
    restored = frontier()
    ledger.restore(restored, ledger.to_pieces(ours, 0.0), 0.0)
    assert len(take_all(restored, 0.0)) == 3


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"12345"),
        (0, "123456"),
        (0, [1, 2, 3, 4, 5, 6]),
        (0, None),
        (1, b""),
        (1, bytes(19)),
        (1, list(range(20))),
        (2, 99),
        (2, "GIVES"),
        (3, float("nan")),
        (3, float("inf")),
        (3, "soon"),
        (3, None),
        (4, float("inf")),
        (4, -1),
        (5, None),
        (6, -3),
        (6, float("nan")),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(place: int, value: object) -> None:
    """A wrong value anywhere is the one error, and those before it are restored."""
    row = [*ROW[:place], value, *ROW[place + 1 :]]
    good = [bytes(6), *ROW[1:]]
    ours = frontier()
    with pytest.raises(LedgerFormError, match="malformed"):
        ledger.restore(ours, [[good, row]], 0.0)
    assert [contact.address for contact in ours] == [bytes(6)]


@pytest.mark.parametrize("pieces", [[None], [7], [[ROW, ROW[:6]]], [[[*ROW, 1]]], [[b"row"]], ["text"]])
def test_a_piece_of_another_shape_is_refused(pieces: list[Any]) -> None:
    """Rows that are too short or too long, and pieces that are no lists of rows, are the one error."""
    with pytest.raises(LedgerFormError):
        ledger.restore(frontier(), pieces, 0.0)


@given(
    st.lists(
        st.lists(
            st.one_of(JUNK, st.tuples(*[st.one_of(st.just(each), st.just(each), JUNK) for each in ROW])),
            max_size=4,
        ),
        max_size=3,
    ),
    st.sampled_from([0.0, 1.7e9]),
)
def test_junk_is_the_one_error_or_a_sane_ledger(pieces: list[Any], wall_minus_now: float) -> None:
    """Whatever a file says, the error is the one stated, and nobody in the ledger is stuck in it."""
    ours = frontier()
    with contextlib.suppress(LedgerFormError):
        ledger.restore(ours, pieces, wall_minus_now)
    latest = max((contact.due for contact in ours), default=0.0)
    assert take_all(ours, max(latest, 0.0) + 1.0) == {contact.address for contact in ours}


def test_what_does_not_fit_this_run_is_left_out() -> None:
    """A contact that may not be contacted now is not restored, and nobody rests beyond the latest time."""
    rows = [
        [b"\x7f\0\0\1\x1a\xe1", b"i" * 20, int(Standing.GIVES), 5000.0, 1, 1, 0],
        [b"\x2d\x0a\0\1\x1a\xe1", b"j" * 20, int(Standing.GIVES), 1e15, 1, 1, 0],
    ]
    frontier = Frontier(FrontierConfig(), random.Random(1))

    ledger.restore(frontier, [rows], 0.0, admits=lambda address: address[0] != 0x7F, latest=9000.0)

    assert [contact.address for contact in frontier] == [b"\x2d\x0a\0\1\x1a\xe1"]
    assert [contact.due for contact in frontier] == [9000.0]
