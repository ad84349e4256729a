"""Several outputs at once: each gets all, and one that is slow, full or gone stops none of the others."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crawler import cli, config
from crawler.daemon import signalling
from crawler.records import Record
from crawler.sinks.base import ReaderGoneError, SinkError
from crawler.sinks.config import OutputConfig
from crawler.sinks.outputs import Outputs
from tests.sinks.lines import Log, found, numbers_in, until

if TYPE_CHECKING:
    from pathlib import Path


async def write(outputs: Outputs, batches: int, each: int = 10) -> None:
    """Let ``outputs`` write the numbers from 0 on, as fast as they take them."""
    sender, receiver = trio.open_memory_channel[list[Record]](4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outputs.run, receiver)
        with sender:
            for number in range(batches):
                await sender.send([found(number * each, each)])


def pipe_for(outputs: list[str]) -> tuple[int, int]:
    """Return the ends of a new pipe, whose writing end is added to ``outputs`` as a path."""
    ends = os.pipe()
    outputs.append(f"/dev/fd/{ends[1]}")
    return ends


def configured(paths: list[str], **settings: float) -> OutputConfig:
    """Return the section with these outputs, quick enough for a test."""
    return OutputConfig(tuple(paths), flush_interval=0.005, max_queue=int(settings.get("max_queue", 10_000)))


async def test_each_gets_all(tmp_path: Path) -> None:
    """Every output has every line, in order, and the books of each and of all balance."""
    paths = [str(tmp_path / "a"), f"jsonl:{tmp_path / 'b'}", str(tmp_path / "c")]
    outputs = Outputs(configured(paths), Log())
    await write(outputs, 50)
    outputs.close()

    for name in "abc":
        assert numbers_in((tmp_path / name).read_bytes()) == list(range(500))
    assert outputs.lines_settled == 500
    counts = outputs.statistics()
    assert (counts.lines_in, counts.lines_written, counts.lines_held, counts.lines_dropped) == (
        500,
        500,
        0,
        0,
    )
    assert set(outputs.each()) == {str(tmp_path / name) for name in "abc"}


async def test_a_blocked_one_stops_no_other(tmp_path: Path) -> None:
    """While nobody reads the pipe, the file gets all; the pipe's overflow is dropped for it, and counted."""
    paths = [str(tmp_path / "a")]
    reading, writing = pipe_for(paths)
    log = Log()
    outputs = Outputs(configured(paths, max_queue=2000), log)
    os.close(writing)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, outputs, 1000)
            await until(lambda: outputs.lines_settled == 10_000)
            nursery.cancel_scope.cancel()

    file, pipe = outputs.each().values()
    assert (file.lines_written, file.lines_held, file.lines_dropped) == (10_000, 0, 0)
    assert numbers_in((tmp_path / "a").read_bytes()) == list(range(10_000))
    assert pipe.lines_dropped > 5000
    assert 2000 <= pipe.lines_held < 2000 + 100
    assert pipe.lines_in == 10_000 == pipe.lines_written + pipe.lines_held + pipe.lines_dropped
    assert outputs.lines_settled == 10_000
    assert outputs.statistics().lines_dropped == pipe.lines_dropped
    assert [fields["path"] for fields in log.of("sink.overflow")] == [paths[1]]
    os.set_blocking(reading, False)
    os.read(reading, 1 << 20)
    os.close(reading)


async def test_a_reader_that_goes_ends_only_its_output(tmp_path: Path) -> None:
    """When one pipe's reader goes, the others go on, and the run ends when none is left."""
    paths = [str(tmp_path / "a")]
    reading, writing = pipe_for(paths)
    log = Log()
    outputs = Outputs(configured(paths), log)
    os.close(writing)
    os.close(reading)
    await write(outputs, 50)
    outputs.close()

    file, pipe = outputs.each().values()
    assert file.lines_written == 500
    assert (pipe.lines_written, pipe.lines_held, pipe.lines_dropped) == (0, 0, 500)
    assert pipe.trouble == "nobody reads it any more"
    assert log.of("sink.reader_gone") == [{"path": paths[1]}]
    assert outputs.lines_settled == 500


async def test_no_reader_is_left() -> None:
    """When every reader is gone there is one exception for it, at once."""
    paths: list[str] = []
    ends = [*pipe_for(paths), *pipe_for(paths)]
    outputs = Outputs(configured(paths), Log())
    for end in ends:
        os.close(end)
    sender, receiver = trio.open_memory_channel[list[Record]](4)
    sender.send_nowait([found(0)])
    with trio.fail_after(2), pytest.raises(ReaderGoneError):
        await outputs.run(receiver)
    outputs.close()
    sender.close()


async def test_when_all_are_blocked_the_crawl_is() -> None:
    """When no output has room nothing is dropped: the channel fills up, which pauses the stages."""
    paths: list[str] = []
    (first, one), (second, other) = pipe_for(paths), pipe_for(paths)
    outputs = Outputs(configured(paths, max_queue=1000), Log())
    os.close(one)
    os.close(other)
    with trio.move_on_after(0.5) as scope:
        await write(outputs, 1000)

    assert scope.cancelled_caught
    assert outputs.statistics().lines_dropped == 0
    assert all(part.lines_in < 3000 for part in outputs.each().values())
    for end in (first, second):
        os.close(end)


def test_one_that_cannot_be_opened_closes_the_others(tmp_path: Path) -> None:
    """When the second output can't be opened, the first is free again."""
    with pytest.raises(SinkError, match="missing/b"):
        Outputs(configured([str(tmp_path / "a"), str(tmp_path / "missing/b")]), Log())
    Outputs(configured([str(tmp_path / "a")]), Log()).close()


def test_outputs_in_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One output is a text or a list in the file, several a list; the flag may be repeated."""
    file = tmp_path / "my.toml"
    for said, meant in (('"a"', ("a",)), ('["a", "-"]', ("a", "-"))):
        file.write_text(f"[output]\npath = {said}\n")
        assert config.load(file, {}, {}).output.path == meant
    assert config.load(None, {"DHT_CRAWLER_OUTPUT_PATH": "a,b"}, {}).output.path == ("a", "b")
    assert cli.main(["config", "--out", "a", "--out", "jsonl:b", "--out", "-"]) == 0
    assert 'path = ["a", "jsonl:b", "-"]' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ((), "at least one output"),
        (("a", "-", "jsonl:a"), 'output "a" is there twice'),
        (("a", ""), '"" names no output: allowed are a path, jsonl:PATH and -'),
        (("jsonl:",), '"" names no output'),
    ],
)
def test_outputs_that_cannot_be_meant(paths: tuple[str, ...], said: str) -> None:
    """None at all, one without a name, or one twice, is refused."""
    with pytest.raises(ValueError, match=said):
        OutputConfig(paths)


@pytest.mark.skipif(sys.platform == "win32", reason="making a link needs a right of its own there")
def test_two_names_of_one_file(tmp_path: Path) -> None:
    """A file that is named twice, as by a link, is refused as such, and not as another process's."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "a")
    for name in (link, tmp_path / "." / ".." / tmp_path.name / "a"):
        with pytest.raises(SinkError, match=f"{tmp_path / 'a'} and {name} are the same file"):
            Outputs(configured([str(tmp_path / "a"), str(name)]), Log())
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGHUP is POSIX")
async def test_a_hangup_reopens(tmp_path: Path) -> None:
    """SIGHUP makes the outputs follow a file that was renamed, and ends nothing."""
    path = tmp_path / "a"
    outputs = Outputs(configured([str(path)]), Log())
    sender, receiver = trio.open_memory_channel[list[Record]](4)
    async with trio.open_nursery() as nursery:

        async def reopen() -> None:
            await trio.lowlevel.checkpoint()
            outputs.reopen()

        await nursery.start(signalling.watch_signals, {"SIGHUP": reopen})
        nursery.start_soon(outputs.run, receiver)
        path.rename(tmp_path / "a.1")
        os.kill(os.getpid(), signal.SIGHUP)
        await trio.testing.wait_all_tasks_blocked()
        await sender.send([found(0)])
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    outputs.close()

    assert numbers_in(path.read_bytes()) == [0]
