"""The files that an info dict names: v1's ``files`` list and v2's ``file tree``, as raw paths and sizes.

Both are read off the document as it goes by, and no more than a given number of files is kept, though all of
them are counted. Paths are hostile bytes: they are kept as they are, and are not for any disk. What is wrong
but can be lived with is named in ``faults``; only a size that cannot be is an error, for it would make the
total a lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from crawler.wire.names import is_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crawler.wire.bencode_reader import BencodeReader

RawPath = tuple[bytes, ...]

MAX_SIZE: Final = 2**63 - 1
MAX_PATH_ELEMENTS: Final = 100

_ROOT_BYTES: Final = 32
_LEGACY_PAD_DIRECTORY: Final = b".pad"
_LEGACY_PAD_NAME: Final = b"_____padding_file_"


class MetainfoError(ValueError):
    """The info dict describes no torrent; ``reason`` is a short token to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.define
class FileList:
    """What was read so far; padding (BEP 47) is counted apart and never listed.

    Attributes:
        max_files: how many files are kept.
        files: the first of them: raw path and size in bytes.
        count: how many there are.
        size: bytes of all of them.
        padding: bytes of the padding between them.
        faults: short tokens for what was wrong.
    """

    max_files: int
    files: list[tuple[RawPath, int]] = attrs.field(factory=list)
    count: int = 0
    size: int = 0
    padding: int = 0
    faults: set[str] = attrs.field(factory=set)

    def add(self, path: RawPath, size: int | None, attributes: bytes = b"") -> None:
        """Count a file, and keep it while there is room.

        Raises:
            MetainfoError: ``bad_size``: no size, a negative one, or the total passes 2⁶³-1.
        """
        if size is None and b"l" in attributes:
            size = 0
        if size is None or size < 0 or self.size + self.padding + size > MAX_SIZE:
            raise MetainfoError("bad_size")
        if b"p" in attributes or _is_legacy_padding(path):
            self.padding += size
            return
        self.count += 1
        self.size += size
        if not all(path):
            self.faults.add("empty_path")
        if len(self.files) < self.max_files:
            self.files.append((path, size))


def _is_legacy_padding(path: RawPath) -> bool:
    return len(path) > 0 and (path[0] == _LEGACY_PAD_DIRECTORY or path[-1].startswith(_LEGACY_PAD_NAME))


def read_files(reader: BencodeReader, max_files: int) -> FileList:
    """Read the list that is next as v1's ``files`` (BEP 3, 47).

    Raises:
        MetainfoError: ``bad_size``.
        BencodeReadError: the document is broken or beyond its limits.
    """
    found = FileList(max_files)
    for _ in reader.items():
        if reader.at_dict():
            _read_file(reader, found)
        else:
            reader.skip()
            found.faults.add("bad_file")
    return found


def _read_file(reader: BencodeReader, found: FileList) -> None:
    length: int | None = None
    path: RawPath | None = None
    path_utf8: RawPath | None = None
    attributes = b""
    for key in reader.fields():
        if key == b"length":
            length = reader.integer()
        elif key == b"path":
            path = _read_path(reader, found)
        elif key == b"path.utf-8":
            path_utf8 = _read_path(reader, found)
        elif key == b"attr":
            attributes = reader.string() or b""
        else:
            reader.skip()
    if path_utf8 and all(map(is_utf8, path_utf8)):
        path = path_utf8
    if not path:
        found.faults.add("empty_path")
    found.add(path or (), length, attributes)


def _read_path(reader: BencodeReader, found: FileList) -> RawPath | None:
    if not reader.at_list():
        reader.skip()
        found.faults.add("bad_path")
        return None
    elements: list[bytes] = []
    for _ in reader.items():
        element = reader.string()
        if element is None or len(elements) == MAX_PATH_ELEMENTS:
            found.faults.add("bad_path")
        else:
            elements.append(element)
    return tuple(elements)


def read_tree(reader: BencodeReader, max_files: int) -> FileList:
    """Read the dict that is next as v2's ``file tree`` (BEP 52).

    Raises:
        MetainfoError: ``bad_size``.
        BencodeReadError: the document is broken or beyond its limits.
    """
    found = FileList(max_files)
    path: list[bytes] = []
    open_dicts: list[Iterator[bytes]] = [reader.fields()]
    while open_dicts:
        name = next(open_dicts[-1], None)
        if name is None:
            open_dicts.pop()
            if path:
                path.pop()
        elif not reader.at_dict():
            reader.skip()
            found.faults.add("bad_file")
        elif name:
            path.append(name)
            open_dicts.append(reader.fields())
        else:
            _read_properties(reader, tuple(path), found)
    return found


def _read_properties(reader: BencodeReader, path: RawPath, found: FileList) -> None:
    length: int | None = None
    root: bytes | None = None
    attributes = b""
    for key in reader.fields():
        if key == b"length":
            length = reader.integer()
        elif key == b"pieces root":
            root = reader.string()
        elif key == b"attr":
            attributes = reader.string() or b""
        else:
            reader.skip()
    if length and (root is None or len(root) != _ROOT_BYTES or not any(root)):
        found.faults.add("bad_root")
    if not path:
        found.faults.add("empty_path")
    found.add(path, length, attributes)
