"""100,000 random and mutated datagrams against a running daemon: it goes on answering, and never them."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.interop import loopback, plain_krpc
from tests.interop.daemon_process import DaemonProcess, Exit
from tests.interop.garbage import garbage

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

pytestmark = pytest.mark.interop

SEED = 20_260_101
DATAGRAMS = 100_000
PACED = 80_000
BATCH = 150
BUDGET_SECONDS = 60


@attrs.define
class Siege:
    """What was sent and what came back.

    Attributes:
        paced_pings: pings between the batches of the paced part, and how many were answered.
        unanswerable_replies: datagrams that came back to the address that only sent what is no query.
        mutant_replies: datagrams that came back to the address that sent mutated queries.
        kernel_drops: datagrams that the daemon's full socket dropped, in the paced part.
    """

    sent: int = 0
    paced_pings: int = 0
    paced_pings_answered: int = 0
    unanswerable_replies: list[bytes] = attrs.field(factory=list)
    mutants_sent: int = 0
    mutant_replies: list[bytes] = attrs.field(factory=list)
    kernel_drops: int = 0
    answers_after: bool = False
    seconds: float = 0.0
    alive: bool = False
    exit: Exit | None = None
    log: str = ""


def _fresh_sources(network: str) -> Iterator[str]:
    """Yield addresses, each in a /24 of its own, so that no ping meets a limit per source."""
    for low, middle in itertools.product(range(2, 255), range(1, 255)):
        yield f"{network}.{middle}.{low}"


def _kernel_drops(node: plain_krpc.Address) -> int:
    """Return how many datagrams the socket bound to ``node`` has dropped, by the kernel's own count."""
    host = "".join(f"{int(number):02X}" for number in reversed(node[0].split(".")))
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == f"{host}:{node[1]:04X}":
            return int(fields[-1])
    return 0


def _drain(sock: socket.socket, into: list[bytes]) -> None:
    sock.setblocking(False)
    try:
        while True:
            into.append(sock.recv(plain_krpc.RECEIVE_BYTES))
    except BlockingIOError:
        sock.setblocking(True)


def _besiege(node: plain_krpc.Address, network: str, siege: Siege) -> None:
    """Send everything: most of it in batches, each chased by a ping from elsewhere, the rest in one burst."""
    sources = _fresh_sources(network)
    with (
        plain_krpc.bound_socket((f"{network}.255.1", 0)) as foe,
        plain_krpc.bound_socket((f"{network}.255.2", 0)) as mutant,
    ):
        for datagram, may_be_query in garbage(random.Random(SEED), DATAGRAMS):
            (mutant if may_be_query else foe).sendto(datagram, node)
            siege.sent += 1
            siege.mutants_sent += may_be_query
            if siege.sent <= PACED and siege.sent % BATCH == 0:
                siege.paced_pings += 1
                siege.paced_pings_answered += plain_krpc.answers_ping(next(sources), node)
                siege.kernel_drops = _kernel_drops(node)
                _drain(mutant, siege.mutant_replies)
                _drain(foe, siege.unanswerable_replies)
        siege.answers_after = any(plain_krpc.answers_ping(next(sources), node, within=1) for _ in range(5))
        _drain(mutant, siege.mutant_replies)
        _drain(foe, siege.unanswerable_replies)


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Siege:
    """Besiege one daemon, shared by the tests below."""
    directory = tmp_path_factory.mktemp("siege")
    network = loopback.own_network()
    result = Siege()
    with plain_krpc.bound_socket((f"{network}.254.1", 0)) as silent:
        bootstrap = ["{}:{}".format(*silent.getsockname())]
        out = directory / "peers.jsonl"
        extra = ["--allow-private", "--state", str(directory / "state")]
        with DaemonProcess(out=out, listen=f"{network}.1.1", bootstrap=bootstrap, extra=extra) as daemon:
            node, _ = daemon.listening()
            assert plain_krpc.answers_ping(f"{network}.2.1", node), "no answer even before the garbage"
            started = time.monotonic()
            _besiege(node, network, result)
            result.seconds = time.monotonic() - started
            result.alive = daemon.running()
            result.exit = daemon.terminate()
            result.log = daemon.log_tail()
    return result


def test_all_garbage_was_sent_in_time(siege: Siege) -> None:
    """100,000 datagrams go out within a minute, and nearly all of the paced ones reach the daemon."""
    assert siege.sent == DATAGRAMS
    assert siege.seconds <= BUDGET_SECONDS
    assert siege.kernel_drops <= PACED / 100


def test_pings_are_answered_amid_garbage(siege: Siege) -> None:
    """At least 99 % of the pings from other addresses are answered while the garbage flows."""
    assert siege.paced_pings >= 500
    assert siege.paced_pings_answered >= siege.paced_pings * 0.99, siege.log


def test_pings_are_answered_after_a_burst(siege: Siege) -> None:
    """After a burst as fast as the socket takes it the daemon answers within 5 s."""
    assert siege.alive, siege.log
    assert siege.answers_after, siege.log


def test_garbage_gets_no_answer(siege: Siege) -> None:
    """What is no query is never answered, not even with an error."""
    assert siege.unanswerable_replies == []


def test_mutants_get_proper_answers_only(siege: Siege) -> None:
    """What comes back for mutated queries is fewer than they, canonical, and an answer or an error."""
    assert siege.mutants_sent > 1_000
    assert len(siege.mutant_replies) <= siege.mutants_sent
    for reply in siege.mutant_replies:
        assert plain_krpc.is_canonical(reply)
        assert plain_krpc.decode(reply)[b"y"] in (b"r", b"e")


def test_garbage_leaves_a_clean_exit(siege: Siege) -> None:
    """After the siege SIGTERM still ends the daemon with code 0 within 5 s."""
    assert siege.exit is not None
    assert siege.exit.code == 0, siege.log
    assert siege.exit.seconds <= 5
