"""The commands as people start them, in a simulated network of a few hundred nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.commands.command_line import check_documented, interrupt, run, start
from tests.interop.daemon_process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the simulated network needs Linux")

NOBODYS = "ab" * 20


@attrs.frozen
class Network:
    """A network that is up: its bootstrap node, and what can be found there."""

    bootstrap: str
    truth: list[dict[str, Any]]


@pytest.fixture(scope="module", name="network")
def simulated_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Run `dht-crawler simulate` beside the tests."""
    truth = tmp_path_factory.mktemp("truth") / "truth.jsonl"
    words = "--nodes 600 --infohashes 100 --dead 0 --loss 0 --rtt 20 --listen 127.64.0.1:0 --truth"
    with start("simulate", *words.split(), str(truth)) as process:
        assert process.stdout is not None
        bootstrap = process.stdout.readline().split()[1]
        yield Network(bootstrap, [json.loads(line) for line in truth.read_text().splitlines()])
        process.terminate()
        process.communicate(timeout=10)


def test_lookup_prints_peers_and_a_summary(network: Network) -> None:
    """Each peer is a line of its own, once, before the summary; there are peers, so the code is 0."""
    found = network.truth[0]
    done = run("lookup", found["infohash"], bootstrap=network.bootstrap)

    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert sorted(lines[: len(found["peers"])]) == sorted(found["peers"])
    assert lines[len(found["peers"])] == ""
    assert list(done.rows) == ["peers", "seeds", "leechers", "nodes", "hops", "time"]
    assert done.rows["peers"] == str(len(found["peers"]))
    assert done.rows["seeds"] == "unknown, no node told"


def test_lookup_speaks_json(network: Network) -> None:
    """One object a line: each peer with its source, and the summary last."""
    found = network.truth[1]
    link = f"magnet:?xt=urn:btih:{found['infohash']}&x.pe=127.9.9.9:9999"
    done = run("lookup", link, "--json", "--verbose", bootstrap=network.bootstrap)

    check_documented("lookup", done)
    *peers, summary = done.records
    assert done.code == 0
    assert {record["type"] for record in peers} == {"peer"}
    assert {record["infohash"] for record in peers} == {found["infohash"]}
    named = {record["peer"]: record["source"] for record in peers}
    assert named == {"127.9.9.9:9999": "magnet"} | dict.fromkeys(found["peers"], "dht")
    assert len(peers) == len(named)
    assert summary["type"] == "summary"
    assert (summary["peers"], summary["ending"]) == (len(peers), "complete")
    assert summary["nodes_asked"] >= summary["nodes_answered"] >= 8
    assert (summary["seeds"], summary["leechers"]) == (None, None)
    assert "answered      node=127." in done.err


def test_nobody_has_it(network: Network) -> None:
    """A hash that nobody has ends with code 1 and a summary, for both commands that look for peers."""
    done = run("lookup", NOBODYS, bootstrap=network.bootstrap)
    assert (done.code, done.rows["peers"]) == (1, "0")

    done = run("metadata", NOBODYS, "--json", bootstrap=network.bootstrap)
    check_documented("metadata", done)
    [summary] = done.records
    assert done.code == 1
    assert (summary["peers"], summary["tried"], summary["ending"]) == (0, 0, "complete")


def test_peers_that_cannot_be_reached_are_counted(network: Network) -> None:
    """The simulated peers are addresses only: metadata says how many were tried, and why they failed."""
    found = network.truth[2]
    done = run("metadata", found["infohash"], bootstrap=network.bootstrap)
    count = len(found["peers"])

    assert done.code == 1
    assert done.rows["metadata"] == "not found"
    assert done.rows["peers"] == f"{count} found, {count} tried"
    assert done.rows["failures"] == f"{count} refused"


def test_announce_makes_us_findable(network: Network) -> None:
    """Eight nodes take the announce, and the next lookup finds the port, given or implied."""
    target = "cd" * 20
    given = run("announce", target, "--port", "4321", bootstrap=network.bootstrap)
    implied = run(
        "announce", target, "--port", "54321", "--implied-port", "--json", bootstrap=network.bootstrap
    )
    found = run("lookup", target, "--json", bootstrap=network.bootstrap)

    assert given.code == implied.code == found.code == 0
    assert given.rows["announced"] == "port 4321, to 8 nodes"
    check_documented("announce", implied)
    *nodes, summary = implied.records
    assert len({node["node"] for node in nodes}) == summary["accepted"] == 8
    assert summary["implied_port"] is True
    assert {record.get("peer") for record in found.records[:-1]} == {"127.0.0.1:4321", "127.0.0.1:54321"}


def test_ctrl_c_ends_with_the_summary() -> None:
    """SIGINT in the middle of a search gives what there is so far, and code 130; no traceback."""
    words = ("lookup", f"magnet:?xt=urn:btih:{NOBODYS}&x.pe=127.8.8.8:8888", "--allow-private")
    # Nobody listens there, which keeps it waiting.
    with start(*words, "--bootstrap", "127.0.0.1:9") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        done = interrupt(process, lambda: True)

    assert (done.code, done.rows["stopped"]) == (130, "by SIGINT, before the end")
    assert (first, done.rows["peers"]) == ("127.8.8.8:8888\n", "1")
    assert done.err.splitlines() == [
        "dht-crawler: no node of the DHT answered: no bootstrap node has answered yet"
    ]


def test_time_that_is_up_ends_it() -> None:
    """--timeout ends the search with the summary so far and says so; nothing was found, so the code is 1."""
    done = run("metadata", NOBODYS, "--timeout", "0.2", bootstrap="127.0.0.1:9")
    assert (done.code, done.rows["stopped"]) == (1, "by --timeout 0.2, before the end")


def test_a_network_that_is_not_there_is_one_line() -> None:
    """Nobody answering is said in words, and is no fault of ours."""
    done = run("announce", NOBODYS, "--port", "1", bootstrap="name.invalid:9")
    assert done.code == 1
    assert done.rows["announced"] == "port 1, to 0 nodes"
    assert done.err.startswith("dht-crawler: no node of the DHT answered: name.invalid:9: ")
    assert done.err.count("\n") == 1


def test_a_reader_that_leaves_ends_it(network: Network) -> None:
    """`dht-crawler lookup ... | head -1` ends at once and without a word of complaint."""
    found = next(each for each in network.truth if len(each["peers"]) > 2)
    words = ("lookup", found["infohash"], "--allow-private", "--bootstrap", network.bootstrap)
    with start(*words) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=10)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (0, "")


def test_results_that_cannot_be_written_are_one_line() -> None:
    """A full disk is told of in one line, with code 1: no traceback, and no claim that all went well."""
    link = f"magnet:?xt=urn:btih:{NOBODYS}&x.pe=127.8.8.8:8888"
    words = ["lookup", link, "--allow-private", "--bootstrap", "127.0.0.1:9", "--timeout", "1"]
    # The shell opens the device, as it would for a person.
    shell = ["sh", "-c", 'exec "$@" >/dev/full', "sh", sys.executable, "-m", "crawler"]
    done = subprocess.run(
        [*shell, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False
    )
    told = [line for line in done.stderr.splitlines() if "no node of the DHT" not in line]
    assert told == ["dht-crawler: error: cannot write to standard output: No space left on device"]
    assert done.returncode == 1


def test_a_taken_port_is_refused(network: Network) -> None:
    """A socket that cannot be bound is bad input: code 2 and the system's reason."""
    host, port = network.bootstrap.split(":")
    done = run("lookup", NOBODYS, "--listen", f"0.0.0.0:{port}", bootstrap=network.bootstrap)
    assert host
    assert done.code == 2
    assert done.err == f"dht-crawler: error: cannot listen on 0.0.0.0:{port}: Address already in use\n"


def test_help_is_quick() -> None:
    """--help imports neither the daemon nor the network code."""
    script = "import sys; from crawler.cli import main; main(['--help']); print(*sys.modules)"
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    assert {"trio", "crawler.net.dht", "crawler.app"}.isdisjoint(done.stdout.splitlines()[-1].split())
