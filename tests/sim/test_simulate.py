"""The simulated network on real sockets, in process and as the command that people start."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.simnet.command import SimulateOptions, simulate
from crawler.simnet.server import ServerConfig, SimulatedNetwork, open_network
from crawler.simnet.world import WorldConfig
from crawler.wire import krpc
from crawler.wire.compact import Family, pack_address, parse_address, split_nodes, unpack_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crawler.wire.compact import Address

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the simulated network needs Linux")

QUICK = ServerConfig(WorldConfig(nodes=200, infohashes=300, dead=0, bep51=1, loss=0), rtt=0.02)
MY_ID = b"i" * 20
COMMAND = [sys.executable, "-m", "crawler", "simulate", "--listen", "127.64.0.1:0", "--loss", "0"]


async def exchange(sock: trio.socket.SocketType, query: bytes, node: Address) -> krpc.Response:
    """Return a node's response, which must come from the address that was asked."""
    await sock.sendto(query, node)
    with trio.fail_after(5):
        data, sender = await sock.recvfrom(4096)
    assert sender == node
    message = krpc.decode(data)
    assert isinstance(message, krpc.Response)
    return message


@pytest.fixture(name="sock")
def loopback_socket() -> Iterator[trio.socket.SocketType]:
    """Return a UDP socket at 127.0.0.1."""
    with trio.socket.from_stdlib_socket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        yield sock


async def test_every_node_answers_from_its_own_address(sock: trio.socket.SocketType) -> None:
    """All addresses of the network are one socket, and replies come from the node that was asked."""
    await sock.bind(("127.0.0.1", 0))
    async with open_network(QUICK) as network:
        query = krpc.find_node(b"aaaa", MY_ID, b"t" * 20)
        first = await exchange(sock, query, network.bootstrap)
        nodes = split_nodes(first.body[b"nodes"], Family.IPV4)
        for node_id, address in nodes:
            response = await exchange(sock, krpc.ping(b"bbbb", MY_ID), unpack_address(address))

            assert response.id == node_id
            assert response.ip == pack_address(sock.getsockname())


async def test_answers_take_the_round_trip_time(sock: trio.socket.SocketType) -> None:
    """An answer comes after the round trip that was asked for, give or take the jitter."""
    await sock.bind(("127.0.0.1", 0))
    async with open_network(attrs.evolve(QUICK, rtt=0.2, jitter=0.1)) as network:
        start = trio.current_time()
        await exchange(sock, krpc.ping(b"aaaa", MY_ID), network.bootstrap)

        assert 0.18 <= trio.current_time() - start < 1.0


async def test_a_burst_is_answered_in_full(sock: trio.socket.SocketType) -> None:
    """A thousand queries at once are all answered: nothing is dropped between the socket and the world."""
    await sock.bind(("127.0.0.1", 0))
    async with open_network(QUICK) as network:
        for number in range(1000):
            query = krpc.sample_infohashes(number.to_bytes(4, "big"), MY_ID, b"t" * 20)
            await sock.sendto(query, network.bootstrap)
        answered: set[bytes] = set()
        with trio.fail_after(10):
            while True:
                await trio.lowlevel.checkpoint()
                if len(answered) == 1000:
                    break
                answered.add(krpc.decode(await sock.recv(4096)).tid)
        counts = network.statistics()

    assert counts["queries"]["sample_infohashes"] == counts["answered"] == 1000
    assert (counts["kernel_drops"], counts["send_drops"], counts["sample_repeats"]) == (0, 0, 999)
    assert counts["over_rate"] > 900


def test_a_taken_port_is_an_error() -> None:
    """Two networks cannot share a port; the second one says so at once."""
    with SimulatedNetwork(QUICK) as network, pytest.raises(OSError, match="in use"):
        SimulatedNetwork(attrs.evolve(QUICK, listen_port=network.bootstrap[1]))


def test_other_systems_get_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where IP_PKTINFO is missing, the command says that it needs Linux."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert simulate() == 2
    assert "needs Linux" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dead": 1.5}, "dead = 1.5: allowed is at least 0 and at most 1"),
        ({"bep51": -0.1}, "bep51 = -0.1"),
        ({"loss": 2.0}, "loss = 2.0"),
        ({"nodes": 0}, "nodes = 0"),
        ({"infohashes": -1}, "infohashes = -1"),
        ({"rtt": -1.0}, "rtt = -1.0"),
        ({"interval": 99999}, "interval = 99999"),
        ({"duration": 0.0}, "duration = 0.0: allowed is above 0"),
        ({"listen": "192.0.2.1:7001"}, "listen = '192.0.2.1:7001': allowed is ADDR:PORT"),
        ({"listen": "localhost"}, "listen = 'localhost'"),
    ],
)
def test_a_bad_option_gets_one_line_that_names_it(
    options: dict[str, Any], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and one line with the option, its value and what is allowed."""
    assert simulate(**options) == 2
    error = capsys.readouterr().err

    assert named in error
    assert error.count("\n") == 1


def test_a_truth_file_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong --truth path ends the command before it serves anything."""
    assert simulate(truth=tmp_path / "missing" / "truth.jsonl", listen="127.64.0.1:0") == 2
    assert "truth.jsonl': No such file or directory" in capsys.readouterr().err


def test_defaults_of_the_command_are_the_options_defaults() -> None:
    """The command and its options class do not drift apart."""
    arguments = simulate.__kwdefaults__

    assert arguments == {field.name: field.default for field in attrs.fields(SimulateOptions)}


def test_the_command_serves_until_a_signal_and_sums_up(tmp_path: Path) -> None:
    """As a user starts it: bootstrap line, answers, truth file, at SIGTERM a summary that ends in JSON."""
    truth = tmp_path / "truth.jsonl"
    command = [*COMMAND, "--nodes", "50", "--infohashes", "70", "--dead", "0", "--truth", str(truth)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        word, address = process.stdout.readline().split()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(krpc.ping(b"aaaa", MY_ID), parse_address(address))
            sock.recv(2048)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
    summary = json.loads(output.splitlines()[-1])
    lines = [json.loads(line) for line in truth.read_text(encoding="utf-8").splitlines()]

    assert (word, process.returncode) == ("bootstrap", 0)
    assert summary["queries"]["ping"] == summary["answered"] == summary["unique_asked"] == 1
    assert len(lines) == 70
    assert all(set(line) == {"infohash", "reachable", "peers"} and line["peers"] for line in lines)


def test_the_command_ends_after_its_duration() -> None:
    """--duration ends it like a signal would."""
    ended = subprocess.run(
        [*COMMAND, "--nodes", "10", "--infohashes", "10", "--duration", "0.2"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=20,
        check=True,
    )

    assert 0.2 <= json.loads(ended.stdout.splitlines()[-1])["seconds"] < 5
