"""Closed files of an output: when a file is closed, its name then, its compression, and how many are kept.

``peers.jsonl`` is closed as ``peers.jsonl.20260102T030405.678Z``, which sorts by time, and compressed to
that name with ``.gz`` or ``.zst``. A file that was put aside because its disk failed has ``.failed`` at the
end and stays as it is. Whatever a process left undone when it died is found in the directory by the next.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs

from crawler.sinks.base import SinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from crawler.sinks.config import OutputConfig

_STAMP = re.compile(r"\.(\d{8}T\d{6}\.\d{3})Z(|\.gz|\.zst|\.failed)")
_SUFFIXES = {"gzip": ".gz", "zstd": ".zst"}
_PART = ".part"
_PIECE = 1 << 20
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


class StoppedError(Exception):
    """The run ended while a file was being compressed; what was made is of no use."""


@attrs.frozen
class Segment:
    """A closed file."""

    stamp: str
    suffix: str
    path: Path
    size: int


@attrs.define
class SegmentCounters:
    """What became of closed files; see `SinkStatistics`."""

    compressed: int = 0
    compress_failures: int = 0
    deleted: int = 0


class Segments:
    """The closed files beside one output."""

    def __init__(
        self,
        path: str,
        config: OutputConfig,
        wall_clock: Callable[[], float],
        report: Callable[..., None],
    ) -> None:
        """Look after the closed files of the output at ``path``; ``wall_clock`` tells seconds since 1970.

        Raises:
            SinkError: the compression that was asked for is not installed.
        """
        self.counters = SegmentCounters()
        self.stopped = False
        self._path = Path(path)
        self._config = config
        self._wall_clock = wall_clock
        self._report = report
        self._period = 0.0
        self._last = ""
        self._zstd: Any = _zstandard() if config.compress == "zstd" else None

    def began(self, written_at: float | None) -> None:
        """Note that a file was opened, which was last written at ``written_at`` unless it is empty."""
        self._period = self._period_of(self._wall_clock() if written_at is None else written_at)

    def is_due(self, size: int, more: int) -> bool:
        """Whether a file of ``size`` bytes is to be closed before ``more`` are added to it."""
        period = self._period_of(self._wall_clock())
        # Set back with the clock, or the file would stay open until its time comes again.
        self._period = period if size == 0 else min(period, self._period)
        if size == 0:
            return False
        limit = self._config.rotate_size
        return bool((limit and size + more > limit) or period > self._period)

    def next_name(self, *, failed: bool = False) -> str:
        """Return the name for a file that is closed now: later than any before it.

        Raises:
            OSError: the directory can't be read.
        """
        stamps = [segment.stamp for segment in self.closed()]
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        stamp = _stamp(now)
        last = max([*stamps, self._last])
        if stamp <= last:
            stamp = _stamp(
                datetime.strptime(last + "000+0000", "%Y%m%dT%H%M%S.%f%z") + timedelta(milliseconds=1)
            )
        self._last = stamp
        return f"{self._path}.{stamp}Z" + (".failed" if failed else "")

    def closed(self) -> list[Segment]:
        """Return the closed files, oldest first."""
        return closed_files(self._path)

    def keep_house(self) -> None:
        """Compress what is closed, delete what is too much; trouble is counted and reported, not raised."""
        try:
            if self._config.compress != "none":
                self._compress_all()
            self._keep_to_total()
        except StoppedError:
            return
        except OSError as error:
            self.counters.compress_failures += 1
            self._report("sink.segment_failed", path=str(self._path), problem=error.strerror or str(error))

    def _compress_all(self) -> None:
        for left in self._path.parent.glob(_literally(self._path.name) + ".*" + _PART):
            if _STAMP.fullmatch(left.name[len(self._path.name) : -len(_PART)]):
                left.unlink()
        for segment in self.closed():
            if not segment.suffix:
                self._compress(segment.path)

    def _compress(self, path: Path) -> None:
        whole = path.with_name(path.name + _SUFFIXES[self._config.compress])
        part = whole.with_name(whole.name + _PART)
        try:
            with path.open("rb") as source, part.open("wb") as target:
                with self._compressor(target) as packed:
                    for piece in self._pieces(source):
                        packed.write(piece)
                target.flush()
                os.fsync(target.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        part.replace(whole)
        _sync_directory(path.parent)
        path.unlink()
        self.counters.compressed += 1

    def _pieces(self, source: BinaryIO) -> Iterator[bytes]:
        while piece := source.read(_PIECE):
            if self.stopped:
                raise StoppedError
            yield piece

    def _compressor(self, target: BinaryIO) -> AbstractContextManager[Any]:
        if self._zstd is not None:
            made: AbstractContextManager[Any] = self._zstd.ZstdCompressor(
                level=_ZSTD_LEVEL, write_checksum=True
            ).stream_writer(target, closefd=False)
            return made
        return gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=target)

    def _keep_to_total(self) -> None:
        if not self._config.max_total:
            return
        segments = self.closed()
        total = sum(segment.size for segment in segments)
        with contextlib.suppress(FileNotFoundError):
            total += self._path.stat().st_size
        for segment in segments:
            if total <= self._config.max_total:
                return
            segment.path.unlink(missing_ok=True)
            total -= segment.size
            self.counters.deleted += 1
            self._report("sink.segment_deleted", path=str(segment.path), bytes=segment.size)

    def _period_of(self, at: float) -> float:
        return at // self._config.rotate_interval if self._config.rotate_interval else 0.0


def closed_files(path: Path) -> list[Segment]:
    """Return the closed files of the output at ``path``, oldest first.

    Raises:
        OSError: the directory can't be read.
    """
    found = []
    for entry in os.scandir(path.parent):
        if not entry.name.startswith(path.name + "."):
            continue
        match = _STAMP.fullmatch(entry.name[len(path.name) :])
        if match and entry.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):
                found.append(Segment(match[1], match[2], Path(entry.path), entry.stat().st_size))
    return sorted(found, key=lambda segment: (segment.stamp, segment.suffix))


def _stamp(at: datetime) -> str:
    return at.strftime("%Y%m%dT%H%M%S.%f")[:-3]


def _literally(name: str) -> str:
    """Return ``name`` as a glob pattern that only matches itself."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _sync_directory(path: Path) -> None:
    # Not every system can; the source is still there until the next look if the name gets lost.
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _zstandard() -> Any:
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise SinkError(
            'output.compress = "zstd" needs a package that is not installed: pip install "dht-crawler[zstd]"'
        ) from error
