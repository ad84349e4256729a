"""config/duckdb.sql over real output: each query runs as it is shipped, and says what is true."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from tests.deploy.shipped import CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deploy.conftest import Crawl

pytestmark = pytest.mark.interop

Rows = list[tuple[Any, ...]]


@pytest.fixture
def asked(crawl: Crawl, tmp_path: Path) -> Iterator[list[Rows]]:
    """What each question of the file answers, with a compressed file, a torn one and half a line about."""
    lines = crawl.output.splitlines(keepends=True)
    half = len(lines) // 2
    (tmp_path / "peers.jsonl.20260102T030405.678Z.gz").write_bytes(gzip.compress(b"".join(lines[:half])))
    (tmp_path / "peers.jsonl.20260102T030405.678Z.gz.part").write_bytes(b"\x1f\x8b half of a file")
    (tmp_path / "peers.jsonl.torn").write_bytes(lines[0][:40] + b"\n")
    # The last lines of the closed file are here once more, as after a crash.
    (tmp_path / "peers.jsonl").write_bytes(b"".join(lines[half - 3 :]) + lines[0][:50])
    here = os.getcwd()  # noqa: PTH109 - where the test was started is where it returns to
    os.chdir(tmp_path)
    shutil.copy(CONFIG / "duckdb.sql", tmp_path)
    with duckdb.connect() as connection:
        text = re.sub("'linux'", "'touch owned'", (tmp_path / "duckdb.sql").read_text(encoding="utf-8"))
        done = [connection.execute(statement) for statement in duckdb.extract_statements(text)][-1]
        assert done is not None
        yield [
            connection.execute(statement).fetchall()
            for statement in duckdb.extract_statements(text)
            if statement.type is duckdb.StatementType.SELECT
        ]
    os.chdir(here)


def test_every_answer_is_true(crawl: Crawl, asked: list[Rows]) -> None:
    """Found per hour, largest swarms, their names, a word's torrents, what is known, and who told it."""
    per_hour, largest, named, searched, known, told = asked
    found = {record["infohash"] for record in crawl.records if record["type"] == "infohash"}
    swarms = {record["infohash"] for record in crawl.records if record["type"] == "peers"}
    seeds = [record["seeds"] for record in crawl.records if record.get("seeds") is not None]

    assert sum(count for _, _, count in per_hour) == len(found)
    assert known == [(len(found), len(found & swarms), len(found))]
    assert len(largest) == len(named) == 20
    assert largest[0][1] == (max(seeds) if seeds else None)
    assert all(peers == 16 for *_, peers in largest)
    assert {hash_ for hash_, *_ in searched} == {
        torrent.infohash.hex() for torrent in crawl.torrents if b"touch owned" in torrent.name
    }
    assert len(searched) >= 5
    assert sum(count for _, count in told) <= len(found)
