"""What waits for a lookup: order, bounds, and that nobody waits for what will never come."""

from __future__ import annotations

from crawler.crawl.lookup_queue import LookupQueue, Wanted, Why


def wanted(number: int, why: Why = Why.UNKNOWN, nodes: bytes = b"") -> Wanted:
    """Return an infohash that waits."""
    return Wanted(number.to_bytes(20, "big"), why, nodes)


def taken(queue: LookupQueue, *, idle: bool = True) -> list[int]:
    """Return the numbers of all that can be taken, in order."""
    numbers = []
    while (one := queue.take(idle=idle)) is not None:
        numbers.append(int.from_bytes(one.infohash, "big"))
    return numbers


def test_the_newest_goes_first_and_the_kinds_take_turns() -> None:
    """Neither unknown infohashes nor those with dead peers keep the others out."""
    queue = LookupQueue(10)
    for number in (1, 2, 3):
        queue.want(wanted(number))
        queue.want(wanted(10 + number, Why.ALL_DEAD))

    assert sorted(map(tuple, zip(*[iter(taken(queue))] * 2, strict=True))) == [(11, 1), (12, 2), (13, 3)]


def test_what_has_peers_already_waits_until_there_is_nothing_else() -> None:
    """A swarm known to one node is looked up only in idle moments, and after all others."""
    queue = LookupQueue(10)
    queue.want(wanted(1, Why.ONE_NODE))
    queue.want(wanted(2))

    assert taken(queue, idle=False) == [2]
    assert len(queue) == 1
    queue.want(wanted(3, Why.ALL_DEAD))
    assert taken(queue) == [3, 1]


def test_an_infohash_waits_once_for_the_best_reason() -> None:
    """Being wanted for a better reason moves it forward; for the same or a worse one, nothing changes."""
    queue = LookupQueue(10)
    queue.want(wanted(1, Why.ONE_NODE))
    queue.want(wanted(1, Why.ALL_DEAD, b"near"))
    queue.want(wanted(1, Why.ONE_NODE))
    queue.want(wanted(1, Why.ALL_DEAD))

    one = queue.take(idle=False)
    assert one is not None
    assert (one.why, one.nodes, len(queue)) == (Why.ALL_DEAD, b"near", 0)


def test_a_full_queue_drops_the_oldest_and_says_so() -> None:
    """Whoever waits for a lookup hears that it will never be; for what has peers already nobody waits."""
    queue = LookupQueue(2)
    told: list[bytes] = []
    queue.on_drop = told.append
    for number in range(4):
        queue.want(wanted(number))
        queue.want(wanted(10 + number, Why.ONE_NODE))

    assert [int.from_bytes(infohash, "big") for infohash in told] == [0, 1]
    assert (queue.dropped, len(queue)) == (2, 4)


def test_what_waits_survives_a_restart() -> None:
    """Every kind comes back in its order; what is no piece of a queue is refused."""
    queue, again = LookupQueue(10), LookupQueue(10)
    for number in range(3):
        queue.want(wanted(number))
        queue.want(wanted(10 + number, Why.ONE_NODE))
    for piece in queue.to_pieces():
        assert again.restore(piece)

    assert taken(again) == taken(queue) == [2, 1, 0, 12, 11, 10]
    strange: list[object] = [[7, bytes(20)], [0, bytes(19)], [b"x", bytes(20)], [0], "text", None]
    assert not any(map(again.restore, strange))
    assert len(again) == 0
