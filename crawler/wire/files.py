"""The files of one torrent as a value: raw, and text only for whoever looks at them.

Most are never looked at, but written out as a line with thousands of others (`records`); making text of each
path element first would cost more than all the rest of reading an info dict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from crawler.wire.names import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RawPath = tuple[bytes, ...]


@attrs.define(unsafe_hash=True)
class File:
    """One file: its path below the torrent's name (or that name, if it is the only one), and its bytes.

    A value, and not frozen for the same reason as `Text`.
    """

    path: tuple[Text, ...]
    size: int


@attrs.define
class Files:
    """The files in their order.

    Attributes:
        raw: path and bytes of each, as they were read.
        texts: each path element as text; None when all of them are plain UTF-8 (`names.are_plain`).
    """

    raw: Sequence[tuple[RawPath, int]]
    texts: Mapping[bytes, Text] | None = None

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, index: int) -> File:
        path, size = self.raw[index]
        if self.texts is None:
            return File(tuple([Text(name.decode()) for name in path]), size)
        return File(tuple([self.texts[name] for name in path]), size)

    def __iter__(self) -> Iterator[File]:
        return map(self.__getitem__, range(len(self.raw)))
