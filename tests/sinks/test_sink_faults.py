"""A disk that fails at its n-th call, for every n: nothing acknowledged is lost or torn, and it goes on."""

# ruff: noqa: ARG001, ASYNC240 - pytest-trio takes the clock from a test's arguments; test files are small

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crawler.sinks.config import OutputConfig
from tests.sinks.lines import Log, WatchedSink, numbers_in, run_in_line, write_numbers
from tests.sinks.memory_disk import MemoryDisk

if TYPE_CHECKING:
    from pathlib import Path

BATCHES, EACH = 60, 3
LONGEST_STANDSTILL = 60.0
EVERY = range(1, 51)


@pytest.fixture(autouse=True)
def threads_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run threads in line, as virtual time needs it."""
    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_line)


async def survive(disk: MemoryDisk, tmp_path: Path) -> WatchedSink:
    """Write to ``disk`` until all is acknowledged; every number must be in its files, each line whole."""
    sink = WatchedSink(tmp_path / "out", OutputConfig(flush_interval=0.1, max_batch=1), Log(), disk=disk)
    began = trio.current_time()
    await write_numbers(sink, BATCHES, EACH)
    assert trio.current_time() - began < LONGEST_STANDSTILL

    assert sink.acknowledged == list(range(BATCHES * EACH))
    found = [number for name in disk.names for number in numbers_in(disk.content(name))]
    assert sorted(found) == sink.acknowledged, "lost, or there twice"
    sink.close()
    return sink


@pytest.mark.parametrize("number", EVERY)
async def test_a_sync_that_fails(tmp_path: Path, number: int, autojump_clock: trio.testing.MockClock) -> None:
    """After a failed sync the batch goes to a new file, which raises the alarm; the old one is put aside."""
    disk = MemoryDisk(faults={("sync", number): errno.EIO})
    sink = await survive(disk, tmp_path)

    counts = sink.statistics()
    assert (counts.alarms, counts.failures, counts.lines_rewritten) == (1, 1, EACH)
    aside = [name for name in disk.names if name.endswith(".failed")]
    assert len(aside) == (number > 1), "an empty file is of no use to anybody"
    assert len(disk.names) == 1 + len(aside)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
async def test_any_error_of_a_sync_is_final(
    tmp_path: Path, error: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever a failed sync blames, its descriptor is not trusted again."""
    sink = await survive(MemoryDisk(faults={("sync", 7): error}), tmp_path)

    assert sink.statistics().alarms == 1


@pytest.mark.parametrize("number", EVERY)
async def test_a_write_without_room(
    tmp_path: Path, number: int, autojump_clock: trio.testing.MockClock
) -> None:
    """A write without room is tried again where it stopped, in the same file; one alarm is raised."""
    disk = MemoryDisk(faults={("write", number): errno.ENOSPC}, most=200)
    sink = await survive(disk, tmp_path)

    counts = sink.statistics()
    assert (counts.alarms, counts.failures, counts.lines_rewritten) == (1, 1, 0)
    assert len(disk.names) == 1


@pytest.mark.parametrize("number", EVERY)
async def test_a_write_that_fails(
    tmp_path: Path, number: int, autojump_clock: trio.testing.MockClock
) -> None:
    """A write that fails for another reason than room, in the midst of a batch too, goes to a new file."""
    sink = await survive(MemoryDisk(faults={("write", number): errno.EIO}, most=200), tmp_path)

    counts = sink.statistics()
    assert (counts.alarms, counts.failures) == (1, 1)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", ["open_to_append", "sync_directory", "rename", "truncate", "unlink", "sync"])
async def test_trouble_on_top_of_trouble(
    tmp_path: Path, call: str, error: int, autojump_clock: trio.testing.MockClock
) -> None:
    """While a failed file is being replaced anything else may fail as well."""
    for number in range(1, 6):
        faults = {("write", n): errno.EIO for n in (3, 7)} | {("sync", n): errno.EIO for n in (5, 9)}
        faults |= {(call, n + number): error for n in (2, 3)}
        await survive_at_least_once(MemoryDisk(faults=faults, most=200), tmp_path / f"{call}{number}")


async def survive_at_least_once(disk: MemoryDisk, directory: Path) -> None:
    """Write to ``disk``, which may keep a batch twice; nothing may be missing, and every line is whole."""
    directory.mkdir()
    sink = WatchedSink(directory / "out", OutputConfig(flush_interval=0.1, max_batch=1), Log(), disk=disk)
    await write_numbers(sink, 20, EACH)
    sink.close()

    assert sink.acknowledged == list(range(20 * EACH))
    found = {n for name in disk.names for n in numbers_in(disk.content(name))}
    assert found == set(sink.acknowledged)


async def test_a_disk_that_fails_for_hours(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A disk that never syncs is tried once a minute; no heap of empty files grows beside the output."""
    disk = MemoryDisk(faults={("sync", n): errno.EIO for n in range(4, 400)})
    sink = WatchedSink(tmp_path / "out", OutputConfig(flush_interval=0.1, max_batch=1), Log(), disk=disk)
    with trio.move_on_after(3 * 3600):
        await write_numbers(sink, 20)

    counts = sink.statistics()
    assert 180 <= counts.alarms <= 190
    assert (counts.lines_written, counts.lines_held) == (9, 3)
    assert counts.trouble == "Input/output error"
    assert len(disk.names) <= 2


async def test_a_full_disk_resumes_within_a_minute(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """However long the disk was full, lines flow again at most a minute after there is room."""
    room_at = 1000.0
    disk = MemoryDisk(is_full=lambda: 10 < trio.current_time() < room_at)
    sink = WatchedSink(tmp_path / "out", OutputConfig(), Log(), disk=disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_numbers, sink, 40, 3, 1.0)
        await trio.sleep(room_at - 1)
        held = sink.statistics()
        assert held.lines_held > 0
        assert held.trouble == "No space left on device"
        await trio.sleep(LONGEST_STANDSTILL + 2)
        assert sink.statistics().lines_written > held.lines_written

    assert numbers_in(disk.content(str(tmp_path / "out"))) == sink.acknowledged == list(range(120))
    assert sink.statistics().trouble == ""


async def test_a_deleted_file_gives_its_room_back(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Who removes the file to make room need not restart us: the batch that waits goes to a new file."""
    path = str(tmp_path / "out")
    disk = MemoryDisk()
    disk.is_full = lambda: trio.current_time() > 5 and path in disk.names and disk.names[path].size > 1000
    sink = WatchedSink(tmp_path / "out", OutputConfig(), Log(), disk=disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_numbers, sink, 30, 3, 1.0)
        await trio.sleep(20)
        written = sink.statistics().lines_written
        disk.unlink(path)
        await trio.sleep(LONGEST_STANDSTILL)
        assert sink.statistics().lines_written > written
        nursery.cancel_scope.cancel()

    assert sink.statistics().reopened == 1
