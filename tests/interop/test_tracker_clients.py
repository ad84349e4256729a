"""Real clients announce to our tracker, over UDP and over HTTP, and find each other through it alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from crawler.tracker import SimpleTracker
from crawler.wire.tracker import AnnounceRequest, ScrapeCounts
from tests.interop.foreign_trackers import free_port
from tests.interop.node_packages import DIRECTORY, node_or_skip
from tests.interop.transmission_seeder import PROGRAM, TransmissionSeeder
from tests.tracker.raw_client import http_announce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop

PATIENCE = 60.0
SIZE = 50_000
PIECE = 16_384
CARRIERS = ("udp", "http")

NODE_CLIENT = """
const { default: Client } = await import('bittorrent-tracker/client')
const [url, infoHash] = process.argv.slice(1)
const told = { peers: [], updates: [] }
const fail = error => { console.error(error); process.exit(1) }
const peerId = '2d4e4f444530312d' + '61'.repeat(12)
const client = new Client({ infoHash, peerId, announce: [url], port: 7777 })
client.on('error', fail)
client.on('warning', fail)
client.on('peer', peer => told.peers.push(peer))
const heard = name => new Promise(resolve => client.once(name, resolve))
const counts = said => ({ complete: said.complete, incomplete: said.incomplete, downloaded: said.downloaded })
for (const [act, left] of [['start', 5], ['complete', 0], ['stop', 0]]) {
  const update = heard('update')
  client[act]({ left })
  told.updates.push(counts(await update))
  const scrape = heard('scrape')
  client.scrape()
  told.scrape = counts(await scrape)
  told.updates.push(told.scrape)
}
console.log(JSON.stringify(told))
process.exit(0)
"""

NODE_CLIENT_OF_DICTIONARIES = """
const { default: Client } = await import('bittorrent-tracker/client')
const [url, infoHash] = process.argv.slice(1)
const fail = error => { console.error(error); process.exit(1) }
const client = new Client({ infoHash, peerId: '61'.repeat(20), announce: [url], port: 7777 })
client.on('error', fail)
client.on('warning', fail)
const update = new Promise(resolve => client.once('update', resolve))
const met = new Promise(resolve => client.once('peer', resolve))
client.start({ left: 5, compact: 0 })
const peers = (await update).peers.map(peer => ({
  id: Buffer.from(peer['peer id']).toString('hex'), ip: Buffer.from(peer.ip).toString(), port: peer.port
}))
await met
console.log(JSON.stringify(peers))
process.exit(0)
"""


async def until(met: Callable[[], bool], what: str) -> None:
    """Wait until ``met``, for as long as a loaded machine may need."""
    with trio.move_on_after(PATIENCE):
        while not met():  # noqa: ASYNC110 - other programs wake no trio task
            await trio.sleep(0.05)
        return
    raise AssertionError(f"not within {PATIENCE:g} s: {what}")


def made(lt: Any, directory: Path, name: str, url: str) -> tuple[bytes, str]:
    """Write a file of random bytes and return a .torrent for it, and its infohash in hex."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(os.urandom(SIZE))
    torrent = lt.create_torrent(lt.list_files(str(directory / name)), PIECE, lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, str(directory))
    data = lt.bencode({**torrent.generate(), b"announce": url.encode()})
    return data, str(lt.load_torrent_buffer(data).info_hashes.v1)


def session(lt: Any) -> Any:
    """A session that learns of peers from trackers only."""
    from tests.interop.libtorrent_seeder import QUIET  # noqa: PLC0415 - it imports libtorrent

    parameters = lt.session_params()
    parameters.settings = {**parameters.settings, **QUIET, "listen_interfaces": "127.0.0.1:0"}
    return lt.session(parameters)


def add(lt: Any, where: Any, torrent: bytes, directory: Path) -> Any:
    """Add a torrent whose content is, or shall be, in ``directory``."""
    directory.mkdir(exist_ok=True)
    wanted = lt.load_torrent_buffer(torrent)
    wanted.save_path = str(directory)
    return where.add_torrent(wanted)


@contextlib.contextmanager
def aria2(directory: Path, torrent: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run an aria2c that downloads and then seeds, and learns of peers from trackers only.

    It asks UDP trackers from the socket of its DHT node, which therefore runs, knowing no other node.
    """
    words = (
        "aria2c --no-conf --quiet --enable-dht=true --enable-dht6=false --enable-peer-exchange=false "
        f"--dht-file-path={directory}/dht.dat --dht-listen-port={free_port()} --listen-port={free_port()} "
        "--bt-enable-lpd=false --seed-ratio=0.0 --file-allocation=none --interface=127.0.0.1 "
        f"--stop-with-process={os.getpid()}"
    ).split()
    process = subprocess.Popen(
        [*words, f"--dir={directory}", str(torrent)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def holds(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


def url_of(tracker: SimpleTracker, carrier: str) -> str:
    return tracker.udp_url if carrier == "udp" else tracker.http_url


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_real_clients_find_each_other(carrier: str, tmp_path: Path) -> None:
    """Three clients need no more than us for their downloads, and each one's goodbye is heard."""
    lt = pytest.importorskip("libtorrent", reason="libtorrent has no wheel for this Python")
    for program in (PROGRAM, "aria2c"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    async with SimpleTracker() as tracker:
        url = url_of(tracker, carrier)
        first, first_hash = made(lt, tmp_path / "transmission", "first.bin", url)
        second, second_hash = made(lt, tmp_path / "libtorrent", "second.bin", url)
        (tmp_path / "second.torrent").write_bytes(second)
        swarm = session(lt)
        handles = [add(lt, swarm, second, tmp_path / "libtorrent")]
        with TransmissionSeeder(tmp_path / "transmission", {"first": first}) as transmission:
            await until(
                lambda: ("127.0.0.1", transmission.port) in tracker.get_peers(first_hash),
                "Transmission announces",
            )
            await until(lambda: tracker.scrape(second_hash).seeders == 1, "libtorrent announces")
            handles.append(add(lt, swarm, first, tmp_path / "got"))
            with aria2(tmp_path / "aria2", tmp_path / "second.torrent") as leecher:
                await until(
                    lambda: tracker.scrape(first_hash) == ScrapeCounts(2, 1, 0), "libtorrent completes"
                )
                await until(lambda: tracker.scrape(second_hash) == ScrapeCounts(2, 1, 0), "aria2 completes")
                assert tracker.swarm_count() == 2
                # They are complete when the hashes match, and write to the disk at their leisure.
                for name, ours, theirs in (
                    ("first.bin", "got", "transmission"),
                    ("second.bin", "aria2", "libtorrent"),
                ):
                    wanted = (tmp_path / theirs / name).read_bytes()
                    await until(
                        partial(holds, tmp_path / ours / name, wanted), f"{name} as it was, in {ours}"
                    )
                leecher.send_signal(signal.SIGINT)
                await until(lambda: tracker.scrape(second_hash) == ScrapeCounts(1, 1, 0), "aria2 leaves")
            for handle in handles:
                swarm.remove_torrent(handle)
            await until(lambda: tracker.get_peers(second_hash) == [], "libtorrent leaves")
            await until(lambda: tracker.scrape(first_hash) == ScrapeCounts(1, 1, 0), "libtorrent leaves")
            assert tracker.get_peers(first_hash) == [("127.0.0.1", transmission.port)]
            await trio.to_thread.run_sync(transmission.stop_torrents)
            await until(lambda: tracker.scrape(first_hash) == ScrapeCounts(0, 1, 0), "Transmission leaves")
        counters = tracker.figures()
    used, unused = counters["carriers"][carrier], counters["carriers"]["http" if carrier == "udp" else "udp"]
    assert used["answered"]["announce"] >= 7
    assert (unused["received"], used["refused"]) == (0, {})
    events = counters["registry"]["events"]
    assert events["completed"] == 2
    assert events["stored"] == events["stopped"] >= 4, events


async def told_by(node: str, script: str, url: str, infohash: bytes) -> Any:
    """Run a script of npm's client and return the JSON that it prints."""
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [node, "--input-type=module", "--eval", script, url, infohash.hex()],
            cwd=DIRECTORY,
            capture_stdout=True,
        )
    return json.loads(done.stdout)


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_npms_client_announces_and_scrapes(carrier: str) -> None:
    """The client of npm's bittorrent-tracker starts, completes, stops and scrapes, and learns of a peer."""
    node = node_or_skip()
    infohash = bytes(range(20))
    async with SimpleTracker() as tracker:
        other = AnnounceRequest(infohash, b"-XX0001-abcdefghijkl", 7001, left=1)
        await http_announce("127.0.0.1", tracker.http_port, other)
        told = await told_by(node, NODE_CLIENT, url_of(tracker, carrier), infohash)
        assert tracker.get_peers(infohash) == [("127.0.0.1", 7001)]
    assert set(told["peers"]) == {"127.0.0.1:7001"}
    started, scraped, completed, scraped_complete, stopped, scraped_stopped = told["updates"]
    assert (started["complete"], started["incomplete"]) == (0, 2)
    assert scraped == {"complete": 0, "incomplete": 2, "downloaded": 0}
    assert (completed["complete"], completed["incomplete"]) == (1, 1)
    assert scraped_complete == {"complete": 1, "incomplete": 1, "downloaded": 1}
    assert (stopped["complete"], stopped["incomplete"]) == (0, 1)
    assert scraped_stopped == {"complete": 0, "incomplete": 1, "downloaded": 1}


async def test_npms_client_reads_dictionaries_with_peer_ids() -> None:
    """Refusing compact peers, that client gets everybody's IP, port and peer id, as BEP 3 has it."""
    node = node_or_skip()
    infohash, peer_id = bytes(range(20)), b"-XX0001-abcdefghijkl"
    async with SimpleTracker() as tracker:
        other = AnnounceRequest(infohash, peer_id, 7001, left=1)
        await http_announce("127.0.0.1", tracker.http_port, other)
        peers = await told_by(node, NODE_CLIENT_OF_DICTIONARIES, tracker.http_url, infohash)

    assert peers == [{"id": peer_id.hex(), "ip": "127.0.0.1", "port": 7001}]
