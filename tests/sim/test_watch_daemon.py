"""A daemon as a user starts it, crawling a simulated network, watched over HTTP by a real client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.interop.daemon_process import DaemonProcess, wait_for
from tests.sim.network_process import NetworkProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the simulated network needs 127.0.0.0/8")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Yield a daemon that crawls 500 nodes and serves HTTP; it ends well and soon, whatever it was asked."""
    directory: Path = tmp_path_factory.mktemp("watched")
    settings = directory / "settings.toml"
    settings.write_text("[limits]\nmax_rate = 200.0\n", encoding="utf-8")
    with (
        NetworkProcess(nodes=500, infohashes=1000, dead=0.1) as network,
        DaemonProcess(
            out=directory / "out.jsonl",
            listen="127.0.0.1",
            bootstrap=[network.bootstrap],
            extra=[
                "--state",
                str(directory / "state"),
                "--allow-private",
                "--config",
                str(settings),
                "--http",
                "127.0.0.1:0",
            ],
        ) as running,
    ):
        yield running
        end = running.terminate()
        assert (end.code, end.seconds < 5) == (0, True), running.log_tail()


@pytest.fixture(scope="module")
def client(daemon: DaemonProcess) -> Iterator[httpx2.Client]:
    """Yield a client of the daemon's HTTP."""
    # As long as it takes: a busy machine has been seen to need half a minute for the imports.
    wait_for(lambda: bool(events(daemon, "http.listening")) or not daemon.running(), 100)
    assert events(daemon, "http.listening"), daemon.log_tail()
    with httpx2.Client(
        base_url=events(daemon, "http.listening")[0]["url"], timeout=60, trust_env=False
    ) as one:
        yield one


def events(daemon: DaemonProcess, name: str) -> list[dict[str, Any]]:
    """Return the daemon's events of one name so far."""
    return [event for event in list(daemon.events) if event.get("event") == name]


def test_it_becomes_ready(client: httpx2.Client) -> None:
    """Alive at once, ready as soon as it knows good nodes."""
    assert client.get("/healthz").json() == {"alive": True}
    assert wait_for(lambda: client.get("/readyz").status_code == 200, 90)
    assert client.get("/readyz").json() == {"ready": True, "problems": []}


def test_scrapes_follow_the_crawl(client: httpx2.Client) -> None:
    """Two scrapes parse strictly, and what was counted in between only grew."""

    def scrape() -> dict[str, float]:
        families = text_string_to_metric_families(client.get("/metrics").text)  # type: ignore[no-untyped-call] # the library's gap
        return {sample.name: sample.value for family in families for sample in family.samples}

    growing = ("infohashes_total", "answers_total", "received_bytes_total", "round_trip_seconds_count")
    before = scrape()
    after: dict[str, float] = {}

    def all_grew() -> bool:
        after.update(scrape())
        return all(after[f"dht_crawler_{name}"] > before[f"dht_crawler_{name}"] for name in growing)

    assert wait_for(all_grew, 30)
    assert after["dht_crawler_cpu_seconds_total"] >= before["dht_crawler_cpu_seconds_total"] > 0
    assert after["dht_crawler_table_good_nodes"] > 0
    assert after["process_resident_memory_bytes"] > 1 << 20
    assert after["process_open_fds"] > 3


def test_the_status_is_that_of_the_log(client: httpx2.Client) -> None:
    """/status has the fields of the event crawler.status, the version, and what is wrong."""
    status = client.get("/status").json()
    assert status["infohashes"] > 0
    assert {"version", "problems", "dropped", "queries_sent", "table_good"} <= status.keys()


def test_the_health_command_finds_it(daemon: DaemonProcess, client: httpx2.Client) -> None:
    """In an environment like the container's, `health` asks where this daemon really listens."""
    state = daemon.out.parent / "state"
    given = {"DHT_CRAWLER_STATE_DIRECTORY": str(state), "DHT_CRAWLER_HTTP_LISTEN": "127.0.0.1:9"}
    assert wait_for(lambda: client.get("/readyz").status_code == 200, 90)
    for words, said in ([], "alive\n"), (["--ready"], "ready\n"):
        done = subprocess.run(
            [sys.executable, "-m", "crawler", "health", *words],
            env={**os.environ, **given},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert (done.returncode, done.stdout) == (0, said), done.stderr


def test_the_crawl_goes_on_while_many_ask(daemon: DaemonProcess, client: httpx2.Client) -> None:
    """A hundred scrapes one after the other are all answered, and lines go on being written."""
    lines = client.get("/status").json()["lines_written"]
    began = time.monotonic()
    for _ in range(100):
        assert client.get("/metrics").status_code == 200
    assert time.monotonic() - began < 20
    assert wait_for(lambda: client.get("/status").json()["lines_written"] > lines, 20)
    assert daemon.running()


def test_a_hangup_reloads(daemon: DaemonProcess, client: httpx2.Client) -> None:
    """SIGHUP applies the file's new rate and level, refuses a bad file, and the daemon crawls on."""
    settings = daemon.out.parent / "settings.toml"

    def hang_up(text: str, event: str) -> dict[str, Any]:
        before = len(events(daemon, event))
        settings.write_text(text, encoding="utf-8")
        os.kill(daemon.pid, signal.SIGHUP)
        assert wait_for(lambda: len(events(daemon, event)) > before, 60), daemon.log_tail()
        return events(daemon, event)[-1]

    told = hang_up('[limits]\nmax_rate = 50\n[log]\nlevel = "debug"\n', "config.reloaded")
    assert told["changed"] == {"limits.max_rate": 50.0, "log.level": "debug"}
    assert "dht_crawler_max_rate 50.0\n" in client.get("/metrics").text
    assert wait_for(lambda: bool(events(daemon, "http.request")), 60), "debug events are logged now"
    told = hang_up("[limits]\nmax_rate = -1\n", "config.refused")
    assert "max_rate = -1: allowed is a number, above 0" in told["problem"]
    assert "dht_crawler_max_rate 50.0\n" in client.get("/metrics").text
    told = hang_up("[limits]\nmax_rate = 200\n[seen]\nrecent = 2000\n", "config.needs_restart")
    assert told["keys"] == ["seen.recent"]
    assert "dht_crawler_max_rate 200.0\n" in client.get("/metrics").text


def test_usr1_tells_everything(daemon: DaemonProcess, client: httpx2.Client) -> None:
    """SIGUSR1 logs all counters and the tree of tasks, each one line, and the daemon crawls on."""
    assert client.get("/healthz").status_code == 200
    statuses = len(events(daemon, "crawler.status"))
    os.kill(daemon.pid, signal.SIGUSR1)

    def lines() -> list[str]:
        return [event["task"] for event in events(daemon, "crawler.task")]

    def all_are_told() -> bool:
        told = events(daemon, "crawler.tasks")
        return bool(told) and told[0]["lines"] == len(lines())

    assert wait_for(all_are_told, 60), daemon.log_tail()

    assert len(events(daemon, "crawler.status")) > statuses
    names = {line.split("  ")[-2].strip() if "  " in line.strip() else line for line in lines()}
    assert {"sink", "status", "heartbeat", "http", "asking", "sample", "refresh", "bootstrap"} <= names
    [sample] = [line for line in lines() if line.lstrip().startswith("sample  ")]
    assert "crawler/crawl/pace.py:" in sample
    [asking] = [line for line in lines() if line.lstrip().startswith("asking  ")]
    assert len(sample) - len(sample.lstrip()) > len(asking) - len(asking.lstrip())
    assert not daemon.noise
    assert daemon.running()
