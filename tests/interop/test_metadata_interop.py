"""Metadata from other people's programs, byte for byte."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import libtorrent as lt
import pytest
import trio

from crawler.net.peer_listener import PeerListener
from crawler.net.peers import FetchError, PeerClient
from crawler.swarm.assembly import verify
from crawler.swarm.serving import MetadataCache
from crawler.wire.compact import pack_address
from crawler.wire.metainfo import parse
from crawler.wire.torrent_file import torrent_file
from tests.interop.libtorrent_seeder import QUIET
from tests.interop.seeder import SeededTorrent, SeederProcess
from tests.interop.transmission_seeder import PROGRAM, TransmissionSeeder
from tests.wire import torrent_vectors as vectors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", params=["127.0.0.1", "::1"])
def seeder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SeederProcess, bytes]]:
    """Yield a seeder, and its compact address, on each family."""
    host = request.param
    written = f"[{host}]" if ":" in host else host
    with SeederProcess(written, tmp_path_factory.mktemp("seeder")) as process:
        yield process, pack_address((host, process.port))


async def test_libtorrent_gives_everything(seeder: tuple[SeederProcess, bytes]) -> None:
    """Every kind of torrent comes over byte-exact, under each of its hashes, and saved it loads again."""
    process, address = seeder
    public = [torrent for torrent in process.torrents if torrent.kind != "private"]
    jobs = [(torrent, infohash) for torrent in public for infohash in torrent.infohashes]

    async def check(number: int, torrent: SeededTorrent, infohash: bytes) -> None:
        # libtorrent holds one connection to a peer id, and a hybrid torrent is asked for twice.
        client = PeerClient(b"-DC0100-interop-%04d" % number, allow_private=True)
        found = await client.fetch_metadata(address, infohash)

        assert (client.counters.fetched, client.counters.open) == (1, 0)
        assert found.info == torrent.info
        assert verify(infohash, found.info)
        loaded = lt.load_torrent_buffer(torrent_file(found.info))
        assert loaded.ti is not None
        hashes = loaded.ti.info_hashes()
        assert hashes.v1.to_bytes().hex() * hashes.has_v1() == torrent.v1
        assert hashes.v2.to_bytes().hex() * hashes.has_v2() == torrent.v2
        ours = parse(found.info)
        assert (ours.infohash_v1 or b"").hex() == torrent.v1
        assert (ours.infohash_v2 or b"").hex() == torrent.v2
        assert ours.faults == ()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number, job in enumerate(jobs):
                nursery.start_soon(check, number, *job)

    kinds = {torrent.kind for torrent in public}
    assert kinds >= {"multi", "non-ascii", "code page", "large", "full last piece", "v2", "hybrid"}
    assert max(len(torrent.info) for torrent in public) > 65_536


async def test_libtorrent_keeps_private_metadata(seeder: tuple[SeederProcess, bytes]) -> None:
    """Private metadata is not given by DHT's ways (BEP 27), and we count that as what it is."""
    process, address = seeder
    [private] = [torrent for torrent in process.torrents if torrent.kind == "private"]
    client = PeerClient(b"-DC0100-interop-test", allow_private=True)

    with pytest.raises(FetchError, match="no_metadata_extension"):
        await client.fetch_metadata(address, private.infohashes[0])

    assert client.counters.failures == {"no_metadata_extension": 1}


async def test_libtorrent_names_read_as_written(seeder: tuple[SeederProcess, bytes]) -> None:
    """Names that libtorrent wrote, padding and all, come out as the files that were there."""
    process, _ = seeder
    infos = {torrent.kind: parse(torrent.info) for torrent in process.torrents}

    for kind in ("v2", "hybrid"):
        files = {"/".join(name.text for name in file.path): file.size for file in infos[kind].files}
        assert infos[kind].name.text == "Größe 日本"
        assert files == {"a.txt": 20_000, "empty": 0, "sub/ü ﷽.bin": 70_000}
    assert infos["code page"].name.text == "Сборник популярных песен"
    assert infos["code page"].name.encoding == "cp1251"
    assert infos["private"].private


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed")
async def test_transmission_gives_everything(tmp_path: Path) -> None:
    """Another program's torrents come over byte-exact too, the large one in several pieces."""
    with SeederProcess("127.0.0.1", tmp_path) as seeder:
        torrents = {torrent.kind: torrent for torrent in seeder.torrents if torrent.v1}
    # Version 3.00 loads no hybrid torrents, and no program gives private metadata.
    del torrents["private"], torrents["hybrid"]
    files = {kind: torrent_file(torrent.info) for kind, torrent in torrents.items()}
    found: dict[str, bytes] = {}

    async def fetch(torrent: SeededTorrent) -> None:
        client = PeerClient(b"-DC0100-transmission", allow_private=True)
        address = pack_address(("127.0.0.1", daemon.port))
        while torrent.kind not in found:
            try:
                found[torrent.kind] = (await client.fetch_metadata(address, bytes.fromhex(torrent.v1))).info
            except FetchError:
                await trio.sleep(0.1)

    with TransmissionSeeder(tmp_path / "transmission", files) as daemon, trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for torrent in torrents.values():
                nursery.start_soon(fetch, torrent)

    assert found == {kind: torrent.info for kind, torrent in torrents.items()}


async def test_libtorrent_fetches_from_us(tmp_path: Path) -> None:
    """A libtorrent client that knows only an infohash and our address gets the exact bytes from us."""
    info = vectors.V1_INFO
    cache = MetadataCache(1 << 20)
    cache.add(vectors.V1_HASH, info)
    listener = PeerListener("127.0.0.1:0", b"-DC0100-interop-give", cache)
    wanted = lt.add_torrent_params()
    wanted.info_hashes = lt.info_hash_t(lt.sha1_hash(vectors.V1_HASH))
    wanted.save_path = str(tmp_path)
    wanted.peers = [listener.local]
    parameters: Any = lt.session_params()
    parameters.settings = {**parameters.settings, **QUIET, "listen_interfaces": "127.0.0.1:0"}
    session = lt.session(parameters)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            handle = session.add_torrent(wanted)
            while not handle.status().has_metadata:  # noqa: ASYNC110 - its alerts wake no trio task
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()

    torrent = handle.torrent_file()
    assert torrent is not None
    assert bytes(torrent.info_section()) == info
    assert listener.counters.pieces_served == 1
