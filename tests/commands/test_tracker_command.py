"""The tracker as people start it: asked over both carriers, reloaded, stopped, and asked for nonsense."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from crawler.wire.tracker import AnnounceAnswer, AnnounceRequest, TrackerFailure
from tests.commands.command_line import Done, check_documented, run, start
from tests.interop import namespace
from tests.interop.daemon_process import REPOSITORY
from tests.tracker.raw_client import http_announce, http_get, udp_client

if TYPE_CHECKING:
    from pathlib import Path

SWARM, OTHER = b"s" * 20, b"o" * 20
PEER_ID = b"-XX0001-abcdefghijkl"


def port_in(event: dict[str, list[str]], carrier: str) -> int:
    return int(event[carrier][0].rpartition(":")[2])


async def test_it_serves_until_it_is_stopped(tmp_path: Path) -> None:
    """Both carriers answer, SIGHUP reads the list of infohashes again, and SIGTERM ends it within 5 s."""
    allowed = tmp_path / "allowed.txt"
    allowed.write_text(f"# ours\n{SWARM.hex()}\n")
    words = ["--udp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--allow", str(allowed), "--log-format", "json"]
    with start("tracker", *words) as process:
        try:
            assert process.stderr is not None
            listening = json.loads(process.stderr.readline())
            udp, http = port_in(listening, "udp"), port_in(listening, "http")
            with udp_client("127.0.0.1", udp) as client:
                first = await client.announce(AnnounceRequest(SWARM, PEER_ID, 7))
                refused = await client.announce(AnnounceRequest(OTHER, PEER_ID, 7))
            second = await http_announce("127.0.0.1", http, AnnounceRequest(SWARM, PEER_ID, 8))
            allowed.write_text(OTHER.hex())
            process.send_signal(signal.SIGHUP)
            read = json.loads(process.stderr.readline())
            served = await http_announce("127.0.0.1", http, AnnounceRequest(OTHER, PEER_ID, 8))
            allowed.write_text("nonsense")
            process.send_signal(signal.SIGHUP)
            not_read = json.loads(process.stderr.readline())
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
            ended = [json.loads(line) for line in process.stderr.read().splitlines()]
        finally:
            process.kill()

    assert (code, time.monotonic() - began < 5) == (0, True)
    assert isinstance(first, AnnounceAnswer)
    assert isinstance(refused, TrackerFailure)
    assert isinstance(second, AnnounceAnswer)
    assert len(second.peers) == 1
    assert (read["event"], read["infohashes"]) == ("tracker.allow_read", 1)
    assert isinstance(served, AnnounceAnswer)
    assert not_read["event"] == "tracker.allow_not_read"
    assert "line 1: not an infohash" in not_read["problem"]
    assert [event["event"] for event in ended] == ["tracker.stopping", "tracker.stopped"]
    assert ended[1]["registry"]["events"]["stored"] == 3


def test_who_asks_it_prints_what_is_documented() -> None:
    """JSON of announces, scrapes and lookups is as docs/commands.md says, of a dead tracker too."""
    with start("tracker", "--udp", "127.0.0.1:0", "--log-format", "json") as process:
        try:
            assert process.stderr is not None
            url = f"udp://127.0.0.1:{port_in(json.loads(process.stderr.readline()), 'udp')}"
            dead = "http://127.0.0.1:9/announce"
            both = ["--tracker", url, "--tracker", dead, "--allow-private", "--timeout", "10"]
            first = ask("announce", SWARM.hex(), "--port", "7001", *both)
            second = ask("announce", SWARM.hex(), "--port", "7002", *both)
            scraped = ask("scrape", SWARM.hex(), *both)
            link = f"magnet:?xt=urn:btih:{SWARM.hex()}&tr={url}/announce&tr={dead}"
            found = run("lookup", link, "--json", bootstrap="127.0.0.1:9")
        finally:
            process.kill()

    for command, done in (("announce --tracker", first), ("announce --tracker", second), ("scrape", scraped)):
        check_documented(command, done)
        assert done.code == 0
    assert {record["type"] for record in second.records} == {"announced", "failed", "peer", "summary"}
    assert {record["type"] for record in scraped.records} == {"scrape", "failed", "summary"}
    check_documented("lookup", found)
    assert [set(one) - {"tracker", "infohash"} for one in found.records[-1]["trackers"]] in (
        [{"problem"}, {"peers", "seeders", "leechers"}],
        [{"peers", "seeders", "leechers"}, {"problem"}],
    )


def ask(*words: str) -> Done:
    """Ask trackers, for JSON."""
    with start(*words, "--json") as process:
        out, err = process.communicate(timeout=30)
    return Done(process.returncode, out, err)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--udp", "localhost:6969"], '--udp: "localhost:6969" is not ADDR:PORT'),
        (["--http", "127.0.0.1"], '--http: "127.0.0.1" is not ADDR:PORT'),
        (["--metrics", ":9101"], '--metrics: ":9101" is not ADDR:PORT'),
        (["--interval", "0"], '--interval = "0": allowed is a whole number, at least 1'),
        (["--ip-rate", "0"], '--ip-rate = "0": allowed is a number, above 0'),
        (["--max-peers", "many"], '--max-peers = "many": allowed is a whole number, at least 1'),
        (["--lifetime", "900"], "--lifetime: 900 s is shorter than tracker_policy.interval (1800 s)"),
        (["--trusted-proxy", "proxy.example"], '--trusted-proxy: "proxy.example" is no IP address'),
        (["--allow", "/does/not/exist"], "infohashes in /does/not/exist: No such file"),
        (["--log-level", "loud"], '--log-level = "loud": allowed is one of'),
        (["--status-interval", "-1"], '--status-interval = "-1": allowed is a number, at least 0'),
        (["--config", "/does/not/exist"], "/does/not/exist: No such file"),
        (["--udp", "203.0.113.1:6969"], "cannot listen on 203.0.113.1:6969 (UDP): "),
        (["--metrics", "203.0.113.1:6969"], "cannot listen on 203.0.113.1:6969 (HTTP): "),
    ],
)
def test_nonsense_is_refused(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be done is refused in one line that says what and why, with exit code 2."""
    from crawler.cli import main  # noqa: PLC0415 - as the command line does

    assert main(["tracker", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dht-crawler: error: ")
    assert problem in lines[0]


async def test_a_file_the_environment_and_flags_set_it(tmp_path: Path) -> None:
    """The file says where and how, the environment beats it, a flag beats both; a bad key is refused."""
    file = tmp_path / "tracker.toml"
    file.write_text(
        '[tracker_server]\nudp = "127.0.0.1:0"\nmetrics = "127.0.0.1:0"\n'
        "[tracker_policy]\ninterval = 700\nmax_numwant = 1\nip_burst = 50\n"
        '[log]\nformat = "json"\n'
    )
    variables = {"DHT_CRAWLER_TRACKER_POLICY_INTERVAL": "800", "DHT_CRAWLER_TRACKER_POLICY_MAX_NUMWANT": "2"}
    with start("tracker", "--config", str(file), "--max-numwant", "3", **variables) as process:
        try:
            assert process.stderr is not None
            listening = json.loads(process.stderr.readline())
            with udp_client("127.0.0.1", port_in(listening, "udp")) as client:
                for port in range(1, 6):
                    answer = await client.announce(AnnounceRequest(SWARM, PEER_ID, port))
            stats = await http_get("127.0.0.1", port_in(listening, "metrics"), "/stats")
            announced = await http_get("127.0.0.1", port_in(listening, "metrics"), "/announce")
            process.send_signal(signal.SIGUSR1)
            told = json.loads(process.stderr.readline())
        finally:
            process.kill()

    assert isinstance(answer, AnnounceAnswer)
    assert (answer.interval, len(answer.peers)) == (800, 3)
    assert listening["http"] == []
    assert json.loads(stats.partition(b"\r\n\r\n")[2])["registry"]["peers"] == 5
    assert announced.startswith(b"HTTP/1.1 404 ")
    assert (told["event"], told["registry"]["peers"]) == ("tracker.status", 5)

    file.write_text("[tracker_server]\nupd = []\n")
    with start("tracker", "--config", str(file)) as process:
        _, refusal = process.communicate(timeout=30)
    assert process.returncode == 2
    assert refusal.endswith("unknown key upd in [tracker_server]: did you mean udp?\n")
    assert len(refusal.splitlines()) == 1


@pytest.mark.parametrize("flag", ["--interval", "--max-numwant", "--ip-rate", "--ip-burst", "--max-peers"])
def test_help_states_the_trackers_defaults(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The default that `tracker --help` names in brackets is the default, and every flag stands there."""
    from crawler import config  # noqa: PLC0415 - as the command does
    from crawler.cli import main  # noqa: PLC0415

    assert main(["tracker", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    section, key = config.TRACKER_FLAGS[flag].split(".")
    assert f"({config.OPTIONS[section][key].default:.10g})" in text.partition(f" {flag} ")[2][:140]
    assert [name for name in config.TRACKER_FLAGS if f" {name} " not in text] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["udp://127.0.0.1:9"], "udp://127.0.0.1:9  not an address of the public Internet; --allow-private"),
        (
            ["http://[::1]/announce"],
            "http://[::1]:80  not an address of the public Internet; --allow-private",
        ),
        (["http://127.0.0.1:9/x", "--allow-private"], "http://127.0.0.1:9  its URL has no /announce that"),
    ],
)
def test_a_tracker_that_cannot_be_asked_is_explained(words: list[str], told: str) -> None:
    """Why no tracker was asked is said in words that help, with exit code 1."""
    with start("scrape", SWARM.hex(), "--tracker", *words) as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out.startswith(told)


@pytest.mark.interop
def test_without_a_word_it_is_asked_everywhere() -> None:
    """Without --udp and --http it listens on port 6969 of all addresses, both families, both ways."""
    if reason := namespace.why_not():
        pytest.skip(reason)
    words = ["unshare", "-rn", sys.executable, "-m", "crawler", "tracker", "--log-format", "json"]
    with subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            listening = json.loads(process.stderr.readline())
        finally:
            process.kill()

    assert listening["udp"] == listening["http"] == ["0.0.0.0:6969", "[::]:6969"]


@pytest.mark.parametrize(("carrier", "kind"), [("--udp", socket.SOCK_DGRAM), ("--http", socket.SOCK_STREAM)])
def test_a_busy_port_is_refused(carrier: str, kind: socket.SocketKind) -> None:
    """A port that somebody else has is told in one line with exit code 2, for either carrier."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with start("tracker", carrier, where) as process:
            try:
                _, told = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise

    assert process.returncode == 2
    assert told.startswith(f"dht-crawler: error: cannot listen on {where} ({carrier[2:].upper()}): Address")
    assert len(told.splitlines()) == 1
