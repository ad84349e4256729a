"""The metadata line: what people read of torrents whose authors may be hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crawler.records import metadata_found
from crawler.wire import bencode, metainfo
from crawler.wire.compact import pack_address
from tests.wire import torrent_vectors as vectors

SCHEMA = json.loads((Path(__file__).parent.parent / "config" / "records.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
HASH = bytes(range(20))
PEER = pack_address(("192.0.2.7", 6881))


def info_dict(**fields: Any) -> bytes:
    """Return a v1 info dict; fields replace or add, underscores are spaces."""
    base: dict[bytes, Any] = {b"name": b"a.txt", b"piece length": 16384, b"pieces": b"p" * 20}
    if "files" not in fields:
        base[b"length"] = 5
    return bencode.encode({**base, **{key.replace("_", " ").encode(): v for key, v in fields.items()}})


def line_of(info: bytes, *, max_line: int = 1 << 20) -> bytes:
    """Return the line of an info dict."""
    record = metadata_found(1.5, HASH, metainfo.parse(info), PEER, max_line=max_line)
    assert len(record) == 1
    return record.lines()


def record_of(info: bytes, *, max_line: int = 1 << 20) -> dict[str, Any]:
    """Return the record of an info dict as a reader sees it; the line must be as promised."""
    line = line_of(info, max_line=max_line)
    assert line.endswith(b"}\n")
    assert all(0x20 <= byte <= 0x7E for byte in line[:-1])
    assert line.startswith(b'{"type":"metadata","ts":"')
    record: dict[str, Any] = json.loads(line)
    VALIDATOR.validate(record)
    return record


def test_a_plain_torrent_has_the_promised_fields() -> None:
    """The line of an ordinary torrent has exactly the documented fields, in their order."""
    files = [{b"length": 1, b"path": [b"a"]}, {b"length": 2, b"path": [b"d", b"b"]}]
    record = record_of(info_dict(name=b"dir", files=files))

    assert list(record.items()) == [
        ("type", "metadata"),
        ("ts", "1970-01-01T00:00:01.500Z"),
        ("infohash", HASH.hex()),
        ("infohash_v2", None),
        ("name", "dir"),
        ("size", 3),
        ("piece_length", 16384),
        ("files", [{"path": "a", "size": 1}, {"path": "d/b", "size": 2}]),
        ("files_truncated", False),
        ("private", False),
        ("peer", "192.0.2.7:6881"),
    ]


def test_a_hybrid_torrent_has_its_whole_v2_hash() -> None:
    """For v2 and hybrid torrents all 32 bytes of the SHA-256 are there."""
    info = metainfo.parse(vectors.HYBRID_INFO)
    assert info.infohash_v2 is not None

    assert record_of(vectors.HYBRID_INFO)["infohash_v2"] == info.infohash_v2.hex()


def test_private_torrents_say_so() -> None:
    """BEP 27's flag is recorded."""
    assert record_of(info_dict(private=1))["private"] is True


def test_names_that_were_not_utf8_keep_their_bytes() -> None:
    """A guessed text comes with the encoding and the raw bytes in hex; a path's whole, slashes between."""
    name, folder, leaf = "Сборник песен", "Популярные", "Романсы.mp3"
    path = [folder.encode("cp1251"), b"plain", leaf.encode("cp1251")]
    record = record_of(info_dict(name=name.encode("cp1251"), files=[{b"length": 5, b"path": path}]))

    assert (record["name"], record["encoding"]) == (name, "cp1251")
    assert bytes.fromhex(record["name_hex"]).decode("cp1251") == name
    [file] = record["files"]
    assert (file["path"], file["encoding"]) == (f"{folder}/plain/{leaf}", "cp1251")
    assert bytes.fromhex(file["path_hex"]) == b"/".join(path)


def test_names_that_nothing_explains_keep_their_bytes_too() -> None:
    """When no encoding is found the text has replacement characters, the encoding is null, the bytes stay."""
    record = record_of(info_dict(name=b"abc\xff"))

    assert bytes.fromhex(record["name_hex"]) == b"abc\xff"
    assert record["name"].startswith("abc")


@pytest.mark.parametrize(
    "name",
    [
        "\x1b]0;owned\x07",
        "line\nbreak\r\t",
        "a\u202egnp.exe",
        "\u2028\u2029\u0085\x7f\x9b31m",
        "\ufeff\u200b\u2066",
        "emoji \U0001f600",
        '"},{"type":"infohash"',
        "\\u0041\\",
        "../../etc/passwd",
        "",
    ],
)
def test_hostile_names_are_escaped_and_come_back_whole(name: str) -> None:
    """Control, bidi and quote characters are escaped in the line, and a reader gets the very text."""
    record = record_of(info_dict(name=name.encode()))

    assert record["name"] == name
    assert "name_hex" not in record


def test_encoded_surrogates_are_no_text() -> None:
    """Bytes that decode to lone surrogates elsewhere are not UTF-8: replaced as text, whole in hex."""
    record = record_of(info_dict(name=b"a\xed\xa0\x80b"))

    assert bytes.fromhex(record["name_hex"]) == b"a\xed\xa0\x80b"
    assert not any("\ud800" <= character <= "\udfff" for character in record["name"])


def test_too_many_files_are_cut_off_and_counted() -> None:
    """Files beyond the line's limit are left out, which is said; the size still counts them all."""
    files = [{b"length": 2, b"path": [b"\x01" * 90, b"%d" % n]} for n in range(1000)]
    info = info_dict(name=b"dir", files=files)
    record = record_of(info, max_line=20_000)

    assert record["files_truncated"] is True
    assert 0 < len(record["files"]) < 50
    assert (record["file_count"], record["size"]) == (1000, 2000)
    assert len(line_of(info, max_line=20_000)) < 21_000
    assert record_of(info)["files_truncated"] is False


def test_what_is_wrong_is_said() -> None:
    """A torrent with dangerous paths is recorded with a word of warning."""
    record = record_of(info_dict(name=b"dir", files=[{b"length": 5, b"path": [b"..", b"a/b"]}]))

    assert "unsafe_path" in record["faults"]
    assert record["files"][0]["path"] == "../a/b"


@given(name=st.binary(max_size=40), path=st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_any_names_make_a_valid_line(name: bytes, path: list[bytes]) -> None:
    """Whatever bytes an author writes, the line is printable ASCII, obeys the schema and loses no byte."""
    assume(path[0] != b".pad" and not path[-1].startswith(b"_____padding_file"))
    info = info_dict(name=name, files=[{b"length": 5, b"path": path}])
    record = record_of(info)

    assert (
        bytes.fromhex(record["name_hex"]) == name if "name_hex" in record else record["name"].encode() == name
    )


@given(
    paths=st.lists(
        st.lists(st.text('a"\\u/\n\x7f\xe9', min_size=1, max_size=4), min_size=1, max_size=3), min_size=1
    )
)
def test_every_path_comes_back_as_it_was(paths: list[list[str]]) -> None:
    """However quotes and backslashes lie at the ends of names, each file keeps its own path and size."""
    files = [
        {b"length": size, b"path": [name.encode() for name in path]} for size, path in enumerate(paths, 1)
    ]
    record = record_of(info_dict(name=b"dir", files=files))

    assert record["files"] == [{"path": "/".join(path), "size": size} for size, path in enumerate(paths, 1)]
