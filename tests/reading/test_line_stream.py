"""Lines of streams: plain, gzip, zstd, whole, torn and damaged."""

from __future__ import annotations

import gzip
import importlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.reading.config import ReadingConfig
from crawler.reading.lines import LineStream, MissingPackageError, UnreadableError, first_bytes

zstandard = importlib.import_module("zstandard")
SMALL = ReadingConfig(piece=4096, max_line=8192)
LINES = [b"line %d " % number + b"x" * (number * 37 % 5000) for number in range(300)]
PLAIN = b"".join(line + b"\n" for line in LINES)
PACKED = {
    "plain": PLAIN,
    "gzip": gzip.compress(PLAIN),
    "two gzips": gzip.compress(PLAIN[:9000]) + gzip.compress(PLAIN[9000:]),
    "zstd": zstandard.ZstdCompressor().compress(PLAIN),
    "two zstds": b"".join(zstandard.ZstdCompressor().compress(part) for part in (PLAIN[:9000], PLAIN[9000:])),
}


def all_of(stream: LineStream) -> tuple[list[bytes], int]:
    """Return all lines of a stream, and how many were too long."""
    lines, overlong = [], 0
    while not stream.ended:
        piece = stream.read()
        lines += piece.lines
        overlong += piece.overlong
    return lines, overlong


@pytest.mark.parametrize("form", PACKED)
def test_every_form_gives_the_same_lines(form: str) -> None:
    """Compressed or not, in one part or two, and every byte of the file is accounted for."""
    stream = LineStream(io.BytesIO(PACKED[form]), SMALL)
    assert all_of(stream) == (LINES, 0)
    assert stream.bytes_taken == len(PACKED[form])
    assert first_bytes(io.BytesIO(PACKED[form]), 5000) == PLAIN[:5000]


@pytest.mark.parametrize("form", ["gzip", "two gzips", "zstd", "two zstds"])
def test_a_compressed_file_that_is_cut_off_says_so(form: str) -> None:
    """What was there is read, and the end is an error and not silence."""
    stream = LineStream(io.BytesIO(PACKED[form][:-9]), SMALL)
    with pytest.raises(UnreadableError, match="damaged"):
        all_of(stream)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_damage_is_found(form: str) -> None:
    """A byte that is not as it was written is never taken for data."""
    data = bytearray(PACKED[form])
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UnreadableError, match="damaged"):
        all_of(LineStream(io.BytesIO(bytes(data)), SMALL))


@given(
    st.lists(st.sampled_from([0, 5, 4096, 8192, 8193, 20_000]), max_size=8),
    st.sampled_from([0, 3, 8193, 20_000]),
)
def test_lines_too_long_are_counted_each(lengths: list[int], last: int) -> None:
    """Longer ones are left out, one by one, also the last that has no end."""
    lines = [b"x" * length for length in lengths]
    data = b"".join(line + b"\n" for line in lines) + b"y" * last
    lines += [b"y" * last] if last else []
    short = [line for line in lines if len(line) <= SMALL.max_line]
    assert all_of(LineStream(io.BytesIO(data), SMALL)) == (short, len(lines) - len(short))


def test_zstd_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks it is told what to install."""

    def missing(_name: str) -> None:
        raise ImportError

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"pip install \"dht-crawler\[zstd\]\""):
        LineStream(io.BytesIO(PACKED["zstd"]), SMALL)
