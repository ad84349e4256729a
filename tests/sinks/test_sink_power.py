"""Power cuts: whatever moment it is, what was acknowledged is on the platters."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import errno
import random
import re
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crawler.sinks.config import OutputConfig
from tests.sinks.lines import Log, WatchedSink, numbers_in, run_in_line, write_numbers
from tests.sinks.memory_disk import MemoryDisk

if TYPE_CHECKING:
    from pathlib import Path

BATCHES, EACH = 250, 3
CUTS = 1000

_NUMBER = re.compile(rb'"infohash":"([0-9a-f]{40})"[^\n]*\n')


@pytest.fixture(autouse=True)
def threads_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run threads in line, as virtual time needs it."""
    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_line)


def troubled_disk(rng: random.Random) -> MemoryDisk:
    """Return a disk with short writes, and now and then a failure of each kind."""
    faults = {("sync", n): errno.EIO for n in rng.sample(range(2, 230), 6)}
    faults |= {("write", n): rng.choice([errno.ENOSPC, errno.EIO]) for n in rng.sample(range(2, 900), 12)}
    return MemoryDisk(faults=faults, most=150)


def sink_on(disk: MemoryDisk, directory: Path) -> WatchedSink:
    """Return a sink on ``disk`` that syncs and rotates often."""
    config = OutputConfig(flush_interval=0.1, max_batch=1, rotate_size=3000, compress="none")
    return WatchedSink(directory / "out", config, Log(), disk=disk)


async def write_through_renames(sink: WatchedSink, disk: MemoryDisk, path: str) -> None:
    """Write all numbers while others rename the file now and then."""

    async def rename_it() -> None:
        for number in range(1000):
            await trio.sleep(4)
            if path in disk.names:
                disk.rename(path, f"{path}.by-hand.{number}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rename_it)
        await write_numbers(sink, BATCHES, EACH, 0.2)
        nursery.cancel_scope.cancel()


def on_platters(files: dict[str, bytes]) -> set[int]:
    """Return the numbers of all whole lines."""
    return {int(number, 16) for data in files.values() for number in _NUMBER.findall(data)}


@pytest.mark.parametrize("seed", [1, 2])
async def test_power_cuts(tmp_path: Path, seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """At each of 1,000 moments, every suffix dropped that was not synced, nothing acknowledged is lost."""
    disk = troubled_disk(random.Random(seed))
    sink = sink_on(disk, tmp_path)
    lost = []

    def cut() -> None:
        lost.append(len(set(sink.acknowledged) - on_platters(disk.after_cut())))

    disk.after_call = cut
    await write_through_renames(sink, disk, str(tmp_path / "out"))

    assert len(lost) >= CUTS
    assert sum(lost) == 0
    counts = sink.statistics()
    assert counts.alarms >= 6
    assert counts.rotated >= 3
    assert counts.reopened >= 3


async def test_starting_after_a_power_cut(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """What reached the platters by luck, torn or as zeros, is mended at the start."""
    rng = random.Random(3)
    disk = troubled_disk(rng)
    sink = sink_on(disk, tmp_path)
    path = str(tmp_path / "out")
    mended = 0

    def cut() -> None:
        nonlocal mended
        left = disk.after_lucky_cut(rng)
        again = sink_on(left, tmp_path)
        again.close()
        mended += again.statistics().torn
        numbers_in(left.content(path))
        files = {name: left.content(name) for name in left.names if not name.endswith(".torn")}
        assert set(sink.acknowledged) <= on_platters(files)

    disk.after_call = cut
    await write_through_renames(sink, disk, path)
    assert mended > 100


def test_a_sync_that_lies() -> None:
    """The disk of these tests is no ornament: trying a failed sync again, as we don't, would lose lines."""
    disk = MemoryDisk(faults={("sync", 1): errno.EIO})
    fd = disk.open_to_append("/out")
    disk.write(fd, b"a line\n")
    with pytest.raises(OSError, match="Input/output"):
        disk.sync(fd)
    disk.sync(fd)
    disk.sync_directory("/")

    assert disk.after_cut() == {"/out": bytes(7)}
