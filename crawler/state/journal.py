"""What changed since a state file was saved: appended every few seconds, so that a kill forgets little.

A journal is a row of parts, ``NAME.journal.N``. Each save of the whole begins a new part, and when it is on
the disk the parts before that are of no use any more. A part is blocks of msgpack, each with its length and
checksum; a block that a crash cut short ends its part. All calls here block.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_WORD: Final = 4
_fdatasync = getattr(os, "fdatasync", os.fsync)


class Journal:
    """The journal of one state file."""

    def __init__(self, directory: Path, name: str) -> None:
        """Find what an earlier run left; nothing is written yet."""
        self._directory = directory
        self._prefix = f"{name}.journal."
        self._part = max(self._parts(), default=0) + 1

    def load(self) -> Iterator[Any]:
        """Yield the blocks of all parts, oldest first, as far as they are whole."""
        for part in sorted(self._parts()):
            with contextlib.suppress(OSError):
                yield from _blocks(self._path(part).read_bytes())

    def append(self, blocks: Iterable[Any]) -> None:
        """Add blocks of what msgpack knows, and return when they are on the disk.

        Raises:
            OSError: the disk does not take them; what follows goes to a new part.
        """
        try:
            with self._path(self._part).open("ab") as file:
                for block in blocks:
                    data = msgspec.msgpack.encode(block)
                    head = len(data).to_bytes(_WORD, "big") + zlib.crc32(data).to_bytes(_WORD, "big")
                    file.write(head + data)
                file.flush()
                _fdatasync(file.fileno())
        except OSError:
            # Behind half a block nothing would be read.
            self._part += 1
            raise

    def turn(self) -> int:
        """Begin a new part; return its number, for :meth:`forget` once a save begun now is on the disk."""
        self._part += 1
        return self._part

    def forget(self, before: int) -> None:
        """Delete the parts before that number; one that can't be deleted does no harm."""
        for part in self._parts():
            if part < before:
                with contextlib.suppress(OSError):
                    self._path(part).unlink()

    def _parts(self) -> list[int]:
        numbers = [path.name.removeprefix(self._prefix) for path in self._directory.glob(self._prefix + "*")]
        return [int(number) for number in numbers if number.isascii() and number.isdigit()]

    def _path(self, part: int) -> Path:
        return self._directory / f"{self._prefix}{part}"


def _blocks(data: bytes) -> Iterator[Any]:
    at = 0
    while at + 2 * _WORD <= len(data):
        length = int.from_bytes(data[at : at + _WORD], "big")
        checksum = data[at + _WORD : at + 2 * _WORD]
        at += 2 * _WORD
        block = data[at : at + length]
        at += length
        if len(block) < length or zlib.crc32(block).to_bytes(_WORD, "big") != checksum:
            return
        try:
            yield msgspec.msgpack.decode(block)
        except msgspec.DecodeError:
            return
