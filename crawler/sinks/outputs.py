"""All outputs of a run as one sink: each gets every record, and none holds up another.

One output alone gets the channel itself: when it can't write, the channel fills and the crawl pauses. Several
have a bounded queue each. When they are all slow the crawl pauses; as long as one keeps up, the overflow of
the others is dropped, for them alone, and counted.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.sinks.base import ReaderGoneError, SinkError, SinkStatistics
from crawler.sinks.config import STDOUT, place_of
from crawler.sinks.jsonl import JsonlSink

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.records import Record
    from crawler.sinks.config import OutputConfig


class Outputs:
    """Every output of a run."""

    def __init__(
        self, config: OutputConfig, on_event: Callable[..., None], *, waits_for_all: bool = False
    ) -> None:
        """Open them all; ``on_event(name, **fields)`` is told what the log should know.

        With ``waits_for_all`` nothing is dropped for an output that lags: records that can wait, as those of
        a file, go at the pace of the slowest.

        Raises:
            SinkError: one cannot be opened, or two are one file; none is open then.
        """
        _refuse_twins(config.path)
        self._waits_for_all = waits_for_all
        self._progress = trio.Event()
        self._offered = self._durable = 0
        self._receiving = trio.CancelScope()
        self._legs: list[Leg] = []
        with contextlib.ExitStack() as opened:
            for target in config.path:
                sink = JsonlSink(target, config, on_event, on_written=self._went_on)
                opened.callback(sink.close)
                self._legs.append(Leg(sink, config.max_queue, on_event))
            self._opened = opened.pop_all()

    async def run(self, records: trio.MemoryReceiveChannel[list[Record]]) -> None:
        """Write every record of ``records`` to every output until it is closed.

        Raises:
            ReaderGoneError: every output's reader is gone.
        """
        if len(self._legs) == 1:
            await self._legs[0].sink.run(records)
            return
        async with records, trio.open_nursery() as nursery:
            for leg in self._legs:
                nursery.start_soon(self._run_leg, leg, name=f"sink {leg.sink.path}")
            with self._receiving:
                async for batch in records:
                    await self._hand_out(batch)
            for leg in self._legs:
                leg.finish()
        if self._all_gone:
            raise ReaderGoneError

    @property
    def lines_settled(self) -> int:
        """How many lines the foremost output is done with, for whoever bounds what waits."""
        if len(self._legs) == 1:
            return self._legs[0].sink.lines_written
        legs = [leg for leg in self._legs if not leg.gone] or self._legs
        return max(leg.sink.lines_written + leg.dropped for leg in legs)

    @property
    def lines_durable(self) -> int:
        """How many lines, from the first on, are each written by an output, for whoever must not get ahead.

        Outputs that drop lines drop different ones. What only those had whose reader is gone is passed over.
        """
        if len(self._legs) == 1:
            return self._legs[0].sink.lines_written
        while True:
            reached = max(leg.reach(self._durable) for leg in self._legs)
            if reached == self._durable and not self._all_gone:
                nexts = [leg.next_line(reached) for leg in self._legs if not leg.gone]
                reached = min((line for line in nexts if line is not None), default=self._offered)
            if reached == self._durable:
                return reached
            self._durable = reached

    def reopen(self) -> None:
        """Follow files that were renamed, at once."""
        for leg in self._legs:
            leg.sink.reopen()

    def each(self) -> dict[str, SinkStatistics]:
        """Return the counts of every output by its path."""
        return {leg.sink.path: leg.statistics() for leg in self._legs}

    def statistics(self) -> SinkStatistics:
        """Return the counts of all: lines of the foremost output, sums of what went wrong and of bytes."""
        parts = list(self.each().values())
        if len(parts) == 1:
            return parts[0]
        foremost = max(parts, key=lambda part: part.lines_written)
        lines = {"lines_in", "lines_written", "lines_held", "trouble"}
        names = [field.name for field in attrs.fields(SinkStatistics) if field.name not in lines]
        sums = {name: sum(getattr(part, name) for part in parts) for name in names}
        trouble = "; ".join(f"{path}: {part.trouble}" for path, part in self.each().items() if part.trouble)
        return attrs.evolve(foremost, trouble=trouble, **sums)

    def close(self) -> None:
        """Release all files."""
        self._opened.close()

    async def _run_leg(self, leg: Leg) -> None:
        await leg.run()
        self._went_on()
        if self._all_gone:
            self._receiving.cancel()

    async def _hand_out(self, batch: list[Record]) -> None:
        """Give ``batch`` to every output that has room.

        That waits until all have, or one has half of its queue free: that one would soon stand idle for the
        sake of the others. Outputs that are all about equally slow thus lose nothing by it.
        """
        while not (self._all_have_room or self._one_is_ahead):
            await self._progress.wait()
        self._offer(batch)

    def _offer(self, batch: list[Record]) -> None:
        lines = sum(map(len, batch))
        for leg in self._legs:
            leg.offer(batch, lines, self._offered)
        self._offered += lines

    @property
    def _one_is_ahead(self) -> bool:
        return not self._waits_for_all and any(leg.is_ahead for leg in self._legs)

    @property
    def _all_gone(self) -> bool:
        return all(leg.gone for leg in self._legs)

    @property
    def _all_have_room(self) -> bool:
        return all(leg.has_room for leg in self._legs if not leg.gone)

    def _went_on(self) -> None:
        self._progress.set()
        self._progress = trio.Event()


class Leg:
    """One output of several, with its queue."""

    def __init__(self, sink: JsonlSink, most: int, on_event: Callable[..., None]) -> None:
        """Let at most ``most`` lines, and the batch that passes that, wait for ``sink``."""
        self.sink = sink
        self.gone = False
        self.dropped = 0
        self._taken = 0
        self._passed = 0
        self._parts: deque[list[int]] = deque()
        self._most = most
        self._on_event = on_event
        self._overflows = False
        self._sender, self._receiver = trio.open_memory_channel[list["Record"]](math.inf)

    @property
    def has_room(self) -> bool:
        """Whether another batch may wait."""
        return not self.gone and self._waiting < self._most

    @property
    def is_ahead(self) -> bool:
        """Whether half of the queue is free."""
        return not self.gone and 2 * self._waiting < self._most

    @property
    def _waiting(self) -> int:
        return self._taken - self.sink.lines_written

    async def run(self) -> None:
        """Write what is offered until the end; a reader that goes ends only this output."""
        try:
            await self.sink.run(self._receiver)
        except ReaderGoneError:
            self.gone = True
            self.dropped += self._waiting
            self._taken = self.sink.lines_written
            self._on_event("sink.reader_gone", path=self.sink.path)

    def offer(self, batch: list[Record], lines: int, first: int) -> None:
        """Let ``batch``, the run's lines from ``first`` on, wait for the output, or drop it for this one."""
        if self.has_room:
            # Broken: its reader has just gone, which its task is about to say.
            with contextlib.suppress(trio.BrokenResourceError):
                self._sender.send_nowait(batch)
                self._taken += lines
                self._overflows = False
                if self._parts and self._parts[-1][1] == first:
                    self._parts[-1][1] += lines
                else:
                    self._parts.append([first, first + lines])
                return
        self.dropped += lines
        if not self._overflows and not self.gone:
            self._overflows = True
            self._on_event("sink.overflow", path=self.sink.path, waiting=self._waiting)

    def reach(self, line: int) -> int:
        """Return up to which line, from ``line`` on, this output has written all."""
        while self._parts:
            first, end = self._parts[0]
            done = first + self.sink.lines_written - self._passed
            if done < end or end > line:
                return max(line, min(done, end)) if first <= line else line
            self._parts.popleft()
            self._passed += end - first
        return line

    def next_line(self, line: int) -> int | None:
        """Return the first line from ``line`` on that this output has yet to write; None if there is none."""
        return next((max(first, line) for first, end in self._parts if end > line), None)

    def finish(self) -> None:
        """Offer no more."""
        self._sender.close()

    def statistics(self) -> SinkStatistics:
        """Return the output's counts, its queue included."""
        counts = self.sink.statistics()
        if not self._taken and not self.dropped:
            return counts
        return attrs.evolve(
            counts,
            lines_in=self._taken + self.dropped,
            lines_held=self._taken - counts.lines_written,
            lines_dropped=self.dropped,
            trouble="nobody reads it any more" if self.gone else counts.trouble,
        )


def _refuse_twins(targets: tuple[str, ...]) -> None:
    """Refuse two names of one file, which the lock would take for two processes."""
    names: dict[str, str] = {}
    for place in map(place_of, targets):
        file = place if place == STDOUT else os.path.realpath(place)
        if file in names:
            raise SinkError(f"{names[file]} and {place} are the same file; every output needs one of its own")
        names[file] = place
