"""Whose samples are worth taking: accounts, what is lost and earned back, and that everything is bounded."""

from __future__ import annotations

from typing import Any

from crawler.crawl.credit import Credit, CreditConfig, CreditStatistics
from crawler.wire.compact import pack_address

GIVER = pack_address(("192.0.2.1", 6881))
NEIGHBOUR = pack_address(("192.0.2.77", 7000))
STRANGER = pack_address(("198.51.100.1", 6881))


def credit_of(*, verified: bool = False, **changes: Any) -> Credit:
    """Return accounts that judge quickly."""
    return Credit(CreditConfig(**{"min_verdicts": 10, "min_hits": 0.1, **changes}), verified=verified)


def infohash(number: int) -> bytes:
    """Return an infohash."""
    return number.to_bytes(20, "big")


def test_who_never_knows_a_peer_loses_credit_with_its_neighbours() -> None:
    """After enough misses a /24 is not trusted any more, whichever of its addresses speaks; others are."""
    credit = credit_of()
    for _ in range(9):
        credit.named_nobody(GIVER)
    assert credit.trusts(GIVER)
    credit.named_nobody(NEIGHBOUR)

    assert not credit.trusts(GIVER)
    assert not credit.trusts(NEIGHBOUR)
    assert credit.trusts(STRANGER)
    assert credit.statistics() == CreditStatistics(accounts=1, without=1, lost=1, regained=0)


def test_few_hits_are_enough() -> None:
    """One hit in ten keeps the credit: most of what honest nodes give has dead peers."""
    credit = credit_of()
    for number in range(100):
        if number % 10 == 0:
            credit.named_peers(GIVER, infohash(number))
        else:
            credit.named_nobody(GIVER)
    assert credit.trusts(GIVER)
    assert credit.statistics().lost == 0


def test_ipv6_is_judged_by_its_64() -> None:
    """All addresses of a /64 belong to whoever has it; the next /64 is somebody else's."""
    credit = credit_of()
    for number in range(10):
        credit.named_nobody(pack_address((f"2001:db8:0:1::{number + 1:x}", 6881)))
    assert not credit.trusts(pack_address(("2001:db8:0:1:ffff::9", 1)))
    assert credit.trusts(pack_address(("2001:db8:0:2::1", 6881)))


def test_some_answers_are_taken_all_the_same() -> None:
    """Of those without credit every so manieth answer is read, and hits in those earn the credit back."""
    credit = credit_of(probe_every=4)
    for _ in range(10):
        credit.named_nobody(GIVER)
    assert [credit.takes_answer(GIVER) for _ in range(8)] == [False, False, False, True] * 2
    assert credit.takes_answer(STRANGER)

    credit.named_peers(GIVER, infohash(1))
    assert not credit.trusts(GIVER), "one hit in eleven verdicts"
    credit.named_peers(GIVER, infohash(2))
    assert credit.trusts(GIVER)
    assert credit.statistics() == CreditStatistics(accounts=1, without=0, lost=1, regained=1)


def test_with_metadata_only_verified_metadata_counts() -> None:
    """Peers are claims too: naming some is no hit until one of them gave what was asked for."""
    credit = credit_of(verified=True)
    for number in range(20):
        credit.named_peers(GIVER, infohash(number))
    assert not credit.has_hits(GIVER)
    assert not credit.all_dead(infohash(0)), "nobody looks for other peers of what a stranger gave"

    assert credit.doubts(infohash(2))
    credit.fetched(infohash(1))
    assert credit.has_hits(GIVER)
    assert not credit.doubts(infohash(2))
    assert not credit.doubts(infohash(99))
    assert credit.all_dead(infohash(2)), "a lookup for whoever was right before"
    assert credit.all_dead(infohash(99)), "and for what no sample gave"


def test_dead_peers_cost_the_credit() -> None:
    """Naming peers that nobody can reach is as good as naming nobody."""
    credit = credit_of(verified=True)
    for number in range(10):
        credit.named_peers(GIVER, infohash(number))
        assert not credit.all_dead(infohash(number))
    assert not credit.trusts(GIVER)


def test_nobody_gives_more_than_so_many_in_a_window() -> None:
    """New infohashes of one neighbourhood are limited, until the window is over; others have their own."""
    credit = credit_of(max_new=50, window=100.0)
    assert credit.room_for_new(GIVER, 0.0) == 50
    credit.gave_new(GIVER, 30)
    credit.gave_new(NEIGHBOUR, 20)
    assert credit.room_for_new(GIVER, 99.0) == 0
    assert credit.room_for_new(STRANGER, 99.0) == 50
    assert credit.room_for_new(GIVER, 100.0) == 50


def test_the_default_settings_forgive_the_honest() -> None:
    """By default 200 verdicts are waited for, and two hits among them are enough."""
    credit = Credit(CreditConfig(), verified=False)
    for number in range(199):
        credit.named_nobody(GIVER)
        if number >= 2:
            credit.named_nobody(STRANGER)
    credit.named_peers(STRANGER, infohash(1))
    credit.named_peers(STRANGER, infohash(2))
    assert credit.trusts(GIVER)
    credit.named_nobody(GIVER)
    assert not credit.trusts(GIVER)
    assert credit.trusts(STRANGER)


def test_everything_is_bounded() -> None:
    """Accounts, givers and counts of new infohashes stay within their limits, whatever strangers do."""
    credit = credit_of(verified=True, max_tracked=100, max_followed=100, min_verdicts=1)
    for number in range(1000):
        address = pack_address((f"10.{number // 250}.{number % 250}.1", 6881))
        credit.named_nobody(address)
        credit.named_peers(address, infohash(number))
        credit.room_for_new(address, 0.0)
        credit.gave_new(address, 1)
    assert credit.statistics().accounts == 100
    assert credit.statistics().without <= 100
    assert len(credit._givers) == 100
    assert len(credit._new) <= 101
