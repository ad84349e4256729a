"""The contenders of bench_fetch.py, each run in a process of its own: the daemon's fetch, and libtorrent.

Both are told all infohashes and the one peer of each, and write a line of JSON with what the verified
metadata says. The CPU time is that of all threads of the process from the first infohash to the last line.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libtorrent as lt
import trio

# The folders of tests are no packages, and a script's own folder comes first in the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from crawler.crawl.failures import FailuresConfig
from crawler.crawl.fetch import Fetcher, FetchSections
from crawler.crawl.fetch_job import FetchConfig, Origin
from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.net.calls import LinkCalls
from crawler.net.peers import PeerClient
from crawler.records import Record
from crawler.sinks.config import OutputConfig
from crawler.sinks.jsonl import JsonlSink
from crawler.wire.compact import pack_address
from tests.bench.fetch_pool import PORT, torrents

if TYPE_CHECKING:
    from collections.abc import Callable

    Wanted = list[tuple[bytes, str]]

FLUSH_SECONDS = 0.1
STALLED_SECONDS = 30.0

SETTINGS: dict[str, Any] = {
    "listen_interfaces": "127.0.0.1:0",
    **{f"enable_{it}": False for it in ("dht", "lsd", "upnp", "natpmp", "ip_notifier")},
    **{f"enable_{it}": False for it in ("incoming_utp", "outgoing_utp", "incoming_tcp")},
    "out_enc_policy": 2,  # disabled
    "in_enc_policy": 2,
    "alert_mask": int(lt.alert.category_t.status_notification),
    "alert_queue_size": 1_000_000,
    "connections_limit": 10_000,
    "connection_speed": 10_000,
    "torrent_connect_boost": 255,
    "smooth_connects": False,
    "allow_multiple_connections_per_ip": True,
    "allow_multiple_connections_per_pid": True,
    "active_limit": 100_000,
    "active_downloads": 100_000,
    "no_connect_privileged_ports": False,
    "aio_threads": 1,
    "hashing_threads": 1,
    "announce_to_all_tiers": False,
    "unchoke_slots_limit": 0,
    "num_optimistic_unchoke_slots": 1,
    "max_metadata_size": 10 << 20,
}


def by_daemon(wanted: Wanted, out: Path) -> dict[str, Any]:
    """Fetch as the daemon does, with the settings a user has."""
    # As the daemon does, see `crawler/daemon/building`.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    return trio.run(_fetch_all, wanted, out)


async def _fetch_all(wanted: Wanted, out: Path) -> dict[str, Any]:
    sink = JsonlSink(str(out), OutputConfig(), lambda *_: None)
    sender, receiver = trio.open_memory_channel[list[Record]](8)
    began = trio.current_time()
    wall = time.time() - began
    outlet = Outlet(OutletConfig(), sender, lambda now: wall + now, lambda: sink.lines_written)
    client = PeerClient(lambda: b"-DC0100-" + os.urandom(12), dht_port=PORT, allow_private=True)
    fetcher = Fetcher(
        FetchSections(FetchConfig(), FailuresConfig()),
        LinkCalls(client),
        outlet,
        seek=lambda infohash: fetcher.sought(infohash, trio.current_time()),
        admit=lambda _address: True,
        spread=False,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetcher.run)
        async with trio.open_nursery() as output:
            output.start_soon(sink.run, receiver)
            for infohash, host in wanted:
                fetcher.offer(infohash, [pack_address((host, PORT))], Origin.NAMED, trio.current_time())
            while fetcher.jobs.held > fetcher.jobs.resting:
                await trio.sleep(FLUSH_SECONDS)
                outlet.flush()
            await outlet.finish()
        nursery.cancel_scope.cancel()
    sink.close()
    return {"failures": dict(client.counters.failures)}


def by_libtorrent(at_once: int, wanted: Wanted, out: Path) -> dict[str, Any]:
    """Fetch with libtorrent, tuned for it: ``at_once`` torrents at a time, each removed when it is done."""
    parameters: Any = lt.session_params()
    parameters.settings = {**parameters.settings, **SETTINGS}
    session: Any = lt.session(parameters)
    waiting = iter(wanted)
    left, open_torrents = len(wanted), 0
    heard = time.monotonic()
    with out.open("w", encoding="utf-8") as file:
        while left and time.monotonic() < heard + STALLED_SECONDS:
            while open_torrents < at_once and (following := next(waiting, None)) is not None:
                session.async_add_torrent(_torrent(*following))
                open_torrents += 1
            session.wait_for_alert(1000)
            for alert in session.pop_alerts():
                if isinstance(alert, lt.metadata_received_alert):
                    heard = time.monotonic()
                    file.write(_line(alert.handle))
                    session.remove_torrent(alert.handle)
                    open_torrents -= 1
                    left -= 1
    return {}


def _torrent(infohash: bytes, host: str) -> Any:
    torrent: Any = lt.add_torrent_params()
    torrent.info_hashes = lt.info_hash_t(lt.sha1_hash(infohash))
    torrent.peers = [(host, PORT)]
    torrent.save_path = "."
    # Nothing but the metadata is wanted: no queue, no pieces, no other ways to find peers.
    torrent.flags = (
        lt.torrent_flags.default_dont_download
        | lt.torrent_flags.disable_dht
        | lt.torrent_flags.disable_lsd
        | lt.torrent_flags.disable_pex
    )
    return torrent


def _line(handle: Any) -> str:
    said = handle.torrent_file()
    files = said.layout()
    record = {
        "type": "metadata",
        "infohash": str(handle.info_hashes().v1),
        "name": said.name(),
        "size": said.total_size(),
        "piece_length": said.piece_length(),
        "files": [
            {"path": files.file_path(at), "size": files.file_size(at)} for at in range(files.num_files())
        ],
        "private": said.priv(),
    }
    return json.dumps(record, separators=(",", ":")) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=["daemon", "libtorrent"])
    parser.add_argument("torrents", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    contenders: dict[str, Callable[[Wanted, Path], dict[str, Any]]] = {
        "daemon": by_daemon,
        "libtorrent": partial(by_libtorrent, options.at_once),
    }
    wanted = [(torrent.infohash, torrent.host) for torrent in torrents(options.torrents)]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    figures = contenders[options.contender](wanted, options.out)
    after, seconds = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
    figures |= {
        "seconds": seconds,
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
