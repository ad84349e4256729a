"""The outlet: takes at once, bounds what waits, and never loses what it took."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import math

import attrs
import pytest
import trio
import trio.testing

from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.records import InfohashesFound, PeersFound, Record

NODE = b"\x7f\x00\x00\x01\x1a\xe1"


def found(count: int) -> InfohashesFound:
    """Return a record of so many lines."""
    return InfohashesFound(0.0, "sample", NODE, tuple(bytes(20) for _ in range(count)))


@attrs.define
class Sink:
    """The other end of an outlet's channel, which writes when the test says so."""

    channel: trio.MemoryReceiveChannel[list[Record]]
    written: int = 0
    batches: list[list[Record]] = attrs.field(factory=list)

    def write(self) -> None:
        """Write one batch."""
        self.batches.append(self.channel.receive_nowait())
        self.written += sum(len(record) for record in self.batches[-1])


def outlet_and_sink(*, max_waiting: int = 10, channel_batches: float = 2) -> tuple[Outlet, Sink]:
    """Return an outlet and the sink at its other end."""
    sender, receiver = trio.open_memory_channel[list[Record]](channel_batches)
    sink = Sink(receiver)
    return Outlet(OutletConfig(max_waiting=max_waiting), sender, lambda now: now, lambda: sink.written), sink


def level(outlet: Outlet) -> str:
    """Return how full an outlet says it is."""
    return "overfull" if outlet.overfull else "full" if outlet.full else "open"


def test_records_go_out_in_one_batch_and_in_order() -> None:
    """What was taken since the last flush leaves as one batch, first come first."""
    outlet, sink = outlet_and_sink()
    records: list[Record] = [found(2), PeersFound(0.0, bytes(20), "announce", (NODE,)), found(1)]
    for record in records:
        outlet.put(record)
    outlet.flush()
    outlet.flush()
    sink.write()

    assert sink.batches == [records]
    with pytest.raises(trio.WouldBlock):
        sink.write()


def test_what_is_held_is_all_that_is_not_written() -> None:
    """Lines count as held wherever they are on their way, until the sink has written them."""
    outlet, sink = outlet_and_sink()
    outlet.put(found(3))
    assert outlet.lines_held == 3
    outlet.flush()
    outlet.put(found(4))
    assert outlet.lines_held == 7
    sink.write()
    assert (outlet.lines_held, outlet.lines_in) == (4, 7)


def test_it_is_full_until_the_sink_has_written() -> None:
    """Lines in the channel fill the outlet as much as those before it: both are memory."""
    outlet, sink = outlet_and_sink(max_waiting=10, channel_batches=math.inf)
    levels = []
    for count in (9, 1, 10):
        outlet.put(found(count))
        outlet.flush()
        levels.append(level(outlet))
    assert levels == ["open", "full", "overfull"]

    levels = []
    for _ in range(3):
        sink.write()
        levels.append(level(outlet))
    assert levels == ["full", "full", "open"]
    assert (outlet.lines_held, sink.written) == (0, 20)


def test_a_full_channel_costs_nothing() -> None:
    """When the channel has no room, what was taken waits in the outlet, and leaves in order later."""
    outlet, sink = outlet_and_sink(channel_batches=1)
    for count in (1, 2, 3):
        outlet.put(found(count))
        outlet.flush()
    sink.write()
    outlet.flush()
    sink.write()

    assert [[len(record) for record in batch] for batch in sink.batches] == [[1], [2, 3]]
    assert outlet.lines_held == 0


async def test_finish_waits_for_room(autojump_clock: trio.testing.MockClock) -> None:
    """The rest is handed over at the end however long the sink takes, also what comes while it waits."""
    outlet, sink = outlet_and_sink(channel_batches=0)
    outlet.put(found(1))

    async def finish() -> None:
        await outlet.finish()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish)
        await trio.sleep(1)
        outlet.put(found(2))
        await trio.sleep(100)
        async for batch in sink.channel:
            sink.batches.append(batch)
            sink.written += sum(len(record) for record in batch)

    assert sink.written == 3
    assert outlet.lines_held == 0


async def test_a_finish_that_is_cut_short_says_what_it_holds(autojump_clock: trio.testing.MockClock) -> None:
    """When the time for draining is over, the lines that found no room still count as held."""
    outlet, _sink = outlet_and_sink(channel_batches=0)
    outlet.put(found(5))
    with trio.move_on_after(4):
        await outlet.finish()

    assert outlet.lines_held == 5


async def test_a_sink_that_is_gone_is_no_crash() -> None:
    """When nobody reads the channel any more, flush and finish give up; the lines count as held."""
    outlet, sink = outlet_and_sink()
    sink.channel.close()
    outlet.put(found(2))
    outlet.flush()
    await outlet.finish()
    outlet.put(found(1))
    outlet.flush()

    assert outlet.lines_held == 3


async def test_after_finish_the_channel_ends() -> None:
    """The sink sees the end of the channel when everything was handed over."""
    outlet, sink = outlet_and_sink()
    await outlet.finish()

    with pytest.raises(trio.EndOfChannel):
        await sink.channel.receive()


def test_time_is_turned_into_epoch_seconds() -> None:
    """The outlet lends the stages the wall clock that it was given."""
    sender, _receiver = trio.open_memory_channel[list[Record]](1)
    outlet = Outlet(OutletConfig(), sender, lambda now: now + 1000, lambda: 0)

    assert outlet.wall_clock(5.0) == 1005.0
