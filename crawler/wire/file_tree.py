"""The files that an info dict names: v1's ``files`` list and v2's ``file tree``, as raw paths and sizes.

Both take decoded entries one after another, from a decoded document or from a reader that walks a large one,
and no more than a given number of files is kept, though all of them are counted. Paths are hostile bytes:
they are kept as they are, and are not for any disk. What is wrong but can be lived with is named in
``faults``; only a size that cannot be is an error, for it would make the total a lie.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import attrs

from crawler.wire.names import is_utf8

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from crawler.wire.bencode_reader import BencodeReader
    from crawler.wire.files import RawPath

MAX_SIZE: Final = 2**63 - 1
MAX_PATH_ELEMENTS: Final = 100

_USUAL: Final = {b"length": 0, b"path": 0}.keys()
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


def _is_legacy_padding(path: Sequence[bytes]) -> bool:
    return len(path) > 0 and (path[0] == _LEGACY_PAD_DIRECTORY or path[-1].startswith(_LEGACY_PAD_NAME))


def list_files(entries: Iterable[object], max_files: int) -> FileList:
    """Return what v1's ``files`` list names (BEP 3, 47).

    Args:
        entries: the items of the list, as decoded.
        max_files: how many are kept.

    Raises:
        MetainfoError: ``bad_size``.
    """
    found = FileList(max_files)
    if isinstance(entries, list) and _list_all_usual(entries, found):
        return found
    for entry in entries:
        if isinstance(entry, dict):
            if not (entry.keys() == _USUAL and _list_usual(entry, found)):
                _list_file(entry, found)
        else:
            found.faults.add("bad_file")
    return found


def _list_all_usual(entries: list[Any], found: FileList) -> bool:
    """List files that are all as nearly all are, at the speed of C; False if any is of another kind."""
    try:
        paths = [entry[b"path"] for entry in entries]
        sizes = [entry[b"length"] for entry in entries]
    except (KeyError, TypeError):
        return False
    if set(map(type, paths)) != {list} or set(map(type, sizes)) != {int} or set(map(len, entries)) != {2}:
        return False
    elements = list(chain.from_iterable(paths))
    total = sum(sizes)
    if set(map(type, elements)) != {bytes} or min(sizes) < 0 or total > MAX_SIZE:
        return False
    shortest, longest = min(map(len, paths)), max(map(len, paths))
    if not (shortest and longest <= MAX_PATH_ELEMENTS and all(elements)):
        return False
    joined = b"/".join(elements)
    if _LEGACY_PAD_DIRECTORY in joined or _LEGACY_PAD_NAME in joined:
        return False
    found.count, found.size = len(entries), total
    found.files = list(zip(map(tuple, paths), sizes, strict=True))[: found.max_files]
    return True


def _list_usual(entry: dict[bytes, object], found: FileList) -> bool:
    """List a file as nearly all are, in a third of the time; False if it is of another kind."""
    path, size = entry[b"path"], entry[b"length"]
    if type(path) is not list or type(size) is not int or not 0 < len(path) <= MAX_PATH_ELEMENTS:
        return False
    for element in path:
        if type(element) is not bytes or not element:
            return False
    if size < 0 or found.size + found.padding + size > MAX_SIZE or _is_legacy_padding(path):
        return False
    found.count += 1
    found.size += size
    if len(found.files) < found.max_files:
        found.files.append((tuple(path), size))
    return True


def _list_file(entry: dict[bytes, object], found: FileList) -> None:
    path = _path(entry.get(b"path.utf-8"), found) if b"path.utf-8" in entry else ()
    if not path or not all(map(is_utf8, path)):
        path = _path(entry.get(b"path"), found)
    if not path:
        found.faults.add("empty_path")
    found.add(path, _integer(entry.get(b"length")), _string(entry.get(b"attr")))


def _path(value: object, found: FileList) -> RawPath:
    elements = value if isinstance(value, list) else []
    path = tuple([element for element in elements[:MAX_PATH_ELEMENTS] if isinstance(element, bytes)])
    if value is not None and (not isinstance(value, list) or len(path) != len(elements)):
        found.faults.add("bad_path")
    return path


def list_tree(leaves: Iterable[tuple[RawPath, object]], max_files: int) -> FileList:
    """Return what v2's ``file tree`` names (BEP 52).

    Args:
        leaves: from `tree_of` or `read_tree`.
        max_files: how many are kept.

    Raises:
        MetainfoError: ``bad_size``.
    """
    found = FileList(max_files)
    for path, properties in leaves:
        if not isinstance(properties, dict):
            found.faults.add("bad_file")
            continue
        length, root = _integer(properties.get(b"length")), _string(properties.get(b"pieces root"))
        if length and (len(root) != _ROOT_BYTES or not any(root)):
            found.faults.add("bad_root")
        if not path:
            found.faults.add("empty_path")
        found.add(path, length, _string(properties.get(b"attr")))
    return found


def tree_of(tree: dict[bytes, object]) -> Iterator[tuple[RawPath, object]]:
    """Yield path and properties of each file of a decoded ``file tree``; None for what is no file."""
    path: list[bytes] = []
    open_dicts = [iter(tree.items())]
    while open_dicts:
        name, node = next(open_dicts[-1], (None, None))
        if name is None:
            open_dicts.pop()
            path = path[:-1]
        elif not name or not isinstance(node, dict):
            yield tuple(path), node if not name else None
        else:
            path.append(name)
            open_dicts.append(iter(node.items()))


def read_tree(reader: BencodeReader) -> Iterator[tuple[RawPath, object]]:
    """Do the same with the dict that is next in ``reader``, without building it.

    Raises:
        BencodeReadError: the document is broken or beyond its limits.
    """
    path: list[bytes] = []
    open_dicts = [reader.fields()]
    while open_dicts:
        name = next(open_dicts[-1], None)
        if name is None:
            open_dicts.pop()
            path = path[:-1]
        elif not name or not reader.at_dict():
            value = reader.value()
            yield tuple(path), value if not name else None
        else:
            path.append(name)
            open_dicts.append(reader.fields())


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _string(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
