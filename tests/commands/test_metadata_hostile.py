"""Metadata with the right hash that its author made to hurt: what a person and a program are told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands.command_line import Done, check_documented, run
from tests.commands.serve_infos import served
from tests.interop import plain_krpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = "127.0.0.1:9"


def info(name: bytes, **more: object) -> bytes:
    """Return an info dict of one small file."""
    fields = {b"name": name, b"length": 5, b"piece length": 16384, b"pieces": b"x" * 20}
    return plain_krpc.encode(fields | {key.encode(): value for key, value in more.items()})


HOSTILE = {
    "terminal": info(b"\x1b[31m\x1b]0;x\x07\r\n\x00\x7f"),
    "bidi": info("a\u202egpj.exe\u2066\u200b\u2028".encode()),
    "path": info(b"../../etc/passwd"),
    "trailing": info(b"t") + b"junk",
    "no piece length": b"d6:lengthi5e4:name1:xe",
    "no dict": b"le",
}


@pytest.fixture(scope="module", name="links")
def hostile_peer() -> Iterator[dict[str, str]]:
    """Run the peer beside the tests."""
    with served(HOSTILE) as links:
        yield links


def metadata(link: str, *words: str) -> Done:
    """Run the command; the link names the peer, so no DHT is needed."""
    return run("metadata", link, *words, "--timeout", "10", bootstrap=NOBODY)


@pytest.mark.parametrize("kind", ["terminal", "bidi", "path", "trailing"])
def test_nothing_in_a_name_reaches_the_terminal(links: dict[str, str], kind: str) -> None:
    """Every line for people is printable, whatever the name has in it, and so is every byte of --json."""
    done = metadata(links[kind])
    assert (done.code, done.err) == (0, "")
    assert all(line.isprintable() for line in done.out.split("\n"))
    done = metadata(links[kind], "--json")
    check_documented("metadata", done)
    [record] = done.records
    assert record["type"] == "metadata"
    assert record["name"].encode() == plain_krpc.decode(HOSTILE[kind].removesuffix(b"junk"))[b"name"]


def test_a_name_is_no_path(links: dict[str, str], tmp_path: Path) -> None:
    """The file is the one that --save names, and it has the exact bytes."""
    place = tmp_path / "it.torrent"
    assert metadata(links["path"], "--save", str(place)).code == 0
    assert [path.name for path in tmp_path.rglob("*")] == ["it.torrent"]
    assert HOSTILE["path"] in place.read_bytes()


def test_what_no_torrent_can_be_made_of_is_not_saved(links: dict[str, str], tmp_path: Path) -> None:
    """Bytes behind the dict would spoil the file around it: shown, not saved, code 1, one line."""
    place = tmp_path / "it.torrent"
    done = metadata(links["trailing"], "--save", str(place))
    assert (done.code, done.rows["faults"]) == (1, "trailing_bytes")
    assert done.err == "dht-crawler: error: no .torrent can be made of this metadata: not_a_dict\n"
    assert not place.exists()


@pytest.mark.parametrize(
    ("kind", "reason"), [("no piece length", "bad_piece_length"), ("no dict", "not_bencode")]
)
def test_what_no_program_could_load_is_told(links: dict[str, str], kind: str, reason: str) -> None:
    """People get a line that says why; programs a summary, so that they never read nothing at all."""
    done = metadata(links[kind])
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith(f"gave metadata with the right hash that no program could load: {reason}\n")
    done = metadata(links[kind], "--json")
    check_documented("metadata", done)
    [summary] = done.records
    assert (done.code, summary["type"], summary["unreadable"]) == (1, "summary", reason)
