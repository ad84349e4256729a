"""A process that writes numbered lines through the sink and tells which were acknowledged.

It prints ``ready`` when the sink is open, then the number of each acknowledged line, on standard output; on
stderr what the sink reports, and at the end what it counted and the longest time without an acknowledgement.
After SIGHUP it follows a renamed file, as the daemon does. ``--help`` lists its options.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from crawler.records import Record
from crawler.sinks.config import OutputConfig
from tests.sinks.lines import WatchedSink, found

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawler.sinks.segments import Segments

_EACH = 10  # lines that come at once


def main() -> None:
    """Write until all is written, or for ever."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("first", type=int)
    parser.add_argument("--lines", type=int, default=1 << 60)
    parser.add_argument("--rate", type=float, default=2000.0, help="lines a second")
    parser.add_argument("--retry", type=float, default=1.0)
    parser.add_argument("--in-step", action="store_true", help="one batch at a time, each from one thread")
    parser.add_argument("--batch", type=int, default=40, help="lines that are written at once")
    parser.add_argument("--file-size", type=int, default=0, help="no file may grow beyond so many bytes")
    wanted = parser.parse_args()
    if wanted.file_size:
        import resource  # noqa: PLC0415 - not every system has it

        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted.file_size, wanted.file_size))
    trio.run(_write, wanted)


async def _write(wanted: argparse.Namespace) -> None:
    config = OutputConfig(flush_interval=0.02, max_batch=wanted.batch, retry_first=wanted.retry)
    told = Told()
    kind = SinkOfOneThread if wanted.in_step else WatchedSink
    sink = kind(wanted.path, config, _say, acknowledged=told.tell)
    sender, receiver = trio.open_memory_channel[list[Record]](64)
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, sink)
        os.write(1, b"ready\n")
        with sender:
            nursery.start_soon(_feed_in_step if wanted.in_step else _feed, sender.clone(), wanted, told)
        await sink.run(receiver)
        nursery.cancel_scope.cancel()
    sink.close()
    counts, standstill = sink.statistics(), max(b - a for a, b in itertools.pairwise(told.at))
    _say(f"end alarms={counts.alarms} failures={counts.failures} standstill={standstill:.3f}")


class SinkOfOneThread(WatchedSink):
    """A sink whose calls all come from one thread, since strace counts them by thread.

    Looking after closed files, of which there are none, would now and then bring in a second one.
    """

    async def _keep_house(self, segments: Segments) -> None:  # noqa: ARG002 - as the sink calls it
        await trio.sleep_forever()


class Told:
    """What was acknowledged: each line is printed; when, and how many, is kept."""

    def __init__(self) -> None:
        self.at = [trio.current_time()]
        self.lines = 0
        self.more = trio.Event()

    def tell(self, numbers: Iterable[int]) -> None:
        """Print the numbers of lines that were acknowledged."""
        text = [f"{number}\n" for number in numbers]
        os.write(1, "".join(text).encode())
        self.at.append(trio.current_time())
        self.lines += len(text)
        self.more.set()


async def _feed(
    sender: trio.MemorySendChannel[list[Record]], wanted: argparse.Namespace, _told: Told
) -> None:
    with sender:
        began, last = trio.current_time(), wanted.first + wanted.lines
        for number in range(wanted.first, last, _EACH):
            await sender.send([found(number, min(_EACH, last - number))])
            await trio.sleep_until(began + (number - wanted.first) / wanted.rate)


async def _feed_in_step(
    sender: trio.MemorySendChannel[list[Record]], wanted: argparse.Namespace, told: Told
) -> None:
    with sender:
        for number in range(0, wanted.lines, wanted.batch):
            await sender.send([found(wanted.first + number, min(wanted.batch, wanted.lines - number))])
            while told.lines < min(number + wanted.batch, wanted.lines):
                told.more = trio.Event()
                await told.more.wait()


async def watch_signals(
    sink: WatchedSink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            sink.reopen()


def _say(event: str, **fields: object) -> None:
    os.write(2, f"{event} {fields}\n".encode())


if __name__ == "__main__":
    main()
