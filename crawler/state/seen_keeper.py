"""Keeps the memory of infohashes on the disk, off the way of the crawl.

An infohash is saved only when its own line is on the disk, or a crash between the two would lose it for good:
known, but never written. So what is new waits here with a *mark*, the count of lines that had gone to the
sink by then, until the sink has acknowledged so many. A crash loses what waits, and those lines are written
again: at least once, and at most what the sink's batch, one interval and one sync hold.

New infohashes go to a journal one by one. After `SeenConfig.journal` of them the filter they are in is saved
whole and the journal begins anew, so that a start reads little; a slice that is closed is saved once more,
for the last time. When the disk takes nothing, what waits waits, bounded and counted; the crawl goes on.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import attrs
import msgspec
import trio

from crawler.state.slice_files import Head
from crawler.wire.ids import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from crawler.crawl.seen import Seen
    from crawler.crawl.seen_slices import SeenConfig, Slice
    from crawler.state.slice_files import SliceFiles, Stored

_MOST_JOURNALS: Final = 16
"""Journals of one slice: each start makes one, and all are read at the next."""
_REST: Final = 60.0
"""Seconds until a filter that the disk did not take is tried again."""


@attrs.define
class KeeperCounters:
    """What keeping came to.

    Attributes:
        journalled: infohashes saved one by one.
        not_journalled: infohashes that no longer wait for that, because too many did.
        filters_saved: whole filters saved.
        failures: times that the disk did not take something.
        disk_bytes: of all files.
    """

    journalled: int = 0
    not_journalled: int = 0
    filters_saved: int = 0
    failures: int = 0
    disk_bytes: int = 0


@attrs.define(eq=False)
class _Waiting:
    """Infohashes of one slice, or else its filter as it was, until the sink has written `mark` lines.

    Attributes:
        head: of the filter's file; None: these are infohashes.
        filter: bytes of the filter; None: the slice is closed, so it can be asked for them later.
    """

    mark: int
    since: float
    slice: Slice
    infohashes: bytes = b""
    head: Head | None = None
    filter: bytes | None = None


@attrs.define(eq=False)
class _Kept:
    """What is on the disk of one slice: its filter held so many, its journals are numbered from, up to."""

    saved: int = 0
    first: int = 0
    part: int = 0
    complete: bool = False
    being_saved: bool = False
    not_before: float = 0.0


class SeenKeeper:
    """Saves what a `Seen` takes, and lets it forget in time."""

    def __init__(
        self,
        config: SeenConfig,
        seen: Seen,
        files: SliceFiles | None,
        *,
        lines_in: Callable[[], int],
        lines_durable: Callable[[], int],
        wall_clock: Callable[[float], float],
        on_event: Callable[..., None],
    ) -> None:
        """Keep nothing yet.

        Args:
            config: how often, how much.
            seen: the memory; it `keeps_unsaved` when there are ``files``.
            files: where to; None: only what is too old is forgotten.
            lines_in: lines that have gone to the sink so far.
            lines_durable: so many of those, from the first on, are on the disk.
            wall_clock: turns Trio's time into epoch seconds.
            on_event: is told of trouble, for the log.
        """
        self.counters = KeeperCounters()
        self._config = config
        self._seen = seen
        self._files = files
        self._lines_in, self._lines_durable = lines_in, lines_durable
        self._wall_clock = wall_clock
        self._on_event = on_event
        self._lock = trio.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._infohashes_waiting = 0
        self._kept: dict[int, _Kept] = {}
        self._trouble = ""

    @property
    def unsaved(self) -> int:
        """Infohashes that a crash would make us write again."""
        return self._infohashes_waiting + sum(len(each.unsaved) for each in self._seen.slices.live)

    def lag(self, now: float) -> float:
        """Return for how many seconds the oldest of those waits."""
        return max(0.0, now - self._waiting[0].since) if self._waiting else 0.0

    def restore(self, stored: list[Stored], now: float) -> None:
        """Put back what an earlier run saved; ``now`` is in epoch seconds."""
        slices = self._seen.slices
        self._seen.restore([each.slice for each in stored], now)
        live = {each.number for each in slices.live}
        for each in stored:
            if each.slice.number not in live:
                continue
            self._kept[each.slice.number] = _Kept(
                saved=each.slice.count,
                first=each.part - len(each.journals),
                part=each.part,
                complete=each.complete,
            )
            for journal in each.journals:
                slices.replay(each.slice.number, _split(journal))

    def counts(self) -> list[list[int]]:
        """Return number and count of each slice, for `found_since` in the next run."""
        return [[each.number, each.count] for each in self._seen.slices.live]

    async def run(self) -> None:
        """Keep until cancelled."""
        while True:
            await trio.sleep(self._config.journal_interval)
            await self.step()

    async def step(self) -> None:
        """Save everything whose lines are on the disk by now."""
        async with self._lock:
            now = trio.current_time()
            self._seen.advance(self._wall_clock(now))
            if self._files is None:
                return
            self._collect(now)
            await trio.to_thread.run_sync(
                self._save, self._files, self._lines_durable(), now, abandon_on_cancel=True
            )

    def close(self) -> None:
        """Close the journal."""
        if self._files is not None:
            self._files.close()

    def _collect(self, now: float) -> None:
        """Let what is new wait for its lines, and filters that are due behind it."""
        mark = self._lines_in()
        for each in self._seen.slices.live:
            if each.unsaved:
                infohashes = b"".join(each.unsaved)
                self._infohashes_waiting += len(each.unsaved)
                each.unsaved = []
                self._waiting.append(_Waiting(mark, now, each, infohashes))
            kept = self._kept.setdefault(each.number, _Kept())
            if self._is_due(each, kept, now):
                kept.being_saved = True
                data = None if each.closed is not None else each.filter.save_bytes()
                self._waiting.append(_Waiting(mark, now, each, head=self._head(each), filter=data))
        self._bound()

    def _is_due(self, each: Slice, kept: _Kept, now: float) -> bool:
        if kept.complete or kept.being_saved or each.lacking or now < kept.not_before:
            return False
        return (
            each.closed is not None
            or each.count - kept.saved >= self._config.journal
            or kept.part - kept.first >= _MOST_JOURNALS
        )

    def _bound(self) -> None:
        """Let the oldest wait no longer when too many do; their filter will have them."""
        while self._infohashes_waiting > self._config.max_unsaved:
            oldest = next(each for each in self._waiting if each.head is None)
            self._waiting.remove(oldest)
            self.counters.not_journalled += self._done(oldest)

    def _save(self, files: SliceFiles, durable: int, now: float) -> None:
        """Write what has waited long enough; in a thread."""
        live = {each.number for each in self._seen.slices.live}
        try:
            while self._waiting and self._waiting[0].mark <= durable:
                first = self._waiting[0]
                if first.slice.number not in live:
                    self._done(self._waiting.popleft())
                elif first.head is not None:
                    self._save_filter(files, self._waiting.popleft(), first.head, now)
                else:
                    self._journal(files, first.slice, durable)
            if live != self._kept.keys():
                files.keep_only(live)
                self._kept = {number: kept for number, kept in self._kept.items() if number in live}
            self.counters.disk_bytes = files.size()
        except OSError as error:
            self._fail(error)
        else:
            self._trouble = ""

    def _journal(self, files: SliceFiles, slice_: Slice, durable: int) -> None:
        """Write, as one block, all that waits next and belongs to one slice."""
        batch = []
        for each in self._waiting:
            if each.slice is not slice_ or each.head is not None or each.mark > durable:
                break
            batch.append(each)
        kept = self._kept[slice_.number]
        head = msgspec.structs.replace(self._head(slice_), part=kept.part, count=0, closed=None)
        try:
            files.append(head, b"".join([each.infohashes for each in batch]))
        except OSError:
            kept.part += 1
            raise
        for _ in batch:
            self.counters.journalled += self._done(self._waiting.popleft())

    def _save_filter(self, files: SliceFiles, waiting: _Waiting, head: Head, now: float) -> None:
        """Write a filter; what waits behind it goes into another journal."""
        kept = self._kept[waiting.slice.number]
        kept.being_saved = False
        kept.part += 1
        data = waiting.slice.filter.save_bytes() if waiting.filter is None else waiting.filter
        try:
            files.save(msgspec.structs.replace(head, part=kept.part), data)
        except OSError:
            kept.not_before = now + _REST
            raise
        kept.first, kept.saved, kept.complete = kept.part, head.count, head.closed is not None
        self.counters.filters_saved += 1

    def _done(self, waiting: _Waiting) -> int:
        """Count down what waits no more; returns how many infohashes that is."""
        count = len(waiting.infohashes) // ID_BYTES
        self._infohashes_waiting -= count
        return count

    def _fail(self, error: OSError) -> None:
        self.counters.failures += 1
        problem = error.strerror or str(error)
        if problem != self._trouble:
            self._trouble = problem
            self._on_event("seen.not_saved", problem=problem, waiting=self._infohashes_waiting)

    def _head(self, each: Slice) -> Head:
        return Head(
            key=self._seen.slices.key,
            number=each.number,
            part=0,
            capacity=each.capacity,
            error_rate=each.error_rate,
            count=each.count,
            opened=each.opened,
            closed=each.closed,
        )


def found_since(stored: Iterable[Stored], counts: object) -> list[bytes]:
    """Return the infohashes that were journalled after `SeenKeeper.counts` returned ``counts``, oldest first.

    To be asked before the slices are restored, which lets them grow. Nothing when ``counts`` is no such list.
    """
    try:
        known = msgspec.convert(counts, list[tuple[int, int]])
    except msgspec.ValidationError:
        return []
    before = dict(known)
    found = []
    for each in stored:
        journalled = [infohash for journal in each.journals for infohash in _split(journal)]
        found += journalled[max(0, before.get(each.slice.number, 0) - each.slice.count) :]
    return found


def _split(infohashes: bytes) -> list[bytes]:
    return [infohashes[at : at + ID_BYTES] for at in range(0, len(infohashes), ID_BYTES)]
