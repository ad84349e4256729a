"""The daemon on public-looking addresses, all its filters on: among libtorrent, Transmission and liars."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from tests.interop import namespace, namespace_scene, transmission

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

FORBIDDEN_HOSTS = {host for host, _ in namespace_scene.FORBIDDEN}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Play the scene once in a namespace of its own; return what was seen in it."""
    pytest.importorskip("libtorrent", reason="libtorrent has no wheel for this Python")
    if shutil.which(transmission.PROGRAM) is None:
        pytest.skip(f"{transmission.PROGRAM} is not installed")
    reason = namespace.why_not()
    if reason:
        pytest.skip(reason)
    return namespace.play("namespace_scene", tmp_path_factory.mktemp("namespace"), seconds=200)


def test_the_script_refuses_a_network_that_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With any interface besides loopback the guard leaves before it touches a route or sends anything."""
    commands: list[list[str]] = []

    def fake_run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="1: lo: <UP> x\n2: eth0@if9: <UP> x\n")

    monkeypatch.setattr(subprocess, "run", fake_run)
    with pytest.raises(SystemExit) as refusal:
        namespace.enter()
    assert refusal.value.code == namespace.REFUSED
    assert commands == [["ip", "-o", "link"]]


def test_the_scene_is_set(facts: dict[str, Any]) -> None:
    """The bench can see what it must: a stray datagram reaches sniffer and listener, the liars were asked."""
    assert facts["control_seen"] == 1
    assert facts["listeners"] >= 8
    assert "77.1.2.3" in facts["listeners_heard"]["10.1.2.3"]
    assert min(facts["asked_liars"]) >= 1, facts["log"]


def test_transmission_bootstraps_from_us(facts: dict[str, Any]) -> None:
    """Transmission, which knows only us, asks us, gets answers, and asks others that we named."""
    assert facts["from_transmission"] > 0
    assert facts["to_transmission"] > 0
    assert facts["transmission_met_through_us"], facts["log"]


def test_transmission_enters_our_table(facts: dict[str, Any]) -> None:
    """Once it has answered us, we hand transmission's node out to others."""
    assert facts["transmission_listed"], facts["log"]


def test_the_public_swarm_is_found(facts: dict[str, Any]) -> None:
    """With all filters on, every infohash is found with a true peer, and none is invented."""
    assert facts["unfound"] == [], facts["log"]
    assert facts["peerless"] == [], facts["log"]
    assert facts["invented"] == []


def test_nothing_is_sent_to_forbidden_addresses(facts: dict[str, Any]) -> None:
    """Of all the addresses that liars name, none that is private, loopback or port 0 gets one datagram."""
    sent_to = {host for host, _ in facts["destinations"]}
    assert sent_to
    assert not sent_to & FORBIDDEN_HOSTS
    assert all(port > 0 for _, port in facts["destinations"])
    heard = {sender for senders in facts["listeners_heard"].values() for sender in senders}
    assert namespace_scene.DAEMON_HOST not in heard


def test_forbidden_peers_are_not_reported(facts: dict[str, Any]) -> None:
    """Peers at forbidden addresses never reach the output, while the true one beside them does."""
    assert "{}:{}".format(*namespace_scene.HONEST_PEER) in facts["peers"], facts["log"]
    assert not {peer.rpartition(":")[0] for peer in facts["peers"]} & FORBIDDEN_HOSTS


def test_sigterm_ends_it_cleanly(facts: dict[str, Any]) -> None:
    """SIGTERM ends the daemon with code 0 within 5 s."""
    assert facts["exit_code"] == 0, facts["log"]
    assert facts["exit_seconds"] <= 5
