"""What a line on the disk costs: lines per CPU-second through the sink, beside what could be had for less.

Everything is measured in one run on one disk, each row in a process of its own:

- `cat` of a finished file to another, the floor;
- Python's buffered write of finished lines, without a sync;
- making the lines from records, written nowhere;
- the sink: records in, made into lines, written and synced in batches, with the default settings.

Then the time from the hand-over of a record to its acknowledgement, at two rates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from crawler.records import InfohashesFound, Record
from crawler.sinks.config import OutputConfig
from crawler.sinks.jsonl import JsonlSink

if TYPE_CHECKING:
    from collections.abc import Callable

_LINES = 1_000_000
_EACH = 20  # infohashes of one answer
_TOGETHER = 20  # answers that leave the outlet at once
_PROBE_SECONDS = 5.0


def records(count: int) -> list[Record]:
    """Return records that make ``count`` lines."""
    made: list[Record] = []
    for first in range(0, count, _EACH):
        infohashes = tuple(number.to_bytes(20, "big") for number in range(first, first + _EACH))
        made.append(InfohashesFound(1767225600.0 + first, "sample", first.to_bytes(6, "big"), infohashes))
    return made


def by_cat(source: Path, target: Path) -> float:
    """Return the CPU seconds of `cat`."""
    before = os.times()
    with target.open("wb") as file:
        subprocess.run(["cat", str(source)], stdout=file, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def by_write(source: Path, target: Path) -> float:
    """Return the CPU seconds of Python's buffered write, line by line."""
    lines = source.read_bytes().splitlines(keepends=True)
    began = time.process_time()
    with target.open("wb") as file:
        for line in lines:
            file.write(line)
    return time.process_time() - began


def by_making(_source: Path, _target: Path) -> float:
    """Return the CPU seconds of making lines of records."""
    made = records(_LINES)
    began = time.process_time()
    for record in made:
        record.lines()
    return time.process_time() - began


def by_sink(_source: Path, target: Path) -> float:
    """Return the CPU seconds of the sink, its threads and its share of Trio."""
    made = records(_LINES)

    async def write() -> None:
        sink = JsonlSink(str(target), OutputConfig(), print)
        sender, receiver = trio.open_memory_channel[list[Record]](64)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.run, receiver)
            with sender:
                for first in range(0, len(made), _TOGETHER):
                    await sender.send(made[first : first + _TOGETHER])
        print(f"  (the sink synced {sink.statistics().writes} batches)", file=sys.stderr)  # noqa: T201
        sink.close()

    began = time.process_time()
    trio.run(write)
    return time.process_time() - began


def delays(target: Path, rate: float) -> dict[str, float]:
    """Return percentiles of the seconds from hand-over to acknowledgement at ``rate`` lines a second."""
    handed: list[tuple[int, float]] = []
    waited: list[float] = []

    def note() -> None:
        now = time.perf_counter()
        while handed and handed[0][0] <= sink.lines_written:
            waited.append(now - handed.pop(0)[1])

    sink = JsonlSink(str(target), OutputConfig(), print, on_written=note)

    async def write() -> None:
        sender, receiver = trio.open_memory_channel[list[Record]](64)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.run, receiver)
            with sender:
                began, sent = trio.current_time(), 0
                for record in records(int(rate * _PROBE_SECONDS)):
                    await trio.sleep_until(began + sent / rate)
                    sent += len(record)
                    handed.append((sent, time.perf_counter()))
                    await sender.send([record])
        sink.close()

    trio.run(write)
    waited.sort()
    return {"p50": waited[len(waited) // 2], "p99": waited[len(waited) * 99 // 100]}


ROWS: dict[str, Callable[[Path, Path], float]] = {
    "cat > file": by_cat,
    "Python write, no sync": by_write,
    "records into lines, not written": by_making,
    "the sink, synced": by_sink,
}


def main() -> None:
    """Print the table; with ``--row``, measure one row for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=None, help="where to write (the system's for this)")
    parser.add_argument("--row", choices=ROWS)
    parser.add_argument("--source", type=Path)
    wanted = parser.parse_args()
    if wanted.row:
        print(json.dumps(ROWS[wanted.row](wanted.source, wanted.source.with_name("target"))))  # noqa: T201
        return
    with tempfile.TemporaryDirectory(dir=wanted.directory) as directory:
        _compare(Path(directory))


def _compare(directory: Path) -> None:
    source = directory / "source"
    source.write_bytes(b"".join(record.lines() for record in records(_LINES)))
    size = source.stat().st_size
    print(f"{_LINES:,} lines, {size / 1e6:.0f} MB; lines per CPU-second:")  # noqa: T201 - the command's output
    for row in ROWS:
        command = [sys.executable, __file__, "--row", row, "--source", str(source)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        (directory / "target").unlink(missing_ok=True)
        print(f"  {row:34}{_LINES / json.loads(done.stdout):14,.0f}")  # noqa: T201
    print("seconds from hand-over to the disk, default settings:")  # noqa: T201
    for rate in (100.0, 1000.0, 20_000.0):
        told = delays(directory / f"rate-{rate:.0f}", rate)
        print(f"  at {rate:8,.0f} lines/s    p50 {told['p50']:.3f}    p99 {told['p99']:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
