"""Whom to ask for samples, and when: the node ledger of one address family (BEP 51).

It is kept apart from the routing table, which knows a few hundred nodes well; this knows every node ever
named, a little. Rules that nothing else may break:

* A node that told its `interval` is not asked again before that is over, across restarts too.
* A node that does not speak BEP 51 (no `samples` in its answer, or an error) is not asked for samples again
  until it may have been replaced by another one, a day later by default.
* An address known by rumour only is contacted once, and once more only if it is named again; then it rests
  for hours, each time longer: whoever names a victim again and again gains a datagram or two.
* Fresh nodes are taken cell by cell around the key space, so that a sweep covers all of it and a flood of
  fake neighbours spoils one cell in 256.

The ledger is bounded. When it is full, the silent contact that first went silent longest ago makes room; if
nobody is silent, the newcomer is dropped and counted. Nodes that rest are never dropped: forgetting one would
mean asking it again. A contact whose place in a queue went stale (it was vouched for, claimed, forgotten, or
answered late) is passed over there; when most places are stale, the queues are made anew.
"""

from __future__ import annotations

import enum
from collections import deque
from itertools import filterfalse
from typing import TYPE_CHECKING

import attrs

from crawler.crawl.rings import CellRing, Wheel
from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from random import Random


@attrs.frozen
class FrontierConfig:
    """Size and manners of the ledger."""

    capacity: int = setting(
        1_000_000,
        unit="nodes",
        help="Nodes remembered per address family, about 300 bytes each.",
        minimum=1000,
    )
    shortest_interval: float = setting(
        60.0,
        unit="s",
        help="A node that states a shorter sample interval is still left alone this long.",
        minimum=1,
    )
    silent_rest: float = setting(
        6 * 3600.0, unit="s", help="How long a node that did not answer is left alone.", above=0
    )
    mute_rest: float = setting(
        24 * 3600.0,
        unit="s",
        help="How long a node that answered without samples (no BEP 51) is not asked again.",
        above=0,
    )
    retry_after: float = setting(
        4.0, unit="s", help="Pause before the one retry of a node that timed out.", above=0
    )
    retry_vouchers: int = setting(
        2,
        unit="mentions",
        help="What a node that never answered needs to be tried twice.",
        minimum=1,
        maximum=2,
    )


class Standing(enum.IntEnum):
    """What we know of a node; it also says in which queue the node waits to be asked.

    An untried node that somebody named who gave us new infohashes is vouched for. When fake nodes that name
    only each other fill the ledger, their queue soon promises nothing and the vouched one goes first.
    """

    UNTRIED = 0
    VOUCHED = 1
    GIVES = 2
    MUTE = 3
    SILENT = 4


class Phase(enum.IntEnum):
    """What happens to a contact at the moment."""

    READY = 0
    ASKED = 1
    WAITING = 2
    GONE = 3
    CLAIMED = 4


@attrs.define(eq=False)
class Contact:
    """What the ledger holds of one node.

    Attributes:
        address: compact address, the key.
        id: the 20-byte id that a rumour gave it, or its own once it answered.
        standing: what its answers showed.
        phase: ready to be asked, asked, waiting until `due`, claimed by a lookup, or forgotten.
        due: when it may be asked again, in seconds.
        num: how many infohashes it said it stores; 0 when unknown.
        named: 1, or 2 when it was named again since.
        failures: queries in a row without an answer.
        listed: whether it stands in the list of those that may be forgotten.
    """

    address: bytes
    id: bytes
    standing: Standing = Standing.UNTRIED
    phase: Phase = Phase.READY
    due: float = 0.0
    num: int = 0
    named: int = 1
    failures: int = 0
    listed: bool = False


@attrs.frozen
class FrontierStatistics:
    """Nodes at one moment, and counts since the start."""

    nodes: int
    ready: int
    waiting: int
    dropped_full: int
    evicted_silent: int


_PROVED = {Standing.GIVES, Standing.MUTE}
_NEVER_ASKED = {Standing.UNTRIED, Standing.VOUCHED}
_TAKEN_TOGETHER = 16
_CURIOSITY = 0.05
_LEARNING = 0.005
_PROMISE = {
    Standing.UNTRIED: 10.0,
    Standing.VOUCHED: 10.0,
    Standing.GIVES: 20.0,
    Standing.MUTE: 0.1,
    Standing.SILENT: 0.5,
}
"""New infohashes that a query to each kind is thought to bring until experience corrects it."""


class Frontier:
    """The ledger of one address family.

    Attributes:
        settled: is given every contact whose rest begins, for whoever saves them; None: nobody does.
    """

    def __init__(self, config: FrontierConfig, rng: Random) -> None:
        """Start empty."""
        self._config = config
        self._rng = rng
        self._contacts: dict[bytes, Contact] = {}
        self._named_once: set[bytes] = set()
        self._rings: list[CellRing[Contact]] = [CellRing() for _ in Standing]
        self._promise = [_PROMISE[standing] for standing in Standing]
        self._chosen = self._rings[0]
        self._chosen_for = 0
        self._wheel: Wheel[Contact] = Wheel()
        self._forgettable: deque[Contact] = deque()
        self._stale = 0
        self._dropped_full = 0
        self._evicted_silent = 0
        self.settled: deque[Contact] | None = None

    def __len__(self) -> int:
        return len(self._contacts)

    def __iter__(self) -> Iterator[Contact]:
        return iter(self._contacts.values())

    def get(self, address: bytes) -> Contact | None:
        """Return what is known of ``address``."""
        return self._contacts.get(address)

    @property
    def ready(self) -> int:
        """How many contacts could be asked now."""
        return sum(len(ring) for ring in self._rings) - self._stale

    def heard(self, addresses: Sequence[bytes], *, vouched: bool = False) -> list[bytes]:
        """Count rumours of nodes, by compact address; return the addresses that are not in the ledger.

        The caller decides which of those are fit to be contacted, and passes them to :meth:`add`.
        ``vouched`` says that whoever named them has just given infohashes that were new.
        """
        again = self._named_once.intersection(addresses)
        if again:
            self._named_again(again, vouched=vouched)
        return list(filterfalse(self._contacts.__contains__, addresses))

    def add(self, node_id: bytes, address: bytes, *, vouched: bool = False) -> Contact | None:
        """Take a node; None when it is in the ledger already, and, with a count, when there is no room."""
        if address in self._contacts or not self._has_room():
            return None
        contact = Contact(address, node_id, Standing.VOUCHED if vouched else Standing.UNTRIED)
        self._contacts[address] = contact
        self._named_once.add(address)
        self._ready(contact)
        return contact

    def restore(self, contact: Contact) -> None:
        """Take back a contact from an earlier run; until its `due` it is left alone."""
        if contact.address in self._contacts or not self._has_room():
            return
        self._contacts[contact.address] = contact
        if contact.named == 1:
            self._named_once.add(contact.address)
        if contact.standing in _NEVER_ASKED:
            self._ready(contact)
        else:
            self._wait(contact, contact.due)
            if contact.standing is Standing.SILENT:
                self._list(contact)

    def wake(self, now: float) -> None:
        """Make ready whom it is time to ask again; call it before each batch of :meth:`take`."""
        self._chosen_for = 0
        for contact in self._wheel.turn(now):
            # A contact that was pardoned stands on the wheel twice; only its latest due time counts.
            if contact.phase is Phase.WAITING and contact.due <= now:
                self._ready(contact)

    def take(self) -> Contact | None:
        """Return the contact that promises most new infohashes per query, now counted as asked, or None."""
        while True:
            if not (self._chosen_for and self._chosen) and not self._choose():
                return None
            ring = self._chosen
            self._chosen_for -= 1
            contact = ring.pop()
            if contact.phase is Phase.READY and self._rings[contact.standing] is ring:
                contact.phase = Phase.ASKED
                return contact
            self._stale -= 1

    def gave(self, contact: Contact, new: int, num: int, interval: float, now: float) -> None:
        """``contact`` gave samples, ``new`` of them unknown, and stated ``num`` and ``interval`` (s)."""
        if contact.phase is not Phase.ASKED and not self._take_back(contact):
            return
        self._learn(contact.standing, new)
        contact.standing = Standing.GIVES
        contact.num = num
        contact.failures = 0
        self._wait(contact, now + max(interval, self._config.shortest_interval))

    def muted(self, contact: Contact, now: float) -> None:
        """``contact`` answered, but without samples: it does not speak BEP 51."""
        if contact.phase is not Phase.ASKED and not self._take_back(contact):
            return
        self._learn(contact.standing, 0)
        contact.standing = Standing.MUTE
        contact.failures = 0
        self._wait(contact, now + self._config.mute_rest)

    def failed(self, contact: Contact, now: float) -> None:
        """``contact`` did not answer: one retry where it pays, then a long rest.

        Nothing changes when it was settled meanwhile: an earlier query to it was answered late.
        """
        if contact.phase is not Phase.ASKED:
            return
        self._learn(contact.standing, 0)
        contact.failures += 1
        config = self._config
        vouched = contact.standing is Standing.GIVES or contact.named >= config.retry_vouchers
        if contact.failures == 1 and vouched:
            if contact.standing in _NEVER_ASKED:
                contact.standing = Standing.SILENT
            self._wait(contact, now + config.retry_after)
        else:
            contact.standing = Standing.SILENT
            self._wait(contact, now + config.silent_rest * min(contact.failures, 8))
            self._list(contact)

    def claim(self, address: bytes) -> bool:
        """Ask whether ``address`` may be asked something else than samples; :meth:`release` must follow.

        False for a node that never answered and was tried already, or is being tried. An untried one counts
        as asked from here on.
        """
        contact = self._contacts.get(address)
        if contact is None or contact.standing in _PROVED:
            return True
        if contact.phase is not Phase.READY or contact.standing not in _NEVER_ASKED:
            return False
        contact.phase = Phase.CLAIMED
        self._went_stale()
        return True

    def release(self, address: bytes, now: float, *, answered: bool | None) -> None:
        """Tell what came of the query for which ``address`` was claimed; None: nobody waited for it.

        An answer that nobody waited for may have been lost or not, so the node has one try left.
        """
        contact = self._contacts.get(address)
        if contact is None or contact.phase is not Phase.CLAIMED:
            return
        if answered:
            contact.standing = Standing.VOUCHED
            self._ready(contact)
        elif answered is None:
            contact.standing = Standing.SILENT
            contact.failures = 1
            self._wait(contact, now + self._config.retry_after)
        else:
            contact.phase = Phase.ASKED
            self.failed(contact, now)

    def postponed(self, contact: Contact, until: float) -> None:
        """Nothing was sent to ``contact``: the budget does not allow it before ``until``."""
        self._wait(contact, until)

    def pardoned(self, contact: Contact) -> None:
        """The silence of ``contact`` was ours (no uplink): it is ready again as if it had not been asked.

        Nothing changes when it has answered since.
        """
        if contact.phase is Phase.WAITING and contact.failures:
            contact.failures -= 1
            if contact.standing is Standing.SILENT:
                contact.standing = Standing.GIVES if contact.num else Standing.VOUCHED
            self._ready(contact)

    def statistics(self) -> FrontierStatistics:
        """Return the counts of this moment."""
        ready = self.ready
        return FrontierStatistics(
            nodes=len(self._contacts),
            ready=ready,
            waiting=len(self._contacts) - ready,
            dropped_full=self._dropped_full,
            evicted_silent=self._evicted_silent,
        )

    def _choose(self) -> bool:
        """Choose the queue with the highest promise among those that hold somebody, or now and then any.

        The choice holds for a few contacts, because making it costs more than taking one. Returns whether
        anybody is there.
        """
        held = [standing for standing in Standing if self._rings[standing]]
        if not held:
            return False
        if self._rng.random() < _CURIOSITY:
            best = self._rng.choice(held)
        else:
            best = max(held, key=self._promise.__getitem__)
        self._chosen, self._chosen_for = self._rings[best], _TAKEN_TOGETHER
        return True

    def _named_again(self, addresses: Iterable[bytes], *, vouched: bool) -> None:
        for address in addresses:
            contact = self._contacts[address]
            contact.named = 2
            if vouched and contact.standing is Standing.UNTRIED and contact.phase is Phase.READY:
                contact.standing = Standing.VOUCHED
                self._ready(contact)
                self._went_stale()
            elif contact.standing is Standing.SILENT and self._deserves_retry(contact):
                self._ready(contact)
        self._named_once.difference_update(addresses)

    def _deserves_retry(self, contact: Contact) -> bool:
        """Whether a contact was put to rest after one try only because nobody else had named it yet."""
        return (
            contact.phase is Phase.WAITING
            and contact.failures == 1
            and contact.listed
            and contact.named >= self._config.retry_vouchers
        )

    def _ready(self, contact: Contact) -> None:
        contact.phase = Phase.READY
        self._rings[contact.standing].push(contact.id[0], contact)

    def _wait(self, contact: Contact, due: float) -> None:
        contact.due = due
        contact.phase = Phase.WAITING
        self._wheel.put(due, contact)
        if self.settled is not None:
            self.settled.append(contact)

    def _learn(self, standing: Standing, new: int) -> None:
        self._promise[standing] += _LEARNING * (new - self._promise[standing])

    def _list(self, contact: Contact) -> None:
        if not contact.listed:
            contact.listed = True
            self._forgettable.append(contact)

    def _has_room(self) -> bool:
        """Whether one more contact may enter, after another was forgotten if need be; counts if not."""
        if len(self._contacts) < self._config.capacity or self._forget_one():
            return True
        self._dropped_full += 1
        return False

    def _forget_one(self) -> bool:
        """Drop the silent contact that first went silent longest ago; False when none is silent."""
        while self._forgettable:
            contact = self._forgettable.popleft()
            contact.listed = False
            if contact.standing is Standing.SILENT and contact.phase in {Phase.WAITING, Phase.READY}:
                del self._contacts[contact.address]
                self._named_once.discard(contact.address)
                self._leave(contact)
                self._evicted_silent += 1
                return True
        return False

    def _take_back(self, contact: Contact) -> bool:
        """Make ``contact``, which answered late, as if it were asked; False when there is no room for it.

        It may have been queued again by then, or forgotten, or even named anew under another contact.
        """
        if contact.phase is Phase.READY:
            contact.phase = Phase.ASKED
            self._went_stale()
        elif contact.phase is Phase.GONE:
            namesake = self._contacts.get(contact.address)
            if namesake is not None:
                self._leave(namesake)
            elif not self._has_room():
                return False
            self._contacts[contact.address] = contact
        return True

    def _leave(self, contact: Contact) -> None:
        queued = contact.phase is Phase.READY
        contact.phase = Phase.GONE
        if queued:
            self._went_stale()

    def _went_stale(self) -> None:
        """A contact has left the queue that it stands in; when most have, make the queues anew."""
        self._stale += 1
        if self._stale > len(self._contacts):
            self._rings = [CellRing() for _ in Standing]
            self._chosen, self._chosen_for, self._stale = self._rings[0], 0, 0
            for contact in self._contacts.values():
                if contact.phase is Phase.READY:
                    self._ready(contact)
