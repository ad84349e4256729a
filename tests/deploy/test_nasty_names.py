"""500 names that were made to hurt, from a peer's bytes to the line on the disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from tests.deploy.nasty_names import COUNT
from tests.deploy.shipped import CONFIG

if TYPE_CHECKING:
    from tests.deploy.conftest import Crawl

pytestmark = pytest.mark.interop

_WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")
_MAKES = re.compile(
    r"^\d+ +(open|openat|openat2|creat|mkdir|mkdirat|rename|renameat|renameat2|link|linkat|symlink|symlinkat"
    r"|mknod|mknodat|unlink|unlinkat|rmdir|truncate|chmod|chown|utimensat|execve)\((.*)"
)
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')


def test_every_line_is_plain(crawl: Crawl) -> None:
    """All 500 come out, every line parses and obeys the schema, and no byte but a newline is unprintable."""
    assert crawl.exit.code == 0, crawl.log
    assert {byte for byte in crawl.output if not 0x20 <= byte <= 0x7E} <= {0x0A}
    validator = jsonschema.Draft202012Validator(json.loads((CONFIG / "records.schema.json").read_text()))
    for record in crawl.records:
        validator.validate(record)
    found = {record["infohash"] for record in crawl.records if record["type"] == "metadata"}
    assert found == {torrent.infohash.hex() for torrent in crawl.torrents}
    assert len(found) == COUNT


def test_names_are_told_as_they_are(crawl: Crawl) -> None:
    """A name in UTF-8 comes out as it was, any other with its own bytes beside what it was taken for."""
    names = {torrent.infohash.hex(): torrent.name for torrent in crawl.torrents}
    whole = 0
    for record in crawl.records:
        if record["type"] != "metadata":
            continue
        name = names[record["infohash"]]
        if "long_name" in record.get("faults", []):
            continue
        raw = bytes.fromhex(record["name_hex"]) if "name_hex" in record else record["name"].encode()
        assert raw == name, record["name"]
        whole += 1
    assert whole >= COUNT - 20


def test_no_name_reaches_a_path(crawl: Crawl) -> None:
    """No system call of the daemon makes, changes or removes a file but its output and its state."""
    allowed = {crawl.directory / "state", crawl.directory / "peers.jsonl"}
    made, is_open = 0, False
    for line in crawl.traced():
        is_open = is_open or " bind(" in line
        match = _MAKES.match(line)
        if match is None or (match[1].startswith("open") and not _WRITES.search(match[2])):
            continue
        if match[1] == "execve":
            # Trio looks for libpthread when it is imported, with the help of ldconfig.
            assert not is_open, f"a program was started: {line}"
            continue
        for path in (Path(crawl.directory, said) for said in _PATH.findall(match[2])):
            if str(path) != "/dev/null":
                assert allowed & {path, *path.parents}, line
                made += 1
    assert made > 5, "the trace shows nothing that was written"
    assert {path.name for path in crawl.directory.iterdir()} == {"peers.jsonl", "state"}
    kept = [path.name for path in (crawl.directory / "state").rglob("*")]
    assert [name for name in kept if not re.fullmatch(r"[a-z0-9_.-]+", name)] == []


def test_the_log_is_plain(crawl: Crawl) -> None:
    """Nothing of a name moves a terminal that shows the log."""
    assert all(character.isprintable() or character == "\n" for character in crawl.log)
