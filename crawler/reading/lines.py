"""Lines out of bytes that come in pieces, and where such bytes come from: plain files, gzip, zstd, a pipe."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crawler.reading.config import ReadingConfig

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_MAGIC_BYTES: Final = 4
_ZSTD_PIECE: Final = 1024  # compressed; makes at most 32 MiB


class UnreadableError(Exception):
    """A file cannot be read, or no further; one line for a person."""


class MissingPackageError(UnreadableError):
    """A package that would read it is not installed."""


@attrs.define
class Piece:
    """What one reading brought.

    Attributes:
        lines: whole ones, without their ends.
        overlong: lines that were longer than allowed and are not among them.
        busy: whether more may be there at once.
    """

    lines: list[bytes] = attrs.field(factory=list)
    overlong: int = 0
    busy: bool = False


class Source(Protocol):
    """Whatever bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, at least one unless it has ended."""


class LineStream:
    """The lines of a source that is read once, from its start to its end; compressed ones are unpacked."""

    def __init__(self, source: Source, config: ReadingConfig) -> None:
        """Look at the first bytes of ``source``, to see whether it is compressed.

        Raises:
            MissingPackageError: it is, in a way that nothing here can read.
            OSError: it can't be read.
        """
        self._raw = _Counted(source)
        self._config = config
        self._source = unpacked(self._raw)
        self._rest = b""
        self._skips = False
        self.ended = False

    @property
    def bytes_taken(self) -> int:
        """How many bytes of the source, compressed ones as they are, were read."""
        return self._raw.count

    def read(self) -> Piece:
        """Return the next lines; at the end, what has no line end too.

        Raises:
            UnreadableError: it ends too early, or is damaged from here on.
            OSError: it can't be read.
        """
        with _damage_told():
            data = self._source.read(self._config.piece)
        piece = Piece(busy=bool(data))
        if not data:
            self.ended = True
            data = b"\n" if self._rest or self._skips else b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines and self._skips:
            self._skips = False
            piece.overlong += 1
            del lines[0]
        if len(self._rest) > self._config.max_line:
            self._rest, self._skips = b"", True
        elif self._skips:
            self._rest = b""
        piece.lines = [line for line in lines if len(line) <= self._config.max_line]
        piece.overlong += len(lines) - len(piece.lines)
        return piece


def is_packed(start: bytes) -> bool:
    """Whether a file that starts so is compressed."""
    return start.startswith((GZIP_MAGIC, ZSTD_MAGIC))


def unpacked(source: _Counted) -> Source:
    """Return ``source``, unpacked if its first bytes say that it is compressed.

    Raises:
        MissingPackageError: nothing here can unpack it.
        OSError: it can't be read.
    """
    start = source.look()
    if start.startswith(ZSTD_MAGIC):
        return _ZstdSource(source)
    if start.startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=source, mode="rb")  # type: ignore[call-overload, no-any-return] # it needs read alone
    return source


def first_bytes(source: Source, size: int) -> bytes:
    """Return the first ``size`` bytes of ``source``, unpacked; fewer if there are no more.

    Raises:
        UnreadableError: it is damaged, or packed in a way that nothing here can read.
        OSError: it can't be read.
    """
    opened, data = unpacked(_Counted(source)), b""
    with _damage_told():
        while len(data) < size and (more := opened.read(size - len(data))):
            data += more
    return data


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    """Raise what a decompressor says of damaged data as UnreadableError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableError(f"damaged: {error}") from error


class _Counted:
    """A source that counts what was taken from it, and lets its first bytes be seen before."""

    def __init__(self, source: Source) -> None:
        self.count = 0
        self._source = source
        self._seen = b""

    def look(self) -> bytes:
        while len(self._seen) < _MAGIC_BYTES:
            more = self._source.read(_MAGIC_BYTES - len(self._seen))
            if not more:
                break
            self._seen += more
        return self._seen

    def read(self, size: int, /) -> bytes:
        data = self._seen[:size]
        self._seen = self._seen[size:]
        if not data:
            data = self._source.read(size)
        self.count += len(data)
        return data


class _ZstdSource:
    """Zstandard frames unpacked; unlike the package's own reader it tells when the last one is cut off."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._zstd = _zstandard()
        self._frame: Any = None
        self._ready = bytearray()

    def read(self, size: int, /) -> bytes:
        while not self._ready:
            packed = self._source.read(_ZSTD_PIECE)
            if not packed:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of a frame")
                return b""
            self._unpack(packed)
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def _unpack(self, packed: bytes) -> None:
        while packed:
            if self._frame is None:
                self._frame = self._zstd.ZstdDecompressor().decompressobj()
            try:
                self._ready += self._frame.decompress(packed)
            except self._zstd.ZstdError as error:
                raise UnreadableError(f"damaged: {error}") from error
            if not self._frame.eof:
                return
            packed = self._frame.unused_data
            self._frame = None


def _zstandard() -> Any:
    with contextlib.suppress(ImportError):
        return importlib.import_module("zstandard")
    raise MissingPackageError(
        'it is compressed, and zstd needs a package that is not installed: pip install "dht-crawler[zstd]"'
    )
