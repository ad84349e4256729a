"""One infohash in two DHTs, IPv4's and IPv6's (BEP 32): real sessions announce in both, we look in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.commands.command_line import run
from tests.interop import loopback
from tests.interop.daemon_process import DaemonProcess, wait_for
from tests.interop.swarm import SwarmProcess
from tests.interop.swarm_crawl import peers_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop

SESSIONS = 8
TORRENTS = 4
CRAWL_SECONDS = 80
# All nodes of IPv6's are at one address, which a daemon would ask once a second.
ONE_HOST = "[limits]\nip_rate = 50.0\nip_burst = 50.0\nprefix_rate = 50.0\nprefix_burst = 50.0\n"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmProcess]:
    """Sessions that are nodes and peers at an address of 127/8 and at [::1]."""
    pytest.importorskip("libtorrent", reason="libtorrent has no wheel for this Python")
    network = loopback.own_network()
    hosts = [f"{network}.{number}.1" for number in range(1, SESSIONS + 1)]
    directory = tmp_path_factory.mktemp("both")
    with SwarmProcess(hosts, directory, TORRENTS, both_families=True) as swarm:
        yield swarm


def families(peers: list[str] | set[str]) -> set[str]:
    """Return the families of some ``ip:port``."""
    return {"IPv6" if peer.startswith("[") else "IPv4" for peer in peers}


def test_one_lookup_finds_the_peers_of_both(both: SwarmProcess) -> None:
    """`lookup` merges what both DHTs know: every seed, under both of its addresses, each once."""
    for infohash, seeds in both.peers.items():
        assert families(seeds) == {"IPv4", "IPv6"}
        done = run("lookup", infohash, "--bootstrap", both.nodes6[0], bootstrap=both.nodes[0])
        assert done.code == 0, done
        assert sorted(done.out.splitlines()[: len(seeds)]) == sorted(seeds), done
        assert done.rows["peers"] == str(len(seeds))


def test_one_family_alone_finds_its_own(both: SwarmProcess) -> None:
    """The two DHTs are apart: a client with one socket finds the peers of its family and no other."""
    infohash, seeds = next(iter(both.peers.items()))
    for listen, family, bootstrap in (
        ("127.0.0.1:0", "IPv4", both.nodes[0]),
        ("[::1]:0", "IPv6", both.nodes6[0]),
    ):
        done = run("lookup", infohash, "--listen", listen, bootstrap=bootstrap)
        found = done.out.splitlines()[: int(done.rows["peers"])]
        assert sorted(found) == sorted(seed for seed in seeds if families([seed]) == {family})


def test_the_daemon_names_the_peers_of_both(both: SwarmProcess, tmp_path: Path) -> None:
    """The daemon, a node in both DHTs, reports every seed of every infohash under both of its addresses.

    At least one record is of a single lookup that went through both.
    """
    config = tmp_path / "config.toml"
    config.write_text(ONE_HOST)
    extra = ["--allow-private", "--listen", "[::1]:0", "--config", str(config)]
    extra += ["--duration", str(CRAWL_SECONDS), "--bootstrap", both.nodes6[0]]
    listen = f"{loopback.own_network()}.1.1"
    out = tmp_path / "peers.jsonl"
    with DaemonProcess(out=out, listen=listen, bootstrap=both.nodes[:1], extra=extra) as daemon:

        def merged(record: dict[str, Any]) -> bool:
            return record["type"] == "peers" and families(record["peers"]) == {"IPv4", "IPv6"}

        def complete() -> bool:
            records = daemon.records()
            found = peers_in(records)
            named = all(found.get(infohash, set()) >= set(seeds) for infohash, seeds in both.peers.items())
            return named and any(map(merged, records))

        wait_for(lambda: complete() or not daemon.running(), CRAWL_SECONDS - 1, every=0.2)
        assert complete(), daemon.log_tail()
        found = peers_in(daemon.records())
        assert daemon.terminate().code == 0
    for infohash, seeds in both.peers.items():
        assert found[infohash] == set(seeds)
