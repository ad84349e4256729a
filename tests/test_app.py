"""The composition root: what it opens and closes, how it ends, and how it crashes."""

# ruff: noqa: ARG001, ASYNC240 - pytest-trio takes the clock from a test's arguments; test files are small

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler import app, cli
from crawler.config import Config, ConfigError
from crawler.crawl.pace import Pace
from crawler.crawl.sample import Sampler
from crawler.daemon.lifetime import RunConfig
from crawler.metrics import Kind, Metric, leaves
from crawler.monitoring import figures, metrics_table
from crawler.net.udp import NetworkConfig, UdpSocket, open_socket
from crawler.sinks.config import OutputConfig
from crawler.sinks.jsonl import JsonlSink
from crawler.state.directory import StateConfig, StateDirectory
from tests.sim.crawl_scene import LISTEN, Scene
from tests.sim.full_run import full_run
from tests.sinks.flaky_disk import FlakyDisk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _restored_collector() -> Iterator[None]:
    """Undo what a run does to the garbage collector of this process."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def lonely(tmp_path: Path, **sections: Any) -> Config:
    """Return the configuration of a daemon on real loopback that knows nobody, with sections replaced."""
    network = NetworkConfig(listen=("127.0.0.1:0",), bootstrap=(), allow_private=True)
    output = OutputConfig(path=(str(tmp_path / "out.jsonl"),))
    return attrs.evolve(Config(network=network, output=output, run=RunConfig(duration=0.2)), **sections)


# Opening


async def test_a_short_run_on_a_real_socket(tmp_path: Path) -> None:
    """A daemon that meets nobody runs its time and ends with code 0 and an empty file."""
    with trio.fail_after(5):
        assert await app.run(lonely(tmp_path)) == 0

    assert (tmp_path / "out.jsonl").read_bytes() == b""


async def test_an_output_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """A path in a missing directory is the user's mistake, told before anything is sent."""
    output = OutputConfig(path=(str(tmp_path / "missing" / "out.jsonl"),))
    with pytest.raises(ConfigError, match=r"cannot open .*missing/out.jsonl for writing"):
        await app.run(lonely(tmp_path, output=output))


async def test_a_state_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in the place of the state directory is the user's mistake."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot use .*file for the state"):
        await app.run(lonely(tmp_path, state=StateConfig(directory=str(tmp_path / "file"))))


async def test_a_taken_port_is_told_and_leaves_nothing_open(tmp_path: Path) -> None:
    """When the second address is taken the first socket and the file are closed again."""
    taken = open_socket("127.0.0.1:0", NetworkConfig())
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    listen = ("127.0.0.1:0", f"127.0.0.1:{taken.local[1]}")
    network = NetworkConfig(listen=listen, bootstrap=(), allow_private=True)
    try:
        with pytest.raises(ConfigError, match=f"cannot listen on {listen[1]}: Address already in use"):
            await app.run(lonely(tmp_path, network=network))
        assert before in {0, len(list(descriptors.iterdir()))}
    finally:
        taken.close()
    gc.collect()  # a socket left open would warn, and a warning fails the test


def without_ipv6(listen: str, config: NetworkConfig) -> UdpSocket:
    """Open sockets as on a machine that has no IPv6."""
    if listen.startswith("["):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    return open_socket(listen, config)


async def test_a_machine_without_ipv6_crawls_ipv4(
    tmp_path: Path, captured_events: list[dict[str, Any]]
) -> None:
    """An address of a family that the machine lacks is left out with a warning."""
    network = NetworkConfig(listen=("127.0.0.1:0", "[::]:0"), bootstrap=(), allow_private=True)
    assert await app.run(lonely(tmp_path, network=network), open_socket=without_ipv6) == 0

    [fields] = [fields for fields in captured_events if fields["event"] == "crawler.address_not_available"]
    assert (fields["address"], fields["log_level"]) == ("[::]:0", "warning")
    assert sum(fields["event"] == "crawler.listening" for fields in captured_events) == 1


@pytest.mark.parametrize("listen", [("[::]:0",), ("[::]:0", "[::1]:0")])
async def test_no_address_at_all_is_told(tmp_path: Path, listen: tuple[str, ...]) -> None:
    """When none of the addresses is of a family that there is, that is an error."""
    network = NetworkConfig(listen=listen, bootstrap=(), allow_private=True)
    with pytest.raises(ConfigError, match=r"cannot listen on"):
        await app.run(lonely(tmp_path, network=network), open_socket=without_ipv6)


@pytest.fixture
def captured_events() -> Iterator[list[Any]]:
    """What is logged during the test."""
    import structlog  # noqa: PLC0415 - only this fixture looks at the log

    with structlog.testing.capture_logs() as events:
        yield events


async def test_two_sockets_never_share_an_id(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Listening twice on port 0 gives two nodes, after a restart too."""
    with Scene.of(tmp_path, 81, nodes=10, infohashes=0) as scene:
        ports = iter(range(6881, 6900))

        def open_next(_listen: str, _config: NetworkConfig) -> Any:
            return scene.network.socket(("127.0.0.1", next(ports)))

        network = {"listen": ("127.0.0.1:0", "127.0.0.1:0")}
        run = {"duration": 2.0}
        config = scene.config(network=network, run=run, state={"directory": str(tmp_path / "state")})
        for _ in range(2):
            await app.run(config, open_socket=open_next)

        ids = [fields["node_id"] for fields in scene.status("crawler.listening")]
        assert ids[0] != ids[1]
        assert ids[2] != ids[3]


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("ids", [5]),
        ("ids", [{LISTEN: 5}]),
        ("ids", [{LISTEN: b"short"}]),
        ("nodes.ipv4", [5]),
        ("nodes.ipv4", [[5, "x", b"short", b"\x7f\x40\x00\x01\x1b\x59" * 3]]),
        ("ledger.ipv4", [5]),
        ("ledger.ipv4", [[[b"x"]]]),
        ("ledger.ipv4", [[[b"\x7f\x40\x00\x01\x1b\x59", b"i" * 20, 99, 0.0, 0, 1, 0]]]),
    ],
)
async def test_state_that_makes_no_sense_is_no_crash(
    tmp_path: Path, autojump_clock: MockClock, name: str, pieces: list[Any]
) -> None:
    """A state file that is whole but not of this version's making does not stop the daemon."""
    state = {"directory": str(tmp_path / "state")}
    with Scene.of(tmp_path, 82, nodes=50, infohashes=100) as scene:
        await scene.crawl(1, state=state)
        await StateDirectory(tmp_path / "state", lambda *_: None).save(name, pieces)
        assert await scene.crawl(5, state=state) == 0

        assert scene.found()


# Telling


async def test_every_figure_has_one_metric(tmp_path: Path, autojump_clock: MockClock) -> None:
    """No counter of the status or of any part is missing in /metrics, and none is told twice."""
    told = figures.gather(*await full_run(tmp_path), trio.current_time())
    elsewhere = [(Metric("", Kind.GAUGE, "", source), name) for source, name in metrics_table.SAME.items()]
    tellers = [(metric, metric.name) for metric in metrics_table.TABLE] + elsewhere
    told_by = {path: [name for metric, name in tellers if metric.tells(path)] for path, _ in leaves(told)}

    assert {path: by for path, by in told_by.items() if len(by) != 1} == {}, (
        "see crawler/monitoring/metrics_table.py"
    )
    rows = {metric.name for metric in metrics_table.TABLE}
    assert rows == {name for by in told_by.values() for name in by}, "every row has a figure to tell"


# Ending


async def test_answers_on_their_way_are_let_in(tmp_path: Path, autojump_clock: MockClock) -> None:
    """What was asked just before the end is answered, written and counted; nothing is asked any more."""
    with Scene.of(tmp_path, 83, nodes=800, infohashes=3000, loss=0.0, dead=0.0, bep51=1.0) as scene:
        await scene.crawl(3, limits={"max_rate": 500.0})
        [stopped] = scene.status()

        assert stopped["in_flight"] == 0
        assert stopped["queries_sent"] == stopped["answers"] + stopped["refusals"] + stopped["timeouts"]
        assert stopped["lines_held"] == 0
        assert max(passage.at for passage in scene.network.sent) < 3.1


async def raise_signal(number: signal.Signals, at: float) -> None:
    """Send a signal to this process at a virtual time."""
    await trio.sleep_until(at)
    signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_drains(tmp_path: Path, autojump_clock: MockClock, number: signal.Signals) -> None:
    """SIGINT and SIGTERM end the run within five seconds, with everything written and code 0."""
    with Scene.of(tmp_path, 84, nodes=300, infohashes=1000) as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_signal, number, 5.0)
            code = await scene.crawl(100, state={"directory": str(tmp_path / "state")})

        [stopped] = scene.status()
        assert (code, stopped["reason"]) == (0, number.name)
        assert stopped["seconds"] < 10
        assert stopped["lines_held"] == 0
        assert stopped["lines_written"] == len(scene.found()) + len(scene.records("peers"))
        assert {path.name for path in (tmp_path / "state").iterdir()} == {
            "found",
            "heartbeat",
            "ids",
            "ledger.ipv4",
            "locate",
            "nodes.ipv4",
            "seen",
        }


@pytest.mark.skipif(sys.platform == "win32", reason="directories cannot be locked there")
def test_a_second_daemon_with_the_same_state_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two would write into each other's journals; the second says so in one line, and may start later."""
    state, words = tmp_path / "state", ["--out", str(tmp_path / "out"), "--listen", "127.0.0.1:0"]
    with StateDirectory(state, print).exclusive():
        assert cli.main([*words, "--state", str(state), "--duration", "1"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"cannot use {state} for the state: another process is using it" in line
    with StateDirectory(state, print).exclusive():
        pass


@pytest.mark.parametrize("was_saved", [True, False])
async def test_what_a_kill_left_unsought_is_sought(
    tmp_path: Path, autojump_clock: MockClock, was_saved: bool
) -> None:
    """What was found after the state was last saved, and is remembered, waits for peers in the next run."""
    state = {"directory": str(tmp_path / "state")}
    with Scene.of(tmp_path, 85, nodes=300, infohashes=1000) as scene:
        await scene.crawl(20, state=state)
        found = len(scene.found())
        # As a kill leaves it: all that was found is remembered, and the last save knew nothing of it.
        (tmp_path / "state" / "locate").unlink()
        if was_saved:
            await StateDirectory(tmp_path / "state", lambda *_, **__: None).save("found", [[]])
        else:
            for name in ("found", "ids"):
                (tmp_path / "state" / name).unlink()
        await scene.crawl(1, state=state)

        second = scene.status()[-1]
    assert second["lookups_waiting"] + second["lookups"] > found * 0.9


async def test_a_second_signal_ends_at_once(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever does not want to wait for a disk that is full says so again; the exit code tells the cost."""
    with Scene.of(tmp_path, 85, nodes=300, infohashes=1000) as scene:
        FlakyDisk(error=errno.ENOSPC).install(monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_signal, signal.SIGTERM, 5.0)
            nursery.start_soon(raise_signal, signal.SIGINT, 6.5)
            code = await scene.crawl(100)

        [stopped] = scene.status()
        assert code == 1
        assert 6.4 < stopped["seconds"] < 6.7
        assert stopped["lines_held"] > 0


# Crashing


def broken(*_arguments: object, **_options: object) -> Any:
    """Fail as a fault of our own does."""
    raise ZeroDivisionError("a fault of our own")


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Pace, "_next_batch"), (Sampler, "settle"), (JsonlSink, "_gather"), (app, "_beat")],
)
async def test_a_fault_of_our_own_crashes_loudly(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    """Whatever part of the daemon fails, the run ends with that exception, and everything is closed."""
    monkeypatch.setattr(owner, name, broken)
    with Scene.of(tmp_path, 86, nodes=100, infohashes=100) as scene:
        caught: list[Exception] = []
        await trio.lowlevel.checkpoint()
        try:
            await scene.crawl(60, state={"directory": str(tmp_path / "state")})
        except* ZeroDivisionError as group:
            caught += group.exceptions
        except* trio.ClosedResourceError:
            pass  # of a task that was about to send when everything was closed

        assert caught
        assert trio.current_time() < 60
        assert scene.network.socket(("127.0.0.1", 6881)).local == ("127.0.0.1", 6881)


def test_a_crash_is_code_1_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A fault of our own ends the process with code 1, and the log shows where it was."""
    monkeypatch.setattr(Pace, "_next_batch", broken)
    assert cli.run(lonely(tmp_path, run=RunConfig(duration=30.0))) == 1

    log = capfd.readouterr().err
    assert "crawler.crashed" in log
    assert "ZeroDivisionError: a fault of our own" in log
    assert "in broken" in log


# The real thing


@attrs.define
class Daemon:
    """A daemon as a user starts it, which never outlives its test."""

    process: subprocess.Popen[str]

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read the log up to an event."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            fields: dict[str, Any] = json.loads(line)
            if fields["event"] == event:
                return fields
        raise AssertionError(f"no {event}; exit code {self.process.wait(5)}")

    def end(self) -> tuple[int, float, list[dict[str, Any]]]:
        """Wait for the end; returns the exit code, the seconds that it took, and the rest of the log."""
        began = time.monotonic()
        _, log = self.process.communicate(timeout=20)
        return (
            self.process.returncode,
            time.monotonic() - began,
            [json.loads(line) for line in log.splitlines()],
        )


@pytest.fixture
def start() -> Iterator[Callable[..., Daemon]]:
    """What starts daemons on loopback that know nobody."""
    started: list[Daemon] = []

    def start_one(*arguments: str, **options: Any) -> Daemon:
        fixed = [
            "--listen",
            "127.0.0.1:0",
            "--bootstrap",
            "127.0.0.1:9",
            "--allow-private",
            "--log-format",
            "json",
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DHT_CRAWLER_")}
        command = [sys.executable, "-m", "crawler", *fixed, *arguments]
        process = subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, **options
        )
        started.append(Daemon(process))
        return started[-1]

    yield start_one
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_sigterm_as_a_container_sends_it(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """The real process ends within five seconds of SIGTERM, with code 0 and its state saved."""
    state = tmp_path / "state"
    daemon = start("--out", str(tmp_path / "out.jsonl"), "--state", str(state))
    daemon.wait_for("crawler.listening")
    daemon.process.send_signal(signal.SIGTERM)
    code, seconds, log = daemon.end()

    assert (code, log[-1]["event"], log[-1]["reason"]) == (0, "crawler.stopped", "SIGTERM")
    assert seconds < 5
    assert (state / "ids").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is told differently there")
def test_a_reader_that_goes_away_is_no_crash(start: Callable[..., Daemon]) -> None:
    """`dht-crawler --out - | head -1` ends with code 0 as soon as there is another line to write."""
    daemon = start("--out", "-", stdout=subprocess.PIPE)
    listening = daemon.wait_for("crawler.listening")
    assert daemon.process.stdout is not None
    daemon.process.stdout.close()
    daemon.process.stdout = None
    ask_for_peers(listening["address"])
    code, _, log = daemon.end()

    assert (code, log[-1]["event"], log[-1]["reason"]) == (0, "crawler.stopped", "reader gone")
    assert log[-1]["lines_held"] == 1


def ask_for_peers(address: str) -> None:
    """Send the daemon a query that makes a record."""
    import socket  # noqa: PLC0415 - this test alone speaks to a real socket

    from crawler.wire import krpc  # noqa: PLC0415
    from crawler.wire.compact import parse_address  # noqa: PLC0415

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(krpc.get_peers(b"aa", b"s" * 20, b"h" * 20), parse_address(address))
        sock.recv(2000)
