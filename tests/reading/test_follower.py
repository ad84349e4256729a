"""Following a path: nothing lost but what others removed, nothing twice, whatever becomes of the files."""

from __future__ import annotations

import gzip
import os
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from crawler.reading.config import ReadingConfig
from crawler.reading.follow import Follower
from tests.sinks.lines import Log

if TYPE_CHECKING:
    from collections.abc import Iterable


SMALL = ReadingConfig(piece=4096, max_line=8192)


def line(number: int, length: int = 0) -> bytes:
    """Return a line of its own."""
    return f"line {number} ".encode() + (f"{number} ".encode() * length)[:length]


def drained(follower: Follower) -> list[bytes]:
    """Return all lines that are there by now."""
    lines: list[bytes] = []
    while (piece := follower.step()).busy:
        lines += piece.lines
    return lines


def append(path: Path, lines: Iterable[bytes]) -> None:
    """Write whole lines at the end of a file."""
    with path.open("ab") as file:
        file.write(b"".join(one + b"\n" for one in lines))


class FollowedPath(RuleBasedStateMachine):
    """A writer and a follower of one path, in any order.

    The model knows where each line is: `at_risk` are those that were removed, or renamed to where nobody
    would look for them, before they were read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.path = Path(self._directory.name) / "out.jsonl"
        self.numbers, self.stamps = count(), count()
        self.path.touch()
        self.written: list[bytes] = []
        self.inside: list[bytes] = []  # lines of the file at the path
        self.begun = b""
        self.at_risk: set[bytes] = set()
        self.read: list[bytes] = []
        self.log = Log()
        self.is_open = False
        self.follower = Follower(str(self.path), SMALL, self.log)
        assert self.follower.step().lines == []

    def teardown(self) -> None:
        """Read to the end: all is there."""
        try:
            self._read_to_the_end()
        finally:
            self.follower.close()
            self._directory.cleanup()

    def _read_to_the_end(self) -> None:
        self._finish_line()
        self.read += drained(self.follower)
        assert set(self.written) - set(self.read) <= self.at_risk
        self.nothing_twice_nor_out_of_order()

    @rule(lengths=st.lists(st.sampled_from([0, 10, 300, 5000, 8000]), min_size=1, max_size=12))
    def write(self, lengths: list[int]) -> None:
        """Lines are appended, some longer than what is read at once."""
        self._finish_line()
        lines = [line(next(self.numbers), length) for length in lengths]
        append(self.path, lines)
        self.inside += lines
        self.written += lines

    @rule(length=st.sampled_from([0, 5000]))
    def begin_line(self, length: int) -> None:
        """A line is not whole yet."""
        self._finish_line()
        self.begun = line(next(self.numbers), length)
        with self.path.open("ab") as file:
            file.write(self.begun)

    @rule()
    def mend(self) -> None:
        """The writer died over a line, and cuts it off when it comes back."""
        if self.begun:
            with self.path.open("r+b") as file:
                file.truncate(self.path.stat().st_size - len(self.begun))
            self.begun = b""

    @rule(steps=st.integers(1, 5))
    def follow(self, steps: int) -> None:
        """The follower reads a little."""
        for _ in range(steps):
            self.read += self.follower.step().lines

    @rule()
    def catch_up(self) -> None:
        """The follower reads all there is, and has the file at the path open then if anything is in it."""
        self.read += drained(self.follower)
        self.is_open = self.is_open or bool(self.inside)

    @rule(packed=st.booleans())
    def rotate(self, packed: bool) -> None:
        """The file is closed by the sink's naming, and perhaps compressed at once."""
        self._finish_line()
        if not self.inside:
            return
        closed = self.path.with_name(f"out.jsonl.20260102T030405.{next(self.stamps):03}Z")
        self.path.rename(closed)
        if packed:
            with gzip.open(f"{closed}.gz", "wb") as file:
                file.write(closed.read_bytes())
            closed.unlink()
        self.path.touch()
        self.inside, self.is_open = [], False

    @rule()
    def rename(self) -> None:
        """Somebody else renames the file; what is not open to the follower by then is out of sight."""
        self._finish_line()
        if not self.is_open:
            self.at_risk.update(self.inside)
        self.path.rename(self.path.with_name(f"elsewhere.{next(self.stamps)}"))
        self.path.touch()
        self.inside, self.is_open = [], False

    @rule()
    def empty(self) -> None:
        """The file is copied and emptied."""
        self._finish_line()
        os.truncate(self.path, 0)
        self.at_risk.update(self.inside)
        self.inside = []

    @invariant()
    def nothing_twice_nor_out_of_order(self) -> None:
        """What was read is what was written, in that order, but for what was removed."""
        assert len(set(self.read)) == len(self.read)
        numbers = [int(one.split()[1]) for one in self.read]
        assert numbers == sorted(numbers)
        assert set(self.read) <= set(self.written)

    def _finish_line(self) -> None:
        if self.begun:
            append(self.path, [b""])
            self.written.append(self.begun)
            self.inside.append(self.begun)
            self.begun = b""


FollowedPath.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestFollowedPath = FollowedPath.TestCase
