"""One crawl of the nasty swarm by the daemon under strace, shared by every test that needs real output."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.deploy.nasty_names import NastyTorrent, nasty_torrents
from tests.deploy.nasty_swarm import NastyPeers, open_network
from tests.deploy.shipped import run
from tests.interop import loopback
from tests.interop.daemon_process import DaemonProcess, Exit, wait_for

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 90

# The network of this crawl is a machine, and its peers come in great numbers from few addresses.
_SETTINGS = """
[limits]
max_rate = 2000.0
ip_rate = 500.0
ip_burst = 500.0
prefix_rate = 5000.0
prefix_burst = 5000.0

[fetch]
max_per_ip = 16

[state]
save_interval = 1.0
"""
_CALL = re.compile(r"^\d+\s+(?:<\.\.\. )?([a-z_0-9]+)[( ]")
_ENDED = re.compile(r"^\d+ +\+\+\+ exited with 0 \+\+\+$", re.MULTILINE)


@attrs.frozen
class Crawl:
    """What one crawl left.

    Attributes:
        torrents: what there was to be found.
        directory: where it ran: its working directory, with ``peers.jsonl`` and ``state`` in it.
        trace: every system call of the process, as strace writes them; None where it may not trace.
        metrics: what it told at /metrics when everything was found.
        log: the end of its log, for messages.
    """

    torrents: list[NastyTorrent]
    directory: Path
    trace: list[str] | None
    metrics: str
    exit: Exit
    log: str

    @property
    def output(self) -> bytes:
        """Every byte of the output."""
        return (self.directory / "peers.jsonl").read_bytes()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every line of the output, parsed."""
        return [json.loads(line) for line in self.output.split(b"\n")[:-1]]

    def calls(self) -> set[str]:
        """Return the names of the system calls that were made, or skip the test when none were traced."""
        return {match[1] for line in self.traced() if (match := _CALL.match(line))}

    def traced(self) -> list[str]:
        """Return the trace, or skip the test when there is none."""
        if self.trace is None:
            pytest.skip("strace is not installed, or may not trace here")
        return self.trace


@pytest.fixture(scope="session")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Crawl:
    """One finished crawl of 500 torrents with nasty names."""
    base = tmp_path_factory.mktemp("nasty")
    traces = shutil.which("strace") and run("strace", "-qq", "-o", "/dev/null", "true").returncode == 0
    trace = base / "trace"
    if not traces:
        return crawl_nasty(base)
    crawl = crawl_nasty(base, "strace", "-D", "-f", "-s", "200", "-o", str(trace))
    wait_for(lambda: bool(_ENDED.search(_end_of(trace))), 20)
    return attrs.evolve(crawl, trace=trace.read_text("utf-8", "replace").splitlines())


def crawl_nasty(base: Path, *before: str) -> Crawl:
    """Let the daemon, with ``before`` in front of its command, crawl the nasty torrents until it has all."""
    directory = base / "run"
    directory.mkdir()
    (base / "settings.toml").write_text(_SETTINGS, encoding="ascii")
    torrents, network = nasty_torrents(), loopback.own_network()
    extra = ["--allow-private", "--metadata", "--state", str(directory / "state")]
    extra += ["--config", str(base / "settings.toml"), "--duration", str(SECONDS)]
    extra += ["--http", "127.0.0.1:0"]
    with NastyPeers(network, torrents) as peers, open_network(network, torrents, peers.port) as nodes:
        bootstrap = [node.text for node in nodes.nodes[:3]]
        listen, out = f"{network}.100.1", directory / "peers.jsonl"
        with DaemonProcess(out=out, listen=listen, bootstrap=bootstrap, extra=extra, before=before) as daemon:

            def is_over() -> bool:
                written = b"".join(path.read_bytes() for path in directory.glob("peers.jsonl*"))
                return written.count(b'{"type":"metadata"') >= len(torrents) or not daemon.running()

            wait_for(is_over, SECONDS - 5, every=0.2)
            metrics = _metrics_of(daemon)
            ended = daemon.terminate()
            return Crawl(torrents, directory, None, metrics, ended, daemon.log_tail())


def _metrics_of(daemon: DaemonProcess) -> str:
    [url] = [event["url"] for event in daemon.events if event.get("event") == "http.listening"]
    assert url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(  # noqa: S310 - it is on loopback
        f"{url.rstrip('/')}/metrics", timeout=30
    ) as answer:
        text: str = answer.read().decode("utf-8")
    return text


def _end_of(path: Path) -> str:
    return path.read_text("utf-8", "replace")[-4000:] if path.exists() else ""
