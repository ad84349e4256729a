"""When one torrent is announced to which of its trackers, and as what: tiers, intervals, events, patience.

BEP 12: the trackers of a tier are shuffled once and tried in order; one that answers goes to the front of its
tier; the next tier is for when a whole tier failed; and every announce begins at the first tier again. With
``all_tiers`` each tier is a list of its own instead, all of them announced to: what finds the most peers.

The policy asks nobody. Its owner takes what is due from :meth:`Announcer.take_due`, asks, and tells what came
of it with :meth:`Announcer.answered` or :meth:`Announcer.failed`; in between it sleeps until
:meth:`Announcer.next_timer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from crawler.settings import setting
from crawler.wire.tracker import NEVER, Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from crawler.wire.tracker import AnnounceAnswer

_NO_DUE: Final = float("inf")
_JITTER: Final = 0.25
_LONGEST_DOUBLING: Final = 32


@attrs.frozen
class AnnounceConfig:
    """When trackers are announced to again."""

    interval: float = setting(
        1800.0, unit="s", help="Until the next announce, when a tracker does not say.", above=0
    )
    min_interval: float = setting(
        60.0, unit="s", help="Never sooner than this, whatever a tracker says.", above=0
    )
    max_interval: float = setting(
        86_400.0, unit="s", help="No later than this, whatever a tracker says.", above=0
    )
    retry_first: float = setting(
        60.0, unit="s", help="Rest of a tracker that failed; each further failure doubles it.", above=0
    )
    retry_most: float = setting(3600.0, unit="s", help="Longest such rest.", above=0)
    retry_never: float = setting(
        21_600.0,
        unit="s",
        help="Rest of a tracker that says never, or whose name or address can't be used.",
        above=0,
    )


@attrs.define(eq=False)
class _Tracker:
    """One tracker of the torrent, and how it has fared."""

    url: str
    failures: int = 0
    not_before: float = float("-inf")
    started: bool = False
    completed: bool = False
    tracker_id: bytes | None = None


@attrs.define(eq=False)
class _Walk:
    """Tiers of which one tracker is enough: where the next announce is due, and what it tries meanwhile."""

    tiers: list[list[_Tracker]]
    due: float
    left: Iterator[_Tracker] | None = None
    busy: bool = False

    def begin(self, now: float) -> None:
        self.left = iter([t for tier in self.tiers for t in tier if t.not_before <= now])

    def promote(self, tracker: _Tracker) -> None:
        for tier in self.tiers:
            if tracker in tier:
                tier.remove(tracker)
                tier.insert(0, tracker)


@attrs.frozen(eq=False)
class Due:
    """An announce that is to be made now.

    Attributes:
        url: to which tracker.
        event: as what.
        seed: whether we have everything by now.
        tracker_id: what that tracker wants to be told again.
    """

    url: str
    event: Event
    seed: bool
    tracker_id: bytes | None
    walk: _Walk
    tracker: _Tracker


@attrs.define
class AnnouncerCounters:
    """What became of the announces."""

    answered: int = 0
    failed: int = 0


class Announcer:
    """The announces of one torrent.

    Args:
        tiers: announce URLs, in tiers; none twice.
        config: how long is waited.
        rng: shuffles tiers, and spreads retries.
        now: the first announces are due at once.
        all_tiers: announce to one tracker of each tier, not to one in all; never for a private torrent.

    Attributes:
        counters: what became of the announces.
    """

    def __init__(
        self,
        tiers: Sequence[Sequence[str]],
        config: AnnounceConfig,
        rng: Random,
        now: float,
        *,
        all_tiers: bool = False,
    ) -> None:
        self.counters = AnnouncerCounters()
        self._config = config
        self._rng = rng
        self._complete = False
        self._stopping = False
        made = [[_Tracker(url) for url in rng.sample(list(tier), len(tier))] for tier in tiers if tier]
        groups = [[tier] for tier in made] if all_tiers else [made] if made else []
        self._walks = [_Walk(group, now) for group in groups]

    def take_due(self, now: float) -> list[Due]:
        """Return the announces to make now; :meth:`answered` or :meth:`failed` must follow for each."""
        return [due for walk in self._walks if (due := self._take(walk, now)) is not None]

    def next_timer(self) -> float:
        """Return when :meth:`take_due` has something again."""
        if self._stopping:
            return _NO_DUE
        return min((walk.due for walk in self._walks if not walk.busy), default=_NO_DUE)

    def answered(self, due: Due, answer: AnnounceAnswer, now: float) -> None:
        """The tracker of ``due`` answered."""
        tracker, walk = due.tracker, due.walk
        self.counters.answered += 1
        tracker.failures = 0
        tracker.started = due.event is not Event.STOPPED
        tracker.completed = tracker.completed or due.seed
        tracker.tracker_id = answer.tracker_id or tracker.tracker_id
        walk.promote(tracker)
        walk.busy, walk.left = False, None
        news = self._complete and not tracker.completed
        walk.due = tracker.not_before = now if news else now + self._rest(answer)

    def failed(self, due: Due, now: float, *, retry_in: float | None = None, hopeless: bool = False) -> None:
        """The tracker of ``due`` did not answer, or refused.

        Args:
            due: the announce.
            now: the time.
            retry_in: seconds after which it wants to be asked again (BEP 31), or `NEVER`.
            hopeless: whether the URL, the name or the address can't be used at all.
        """
        tracker, walk = due.tracker, due.walk
        self.counters.failed += 1
        rest = retry_rest(self._config, tracker.failures, self._rng, retry_in=retry_in, hopeless=hopeless)
        tracker.not_before = now + rest
        tracker.failures += 1
        walk.busy = False
        walk.due = now

    def complete(self, now: float) -> None:
        """The download is complete: tell the trackers that know of it, once each."""
        if self._complete:
            return
        self._complete = True
        for walk in self._walks:
            for tracker in self._known(walk):
                tracker.not_before = now
                if not walk.busy:
                    walk.due, walk.left = now, None

    def stop(self) -> list[Due]:
        """Return the announces that say goodbye, one to each tracker that knows us; no other will be due."""
        self._stopping = True
        goodbyes = []
        for walk in self._walks:
            goodbyes += [
                Due(t.url, Event.STOPPED, self._complete, t.tracker_id, walk, t) for t in self._known(walk)
            ]
        return goodbyes

    def _take(self, walk: _Walk, now: float) -> Due | None:
        if walk.busy or walk.due > now or self._stopping:
            return None
        if walk.left is None:
            walk.begin(now)
        tracker = next(walk.left or iter(()), None)
        if tracker is None:
            walk.left = None
            walk.due = min((t.not_before for tier in walk.tiers for t in tier), default=_NO_DUE)
            return None
        walk.busy = True
        return Due(tracker.url, self._event(tracker), self._complete, tracker.tracker_id, walk, tracker)

    def _event(self, tracker: _Tracker) -> Event:
        if not tracker.started:
            return Event.STARTED
        return Event.COMPLETED if self._complete and not tracker.completed else Event.NONE

    def _known(self, walk: _Walk) -> Iterator[_Tracker]:
        return (tracker for tier in walk.tiers for tracker in tier if tracker.started)

    def _rest(self, answer: AnnounceAnswer) -> float:
        """Seconds until the next announce to a tracker that answered."""
        wanted = self._config.interval if answer.interval is None else float(answer.interval)
        longest = max(self._config.max_interval, self._config.min_interval)
        return min(max(wanted, answer.min_interval or 0.0, self._config.min_interval), longest)


def retry_rest(
    config: AnnounceConfig,
    failures: int,
    rng: Random,
    *,
    retry_in: float | None = None,
    hopeless: bool = False,
) -> float:
    """Return the seconds until a tracker that failed may be asked again.

    Args:
        config: how patient to be.
        failures: how often in a row it had failed before.
        rng: spreads the rests, so that not everybody comes back at once.
        retry_in: seconds after which it wants to be asked again (BEP 31), or `NEVER`.
        hopeless: whether the URL, the name or the address can't be used at all.
    """
    if retry_in == NEVER or hopeless:
        return config.retry_never
    if retry_in is not None:
        return min(max(retry_in, config.min_interval), config.max_interval)
    rest = config.retry_first * 2.0 ** min(failures, _LONGEST_DOUBLING)
    return min(rest * (1 + rng.uniform(-_JITTER, _JITTER)), config.retry_most)
