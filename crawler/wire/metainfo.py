"""Info dicts, v1, v2 and hybrid (BEP 3, 47, 52), as one record of what a torrent says about itself.

Meant for bytes whose hash was verified: they are then exactly what the torrent's author wrote, which may
still be hostile, broken or huge. So the document is walked, never built, within limits; names become text
without losing a byte; and what is wrong but can be lived with is told in ``faults`` instead of throwing the
torrent away. Refused is only what no program could load: no dict, no files, an impossible size or piece
length.
"""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import TYPE_CHECKING, Final

import attrs

from crawler.settings import setting
from crawler.wire.bencode_document import decode_strict
from crawler.wire.bencode_reader import BencodeReader, BencodeReadError
from crawler.wire.file_tree import (
    MAX_SIZE,
    FileList,
    MetainfoError,
    list_files,
    list_tree,
    read_tree,
    tree_of,
)
from crawler.wire.files import Files
from crawler.wire.names import MAX_NAME_BYTES, Text, are_plain, decode_names, is_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Metainfo", "MetainfoError", "MetainfoLimits", "parse"]

_STRINGS: Final = frozenset({b"name", b"name.utf-8", b"attr", b"pieces"})
_NUMBERS: Final = frozenset({b"length", b"piece length", b"private", b"meta version"})
_PIECE_HASH_BYTES: Final = 20
_SMALLEST_V2_PIECE: Final = 16384
_V2: Final = 2
_FILE_TOKENS: Final = 4096
"""A file of a large info dict with more values than this is no file."""
_SMALL: Final = 256 * 1024
"""Info dicts up to this size are decoded whole, which is faster and costs 13 MB at worst."""


@attrs.frozen
class MetainfoLimits:
    """How large an info dict may be, and how much of it is kept."""

    max_bytes: int = setting(
        10 << 20, unit="bytes", help="Longer info dicts are not parsed.", minimum=1, maximum=64 << 20
    )
    max_files: int = setting(
        20_000, unit="files", help="Files listed of one torrent; all of them count into its size.", minimum=1
    )
    max_depth: int = setting(
        100,
        unit="levels",
        help="Deepest nesting of lists and dicts in an info dict.",
        minimum=4,
        maximum=1000,
    )
    max_tokens: int = setting(
        1_000_000,
        unit="tokens",
        help="Values and keys read of one info dict, about eight for a file; a million take half a second.",
        minimum=16,
        maximum=3_000_000,
    )


_DEFAULT_LIMITS: Final = MetainfoLimits()


@attrs.define
class Metainfo:
    """What an info dict says. All text is hostile. A value, and not frozen for the same reason as `Text`.

    Attributes:
        name: the torrent's name; empty where it has none.
        piece_length: bytes of a piece.
        files: the files in their order, padding left out; cut off at the limit.
        file_count: how many there are in all.
        size: bytes of all files, listed or not, without padding.
        files_truncated: whether ``files`` was cut off.
        private: whether only its trackers may name peers (BEP 27): not to be announced or served by us.
        meta_version: 1, or 2 for v2 and hybrid torrents.
        infohash_v1: SHA-1 of the info dict, for v1 and hybrid torrents.
        infohash_v2: its whole SHA-256, for v2 and hybrid torrents; the DHT uses the first 20 bytes.
        faults: short tokens for what is wrong with it, sorted.
    """

    name: Text
    piece_length: int
    files: Files
    file_count: int
    size: int
    files_truncated: bool
    private: bool
    meta_version: int
    infohash_v1: bytes | None
    infohash_v2: bytes | None
    faults: tuple[str, ...] = ()


@attrs.define
class _Raw:
    """The keys of an info dict that matter, as they were found; empty or None where the type is wrong."""

    strings: dict[bytes, bytes] = attrs.field(factory=dict)
    numbers: dict[bytes, int | None] = attrs.field(factory=dict)
    files: FileList | None = None
    tree: FileList | None = None
    faults: set[str] = attrs.field(factory=set)

    @property
    def has_v1(self) -> bool:
        return self.files is not None or b"length" in self.numbers

    @property
    def has_v2(self) -> bool:
        return self.tree is not None

    @property
    def name(self) -> bytes:
        better = self.strings.get(b"name.utf-8", b"")
        return better if better and is_utf8(better) else self.strings.get(b"name", b"")


def parse(info: bytes, limits: MetainfoLimits = _DEFAULT_LIMITS, *, sha1: bytes | None = None) -> Metainfo:
    """Return what the info dict ``info`` says.

    Args:
        info: the exact bytes.
        limits: how much is read and kept.
        sha1: the SHA-1 of ``info``, where the caller knows it already.

    Raises:
        MetainfoError: ``too_large``, ``not_bencode``, ``too_deep``, ``too_many_tokens``, ``bad_size``,
            ``bad_piece_length`` or ``no_files``.
    """
    if len(info) > limits.max_bytes:
        raise MetainfoError("too_large")
    try:
        raw = _read_info(info, limits)
    except BencodeReadError as error:
        raise MetainfoError(error.reason) from None
    piece_length = raw.numbers.get(b"piece length")
    if piece_length is None or not 0 < piece_length <= MAX_SIZE:
        raise MetainfoError("bad_piece_length")
    listed = _listed_files(raw, limits)
    if not listed.count:
        raise MetainfoError("no_files")
    name = raw.name
    names = [name, *chain.from_iterable([path for path, _ in listed.files])]
    faults = {*raw.faults, *listed.faults, *_find_faults(raw, listed, piece_length, names)}
    texts = None if are_plain(names) else decode_names(dict.fromkeys(names))
    return Metainfo(
        name=Text(name.decode()) if texts is None else texts[name],
        piece_length=piece_length,
        files=Files(listed.files, texts),
        file_count=listed.count,
        size=listed.size,
        files_truncated=listed.count > len(listed.files),
        private=raw.numbers.get(b"private") == 1,
        meta_version=_V2 if raw.has_v2 else 1,
        infohash_v1=(sha1 or hashlib.sha1(info).digest()) if raw.has_v1 else None,  # noqa: S324 - BEP 3
        infohash_v2=hashlib.sha256(info).digest() if raw.has_v2 else None,
        faults=tuple(sorted(faults)),
    )


def _read_info(info: bytes, limits: MetainfoLimits) -> _Raw:
    """Return the keys that matter: of a small canonical dict as decoded, of any other as it is walked."""
    raw = _Raw()
    if len(info) <= min(_SMALL, limits.max_tokens):
        decoded = decode_strict(info, limits.max_depth)
        if isinstance(decoded, dict):
            for key, value in decoded.items():
                _take(raw, key, value, limits)
            return raw
    reader = BencodeReader(info, max_depth=limits.max_depth, max_tokens=limits.max_tokens)
    for key in reader.fields():
        if key == b"files" and reader.at_list():
            raw.files = list_files((reader.value(_FILE_TOKENS) for _ in reader.items()), limits.max_files)
        elif key == b"file tree" and reader.at_dict():
            raw.tree = list_tree(read_tree(reader), limits.max_files)
        elif key in _STRINGS or key in _NUMBERS:
            _take(raw, key, reader.value(), limits)
        else:
            reader.skip()
    if reader.position != len(info):
        raw.faults.add("trailing_bytes")
    return raw


def _take(raw: _Raw, key: bytes, value: object, limits: MetainfoLimits) -> None:
    if key in _STRINGS:
        raw.strings[key] = value if isinstance(value, bytes) else b""
    elif key in _NUMBERS:
        raw.numbers[key] = value if isinstance(value, int) else None
    elif key == b"files" and isinstance(value, list):
        raw.files = list_files(value, limits.max_files)
    elif key == b"file tree" and isinstance(value, dict):
        raw.tree = list_tree(tree_of(value), limits.max_files)


def _listed_files(raw: _Raw, limits: MetainfoLimits) -> FileList:
    """Return the v1 files where there are any, since every program reads those; else v2's."""
    v1 = raw.files or FileList(limits.max_files)
    if not v1.count and b"length" in raw.numbers:
        v1.add((raw.name,), raw.numbers[b"length"], raw.strings.get(b"attr", b""))
    return v1 if v1.count or raw.tree is None else raw.tree


def _find_faults(raw: _Raw, listed: FileList, piece_length: int, names: Sequence[bytes]) -> Iterator[str]:
    if not names[0]:
        yield "no_name"
    if max(map(len, names)) > MAX_NAME_BYTES:
        yield "long_name"
    if _any_unsafe(names):
        yield "unsafe_path"
    if raw.has_v1:
        pieces = len(raw.strings.get(b"pieces", b""))
        if pieces != _PIECE_HASH_BYTES * -(-(listed.size + listed.padding) // piece_length):
            yield "bad_pieces"
    if raw.has_v2:
        if piece_length < _SMALLEST_V2_PIECE or piece_length & (piece_length - 1):
            yield "bad_v2_piece_length"
        if raw.numbers.get(b"meta version") != _V2:
            yield "bad_meta_version"
    if raw.has_v1 and raw.tree is not None and not _agree(listed, raw.tree):
        yield "files_disagree"


def _agree(files: FileList, tree: FileList) -> bool:
    return files.files == tree.files and (files.count, files.size) == (tree.count, tree.size)


def _any_unsafe(names: Sequence[bytes]) -> bool:
    joined = b"\n".join(names)
    return b"." in names or b".." in names or b"/" in joined or b"\\" in joined or b"\0" in joined
