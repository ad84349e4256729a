"""The JSONL sink: whole lines, in order, none lost, none twice, whatever the disk does."""

# ruff: noqa: ARG001, ASYNC240 - pytest-trio takes the clock from a test's arguments; test files are small

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crawler.records import PeersFound, Record
from crawler.sinks.base import ReaderGoneError, SinkError
from crawler.sinks.config import OutputConfig
from crawler.sinks.jsonl import JsonlSink
from tests.sinks.flaky_disk import FlakyDisk
from tests.sinks.lines import NODE, Log, found, run_in_line

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def log() -> Log:
    """A log that is still empty."""
    return Log()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FlakyDisk:
    """The disk that every sink of the test writes to; it works until told otherwise."""
    return FlakyDisk().install(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the sink writes."""
    return tmp_path / "out.jsonl"


@pytest.fixture
def sink(path: Path, log: Log) -> Iterator[JsonlSink]:
    """An open sink."""
    sink = JsonlSink(str(path), OutputConfig(flush_interval=0.25), log)
    yield sink
    sink.close()


def numbers(path: Path) -> list[int]:
    """Return the numbers of the infohashes in a file, each line parsed."""
    return [int(json.loads(line)["infohash"], 16) for line in path.read_bytes().splitlines()]


async def write(sink: JsonlSink, *batches: list[Record]) -> None:
    """Run ``sink`` on some batches until it returns."""
    sender, receiver = trio.open_memory_channel[list[Record]](len(batches))
    for batch in batches:
        sender.send_nowait(batch)
    sender.close()
    await sink.run(receiver)


async def write_and_close(sink: JsonlSink, *batches: list[Record]) -> None:
    """Run ``sink`` on some batches and close it."""
    await write(sink, *batches)
    sink.close()


async def test_records_become_lines(sink: JsonlSink, path: Path) -> None:
    """Each record is one line of JSON, `type` first, in the order in which it came."""
    peers = PeersFound(1767225600.5, b"\xab" * 20, "announce", (NODE, b"\x00" * 15 + b"\x01\x00\x50"))
    await write(sink, [found(1, 2)], [peers])

    assert path.read_text() == (
        '{"type":"infohash","ts":"2026-01-01T00:00:00.000Z","infohash":"' + "0" * 39 + '1",'
        '"source":"sample","node":"1.2.3.4:6881"}\n'
        '{"type":"infohash","ts":"2026-01-01T00:00:00.000Z","infohash":"' + "0" * 39 + '2",'
        '"source":"sample","node":"1.2.3.4:6881"}\n'
        '{"type":"peers","ts":"2026-01-01T00:00:00.500Z","infohash":"' + "ab" * 20 + '",'
        '"source":"announce","peers":["1.2.3.4:6881","[::1]:80"]}\n'
    )


async def test_lines_are_appended(path: Path, log: Log) -> None:
    """An earlier run's lines stay, and another program's, even if it writes meanwhile."""
    path.write_text("first\n")
    sink = JsonlSink(str(path), OutputConfig(), log)
    await write(sink, [found(1)])
    with path.open("a") as other:
        other.write("other\n")
    await write(sink, [found(2)])
    sink.close()

    lines = path.read_text().splitlines()
    assert (lines[0], lines[2]) == ("first", "other")
    assert (len(lines[1]), len(lines[3]), len(lines)) == (len(lines[1]), len(lines[1]), 4)


async def test_one_write_for_what_came_together(
    sink: JsonlSink, disk: FlakyDisk, path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Batches that come within the flush interval leave in one write; a lone line waits no longer."""
    sender, receiver = trio.open_memory_channel[list[Record]](10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        for number in range(4):
            await sender.send([found(number)])
            await trio.sleep(0.05)
        await trio.sleep(0.1)
        assert numbers(path) == [0, 1, 2, 3]
        assert len(disk.sizes) == 1
        await sender.send([found(4)])
        await trio.sleep(0.2501)
        assert numbers(path) == [0, 1, 2, 3, 4]
        sender.close()


async def test_a_full_batch_does_not_wait(
    path: Path, log: Log, disk: FlakyDisk, autojump_clock: trio.testing.MockClock
) -> None:
    """As soon as there are enough lines they are written."""
    sink = JsonlSink(str(path), OutputConfig(max_batch=10, flush_interval=100.0), log)
    sender, receiver = trio.open_memory_channel[list[Record]](10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        await sender.send([found(0, 6)])
        await sender.send([found(6, 6)])
        await trio.sleep(1)
        assert len(numbers(path)) == 12
        sender.close()
    sink.close()


@pytest.mark.parametrize("most", [1, 7, 100, 131])
async def test_short_writes_are_finished(
    sink: JsonlSink, disk: FlakyDisk, path: Path, autojump_clock: trio.testing.MockClock, most: int
) -> None:
    """However little one write takes, every line ends whole and once, without a pause."""
    disk.most = most
    await write(sink, [found(0, 20)])

    assert numbers(path) == list(range(20))
    assert max(disk.sizes) <= most
    assert trio.current_time() < 1


async def test_a_full_disk_is_tried_again(
    sink: JsonlSink, disk: FlakyDisk, path: Path, log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    """A full disk is tried slower and slower, which is said; in the end no line is lost or there twice."""
    disk.most, disk.error = 50, errno.ENOSPC

    async def clean_up() -> None:
        await trio.sleep(300)
        disk.error = 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(clean_up)
        await write(sink, [found(0, 3)], [found(3, 3)])

    pauses = [fields["retry_in"] for _, fields in log.events]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert {event for event, _ in log.events} == {"sink.write_failed"}
    assert log.events[0][1]["problem"] == "No space left on device"
    assert numbers(path) == list(range(6))
    assert sink.statistics().failures == 10


async def test_a_disk_that_fills_in_the_midst_of_a_line(
    sink: JsonlSink, disk: FlakyDisk, path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A line that was half written when the disk filled up is finished, not begun again."""
    disk.most, disk.every = 70, 3
    await write(sink, [found(0, 10)])

    assert numbers(path) == list(range(10))
    assert sink.statistics().failures > 3


async def test_the_pause_starts_anew_after_success(
    sink: JsonlSink, disk: FlakyDisk, log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    """Trouble long ago does not make the sink slow to try again."""
    sender, receiver = trio.open_memory_channel[list[Record]](10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        for number in range(2):
            disk.error = errno.EDQUOT
            await sender.send([found(number)])
            await trio.sleep(5)
            disk.error = 0
            await trio.sleep(60)
        sender.close()

    assert [fields["retry_in"] for _, fields in log.events] == [1, 2, 4, 1, 2, 4]


async def test_the_books_balance_at_every_moment(
    sink: JsonlSink, disk: FlakyDisk, autojump_clock: trio.testing.MockClock
) -> None:
    """Lines in = lines written + lines held, in the midst of trouble and at the end."""
    disk.error = errno.ENOSPC
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await write(sink, [found(0, 4)], [PeersFound(0.0, bytes(20), "get_peers", (NODE,))])

        nursery.start_soon(run)
        await trio.sleep(10)
        held = sink.statistics()
        assert (held.lines_in, held.lines_written, held.lines_held, held.bytes_written) == (5, 0, 5, 0)
        disk.error = 0

    done = sink.statistics()
    assert (done.lines_in, done.lines_written, done.lines_held) == (5, 5, 0)
    assert done.bytes_written == sum(disk.sizes)
    assert done.writes == len(disk.sizes)


async def test_a_reader_that_is_gone_ends_the_sink(log: Log) -> None:
    """When nobody reads the pipe any more there is one exception for it, and no retry."""
    read_end, write_end = os.pipe()
    sink = JsonlSink(f"/dev/fd/{write_end}", OutputConfig(), log)
    os.close(read_end)
    with pytest.raises(ReaderGoneError):
        await write(sink, [found(0)])
    os.close(write_end)
    sink.close()

    assert log.events == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")
async def test_a_pipe_that_nobody_reads_yet(path: Path, log: Log) -> None:
    """A named pipe without a reader holds up neither start nor task, and gets every line once it is read."""
    os.mkfifo(path)
    sink = JsonlSink(str(path), OutputConfig(flush_interval=0.01, retry_first=0.01, retry_longest=0.05), log)
    problem = "nobody reads this pipe yet"
    assert log.events == [("sink.not_opened_yet", {"path": str(path), "problem": problem})]

    records: list[Record] = [found(0, 3)]

    async def read_late() -> bytes:
        with trio.fail_after(5):
            while sink.statistics().failures < 2:  # noqa: ASYNC110 - a count has no Event
                await trio.sleep(0.01)
        assert sink.statistics().trouble == problem
        return await trio.to_thread.run_sync(path.read_bytes)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_and_close, sink, records)
        received = await read_late()

    assert [int(json.loads(line)["infohash"], 16) for line in received.splitlines()] == [0, 1, 2]
    counts = sink.statistics()
    assert (counts.alarms, counts.trouble, counts.lines_held) == (1, "", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")
async def test_a_pipe_is_opened_with_nothing_to_write(path: Path, log: Log) -> None:
    """Its reader may come and wait for the first line; the sink is out of trouble as soon as it has come."""
    os.mkfifo(path)
    sink = JsonlSink(str(path), OutputConfig(), log)
    sender, receiver = trio.open_memory_channel[list[Record]](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        with trio.fail_after(5):
            while not sink.statistics().trouble:  # noqa: ASYNC110 - it has no Event
                await trio.sleep(0.01)
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            while sink.statistics().trouble:  # noqa: ASYNC110 - it has no Event
                await trio.sleep(0.01)
        sender.close()
    sink.close()
    os.close(reader)


async def test_a_slow_reader_holds_up_nobody_else(log: Log) -> None:
    """While a full pipe blocks the write, other tasks run on, and all arrives when it is read."""
    read_end, write_end = os.pipe()
    sink = JsonlSink(f"/dev/fd/{write_end}", OutputConfig(), log)
    os.close(write_end)
    received = b""
    records: list[Record] = [found(0, 2000)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, sink, records)
        with trio.fail_after(5):
            await trio.sleep(0.05)
            os.set_blocking(read_end, False)
            while len(received.splitlines()) < 2000 or not received.endswith(b"\n"):
                try:
                    received += os.read(read_end, 1 << 16)
                except BlockingIOError:
                    await trio.sleep(0.01)
    sink.close()
    os.close(read_end)

    assert [int(json.loads(line)["infohash"], 16) for line in received.splitlines()] == list(range(2000))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
async def test_a_device_that_is_full(
    log: Log, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's own full device is a write error like any other."""
    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_line)
    sink = JsonlSink("/dev/full", OutputConfig(), log)
    with trio.move_on_after(4):
        await write(sink, [found(0)])
    sink.close()

    assert [fields["problem"] for _, fields in log.events] == ["No space left on device"] * 3


async def test_stdout_is_written_and_stays_open(capfd: pytest.CaptureFixture[str], log: Log) -> None:
    """`-` writes to standard output, which closing the sink leaves open."""
    sink = JsonlSink("-", OutputConfig(), log)
    await write(sink, [found(7)])
    sink.close()
    os.write(1, b"still open\n")

    first, second = capfd.readouterr().out.splitlines()
    assert json.loads(first)["infohash"] == "0" * 39 + "7"
    assert second == "still open"


async def test_a_file_needs_no_stdout(path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon started with its standard output closed writes its file and closes it."""
    monkeypatch.setattr(sys, "stdout", None)
    sink = JsonlSink(str(path), OutputConfig(), log)
    await write(sink, [found(1)])
    sink.close()

    assert numbers(path) == [1]


def test_a_closed_stdout_cannot_be_written_to(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for standard output where there is none is a mistake of the caller's, told in one line."""
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SinkError, match="standard output: it is closed"):
        JsonlSink("-", OutputConfig(), log)


@pytest.mark.parametrize("name", ["missing/out.jsonl", "."])
def test_an_output_that_cannot_be_opened_is_one_line(tmp_path: Path, log: Log, name: str) -> None:
    """A path that cannot be opened is named in one line, with the reason."""
    path = str(tmp_path / name)
    with pytest.raises(SinkError, match="for writing") as caught:
        JsonlSink(path, OutputConfig(), log)

    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_nothing_to_write_writes_nothing(sink: JsonlSink, path: Path) -> None:
    """A crawl that finds nothing leaves an empty file."""
    await write(sink)

    assert path.read_bytes() == b""
    assert sink.statistics().writes == 0
