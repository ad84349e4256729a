"""The daemon against real libtorrent sessions: it finds everything they have, and they find it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop import loopback, plain_krpc
from tests.interop.daemon_process import DaemonProcess, wait_for
from tests.interop.swarm import SwarmProcess
from tests.interop.swarm_crawl import CRAWL_SECONDS, infohashes_in, invented, missing, peers_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.swarm_crawl import Crawl

pytestmark = pytest.mark.interop


def test_the_swarm_stores_what_it_claims(swarm: SwarmProcess) -> None:
    """The bench is right without the daemon: sampling all its nodes by hand yields exactly its infohashes."""
    samples = b""
    with plain_krpc.bound_socket((f"{loopback.own_network()}.1.1", 0)) as sock:
        for node in swarm.nodes:
            answer = plain_krpc.ask(
                sock, plain_krpc.parse_address(node), b"sample_infohashes", target=bytes(20)
            )
            assert answer is not None, f"{node} does not answer"
            samples += answer[b"r"][b"samples"]
    sampled = {samples[start : start + 20].hex() for start in range(0, len(samples), 20)}
    assert len(swarm.nodes) >= 20
    assert len(swarm.peers) >= 60
    assert sampled == swarm.peers.keys()


def test_the_swarm_finds_its_own_peers(swarm: SwarmProcess) -> None:
    """The bench is right without the daemon: a libtorrent lookup finds exactly the announced peers."""
    for infohash, peers in list(swarm.peers.items())[::8]:
        assert swarm.get_peers(infohash, session=1) == sorted(peers)


def test_every_infohash_is_found(swarm: SwarmProcess, swarm_crawl: Crawl) -> None:
    """Within a minute the daemon reports 100 % of the swarm's infohashes, each once, and no other."""
    unfound, _ = missing(swarm_crawl.records, swarm.peers)
    assert not unfound, swarm_crawl.log
    found = infohashes_in(swarm_crawl.records)
    assert not invented(swarm_crawl.records, swarm.peers)
    assert len(found) == len(set(found))


def test_every_infohash_gets_a_true_peer(swarm: SwarmProcess, swarm_crawl: Crawl) -> None:
    """For every infohash at least one peer that announced it is reported within a minute."""
    _, peerless = missing(swarm_crawl.records, swarm.peers)
    assert not peerless, swarm_crawl.log
    assert swarm_crawl.complete_after is not None
    assert swarm_crawl.complete_after <= CRAWL_SECONDS


def test_no_peer_is_invented(swarm: SwarmProcess, swarm_crawl: Crawl) -> None:
    """Every peer reported for an infohash is one that announced it."""
    for infohash, peers in peers_in(swarm_crawl.records).items():
        assert peers <= set(swarm.peers.get(infohash, []))


def test_libtorrent_lists_our_node(swarm_crawl: Crawl) -> None:
    """Our node answers well enough to enter the routing table of libtorrent sessions."""
    assert swarm_crawl.listed > 0, swarm_crawl.log


def test_sigterm_ends_the_crawl_cleanly(swarm_crawl: Crawl) -> None:
    """SIGTERM in the middle of a crawl ends the daemon with code 0 within 5 s."""
    assert swarm_crawl.exit.code == 0, swarm_crawl.log
    assert swarm_crawl.exit.seconds <= 5


def test_libtorrent_finds_through_our_node_what_was_announced_to_it(tmp_path: Path) -> None:
    """A libtorrent client that knows only our node finds there the peer that another client announced.

    The announcer is gone before the second client starts, so the answer can only come from our node.
    """
    pytest.importorskip("libtorrent", reason="libtorrent has no wheel for this Python")
    network = loopback.own_network()
    silent = plain_krpc.bound_socket((f"{network}.9.1", 0))
    bootstrap = ["{}:{}".format(*silent.getsockname())]
    daemon_args = ["--allow-private", "--state", str(tmp_path / "state"), "--duration", "60"]
    out = tmp_path / "peers.jsonl"
    with (
        silent,
        DaemonProcess(out=out, listen=f"{network}.1.1", bootstrap=bootstrap, extra=daemon_args) as daemon,
    ):
        address, _ = daemon.listening()
        knows_us = {"know": ["{}:{}".format(*address)], "stored": 0}
        with SwarmProcess([f"{network}.2.1"], tmp_path / "a", 1, seeders=1, **knows_us) as announcer:
            [(infohash, [peer])] = announcer.peers.items()
            assert wait_for(lambda: _stores(address, infohash, peer, f"{network}.4.1"), 10, every=0.5)
        with SwarmProcess([f"{network}.3.1"], tmp_path / "b", 0, **knows_us) as client:
            assert client.get_peers(infohash, seconds=10) == [peer], daemon.log_tail()
        assert wait_for(lambda: peer in peers_in(daemon.records()).get(infohash, set()), 5)
        sources = {r["source"] for r in daemon.records() if r["infohash"] == infohash}
        assert "announce" in sources


def _stores(node: plain_krpc.Address, infohash: str, peer: str, ask_from: str) -> bool:
    """Tell whether ``node`` hands out ``peer`` for ``infohash``."""
    with plain_krpc.bound_socket((ask_from, 0)) as sock:
        answer = plain_krpc.ask(sock, node, b"get_peers", info_hash=bytes.fromhex(infohash))
    values = (answer or {}).get(b"r", {}).get(b"values", [])
    return plain_krpc.pack_address(plain_krpc.parse_address(peer)) in values
