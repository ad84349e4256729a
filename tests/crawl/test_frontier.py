from __future__ import annotations

import random
from collections import Counter

import pytest

from crawler.crawl.frontier import Contact, Frontier, FrontierConfig, Phase, Standing
from tests.crawl.small_frontier import MUTE_REST, RETRY, SHORTEST, SILENT_REST, small


def frontier(capacity: int = 1000) -> Frontier:
    return Frontier(small(capacity), random.Random(3))


def address(number: int) -> bytes:
    return number.to_bytes(4, "big") + b"\x1a\xe1"


def node_id(number: int) -> bytes:
    return bytes((number * 37 % 256,)) + bytes(19)


def add(ours: Frontier, *numbers: int, vouched: bool = False) -> list[Contact]:
    added = [ours.add(node_id(number), address(number), vouched=vouched) for number in numbers]
    assert None not in added
    return [contact for contact in added if contact is not None]


def take_all(ours: Frontier) -> list[Contact]:
    return list(iter(ours.take, None))


def ask(ours: Frontier, now: float = 0.0) -> Contact:
    ours.wake(now)
    contact = ours.take()
    assert contact is not None
    return contact


def asks_nobody(ours: Frontier, now: float) -> bool:
    ours.wake(now)
    return ours.take() is None


def test_a_stated_interval_is_kept() -> None:
    """A node is asked again when its interval is over, within a second, and not before."""
    ours = frontier()
    add(ours, 1)
    contact = ask(ours)
    ours.gave(contact, new=5, num=100, interval=600, now=10.0)
    assert asks_nobody(ours, 609.9)
    assert ask(ours, 611.0) is contact
    assert (contact.standing, contact.num, contact.failures) == (Standing.GIVES, 100, 0)


def test_a_node_in_a_hurry_is_left_alone_all_the_same() -> None:
    """An interval below the shortest is lengthened to it."""
    ours = frontier()
    add(ours, 1)
    ours.gave(ask(ours), new=5, num=100, interval=0, now=0.0)
    assert asks_nobody(ours, SHORTEST - 0.1)
    ask(ours, SHORTEST + 1)


def test_a_node_without_bep_51_rests_long() -> None:
    """Who answered without samples is asked again only when it may have been replaced."""
    ours = frontier()
    add(ours, 1)
    ours.muted(ask(ours), now=0.0)
    assert asks_nobody(ours, MUTE_REST - 0.1)
    assert ask(ours, MUTE_REST + 1).standing is Standing.MUTE


def test_a_rumour_is_tried_once() -> None:
    """A node named once that stays silent gets one query, then none for the whole rest."""
    ours = frontier()
    add(ours, 1)
    ours.failed(ask(ours), now=0.0)
    assert asks_nobody(ours, SILENT_REST - 0.1)
    ask(ours, SILENT_REST + 1)


def test_a_rumour_of_two_is_tried_twice() -> None:
    """A node named again gets one retry, then the same rest."""
    ours = frontier()
    add(ours, 1)
    assert ours.heard([address(1), address(2)]) == [address(2)]
    ours.failed(ask(ours), now=0.0)
    assert asks_nobody(ours, RETRY - 0.1)
    ours.failed(ask(ours, RETRY + 1), now=10.0)
    assert asks_nobody(ours, 10.0 + SILENT_REST - 0.1)


def test_a_node_that_gave_is_tried_twice() -> None:
    """One lost datagram does not send a known giver to its long rest."""
    ours = frontier()
    add(ours, 1)
    ours.gave(ask(ours), new=1, num=1, interval=0, now=0.0)
    ours.failed(ask(ours, 100.0), now=100.0)
    contact = ask(ours, 106.0)
    assert contact.standing is Standing.GIVES
    ours.failed(contact, now=106.0)
    assert asks_nobody(ours, 106.0 + SILENT_REST)
    assert ask(ours, 107.0 + 2 * SILENT_REST).standing is Standing.SILENT


def test_each_silence_makes_the_rest_longer_up_to_eightfold() -> None:
    """A dead node is asked ever more seldom, and at last every eight rests."""
    ours = frontier()
    add(ours, 1)
    now = 0.0
    for times in (1, 2, 3, 4, 5, 6, 7, 8, 8, 8):
        ours.failed(ask(ours, now), now)
        assert asks_nobody(ours, now + times * SILENT_REST - 1)
        now += times * SILENT_REST + 1


def test_an_address_named_twice_in_one_answer_is_one_contact() -> None:
    """Adding an address that is there already changes nothing, so nobody is asked twice for it."""
    ours = frontier()
    add(ours, 1)
    assert ours.add(node_id(2), address(1)) is None
    assert len(ours) == 1
    assert len(take_all(ours)) == 1
    assert ours.statistics().dropped_full == 0


def test_a_late_answer_counts() -> None:
    """A node that answers after it was given up is a giver and rests for just its interval."""
    ours = frontier()
    add(ours, 1)
    contact = ask(ours)
    ours.failed(contact, now=2.0)
    ours.gave(contact, new=3, num=9, interval=500, now=7.0)
    assert asks_nobody(ours, 506.9)
    assert ask(ours, 508.0) is contact
    assert contact.failures == 0


def test_a_late_answer_takes_it_back_from_the_queue() -> None:
    """A node whose late answer comes while it is queued for its retry is not asked again."""
    ours = frontier()
    add(ours, 1)
    ours.heard([address(1)])
    contact = ask(ours)
    ours.failed(contact, now=0.0)
    ours.wake(6.0)
    assert ours.ready == 1
    ours.gave(contact, new=3, num=9, interval=500, now=6.5)
    assert ours.ready == 0
    assert asks_nobody(ours, 506.0)
    ask(ours, 508.0)


def test_a_retry_that_fails_does_not_undo_a_late_answer() -> None:
    """When the first query is answered late, the silence of the retry on its way says nothing."""
    ours = frontier()
    add(ours, 1)
    ours.heard([address(1)])
    contact = ask(ours)
    ours.failed(contact, now=1.0)
    assert ask(ours, 6.0) is contact
    ours.gave(contact, new=3, num=9, interval=500, now=6.5)
    ours.failed(contact, now=7.0)
    assert asks_nobody(ours, 506.0)
    assert contact.standing is Standing.GIVES


def test_a_late_answer_of_somebody_forgotten_brings_him_back() -> None:
    """Who was forgotten for silence and then answers is in the ledger again, once, with his interval."""
    ours = frontier(capacity=2)
    contact = add(ours, 1)[0]
    assert ask(ours) is contact
    ours.failed(contact, now=0.0)
    add(ours, 2, 3)
    assert ours.get(address(1)) is None
    ours.failed(ask(ours), now=1.0)

    ours.gave(contact, new=3, num=9, interval=500, now=2.0)

    assert ours.get(address(1)) is contact
    assert len(ours) == 2
    assert ours.statistics().evicted_silent == 2
    ours.muted(ask(ours, 3.0), 3.0)
    assert asks_nobody(ours, 501.0)
    assert ask(ours, 503.0) is contact


def test_a_late_answer_of_somebody_forgotten_and_named_again() -> None:
    """Who was forgotten, named anew and then answers the first query late is one contact, at rest."""
    ours = frontier(capacity=1)
    contact = add(ours, 1)[0]
    ours.failed(ask(ours), now=0.0)
    add(ours, 2)
    ours.failed(ask(ours), now=1.0)
    add(ours, 1)
    ours.gave(contact, new=3, num=9, interval=500, now=2.0)
    assert len(ours) == 1
    assert ours.get(address(1)) is contact
    assert ours.ready == 0
    assert asks_nobody(ours, 501.0)


def test_a_late_answer_of_somebody_forgotten_finds_no_room() -> None:
    """When the ledger is full of others, the late answer is dropped and counted."""
    ours = frontier(capacity=1)
    contact = add(ours, 1)[0]
    ours.failed(ask(ours), now=0.0)
    add(ours, 2)
    ours.gave(contact, new=3, num=9, interval=500, now=2.0)
    assert ours.get(address(1)) is None
    assert len(ours) == 1
    assert ours.statistics().dropped_full == 1
    assert ask(ours, 1000.0).address == address(2)
    assert asks_nobody(ours, 2000.0)


def test_pardon_takes_back_the_blame() -> None:
    """When the silence was ours, the node is ready at once, and its next silence is its first."""
    ours = frontier()
    add(ours, 1)
    contact = ask(ours)
    ours.failed(contact, now=0.0)
    ours.pardoned(contact)
    assert ask(ours, 1.0) is contact
    assert (contact.standing, contact.failures) == (Standing.VOUCHED, 0)


@pytest.mark.parametrize("kind", ["gave", "muted"])
def test_pardon_is_not_for_those_who_answered(kind: str) -> None:
    """A node that was blamed and has answered since keeps its rest when others are pardoned."""
    ours = frontier()
    add(ours, 1)
    contact = ask(ours)
    ours.failed(contact, now=0.0)
    if kind == "gave":
        ours.gave(contact, 1, 1, 500, now=1.0)
    else:
        ours.muted(contact, now=1.0)
    ours.pardoned(contact)
    assert asks_nobody(ours, 500.0)
    assert contact.standing is (Standing.GIVES if kind == "gave" else Standing.MUTE)


def test_pardon_leaves_the_mute_mute() -> None:
    """A node that does not speak BEP 51 is not taken for a giver because its silence was ours."""
    ours = frontier()
    add(ours, 1)
    ours.heard([address(1)])
    ours.muted(ask(ours), now=0.0)
    contact = ask(ours, MUTE_REST + 1)
    ours.failed(contact, now=MUTE_REST + 1)
    ours.pardoned(contact)
    assert contact.standing is Standing.MUTE
    assert ask(ours, MUTE_REST + 2) is contact


def test_the_long_silent_make_room() -> None:
    """When the ledger is full, whoever first went silent longest ago is forgotten, and counted."""
    ours = frontier(capacity=3)
    contacts = add(ours, 1, 2, 3)
    for now, contact in enumerate(take_all(ours)):
        assert contact in contacts
        ours.failed(contact, now=float(now))
    first = min(contacts, key=lambda contact: contact.due)
    add(ours, 4)
    assert ours.get(first.address) is None
    assert len(ours) == 3
    assert ours.statistics().evicted_silent == 1


def test_the_silent_make_room_also_when_their_rest_is_over() -> None:
    """A silent node in the queue can be forgotten too, or the dead would fill a busy ledger for good."""
    ours = frontier(capacity=2)
    add(ours, 1, 2)
    for contact in take_all(ours):
        ours.failed(contact, now=0.0)
    ours.wake(SILENT_REST + 1)
    assert ours.ready == 2
    add(ours, 3, 4)
    assert ours.ready == 2
    assert {contact.address for contact in take_all(ours)} == {address(3), address(4)}


def test_the_list_of_the_silent_holds_each_once() -> None:
    """A dead node that is tried for months costs one place in the list, not one for each try."""
    ours = frontier()
    add(ours, 1)
    for times in range(50):
        now = times * 10 * SILENT_REST
        ours.failed(ask(ours, now), now)
    assert len(ours._forgettable) == 1


def test_those_at_rest_and_those_untried_are_never_forgotten() -> None:
    """When nobody is silent the newcomer is dropped and counted, lest a giver be asked again."""
    ours = frontier(capacity=3)
    add(ours, 1, 2, 3)
    ours.gave(ask(ours), 1, 1, 500, 0.0)
    ours.muted(ask(ours), 0.0)
    assert ours.add(node_id(4), address(4)) is None
    assert len(ours) == 3
    assert ours.statistics().dropped_full == 1


def test_a_restored_contact_waits_on() -> None:
    """A node from an earlier run keeps its rest; an untried one is ready."""
    ours = frontier()
    ours.restore(Contact(address(1), node_id(1), Standing.GIVES, due=500.0, num=7))
    ours.restore(Contact(address(2), node_id(2), Standing.UNTRIED))
    assert ask(ours).address == address(2)
    assert asks_nobody(ours, 499.0)
    assert ask(ours, 501.0).num == 7


def test_restoring_keeps_to_the_capacity() -> None:
    """A ledger larger than this run's makes room as ever: it forgets the silent, then drops, counted."""
    ours = frontier(capacity=2)
    ours.restore(Contact(address(1), node_id(1), Standing.SILENT, due=500.0, failures=1))
    ours.restore(Contact(address(2), node_id(2), Standing.GIVES, due=500.0))
    ours.restore(Contact(address(3), node_id(3), Standing.GIVES, due=500.0))
    ours.restore(Contact(address(4), node_id(4), Standing.UNTRIED))
    assert [contact.address for contact in ours] == [address(2), address(3)]
    statistics = ours.statistics()
    assert (statistics.evicted_silent, statistics.dropped_full) == (1, 1)


def test_the_sweep_goes_around_the_key_space() -> None:
    """A flood of nodes in one cell delays the others by a factor of two at most."""
    ours = frontier()
    for number in range(500):
        ours.add(bytes(20), address(number))
    for number in range(1, 101):
        ours.add(bytes((number,)) + bytes(19), address(1000 + number))
    taken = [ask(ours).id[0] for _ in range(110)]
    assert set(taken[:101]) == set(range(101))


def test_asks_whoever_promises_most() -> None:
    """When untried nodes have brought nothing for long, those vouched for mostly go first."""
    ours = frontier(capacity=5000)
    add(ours, *range(2000))
    for _ in range(1500):
        ours.failed(ask(ours), now=0.0)
    add(ours, *range(3000, 3500), vouched=True)
    first = Counter(ask(ours).standing for _ in range(400))
    assert first[Standing.VOUCHED] > 300


def test_every_kind_is_asked_now_and_then() -> None:
    """However little a kind promises, a share of the queries goes to it, so that we can learn better."""
    ours = frontier(capacity=5000)
    for number in range(2000):
        ours.restore(Contact(address(number), node_id(number), Standing.MUTE, due=0.0))
        ours.restore(Contact(address(3000 + number), node_id(number), Standing.GIVES, due=0.0))
    ours.wake(1.0)
    kinds = Counter[Standing]()
    for _ in range(100):
        ours.wake(1.0)
        for _ in range(16):
            contact = ours.take()
            assert contact is not None
            kinds[contact.standing] += 1
    assert 0 < kinds[Standing.MUTE] < 200


def test_vouching_leaves_no_litter() -> None:
    """However many contacts are vouched for, claimed or forgotten, the queues stay as large as the ledger."""
    ours = frontier(capacity=10)
    now = 0.0
    for number in range(0, 5000, 5):
        add(ours, *range(number, number + 5))
        ours.heard([address(each) for each in range(number, number + 5)], vouched=True)
        now += 10.0
        ours.wake(now)
        while ours.ready:
            contact = ours.take()
            assert contact is not None
            contact.named = 1
            ours.failed(contact, now)
    assert sum(len(ring) for ring in ours._rings) <= 2 * 10 + 1


def test_a_claim_keeps_the_sampler_away() -> None:
    """While a lookup asks an untried node, nobody else does; what came of it counts for the sampler."""
    ours = frontier()
    add(ours, 1, 2)
    assert ours.claim(address(1))
    assert not ours.claim(address(1))
    assert ours.ready == 1
    assert [contact.address for contact in take_all(ours)] == [address(2)]
    assert not ours.claim(address(2))

    ours.release(address(1), 1.0, answered=True)
    assert ask(ours, 1.0).standing is Standing.VOUCHED


def test_a_claim_in_vain_is_a_silence() -> None:
    """A node that a lookup tried in vain is not tried by the sampler on top, nor by another lookup."""
    ours = frontier()
    add(ours, 1)
    assert ours.claim(address(1))
    ours.release(address(1), 0.0, answered=False)
    assert asks_nobody(ours, SILENT_REST - 1)
    assert not ours.claim(address(1))
    ours.wake(SILENT_REST + 1)
    assert not ours.claim(address(1))


def test_a_claim_of_somebody_unknown_is_not_his_business_later() -> None:
    """A release says nothing about a query of the sampler's that began after the claim."""
    for answered in (True, False):
        ours = frontier()
        assert ours.claim(address(1))
        contact = add(ours, 1)[0]
        assert ask(ours) is contact
        ours.release(address(1), 1.0, answered=answered)
        assert contact.phase is Phase.ASKED
        assert asks_nobody(ours, 2.0)


def test_those_who_answered_may_be_asked_other_things() -> None:
    """A giver's rest is about samples: a lookup may ask it, and changes nothing in the ledger by that."""
    ours = frontier()
    add(ours, 1)
    ours.gave(ask(ours), 1, 1, 500, now=0.0)
    for answered in (True, False):
        assert ours.claim(address(1))
        ours.release(address(1), 1.0, answered=answered)
    assert asks_nobody(ours, 499.0)


def test_a_second_mention_earns_the_retry_that_was_denied() -> None:
    """A node that rests because only one node had named it is tried once more when another names it."""
    frontier = Frontier(FrontierConfig(), random.Random(1))
    contact = frontier.add(b"i" * 20, b"\x2d\x0a\0\1\x1a\xe1")
    assert contact is not None
    frontier.wake(0.0)
    assert frontier.take() is contact
    frontier.failed(contact, 0.0)
    frontier.wake(60.0)
    assert frontier.take() is None

    frontier.heard([contact.address])
    frontier.wake(61.0)

    assert frontier.take() is contact
    frontier.failed(contact, 61.0)
    frontier.heard([contact.address])
    frontier.wake(120.0)
    assert frontier.take() is None
