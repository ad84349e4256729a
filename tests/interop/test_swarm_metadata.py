"""Metadata of a whole libtorrent swarm, of every kind of torrent: by the daemon, and by the command."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands.command_line import run
from tests.interop.swarm_crawl import CRAWL_SECONDS, metadata_in
from tests.interop.torrents import hashes_of, listed_by_libtorrent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.command_line import Done
    from tests.interop.seeder import SeededTorrent
    from tests.interop.swarm import SwarmProcess
    from tests.interop.swarm_crawl import Crawl

pytestmark = pytest.mark.interop

KINDS = {"single", "multi", "non-ascii", "code page", "large", "full last piece", "v2", "hybrid"}
COMMANDS_AT_ONCE = 4


def by_infohash(swarm: SwarmProcess) -> dict[str, SeededTorrent]:
    """Return the torrent of each 20-byte name (hex)."""
    return {infohash.hex(): torrent for torrent in swarm.torrents for infohash in torrent.infohashes}


def test_the_swarm_has_every_kind(swarm: SwarmProcess) -> None:
    """The bench is what it claims: 64 torrents, one of each kind, one info dict beyond 64 KiB."""
    assert len(swarm.torrents) == 64
    assert {torrent.kind for torrent in swarm.torrents} > KINDS
    assert by_infohash(swarm).keys() == swarm.peers.keys()
    assert max(len(torrent.info) for torrent in swarm.torrents) > 65_536


def test_every_torrent_gets_metadata(swarm: SwarmProcess, swarm_crawl: Crawl) -> None:
    """Within a minute there is one metadata record for 100 % of the infohashes, and for no other."""
    fetched = [record["infohash"] for record in swarm_crawl.records if record["type"] == "metadata"]
    assert sorted(fetched) == sorted(swarm.peers), swarm_crawl.log
    assert swarm_crawl.fetched_after is not None
    assert swarm_crawl.fetched_after <= CRAWL_SECONDS


def test_the_records_say_what_libtorrent_reads(swarm: SwarmProcess, swarm_crawl: Crawl) -> None:
    """Name, files, sizes and both hashes are those that libtorrent reads from its own info dict."""
    records = metadata_in(swarm_crawl.records)
    for infohash, torrent in by_infohash(swarm).items():
        record, (name, files) = records[infohash], listed_by_libtorrent(torrent.info)
        said = [(file["path"], file["size"]) for file in record["files"]]
        if torrent.kind == "code page":  # libtorrent puts _ for what is not UTF-8
            assert (record["name"], record["encoding"]) == ("Сборник популярных песен", "cp1251")
            assert said == [("Романсы.mp3", 5)]
        else:
            assert (record["name"], said) == (name, files)
        assert record["size"] == sum(size for _, size in files)
        assert (record["infohash_v2"] or "") == torrent.v2
        assert record["peer"] in swarm.peers[infohash]
        assert not record["files_truncated"]
        assert "faults" not in record


def test_the_daemon_has_the_exact_bytes(swarm: SwarmProcess, swarm_crawl: Crawl) -> None:
    """What the daemon fetched, and gives to a peer that asks, is byte for byte what libtorrent has."""
    assert swarm_crawl.served == {
        infohash: torrent.info for infohash, torrent in by_infohash(swarm).items()
    }, swarm_crawl.log


def test_the_command_saves_every_kind(swarm: SwarmProcess, tmp_path: Path) -> None:
    """From a bare infohash, v2's cut to 20 bytes, to a file that libtorrent loads under the same hashes."""
    plain = [infohash for infohash, torrent in by_infohash(swarm).items() if torrent.kind not in KINDS]
    special = [infohash for infohash, torrent in by_infohash(swarm).items() if torrent.kind in KINDS]
    sample = special + plain[::16]

    def save(infohash: str) -> Done:
        place = str(tmp_path / f"{infohash}.torrent")
        return run("metadata", infohash, "--save", place, bootstrap=swarm.nodes[-1])

    with ThreadPoolExecutor(COMMANDS_AT_ONCE) as commands:
        done: dict[str, Any] = dict(zip(sample, commands.map(save, sample), strict=True))

    assert len(special) == len(KINDS) + 1  # a hybrid torrent has two
    for infohash in sample:
        torrent = by_infohash(swarm)[infohash]
        assert done[infohash].code == 0, (torrent.kind, done[infohash])
        saved = (tmp_path / f"{infohash}.torrent").read_bytes()
        assert torrent.info in saved
        assert hashes_of(saved) == (torrent.v1, torrent.v2)
