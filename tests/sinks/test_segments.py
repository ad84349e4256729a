"""Rotation by size and by time, compression and the total: closed files hold every line."""

# ruff: noqa: ASYNC240 - the files of tests are small

from __future__ import annotations

import gzip
import importlib
import os
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.sinks import jsonl
from crawler.sinks.base import SinkError
from crawler.sinks.config import OutputConfig
from crawler.sinks.segments import Segments
from tests.sinks.lines import Log, WatchedSink, found, numbers_in, until, write_numbers

if TYPE_CHECKING:
    from pathlib import Path

NOON = 1767268800.0  # 2026-01-01T12:00:00Z
QUICK: dict[str, Any] = {"flush_interval": 0.002, "max_batch": 1}


@attrs.define
class Wall:
    """A clock on the wall that is set by hand."""

    at: float = NOON

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the sink writes."""
    return tmp_path / "out.jsonl"


def house(path: Path, log: Log | None = None, wall: Wall | None = None, **config: Any) -> Segments:
    """Return what looks after the closed files of ``path``."""
    return Segments(str(path), OutputConfig(**config), wall or Wall(), log or Log())


def closed(path: Path) -> list[str]:
    """Return the names of the closed files, without the output's own name."""
    names = (file.name for file in path.parent.iterdir() if file != path)
    return sorted(name.removeprefix(path.name) for name in names)


async def test_by_size(path: Path) -> None:
    """No file grows beyond the size, every line is in one, and names sort even if the clock stands."""
    sink = WatchedSink(
        path, OutputConfig(**QUICK, rotate_size=1000, compress="none"), Log(), wall_clock=Wall()
    )
    await write_numbers(sink, 8, pause=0.02)
    sink.close()

    assert closed(path) == [f".20260101T120000.00{n}Z" for n in range(3)]
    files = [path.with_name(path.name + name) for name in closed(path)] + [path]
    assert [n for file in files for n in numbers_in(file.read_bytes())] == list(range(24))
    assert max(file.stat().st_size for file in files) <= 1000
    assert sink.statistics().rotated == 3


async def test_by_time(path: Path) -> None:
    """A file is closed when its hour is over, with nothing to write too, and an empty one never."""
    wall = Wall(NOON + 1800)
    config = OutputConfig(**QUICK, rotate_interval=3600, compress="none")
    sink = WatchedSink(path, config, Log(), wall_clock=wall)
    await write_numbers(sink, 2, pause=0.02)
    assert closed(path) == []
    wall.at += 1800
    sink._target.tend(0.0)
    assert closed(path) == [".20260101T130000.000Z"]
    wall.at += 7200
    sink._target.tend(0.0)
    assert len(closed(path)) == 1
    await write_numbers(sink, 1)
    assert len(closed(path)) == 1
    sink.close()


async def test_by_time_with_a_clock_that_was_wrong(path: Path) -> None:
    """A clock that ran a year ahead, and was set right, does not keep the file open for a year."""
    wall = Wall(NOON + 365 * 86400)
    config = OutputConfig(**QUICK, rotate_interval=3600, compress="none")
    sink = WatchedSink(path, config, Log(), wall_clock=wall)
    await write_numbers(sink, 1)
    wall.at = NOON + 1800
    sink._target.tend(0.0)
    assert closed(path) == []
    wall.at = NOON + 3600
    sink._target.tend(1.0)
    assert closed(path) == [".20260101T130000.000Z"]
    sink.close()


async def test_by_time_over_a_restart(path: Path) -> None:
    """A file of an hour that is over is closed by the next process, however often it is restarted."""
    path.write_bytes(found(1).lines())
    wall = Wall(path.stat().st_mtime + 3600)
    config = OutputConfig(**QUICK, rotate_interval=3600, compress="none")
    sink = WatchedSink(path, config, Log(), wall_clock=wall)
    await write_numbers(sink, 1)
    sink.close()

    assert len(closed(path)) == 1
    assert numbers_in(path.read_bytes()) == [0, 1, 2]


@pytest.mark.parametrize("form", ["gzip", "zstd"])
async def test_closed_files_are_compressed(path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed files are compressed beside the writing, by a thread of their own, and then removed."""
    if form == "zstd":
        pytest.importorskip("zstandard", reason="zstandard is not installed")
    monkeypatch.setattr(jsonl, "_HOUSEKEEPING", 0.01)
    config = OutputConfig(**QUICK, rotate_size=4000, compress=form)
    sink = WatchedSink(path, config, Log())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_numbers, sink, 60, 3, 0.005)
        with trio.fail_after(5):
            await until(lambda: sink.statistics().compressed >= 3)
    sink.close()
    house(path, compress=form).keep_house()

    assert {name[-3:] for name in closed(path)} == {".gz" if form == "gzip" else "zst"}
    whole = [unpack(path.with_name(path.name + name)) for name in closed(path)] + [path.read_bytes()]
    assert [n for data in whole for n in numbers_in(data)] == list(range(180))


def unpack(path: Path) -> bytes:
    """Return what is in a compressed file."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    unpacked: bytes = (
        importlib.import_module("zstandard").ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    )
    return unpacked


def test_what_a_dead_process_left_is_finished(path: Path) -> None:
    """Half a compressed file is made anew; names that are not ours are left alone."""
    left = path.with_name("out.jsonl.20260101T110000.000Z")
    left.write_bytes(found(1).lines())
    left.with_name(left.name + ".gz.part").write_bytes(b"half")
    for name in (
        "out.jsonl.1",
        "out.jsonl.bak.part",
        "out.jsonl.20260101T110000.000Z.torn",
        "out.jsonl2.part",
    ):
        path.with_name(name).write_bytes(b"mine")
    failed = path.with_name("out.jsonl.20260101T100000.000Z.failed")
    failed.write_bytes(found(0).lines())
    house(path).keep_house()

    assert gzip.decompress(left.with_name(left.name + ".gz").read_bytes()) == found(1).lines()
    assert not left.exists()
    assert failed.exists()
    assert len(closed(path)) == 6


def test_the_oldest_go_when_there_are_too_many(path: Path) -> None:
    """Beyond the total the oldest closed files are deleted, counted and reported; the open file never is."""
    path.write_bytes(bytes(900))
    for hour in range(5):
        path.with_name(f"out.jsonl.20260101T0{hour}0000.000Z").write_bytes(bytes(100))
    path.with_name("out.jsonl.mine").write_bytes(bytes(5000))
    log = Log()
    keeper = house(path, log, compress="none", max_total=1199)
    keeper.keep_house()

    assert closed(path) == [".20260101T030000.000Z", ".20260101T040000.000Z", ".mine"]
    assert keeper.counters.deleted == 3
    assert [fields["bytes"] for fields in log.of("sink.segment_deleted")] == [100, 100, 100]
    house(path, compress="none", max_total=1).keep_house()
    assert closed(path) == [".mine"]
    assert path.stat().st_size == 900


def test_a_name_is_later_than_all_before(path: Path) -> None:
    """A clock that was set back does not put a new file before the old ones."""
    path.with_name("out.jsonl.20260101T130000.999Z.gz").write_bytes(b"")
    keeper = house(path)

    assert keeper.next_name() == f"{path}.20260101T130001.000Z"
    assert keeper.next_name(failed=True) == f"{path}.20260101T130001.001Z.failed"


def test_compression_that_fails_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room for the compressed file, the closed one stays as it is, and that is counted."""

    def fail(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    left = path.with_name("out.jsonl.20260101T110000.000Z")
    left.write_bytes(found(1).lines())
    log = Log()
    keeper = house(path, log)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        keeper.keep_house()

    assert closed(path) == [".20260101T110000.000Z"]
    assert keeper.counters.compress_failures == 1
    assert log.of("sink.segment_failed") == [{"path": str(path), "problem": "No space left on device"}]


def test_the_end_of_the_run_stops_a_compression(path: Path) -> None:
    """Closing the sink does not wait for a large file; the next run compresses it."""
    path.with_name("out.jsonl.20260101T110000.000Z").write_bytes(bytes(50 << 20))
    keeper = house(path)
    thread = threading.Thread(target=keeper.keep_house)
    thread.start()
    keeper.stopped = True
    thread.join(timeout=5)

    assert not thread.is_alive()
    assert closed(path) == [".20260101T110000.000Z"]


def test_zstd_must_be_installed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for a compression that is not there is refused at the start, with what to install."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SinkError, match=r"pip install .dht-crawler\[zstd\]"):
        WatchedSink(path, OutputConfig(compress="zstd"), Log())
