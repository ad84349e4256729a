"""The books that the simulated world keeps on its visitors' manners: what is counted as what."""

from __future__ import annotations

import pytest

from crawler.simnet.etiquette import MAX_VISITORS, Conduct, Etiquette
from crawler.simnet.world import World, WorldConfig
from crawler.wire import krpc

VISITOR = b"\x7f\0\0\x01"


def sampled(book: Etiquette, *times: float, delivered: bool = True, rank: int = 0) -> Conduct:
    """Note sample queries of the visitor at ``times`` and return the counts."""
    for now in times:
        book.asked(VISITOR, rank, now)
        book.sampled(VISITOR, rank, now, delivered=delivered)
    return book.conduct


def test_asking_again_inside_the_interval_is_a_repeat() -> None:
    """Once the answer arrived, the node is to be left alone until its interval is over, no longer."""
    book = Etiquette(2, interval=60.0)

    assert sampled(book, 0.0, 60.0).sample_repeats == 0
    assert sampled(book, 119.9).sample_repeats == 1
    assert sampled(book, 100.0, rank=1).sample_repeats == 1


def test_asking_again_after_a_loss_is_a_retry() -> None:
    """An answer that never arrived starts no interval: the next query is counted apart, and once."""
    book = Etiquette(1, interval=60.0)
    sampled(book, 0.0, delivered=False)
    conduct = sampled(book, 5.0)

    assert (conduct.sample_repeats, conduct.sample_retries) == (0, 1)
    assert sampled(book, 70.0) == Conduct(sample_repeats=0, sample_retries=1, visitors=1)


@pytest.mark.parametrize(
    ("times", "over"),
    [
        ([0.0] * 5, 0),
        ([0.0] * 8, 3),
        ([float(second) for second in range(50)], 0),
        ([second / 2 for second in range(50)], 21),
    ],
)
def test_more_than_one_query_a_second_is_over_rate(times: list[float], over: int) -> None:
    """A burst of 5 and then one query a second go uncounted; what is beyond is counted."""
    book = Etiquette(1, interval=60.0)
    for now in times:
        book.asked(VISITOR, 0, now)

    assert book.conduct.over_rate == over


def test_visitors_have_books_of_their_own_up_to_a_limit() -> None:
    """One visitor's interval is not another's; visitors beyond the limit are served but only counted."""
    world = World(WorldConfig(nodes=20, infohashes=20, dead=0, bep51=1, loss=0))
    query = krpc.sample_infohashes(b"abcd", b"i" * 20, b"t" * 20)
    for last in range(MAX_VISITORS + 3):
        assert world.receive(query, (f"127.0.0.{1 + last}", 6881), world.bootstrap, 0.0) is not None
    counts = world.statistics()

    assert (counts["sample_repeats"], counts["visitors"]) == (0, MAX_VISITORS)
    assert counts["visitors_untracked"] == 3


def test_useless_samples_are_counted() -> None:
    """Asking nodes for samples that do not speak BEP 51 is counted, but is no repeat."""
    world = World(WorldConfig(nodes=20, infohashes=20, dead=0, bep51=0, loss=0))
    query = krpc.sample_infohashes(b"abcd", b"i" * 20, b"t" * 20)
    for now in (0.0, 10.0):
        world.receive(query, ("127.0.0.1", 6881), world.bootstrap, now)
    counts = world.statistics()

    assert (counts["sample_useless"], counts["sample_repeats"], counts["unique_sampled"]) == (2, 0, 0)
