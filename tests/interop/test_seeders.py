"""Metadata of what Transmission and aria2 seed, found in a DHT: by the daemon, and by the command."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.interop import aria2, namespace, transmission

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

KINDS = ["large", "non-ascii"]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Play the scene once in a namespace of its own; return what was seen in it."""
    pytest.importorskip("libtorrent", reason="libtorrent has no wheel for this Python")
    for program in (transmission.PROGRAM, aria2.PROGRAM):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    reason = namespace.why_not()
    if reason:
        pytest.skip(reason)
    return namespace.play("seeders_scene", tmp_path_factory.mktemp("seeders"), seconds=280)


@pytest.fixture(params=["transmission", "aria2"])
def seeder(request: pytest.FixtureRequest) -> str:
    """Each of the programs."""
    return str(request.param)


def test_everything_is_announced(facts: dict[str, Any], seeder: str) -> None:
    """The bench is what it claims: the program has a torrent of each kind in the DHT, one beyond 64 KiB."""
    assert not facts["unannounced"]
    hashes = facts["hashes"][seeder]
    assert sorted(hashes.values()) == KINDS
    assert max(facts["sizes"][infohash] for infohash in hashes) > 65_536


def test_the_daemon_fetches_everything(facts: dict[str, Any], seeder: str) -> None:
    """The daemon finds each torrent by sampling, and gets its metadata from that program, byte for byte."""
    for infohash, kind in facts["hashes"][seeder].items():
        record = facts["records"].get(infohash)
        assert record is not None, (kind, facts["log"])
        assert record["peer"] == facts["seeders"][seeder]
        assert infohash in facts["exact"], kind
        assert record["name"] == {"non-ascii": f"Größe 日本 {seeder}", "large": f"large {seeder}"}[kind]
        assert len(record["files"]) == {"non-ascii": 3, "large": 1500}[kind]


def test_the_command_saves_everything(facts: dict[str, Any], seeder: str) -> None:
    """The command gets the same from the bare infohash, and libtorrent loads what it saved under it."""
    for infohash, kind in facts["hashes"][seeder].items():
        saved = facts["saved"][infohash]
        assert (saved["code"], saved["from"]) == (0, facts["seeders"][seeder]), (kind, saved["said"])
        assert saved["exact"], kind
        assert saved["loads_as"] == infohash
