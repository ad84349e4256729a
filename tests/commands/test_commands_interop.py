"""The commands among real libtorrent sessions, as a person starts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.commands.command_line import Done, run
from tests.interop import loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.seeder import SeededTorrent, SeederProcess
    from tests.interop.swarm import SwarmProcess

lt = pytest.importorskip("libtorrent", reason="libtorrent has no wheel for this Python")
pytestmark = pytest.mark.interop

SESSIONS = 12


@attrs.frozen
class Scene:
    """A DHT whose nodes seed some torrents, and a seeder outside of it that has every kind of torrent."""

    swarm: SwarmProcess
    seeder: SeederProcess

    def run(self, *words: str) -> Done:
        """Run a command in this DHT."""
        return run(*words, bootstrap=self.swarm.nodes[0])

    def torrent(self, kind: str) -> SeededTorrent:
        """Return one of the seeder's torrents."""
        return next(torrent for torrent in self.seeder.torrents if torrent.kind == kind)

    def link(self, kind: str, extra: str = "") -> str:
        """Return a magnet link that names the seeder as a peer."""
        torrent = self.torrent(kind)
        topics = [f"xt=urn:btih:{torrent.v1}"] if torrent.v1 else []
        topics += [f"xt=urn:btmh:1220{torrent.v2}"] if torrent.v2 else []
        return f"magnet:?{'&'.join(topics)}&x.pe=127.0.0.1:{self.seeder.port}{extra}"


@pytest.fixture(scope="module", name="scene")
def libtorrent_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Start both."""
    from tests.interop.seeder import SeederProcess  # noqa: PLC0415 - not where libtorrent is missing
    from tests.interop.swarm import SwarmProcess  # noqa: PLC0415

    network = loopback.own_network()
    addresses = [f"{network}.{number}.1" for number in range(1, SESSIONS + 1)]
    with (
        SwarmProcess(addresses, tmp_path_factory.mktemp("swarm"), 3) as swarm,
        SeederProcess("127.0.0.1", tmp_path_factory.mktemp("seeder")) as seeder,
    ):
        yield Scene(swarm, seeder)


def test_lookup_finds_every_seed(scene: Scene) -> None:
    """Peers are exactly those that announced, and libtorrent's Bloom filters say how many they are."""
    for infohash, seeds in scene.swarm.peers.items():
        done = scene.run("lookup", infohash)
        assert done.code == 0
        assert sorted(done.out.splitlines()[: len(seeds)]) == sorted(seeds)
        assert (done.rows["peers"], done.rows["seeds"]) == ("2", "about 2")
        assert done.rows["leechers"] == "about 0"


def test_metadata_comes_from_the_peers_that_the_dht_names(scene: Scene, tmp_path: Path) -> None:
    """From the bare infohash to a .torrent that libtorrent loads under the same infohash."""
    infohash = next(iter(scene.swarm.peers))
    place = tmp_path / "it.torrent"
    done = scene.run("metadata", infohash, "--save", str(place))

    assert (done.code, done.err) == (0, "")
    assert done.rows["infohash"] == infohash
    assert done.rows["name"].startswith("bench-1-")
    assert done.rows["size"] == "16,384 bytes (16.0 KiB)"
    assert done.rows["from"] in scene.swarm.peers[infohash]
    assert str(lt.load_torrent_file(str(place)).ti.info_hashes().v1) == infohash
    again = scene.run("metadata", infohash, "--save", str(place))
    assert (again.code, again.out) == (2, "")
    forced = scene.run("metadata", infohash, "--save", str(place), "--force")
    assert forced.code == 0


@pytest.mark.parametrize("kind", ["hybrid", "v2", "large"])
def test_every_kind_is_saved_as_it_is(scene: Scene, tmp_path: Path, kind: str) -> None:
    """A link that names a peer is enough; exact bytes, both hashes and the link's trackers are saved."""
    place = tmp_path / "it.torrent"
    torrent = scene.torrent(kind)
    link = scene.link(kind, "&tr=http%3A%2F%2Ft.example%2Fannounce&tr=udp%3A%2F%2Fu.example%3A1")
    done = scene.run("metadata", link, "--save", str(place), "--json")

    [record] = done.records
    loaded = lt.load_torrent_file(str(place))
    hashes = loaded.ti.info_hashes()
    assert done.code == 0
    assert torrent.info in place.read_bytes()
    assert hashes.v1.to_bytes().hex() * hashes.has_v1() == torrent.v1
    assert hashes.v2.to_bytes().hex() * hashes.has_v2() == torrent.v2
    assert list(loaded.trackers) == ["http://t.example/announce", "udp://u.example:1"]
    assert record["type"] == "metadata"
    assert record["infohash"] == (torrent.v1 or torrent.v2[:40])
    assert record["infohash_v2"] == (torrent.v2 or None)
    assert record["peer"] == f"127.0.0.1:{scene.seeder.port}"
    _check_files(kind, record)


def _check_files(kind: str, record: dict[str, Any]) -> None:
    if kind == "large":
        assert len(record["files"]) == 1500
    else:
        files = {file["path"]: file["size"] for file in record["files"]}
        assert files == {"a.txt": 20_000, "empty": 0, "sub/ü ﷽.bin": 70_000}


def test_old_encodings_are_readable(scene: Scene) -> None:
    """Names in a code page are shown as text, with a word on what was guessed."""
    done = scene.run("metadata", scene.link("code page"))
    assert done.rows["name"] == "Сборник популярных песен  (read as cp1251)"
    assert done.out.splitlines()[-1] == "  5  Романсы.mp3"


def test_private_metadata_is_not_given(scene: Scene) -> None:
    """A private torrent's peer keeps it (BEP 27), and the reason is said."""
    done = scene.run("metadata", scene.link("private"))
    assert done.code == 1
    assert done.rows["failures"] == "1 no_metadata_extension"


def test_libtorrent_finds_what_we_announced(scene: Scene) -> None:
    """Real nodes take our announce, and a real session's lookup then names us."""
    target = "ef" * 20
    done = scene.run("announce", target, "--port", "7654")
    assert done.code == 0
    assert done.rows["announced"] == "port 7654, to 8 nodes"
    assert scene.swarm.get_peers(target, session=5) == ["127.0.0.1:7654"]


@pytest.mark.parametrize(("words", "seeds", "leechers"), [([], 0, 1), (["--seed"], 1, 0)])
def test_libtorrent_counts_what_we_announced(
    scene: Scene, words: list[str], seeds: int, leechers: int
) -> None:
    """With --seed real nodes count us among the seeds of the swarm (BEP 33), without it among the others."""
    target = f"{len(words)}d" * 20
    assert scene.run("announce", target, "--port", "7655", *words).code == 0
    found = scene.run("lookup", target)
    assert (found.rows["seeds"], found.rows["leechers"]) == (f"about {seeds}", f"about {leechers}")
