"""The memory of infohashes on the disk: a file per filter, and journals of what came after it was saved.

All are in one directory, named by the number of their slice (`crawl/seen_slices`):

- ``12.filter``: a slice as it was at one moment, or closed. Written aside, synced and renamed.
- ``12.3.journal``: infohashes that the slice took, in blocks with a checksum, each synced. The filter tells
  from which part on (here 3) the journals count; earlier ones are in it. A journal is only ever appended to
  by the process that made it, so a block that a crash cut short is the last of its file, and is passed over.

Every file carries the key of the hash and what its slice was made for, so that one damaged file costs no
other. What is damaged or foreign is set aside under ``.damaged``. All calls here block.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from typing import TYPE_CHECKING, Final

import attrs
import google_crc32c
import msgspec

from crawler.crawl.seen_slices import KEY_BYTES, Slice, filter_from, new_filter
from crawler.state.damage import set_aside
from crawler.wire.ids import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rbloom import Bloom

_MAGIC: Final = b"dht-crawler seen 1\n"
_WORD: Final = 4
_LONGEST_HEAD: Final = 1024
_LARGEST_BLOCK: Final = 1 << 20
"""Infohashes in one block; a larger number is damage, and is not read into memory."""
_NAME: Final = re.compile(r"([0-9]{1,18})\.(?:filter|([0-9]{1,9})\.journal)")
_fdatasync = getattr(os, "fdatasync", os.fsync)


class DamagedSliceError(Exception):
    """A file does not hold what it should."""


class Head(msgspec.Struct, frozen=True):
    """What a file says of its slice.

    Attributes:
        key: of the hash.
        number: of the slice.
        part: of a journal: which; of a filter: the first journal that is not in it.
        capacity: infohashes that the slice takes.
        error_rate: that its filter is made for.
        count: infohashes that the filter held.
        opened: epoch seconds, as in `Slice`.
        closed: epoch seconds, as in `Slice`.
        checksum: CRC-32C of the filter that follows.
    """

    key: bytes
    number: int
    part: int
    capacity: int
    error_rate: float
    count: int = 0
    opened: float | None = None
    closed: float | None = None
    checksum: int = 0


@attrs.define
class Stored:
    """One slice as it was found on the disk.

    Attributes:
        slice: what its filter file held; empty when there is none.
        journals: the infohashes of each journal that counts, in their order.
        part: the first number that no journal has.
        complete: the filter file holds all of the slice, which is closed.
    """

    slice: Slice
    journals: list[bytes]
    part: int
    complete: bool


class SliceFiles:
    """The files of one directory."""

    def __init__(self, directory: Path, on_event: Callable[..., None]) -> None:
        """Make the directory if need be; ``on_event(name, **fields)`` is told of damage, for the log.

        Raises:
            OSError: when it cannot be made.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.bytes_journalled = 0
        self.torn = 0
        self.directory = directory
        self._on_event = on_event
        self._open: tuple[Head, int, Path] | None = None
        self._blocks = 0

    def load(self) -> tuple[bytes | None, list[Stored]]:
        """Return the key and every slice that the directory holds, oldest first.

        Files that are not as they should be are set aside; with no key but theirs, those of another key too.
        """
        for left in self.directory.glob("*.new"):
            with contextlib.suppress(OSError):
                left.unlink()
        key: bytes | None = None
        found: dict[int, Stored] = {}
        for number, part, path in self._names():
            try:
                head, body = _read(path)
                _check(head, number, part, key)
                self._take(found, head, body, is_filter=part is None, path=path)
                key = key or head.key
            except (DamagedSliceError, OSError) as error:
                set_aside(path, str(error), self._on_event)
        return key, [found[number] for number in sorted(found)]

    def append(self, head: Head, infohashes: bytes) -> None:
        """Add a block to the journal that ``head`` names, and return when it is on the disk.

        Raises:
            OSError: the disk does not take it. The journal is not to be used again: the next block needs
                another part.
        """
        try:
            fd = self._journal(head)
            _write(fd, _block(infohashes))
            _fdatasync(fd)
        except OSError:
            self.close(useless=not self._blocks)
            raise
        self._blocks += 1
        self.bytes_journalled += len(infohashes)

    def save(self, head: Head, data: bytes) -> None:
        """Replace the filter file of a slice by ``data`` and remove the journals that are in it.

        Raises:
            OSError: the disk does not take it; what was there stays.
        """
        head = msgspec.structs.replace(head, checksum=google_crc32c.value(data))
        aside = self.directory / f"{head.number}.filter.new"
        try:
            with aside.open("wb") as file:
                file.write(_head(head))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.directory / f"{head.number}.filter")
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
        self._sync_directory()
        self._remove(lambda number, part: number == head.number and part is not None and part < head.part)

    def keep_only(self, numbers: set[int]) -> None:
        """Remove the files of all slices but those in ``numbers``."""
        self._remove(lambda number, _part: number not in numbers)

    def close(self, *, useless: bool = False) -> None:
        """Close the journal; remove it when there is nothing in it."""
        if self._open is not None:
            _, fd, path = self._open
            self._open = None
            with contextlib.suppress(OSError):
                os.close(fd)
            if useless:
                with contextlib.suppress(OSError):
                    path.unlink()

    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(path.stat().st_size for _, _, path in self._names())

    def _journal(self, head: Head) -> int:
        """Return a descriptor of the journal that ``head`` names; it is made when it is not there."""
        if self._open is not None and (self._open[0].number, self._open[0].part) == (head.number, head.part):
            return self._open[1]
        self.close()
        path = self.directory / f"{head.number}.{head.part}.journal"
        flags = (
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        )
        fd = os.open(path, flags, 0o644)
        self._open, self._blocks = (head, fd, path), 0
        _write(fd, _head(head))
        self._sync_directory()
        return fd

    def _take(
        self, found: dict[int, Stored], head: Head, body: bytes, *, is_filter: bool, path: Path
    ) -> None:
        """Put what one file holds to what is known of its slice; a filter comes before its journals."""
        if is_filter:
            each = _slice(head, _filter(body))
            found[head.number] = Stored(each, [], head.part, complete=head.closed is not None)
            return
        stored = found.get(head.number)
        if stored is None:
            empty = _slice(head, new_filter(head.capacity, head.error_rate))
            stored = found[head.number] = Stored(empty, [], 0, complete=False)
        if head.part < stored.part:
            return  # the filter has it; a crash came between its renaming and our removal
        infohashes, torn = _infohashes(body)
        if torn:
            self.torn += 1
            self._on_event("seen.torn_block", file=str(path), bytes=torn)
        stored.journals.append(infohashes)
        stored.part = head.part + 1

    def _names(self) -> list[tuple[int, int | None, Path]]:
        """Return number, part (None: of a filter) and path of our files: each filter before its journals."""
        found = []
        for path in self.directory.iterdir():
            match = _NAME.fullmatch(path.name)
            if match:
                found.append((int(match[1]), None if match[2] is None else int(match[2]), path))
        return sorted(found, key=lambda it: (it[0], -1 if it[1] is None else it[1]))

    def _remove(self, which: Callable[[int, int | None], bool]) -> None:
        for number, part, path in self._names():
            if which(number, part):
                if self._open is not None and self._open[2] == path:
                    self.close()
                with contextlib.suppress(OSError):
                    path.unlink()

    def _sync_directory(self) -> None:
        if sys.platform == "win32":
            return
        fd = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _sum(data: bytes) -> bytes:
    checksum: int = google_crc32c.value(data)
    return checksum.to_bytes(_WORD, "big")


def _head(head: Head) -> bytes:
    data = msgspec.msgpack.encode(head)
    length = len(data).to_bytes(_WORD, "big")
    return _MAGIC + length + data + _sum(length + data)


def _read(path: Path) -> tuple[Head, bytes]:
    """Return what a file says of itself, and the rest of it.

    Raises:
        DamagedSliceError: it does not begin as it should.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise DamagedSliceError("it does not begin as a file of this version does")
        length = file.read(_WORD)
        data = file.read(min(int.from_bytes(length, "big"), _LONGEST_HEAD))
        if file.read(_WORD) != _sum(length + data):
            raise DamagedSliceError("its head is damaged")
        try:
            head = msgspec.msgpack.decode(data, type=Head)
        except msgspec.DecodeError as error:
            raise DamagedSliceError(str(error)) from error
        if len(head.key) != KEY_BYTES or head.capacity < 1 or not 0 < head.error_rate < 1:
            raise DamagedSliceError("its head makes no sense")
        body = file.read()
    if path.suffix == ".filter" and google_crc32c.value(body) != head.checksum:
        raise DamagedSliceError("its checksum does not match")
    return head, body


def _check(head: Head, number: int, part: int | None, key: bytes | None) -> None:
    """Refuse a file that is not what its name says, and a filter that nobody can ask.

    Raises:
        DamagedSliceError: it is not for us.
    """
    if head.number != number or part not in (None, head.part):
        raise DamagedSliceError("it has the name of another file")
    if part is None and key not in (None, head.key):
        raise DamagedSliceError("its key is another one")


def _slice(head: Head, filter_: Bloom) -> Slice:
    return Slice(head.number, head.capacity, head.error_rate, filter_, head.count, head.opened, head.closed)


def _filter(data: bytes) -> Bloom:
    try:
        return filter_from(data)
    except ValueError as error:
        raise DamagedSliceError(str(error)) from error


def _block(infohashes: bytes) -> bytes:
    body = (len(infohashes) // ID_BYTES).to_bytes(_WORD, "big") + infohashes
    return body + _sum(body)


def _infohashes(body: bytes) -> tuple[bytes, int]:
    """Return the infohashes of all whole blocks, and how many bytes at the end belong to none."""
    blocks = list(_blocks(body))
    used = sum(len(block) + 2 * _WORD for block in blocks)
    return b"".join(blocks), len(body) - used


def _blocks(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        count = int.from_bytes(body[at : at + _WORD], "big")
        end = at + _WORD + count * ID_BYTES
        if not 0 < count <= _LARGEST_BLOCK or end + _WORD > len(body):
            return
        if body[end : end + _WORD] != _sum(body[at:end]):
            return
        yield body[at + _WORD : end]
        at = end + _WORD


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        taken = os.write(fd, view)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[taken:]
