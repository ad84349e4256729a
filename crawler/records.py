"""The records that cross stages, and their JSON form: one line each, `type` first.

A record says what was claimed and by whom, nothing more. Addresses and infohashes stay bytes until a line is
written, and the hot one holds a whole answer's infohashes, so that a record costs one object per answer and
not one per infohash. config/records.schema.json describes the lines.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import attrs

from crawler.wire.compact import format_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawler.wire.files import File, Files
    from crawler.wire.metainfo import Metainfo
    from crawler.wire.names import Text


@attrs.define
class InfohashesFound:
    """Infohashes seen for the first time, all in one message of one node.

    A value, and nobody changes it. It is not frozen because that makes one cost 0.6 µs more, and most answers
    make one.

    Attributes:
        at: seconds since 1970.
        source: ``"sample"``, ``"announce"`` or ``"get_peers"``.
        node: compact address of the node that named them.
        infohashes: 20 bytes each.
    """

    at: float
    source: str
    node: bytes
    infohashes: tuple[bytes, ...]

    def __len__(self) -> int:
        """Return how many lines this makes."""
        return len(self.infohashes)

    def lines(self) -> bytes:
        """Return the JSON lines, each with its newline; all is our own ASCII, nothing needs escaping."""
        if not self.infohashes:
            return b""
        head = f'{{"type":"infohash","ts":"{timestamp(self.at)}","infohash":"'
        tail = f'","source":"{self.source}","node":"{format_address(self.node)}"}}\n'
        return f"{head}{(tail + head).join(map(bytes.hex, self.infohashes))}{tail}".encode()


@attrs.frozen
class PeersFound:
    """Peers of one infohash, as one node, one lookup or one peer claimed them.

    Attributes:
        at: seconds since 1970.
        infohash: 20 bytes.
        source: ``"get_peers"``, ``"announce"``, ``"pex"`` or ``"tracker"``.
        peers: compact addresses, without repeats; only a tracker may name none.
        named_by: compact addresses of the nodes (for ``"pex"``: of the peers) that named them.
        seeds: about how many have everything (BEP 33); None when nobody told.
        leechers: about how many have not yet; None when nobody told.
        tracker: ``scheme://host:port`` of the tracker that told, where it was one: our own plain ASCII.
    """

    at: float
    infohash: bytes
    source: str
    peers: tuple[bytes, ...]
    named_by: tuple[bytes, ...] = ()
    seeds: int | None = None
    leechers: int | None = None
    tracker: str | None = None

    def __len__(self) -> int:
        """Return how many lines this makes."""
        return 1

    def lines(self) -> bytes:
        """Return the JSON line with its newline."""
        peers = ",".join([f'"{format_address(peer)}"' for peer in self.peers])
        line = (
            f'{{"type":"peers","ts":"{timestamp(self.at)}","infohash":"{self.infohash.hex()}",'
            f'"source":"{self.source}","peers":[{peers}]'
        )
        if self.named_by:
            line += ',"named_by":["' + '","'.join(map(format_address, self.named_by)) + '"]'
        if self.tracker is not None:
            line += f',"tracker":"{self.tracker}"'
        if self.seeds is not None:
            line += f',"seeds":{self.seeds}'
        if self.leechers is not None:
            line += f',"leechers":{self.leechers}'
        return (line + "}\n").encode()


@attrs.define
class MetadataFound:
    """Verified metadata of one infohash; made by :func:`metadata_found`.

    Attributes:
        line: the JSON line with its newline, made at once: the files would take ten times the memory.
    """

    line: bytes

    def __len__(self) -> int:
        """Return how many lines this makes."""
        return 1

    def lines(self) -> bytes:
        """Return the JSON line with its newline."""
        return self.line


@attrs.frozen
class LinesRead:
    """Lines of records that an earlier run wrote, as they are.

    Attributes:
        data: the JSON lines, each with its newline.
        count: how many they are.
    """

    data: bytes
    count: int

    def __len__(self) -> int:
        """Return how many lines this makes."""
        return self.count

    def lines(self) -> bytes:
        """Return the JSON lines."""
        return self.data


Record = InfohashesFound | PeersFound | MetadataFound | LinesRead
RECORD_TYPES: Final = ("infohash", "peers", "metadata")


def metadata_found(
    at: float, infohash: bytes, metainfo: Metainfo, peer: bytes, *, max_line: int
) -> MetadataFound:
    """Return the record of metadata whose hash was verified.

    Every byte of the line is printable ASCII: control and bidi characters of hostile names are escaped.

    Args:
        at: seconds since 1970.
        infohash: 20 bytes, what it was asked for by.
        metainfo: what it says.
        peer: compact address of the peer that gave it.
        max_line: bytes that the line may have, about; files beyond that are left out.
    """
    files = _all_files(metainfo.files, max_line)
    truncated = metainfo.files_truncated or len(files) < len(metainfo.files)
    v2 = metainfo.infohash_v2
    line = (
        f'{{"type":"metadata","ts":"{timestamp(at)}","infohash":"{infohash.hex()}",'
        f'"infohash_v2":{"null" if v2 is None else _quote(v2.hex())},{_name("name", (metainfo.name,))},'
        f'"size":{metainfo.size},"piece_length":{metainfo.piece_length},"files":[{",".join(files)}],'
        f'"files_truncated":{_JSON[truncated]},'
    )
    if truncated:
        line += f'"file_count":{metainfo.file_count},'
    line += f'"private":{_JSON[metainfo.private]},"peer":"{format_address(peer)}"'
    if metainfo.faults:
        line += f',"faults":[{",".join(map(_quote, metainfo.faults))}]'
    return MetadataFound((line + "}\n").encode("ascii"))


_quote = json.encoder.encode_basestring_ascii
_JSON = {True: "true", False: "false"}


def _all_files(files: Files, room: int) -> list[str]:
    """Return the JSON of each file, as many as have room in so many bytes."""
    paths = b'"'.join([b"/".join(path) for path, _ in files.raw])
    if files.texts is not None or paths.count(b'"') != len(files.raw) - 1:
        return _fitting(map(_file, files), room)
    # All are quoted in one call. No quote comes from a path, so that each escaped one is between two.
    quoted = _quote(paths.decode())[1:-1].split('\\"')
    made = [f'{{"path":"{path}","size":{raw[1]}}}' for path, raw in zip(quoted, files.raw, strict=True)]
    return made if sum(map(len, made)) + len(made) <= room else _fitting(made, room)


def _fitting(texts: Iterable[str], room: int) -> list[str]:
    kept = []
    for text in texts:
        room -= len(text) + 1
        if room < 0:
            break
        kept.append(text)
    return kept


def _file(file: File) -> str:
    """Return the JSON of one file."""
    return f'{{{_name("path", file.path)},"size":{file.size}}}'


def _name(key: str, parts: tuple[Text, ...]) -> str:
    """Return a name, or the components of a path, as fields; with the raw bytes where they were not UTF-8."""
    said = f'"{key}":{_quote("/".join([part.text for part in parts]))}'
    for part in parts:
        if part.raw is not None:
            return said + _raw_name(key, parts)
    return said


def _raw_name(key: str, parts: tuple[Text, ...]) -> str:
    encoding = next((part.encoding for part in parts if part.raw is not None and part.encoding), None)
    whole = b"/".join([part.text.encode() if part.raw is None else part.raw for part in parts])
    return f',"encoding":{"null" if encoding is None else _quote(encoding)},"{key}_hex":"{whole.hex()}"'


@lru_cache(maxsize=64)
def timestamp(at: float) -> str:
    """Return ``at`` (seconds since 1970) as ``2026-01-02T03:04:05.678Z``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:23] + "Z"
