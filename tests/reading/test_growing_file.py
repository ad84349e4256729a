"""One file as it grows: where reading begins, what is too long, what is left without an end."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.reading.config import ReadingConfig
from crawler.reading.file import GrowingFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = ReadingConfig(piece=4096, max_line=8192)


@pytest.fixture(name="path")
def a_path(tmp_path: Path) -> Path:
    """Return where a file is."""
    path = tmp_path / "out.jsonl"
    path.touch()
    return path


@pytest.fixture(name="file")
def opened(path: Path) -> Iterator[GrowingFile]:
    """Return the file, open."""
    file = GrowingFile(str(path), SMALL)
    yield file
    file.close()


def all_of(file: GrowingFile) -> tuple[list[bytes], int]:
    """Return the lines that are there, and how many were too long."""
    lines, overlong = [], 0
    while (piece := file.read()).busy:
        lines += piece.lines
        overlong += piece.overlong
    return lines, overlong


@given(
    lengths=st.lists(st.sampled_from([0, 1, 70, 4095, 4096, 8192, 8193, 30_000]), max_size=12),
    last=st.integers(0, 13),
)
def test_the_last_lines_are_found(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], last: int
) -> None:
    """Reading begins at the last so many that are wanted, however long the lines are."""
    path = tmp_path_factory.mktemp("last") / "out.jsonl"
    lines = [b"ab"[n % 2 : n % 2 + 1] * length for n, length in enumerate(lengths)]
    path.write_bytes(b"".join(line + b"\n" for line in lines) + b"torn")
    with closing(GrowingFile(str(path), SMALL)) as file:
        file.go_to_last(last, lambda line: line.startswith(b"a"))
        found, rest = all_of(file)[0], file.rest()
    wanted = [line for line in lines if line.startswith(b"a") and len(line) <= SMALL.max_line]
    assert [line for line in found if line.startswith(b"a")] == wanted[max(0, len(wanted) - last) :]
    assert rest == b"torn"


def test_a_line_too_long_costs_itself_alone(path: Path, file: GrowingFile) -> None:
    """It is skipped and counted once, though it comes in many pieces; its neighbours are read."""
    path.write_bytes(b"before\n" + b"x" * 20_000)
    assert all_of(file) == ([b"before"], 0)
    with path.open("ab") as more:
        more.write(b"x" * 20_000 + b"\nafter\n")
    assert all_of(file) == ([b"after"], 1)


def test_growth_past_the_old_place_is_no_disguise(path: Path, file: GrowingFile) -> None:
    """A file that was emptied and is longer than before by the next look is read from its start."""
    path.write_bytes(b"one\ntwo\n")
    all_of(file)
    path.write_bytes(b"new 1\nnew 2\nnew 3\n")
    assert all_of(file)[0] == [b"new 1", b"new 2", b"new 3"]
    assert file.times_emptied == 1


@pytest.mark.parametrize("size", [4, 6, 8])
def test_a_file_that_was_cut_back_is_not_read_anew(path: Path, file: GrowingFile, size: int) -> None:
    """Lines that are still there are not shown twice; what comes in place of the others is shown."""
    path.write_bytes(b"one\ntwo\nthree\n")
    all_of(file)
    os.truncate(path, size)
    all_of(file)
    os.truncate(path, 4 if size < 8 else 8)
    with path.open("ab") as more:
        more.write(b"more\n")
    assert all_of(file)[0] == [b"more"]
    assert file.times_emptied == 0


def test_no_regular_file_is_refused(tmp_path: Path) -> None:
    """A pipe has no place to come back to."""
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    with pytest.raises(OSError, match="no regular file"):
        GrowingFile(str(tmp_path / "pipe"), SMALL)
    os.close(writer)
