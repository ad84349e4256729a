"""One crawl of a libtorrent swarm from start to SIGTERM, and what was seen of it.

The tests share one run, because most of its time is waiting for real software.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.net.peers import FetchError, PeerClient
from crawler.wire.compact import pack_address
from tests.interop import loopback
from tests.interop.daemon_process import DaemonProcess, Exit, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.interop.plain_krpc import Address
    from tests.interop.swarm import SwarmProcess

CRAWL_SECONDS = 60
BOOTSTRAP_NODES = 3


@attrs.frozen
class Crawl:
    """What one crawl found.

    Attributes:
        records: every line of the output, parsed.
        lines: the same lines as written.
        complete_after: seconds from the start until all infohashes and peers were found; None if never.
        fetched_after: the same for the metadata of every infohash.
        served: for each infohash (hex) the info dict that the daemon gave to a peer that asked for it.
        listed: libtorrent sessions that had our node in their routing table.
        exit: how the daemon ended.
        log: the end of its log, for messages.
    """

    records: list[dict[str, Any]]
    lines: list[bytes]
    complete_after: float | None
    fetched_after: float | None
    served: dict[str, bytes]
    listed: int
    exit: Exit
    log: str


def infohashes_in(records: list[dict[str, Any]]) -> list[str]:
    """Return the infohash of every infohash record, in order, repeats included."""
    return [record["infohash"] for record in records if record["type"] == "infohash"]


def invented(records: list[dict[str, Any]], truth: dict[str, list[str]]) -> set[str]:
    """Return infohashes that no torrent has, although nobody may have asked us for them.

    What others ask us for counts as a sighting, and libtorrent refreshes its table with get_peers for random
    targets (`send_single_refresh`), so those prove nothing about the daemon.
    """
    return {
        r["infohash"] for r in records if r["type"] == "infohash" and r["source"] != "get_peers"
    } - truth.keys()


def peers_in(records: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Return for each infohash the peers that all its records name."""
    peers: dict[str, set[str]] = {}
    for record in records:
        if record["type"] == "peers":
            peers.setdefault(record["infohash"], set()).update(record["peers"])
    return peers


def missing(records: list[dict[str, Any]], truth: dict[str, list[str]]) -> tuple[set[str], set[str]]:
    """Return the infohashes of ``truth`` not found, and those without any of their true peers."""
    peers = peers_in(records)
    unfound = truth.keys() - set(infohashes_in(records))
    peerless = {infohash for infohash in truth if not peers.get(infohash, set()) & set(truth[infohash])}
    return unfound, peerless


def metadata_in(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the metadata record of each infohash."""
    return {record["infohash"]: record for record in records if record["type"] == "metadata"}


def ask_for_metadata(daemon: Address, infohashes: list[str]) -> dict[str, bytes]:
    """Return what the peer at ``daemon`` gives for each infohash (hex); nothing for those that it refuses."""
    client = PeerClient(b"-DC0100-asks a crawl", allow_private=True)

    async def ask() -> dict[str, bytes]:
        given = {}
        for infohash in infohashes:
            try:
                found = await client.fetch_metadata(pack_address(daemon), bytes.fromhex(infohash))
            except FetchError:
                continue
            given[infohash] = found.info
        return given

    return trio.run(ask)


def crawl(swarm: SwarmProcess, directory: Path) -> Crawl:
    """Crawl ``swarm`` as a user would until all is found or the time is over, then stop the daemon."""
    out = directory / "peers.jsonl"
    extra = ["--allow-private", "--state", str(directory / "state"), "--duration", str(CRAWL_SECONDS)]
    extra += ["--metadata", "--serve-metadata"]
    started = time.monotonic()
    listen = f"{loopback.own_network()}.1.1"
    bootstrap = swarm.nodes[:BOOTSTRAP_NODES]
    with DaemonProcess(out=out, listen=listen, bootstrap=bootstrap, extra=extra) as daemon:
        address, node_id = daemon.listening()
        text = "{}:{}".format(*address)

        def seconds_until(done: Callable[[list[dict[str, Any]]], bool]) -> float | None:
            # A second short of the daemon's own end, so that the SIGTERM below finds it alive.
            left = CRAWL_SECONDS - 1 - (time.monotonic() - started)
            wait_for(lambda: done(daemon.records()) or not daemon.running(), left)
            return time.monotonic() - started if done(daemon.records()) else None

        complete_after = seconds_until(lambda records: missing(records, swarm.peers) == (set(), set()))
        fetched_after = seconds_until(lambda records: metadata_in(records).keys() >= swarm.peers.keys())
        served = ask_for_metadata(address, list(swarm.peers))
        wait_for(lambda: swarm.listed(text, node_id) > 0, 10, every=0.5)
        listed = swarm.listed(text, node_id)
        ended = daemon.terminate()
        return Crawl(
            records=daemon.records(),
            lines=out.read_bytes().splitlines() if out.exists() else [],
            complete_after=complete_after,
            fetched_after=fetched_after,
            served=served,
            listed=listed,
            exit=ended,
            log=daemon.log_tail(),
        )
