"""A process that writes numbered lines through the sink and tells which were acknowledged.

It prints ``ready`` when the sink is open, then the number of each acknowledged line, on standard output.
Run as ``python -m tests.torture.writer PATH FIRST [--lines N] [--rate N] [--retry SECONDS] [--file-size N]``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from crawler.records import Record
from crawler.sinks.config import OutputConfig
from tests.sinks.lines import WatchedSink, found

if TYPE_CHECKING:
    from collections.abc import Iterable

_EACH = 10  # lines that come at once


def main() -> None:
    """Write until all is written, or for ever."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("first", type=int)
    parser.add_argument("--lines", type=int, default=1 << 60)
    parser.add_argument("--rate", type=float, default=2000.0, help="lines a second")
    parser.add_argument("--retry", type=float, default=1.0)
    parser.add_argument("--file-size", type=int, default=0, help="no file may grow beyond so many bytes")
    wanted = parser.parse_args()
    if wanted.file_size:
        import resource  # noqa: PLC0415 - not every system has it

        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted.file_size, wanted.file_size))
    trio.run(_write, wanted)


async def _write(wanted: argparse.Namespace) -> None:
    config = OutputConfig(flush_interval=0.02, max_batch=40, retry_first=wanted.retry)
    sink = WatchedSink(wanted.path, config, _say, acknowledged=_tell)
    os.write(1, b"ready\n")
    sender, receiver = trio.open_memory_channel[list[Record]](64)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        with sender:
            began, last = trio.current_time(), wanted.first + wanted.lines
            for number in range(wanted.first, last, _EACH):
                await sender.send([found(number, min(_EACH, last - number))])
                await trio.sleep_until(began + (number - wanted.first) / wanted.rate)
    sink.close()


def _tell(numbers: Iterable[int]) -> None:
    os.write(1, "".join(f"{number}\n" for number in numbers).encode())


def _say(event: str, **fields: object) -> None:
    os.write(2, f"{event} {fields}\n".encode())


if __name__ == "__main__":
    main()
