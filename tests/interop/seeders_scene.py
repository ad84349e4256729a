"""The scene of `test_seeders`: other people's programs seed, and the daemon and the command fetch from them.

Run as ``unshare -rn python -m tests.interop.seeders_scene DIRECTORY``. The DHT is one of libtorrent sessions
that have no torrents; all that can be fetched is Transmission's or aria2's. The scene announces for both,
once they seed: their own first announce comes when it likes, up to two minutes later. Prints what was seen as
one line of JSON, which the test judges; leaves with `namespace.REFUSED` where it must not run.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libtorrent as lt

from tests.commands.command_line import run
from tests.interop import namespace, plain_krpc
from tests.interop.aria2 import Aria2
from tests.interop.daemon_process import DaemonProcess, wait_for
from tests.interop.libtorrent_seeder import content, made_by_libtorrent
from tests.interop.swarm import SwarmProcess
from tests.interop.swarm_crawl import ask_for_metadata, metadata_in
from tests.interop.torrents import hashes_of
from tests.interop.transmission import Transmission

if TYPE_CHECKING:
    from tests.interop.plain_krpc import Address

DAEMON_HOST = "62.80.5.9"
TRANSMISSION_HOST = "81.20.30.40"
ARIA2_HOST = "83.90.3.7"
ARIA2_PORT = 16_881
# Transmission thinks nothing of a DHT of less than nine nodes.
SWARM_HOSTS = [f"{number * 9 + 5}.{number * 7}.{number}.1" for number in range(4, 24)]
SEED_SECONDS = 60
ANNOUNCE_SECONDS = 40
CRAWL_SECONDS = 60
SMALL_FILES = 1500
HANDSHAKE_BYTES = 68


def make_torrents(directory: Path, owner: str) -> dict[str, bytes]:
    """Write content and .torrent files of kinds that both programs know; return the info dicts by kind."""
    root = content(directory).rename(directory / f"Größe 日本 {owner}")
    large = directory / f"large {owner}"
    for number in range(SMALL_FILES):
        place = large / f"dir {number % 9}" / f"a rather long name {number:06}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"%06d" % number)
    made = {}
    for kind, place in {"non-ascii": root, "large": large}.items():
        made[kind] = made_by_libtorrent(place, lt.create_torrent.v1_only)
        torrent = plain_krpc.encode({b"info": lt.bdecode(made[kind])})
        (directory / f"{owner}-{kind}.torrent").write_bytes(torrent)
    return made


def seeds(address: Address, infohash: str) -> bool:
    """Tell whether the peer at ``address`` shakes hands (BEP 3) over a torrent."""
    wanted = bytes.fromhex(infohash)
    try:
        with socket.create_connection(address, timeout=2) as link:
            link.sendall(b"\x13BitTorrent protocol" + bytes(8) + wanted + b"-XX0001-" + b"caller calls")
            answer = b""
            while len(answer) < HANDSHAKE_BYTES:
                got = link.recv(HANDSHAKE_BYTES - len(answer))
                if not got:
                    return False
                answer += got
    except OSError:
        return False
    return wanted in answer


def announce_for(peer: Address, infohash: str, nodes: list[Address]) -> None:
    """Announce ``peer`` to ``nodes``, from its address, as it would itself."""
    host, port = peer
    target = bytes.fromhex(infohash)
    with plain_krpc.bound_socket((host, 0)) as sock:
        for node in nodes:
            told = plain_krpc.ask(sock, node, b"get_peers", info_hash=target) or {}
            token = told.get(b"r", {}).get(b"token", b"")
            plain_krpc.ask(sock, node, b"announce_peer", info_hash=target, port=port, token=token)


def make_known(swarm: SwarmProcess, seeders: dict[Address, list[str]], nodes: list[Address]) -> list[str]:
    """Wait until each of ``seeders`` seeds its infohashes, and announce them; return what nobody knows."""
    for peer, infohashes in seeders.items():
        for infohash in infohashes:
            wait_for(partial(seeds, peer, infohash), SEED_SECONDS, every=0.5)
            announce_for(peer, infohash, nodes)
    unannounced = [infohash for infohashes in seeders.values() for infohash in infohashes]

    def announced() -> bool:
        unannounced[:] = [infohash for infohash in unannounced if not swarm.get_peers(infohash, seconds=1)]
        return not unannounced

    wait_for(announced, ANNOUNCE_SECONDS, every=0.5)
    return sorted(unannounced)


def fetch_all(
    swarm: SwarmProcess, directory: Path, infos: dict[str, bytes], owned: list[list[str]]
) -> dict[str, Any]:
    """Fetch the metadata of ``infos`` (by infohash) by the command and by the daemon; return what came.

    ``owned`` lists the infohashes of each program.
    """

    def save(infohash: str) -> dict[str, Any]:
        place = directory / f"{infohash}.torrent"
        done = run("metadata", infohash, "--save", str(place), bootstrap=swarm.nodes[-1])
        saved = place.read_bytes() if place.exists() else b""
        return {
            "code": done.code,
            "from": done.rows.get("from"),
            "exact": infos[infohash] in saved,
            "loads_as": hashes_of(saved)[0] if saved else "",
            "said": done.out + done.err,
        }

    # One after another of a program: Transmission turns away who calls while it shakes hands with that IP.
    with ThreadPoolExecutor(len(owned)) as programs:
        jobs = [programs.submit(lambda own: {i: save(i) for i in own}, own) for own in owned]
    saved = {infohash: facts for job in jobs for infohash, facts in job.result().items()}
    return {"saved": saved, **crawl(swarm, directory, infos)}


def crawl(swarm: SwarmProcess, directory: Path, infos: dict[str, bytes]) -> dict[str, Any]:
    """Run the daemon until it has the metadata of all ``infos``; return what it wrote and can give."""
    out = directory / "peers.jsonl"
    extra = ["--metadata", "--serve-metadata", "--state", str(directory / "state")]
    with DaemonProcess(out=out, listen=DAEMON_HOST, bootstrap=swarm.nodes[:3], extra=extra) as daemon:
        address, _ = daemon.listening()
        wait_for(lambda: metadata_in(daemon.records()).keys() >= infos.keys(), CRAWL_SECONDS, every=0.2)
        served = ask_for_metadata(address, list(infos))
        daemon.terminate()
        records = metadata_in(daemon.records())
    return {
        "records": records,
        "exact": [infohash for infohash, info in served.items() if info == infos[infohash]],
        "log": daemon.log_tail(),
    }


def main() -> None:
    """Enter the namespace, play the scene, print the facts."""
    namespace.enter()
    namespace.call_from(DAEMON_HOST)
    directory = Path(sys.argv[1])
    shared = directory / "content"
    shared.mkdir()
    owned = {owner: make_torrents(shared, owner) for owner in ("transmission", "aria2")}
    files = {owner: sorted(shared.glob(f"{owner}-*.torrent")) for owner in owned}
    hashes = {
        owner: {infohash_of(info): kind for kind, info in infos.items()} for owner, infos in owned.items()
    }
    with SwarmProcess(SWARM_HOSTS, directory / "swarm", 0) as swarm:
        nodes = [plain_krpc.parse_address(node) for node in swarm.nodes]
        transmission = Transmission(
            directory / "transmission",
            TRANSMISSION_HOST,
            *nodes,
            torrents=files["transmission"],
            content=shared,
        )
        aria2 = Aria2(
            directory / "aria2",
            ARIA2_HOST,
            ARIA2_PORT,
            bootstrap=swarm.nodes[0],
            content=shared,
            torrents=files["aria2"],
        )
        with transmission, aria2:
            seeders = {
                transmission.address: list(hashes["transmission"]),
                aria2.address: list(hashes["aria2"]),
            }
            began = time.monotonic()
            unannounced = make_known(swarm, seeders, nodes)
            infos = {infohash_of(info): info for made in owned.values() for info in made.values()}
            facts = {
                "unannounced": unannounced,
                "announced_after": time.monotonic() - began,
                "hashes": hashes,
                "sizes": {infohash: len(info) for infohash, info in infos.items()},
                "seeders": {
                    "transmission": "{}:{}".format(*transmission.address),
                    "aria2": "{}:{}".format(*aria2.address),
                },
                **fetch_all(swarm, directory, infos, list(seeders.values())),
            }
    print(json.dumps(facts))  # noqa: T201 - the script's answer


def infohash_of(info: bytes) -> str:
    """Return the v1 infohash (hex) that libtorrent gives an info dict."""
    return hashes_of(plain_krpc.encode({b"info": lt.bdecode(info)}))[0]


if __name__ == "__main__":
    main()
