"""The file of the sink on a real disk: its lock, its mended end, and names that change under it."""

# ruff: noqa: ASYNC240 - the files of tests are small

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from crawler import cli
from crawler.records import Record
from crawler.sinks import tail
from crawler.sinks.base import SinkError
from crawler.sinks.config import OutputConfig
from crawler.sinks.disk import Disk
from tests.sinks.lines import Log, WatchedSink, found, numbers_at, numbers_in, until, write_numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = OutputConfig(flush_interval=0.005, max_batch=20)
# A machine that stood still for a moment says nothing of the sink: the quickest of so many counts.
TRIES = 3

posix = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks and renames on Windows")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the sink writes."""
    return tmp_path / "out.jsonl"


@posix
def test_a_second_writer_is_refused(path: Path) -> None:
    """While one sink has the file, another is refused in one line; afterwards the next may have it."""
    first = WatchedSink(path, QUICK, Log())
    with pytest.raises(SinkError, match="another process is writing it") as caught:
        WatchedSink(path, QUICK, Log())
    assert str(path) in str(caught.value)
    first.close()
    WatchedSink(path, QUICK, Log()).close()


@posix
def test_a_second_daemon_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line says so on stderr, and ends with the code of bad input."""
    first = WatchedSink(path, QUICK, Log())
    assert cli.main(["--out", str(path), "--listen", "127.0.0.1:0", "--duration", "1"]) == 2
    first.close()

    [line] = capsys.readouterr().err.splitlines()
    assert "another process is writing it" in line


async def test_a_torn_line_is_kept_aside(path: Path) -> None:
    """A last line without its end is cut off, kept in .torn after those before it, and reported."""
    whole = found(7).lines()
    for torn in (b'{"type":"info', b'{"ty'):
        path.write_bytes(whole + torn)
        log = Log()
        sink = WatchedSink(path, QUICK, log)
        await write_numbers(sink, 1, 2)
        sink.close()
        assert log.of("sink.torn_line") == [
            {"path": str(path), "bytes": len(torn), "kept_as": f"{path}.torn"},
        ]
        assert numbers_in(path.read_bytes()) == [7, 0, 1]
        assert sink.statistics().torn == 1

    assert path.with_name("out.jsonl.torn").read_bytes() == b'{"type":"info\n{"ty\n'


def test_zeros_are_no_lines(path: Path) -> None:
    """Zeros that a power cut left are cut off with all that follows them."""
    path.write_bytes(found(1).lines() + bytes(5000) + b'"}\n' + found(2).lines())
    WatchedSink(path, QUICK, Log()).close()

    assert numbers_in(path.read_bytes()) == [1]


def test_what_cannot_be_ours_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without a line end where one must be is refused and not touched: it is the wrong one."""
    monkeypatch.setattr(tail, "_WINDOW", 100)
    monkeypatch.setattr(tail, "_LONGEST_TAIL", 800)
    path.write_bytes(b"x" * 2000)
    with pytest.raises(SinkError, match="no line end"):
        WatchedSink(path, QUICK, Log())

    assert path.read_bytes() == b"x" * 2000
    path.write_bytes(b"a\n" + b"x" * 700)
    WatchedSink(path, QUICK, Log()).close()
    assert path.read_bytes() == b"a\n"


async def test_a_start_on_a_full_disk_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no room to keep the torn line the daemon starts all the same, and writes when there is."""
    path.write_bytes(b'{"type":"info')
    log, full = Log(), [True]
    write = Disk.write

    def write_if_room(disk: Disk, fd: int, data: bytes) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(disk, fd, data)

    monkeypatch.setattr(Disk, "write", write_if_room)
    sink = WatchedSink(path, OutputConfig(flush_interval=0.005, retry_first=0.01), log)
    assert [event for event, _ in log.events] == ["sink.not_opened_yet"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_numbers, sink, 1)
        await trio.sleep(0.02)
        full[0] = False
    sink.close()

    assert numbers_in(path.read_bytes()) == [0, 1, 2]


@pytest.mark.skipif(not hasattr(os, "symlink") or sys.platform == "win32", reason="needs symbolic links")
async def test_a_link_is_not_renamed(tmp_path: Path) -> None:
    """An output that is a link is rotated where it leads to."""
    (tmp_path / "data").mkdir()
    link, real = tmp_path / "link.jsonl", tmp_path / "data" / "out.jsonl"
    link.symlink_to(real)
    sink = WatchedSink(link, OutputConfig(flush_interval=0.005, rotate_size=500, compress="none"), Log())
    await write_numbers(sink, 9, pause=0.02)
    sink.close()

    assert link.is_symlink()
    assert sorted(numbers_at(real)) == list(range(27))
    assert sink.statistics().rotated > 3


async def under_load(sink: WatchedSink, disturb: Callable[[int], None], times: int) -> int:
    """Write without a pause while ``disturb`` is called so often; return how many lines were written."""
    sender, receiver = trio.open_memory_channel[list[Record]](4)
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)

        async def disturb_often() -> None:
            for number in range(times):
                await trio.to_thread.run_sync(disturb, number)
                await trio.sleep(0.01)
            await trio.lowlevel.checkpoint()
            stop.set()

        stop = trio.Event()
        nursery.start_soon(disturb_often)
        with sender:
            while not stop.is_set():
                await sender.send([found(sent, 10)])
                sent += 10
                await trio.sleep(0.002)
    sink.close()
    return sent


@posix
@pytest.mark.parametrize("signalled", [True, False])
async def test_renames_under_load(path: Path, signalled: bool) -> None:
    """A hundred times renamed and created anew, with and without a signal: no line is lost or there twice."""
    sink = WatchedSink(path, QUICK, Log())

    def rotate(number: int) -> None:
        path.rename(path.with_name(f"out.jsonl.{number}"))
        path.touch()
        if signalled:
            sink.reopen()

    sent = await under_load(sink, rotate, 100)

    assert sent > 500
    assert sorted(numbers_at(path)) == sink.acknowledged == list(range(sent))
    assert sink.statistics().reopened > 50


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")
async def test_logrotate_under_load(path: Path) -> None:
    """A hundred rotations by logrotate itself, with create, lose nothing; it meets no file of ours."""
    settings, state = path.with_name("rotate.conf"), path.with_name("state")
    settings.write_text(f"{path} {{\n rotate 1000\n create 0644\n nocompress\n}}\n")
    settings.chmod(0o600)
    sink = WatchedSink(path, QUICK, Log())
    complaints = []

    def rotate(number: int) -> None:
        command = ["logrotate", "--force", "--state", str(state), str(settings)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        complaints.append(done.stderr)
        if number % 2:
            sink.reopen()

    sent = await under_load(sink, rotate, 100)

    assert "".join(complaints) == ""
    assert sorted(numbers_at(path)) == sink.acknowledged == list(range(sent))
    assert len(list(path.parent.glob("out.jsonl.*"))) == 100
    assert sink.statistics().reopened > 50


async def seconds_until(condition: Callable[[], bool]) -> float:
    """Wait until ``condition`` is met, and return how long that took."""
    began = trio.current_time()
    with trio.fail_after(20):
        await until(condition)
    return trio.current_time() - began


@posix
@pytest.mark.parametrize("signalled", [True, False])
async def test_a_rename_is_followed_within_a_second(path: Path, signalled: bool) -> None:
    """With nothing to write, a file that was moved away is there anew within a second, or at the signal."""
    sink = WatchedSink(path, QUICK, Log())
    sender, receiver = trio.open_memory_channel[list[Record]](4)
    took = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        await trio.sleep(0.01)
        for _ in range(TRIES):
            path.rename(path.with_name("moved"))
            if signalled:
                sink.reopen()
            took.append(await seconds_until(path.exists))
        sender.close()
    sink.close()
    assert min(took) < (0.7 if signalled else 1.0)


@posix
@pytest.mark.parametrize("created", [True, False])
async def test_a_rename_is_followed_while_lines_gather(path: Path, created: bool) -> None:
    """However long lines gather, and while more keep coming, a new file is taken within a second."""
    sink = WatchedSink(path, OutputConfig(flush_interval=30.0, max_batch=100_000), Log())
    sender, receiver = trio.open_memory_channel[list[Record]](4)
    took = []

    def reopened(times: int) -> Callable[[], bool]:
        return lambda: sink.statistics().reopened == times

    async def trickle() -> None:
        for number in itertools.count():
            await sender.send([found(number)])
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        nursery.start_soon(trickle)
        await trio.sleep(0.3)
        for number in range(1, TRIES + 1):
            path.rename(path.with_name("moved"))
            if created:
                path.touch()
            took.append(await seconds_until(reopened(number)))
        nursery.cancel_scope.cancel()
    assert min(took) < 1.0
    assert sink.statistics().lines_written == 0
    sink.close()


@posix
async def test_a_path_that_cannot_be_opened_any_more_raises_one_alarm(path: Path) -> None:
    """With the file and its directory gone the sink is in trouble at once, and again well when it is back."""
    sink = WatchedSink(path, QUICK, Log())
    sender, receiver = trio.open_memory_channel[list[Record]](4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        await trio.sleep(0.01)
        shutil.rmtree(path.parent)
        with trio.fail_after(5):
            await until(lambda: bool(sink.statistics().trouble))
            await trio.sleep(0.6)
            assert sink.statistics().alarms == 1
            path.parent.mkdir()
            await until(lambda: not sink.statistics().trouble)
        sender.close()
    assert path.exists()
    assert sink.statistics().alarms == 1
    sink.close()


@posix
async def test_a_file_locked_by_others_after_a_rename(path: Path) -> None:
    """When somebody else writes what is at the path now, lines still go where they went, and that is said."""
    log = Log()
    sink = WatchedSink(path, QUICK, log)
    path.rename(path.with_name("out.jsonl.old"))
    other = WatchedSink(path, QUICK, Log())
    await write_numbers(sink, 3)
    assert numbers_in(path.with_name("out.jsonl.old").read_bytes()) == list(range(9))
    assert {fields["problem"] for fields in log.of("sink.reopen_failed")} == {"another process is writing it"}
    other.close()
    sink.close()
