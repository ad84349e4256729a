"""Every datagram of the daemon as its neighbours receive it, over two runs with the same state directory."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.interop import loopback, plain_krpc
from tests.interop.daemon_process import DaemonProcess, Exit, read_records, wait_for
from tests.interop.scripted_nodes import Heard, Manners, ScriptedNetwork, ScriptedNode
from tests.interop.swarm_crawl import infohashes_in, peers_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.interop, pytest.mark.timeout(200)]

# So long a run lasts at least, for what must not happen; what must happen is waited for.
FIRST_RUN_SECONDS = 10.0
SECOND_RUN_SECONDS = 6.0
PATIENCE_SECONDS = 40.0
SHORT_INTERVAL = 6
LONG_INTERVAL = 3600
RATE = 1.0
BURST = 5
# The kernel stamps arrivals; what is left is the daemon's own clock read before the send, and the time that a
# loaded machine takes from it in between. Below a second it makes no room for a query more in a burst.
SLACK_SECONDS = 0.5


@attrs.frozen
class Run:
    """One run of the daemon: what each node heard in it, by the node's ``ip:port``."""

    heard: dict[str, list[Heard]]
    node_id: bytes
    exit: Exit
    log: str

    def queries(self, node: ScriptedNode, method: bytes | None = None) -> list[Heard]:
        """Return the queries that ``node`` heard in this run, only those of ``method`` if it is given."""
        queries = [h for h in self.heard[node.text] if plain_krpc.is_query(h.data)]
        return [h for h in queries if method is None or h.message[b"q"] == method]

    def everything(self) -> list[Heard]:
        """Return all that anybody heard."""
        return [heard for of_node in self.heard.values() for heard in of_node]


@attrs.frozen
class Scene:
    """The nodes by how they behave, the two runs, and the output of both."""

    nodes: dict[str, list[ScriptedNode]]
    first: Run
    second: Run
    found: list[str]
    peers: dict[str, set[str]]

    @property
    def all_nodes(self) -> list[ScriptedNode]:
        """Every scripted node."""
        return [node for nodes in self.nodes.values() for node in nodes]


def _add_nodes(network: ScriptedNetwork, prefix: str, rng: random.Random) -> dict[str, list[ScriptedNode]]:
    """Add a few nodes of every kind; those that sample name hashes and peers of their own."""
    hosts = (f"{prefix}.{number}.1" for number in range(10, 250))
    nodes: dict[str, list[ScriptedNode]] = defaultdict(list)

    def add(kind: str, manners: Manners) -> None:
        nodes[kind].append(network.add(next(hosts), manners))

    for number in range(4):
        samples = tuple(rng.randbytes(20) for _ in range(3))
        values = (plain_krpc.pack_address((f"{prefix}.{200 + number}.7", 6881)),)
        add("patient", Manners(interval=LONG_INTERVAL, samples=samples, values=values))
    add("empty", Manners(interval=LONG_INTERVAL))
    add("brisk", Manners(interval=SHORT_INTERVAL, samples=(rng.randbytes(20),)))
    add("nodes_only", Manners(sampling="nodes_only"))
    add("nodes_only", Manners(sampling="nodes_only"))
    add("error_204", Manners(sampling="error_204"))
    add("silent", Manners(sampling="silent"))
    for _ in range(3):
        add("dead", Manners(dead=True))
    return nodes


def _run(
    directory: Path, prefix: str, nodes: list[ScriptedNode], seconds: float, done: Callable[[], bool]
) -> Run:
    """Run the daemon with the state in ``directory`` for ``seconds``, and on until ``done``.

    The nodes start with nothing heard.
    """
    for node in nodes:
        node.heard.clear()
    out = directory / "peers.jsonl"
    # By default a node is left alone for a minute whatever it says, which is longer than this test.
    config = directory / "config.toml"
    config.write_text(f"[frontier]\nshortest_interval = {SHORT_INTERVAL - 1}.0\n")
    extra = ["--allow-private", "--state", str(directory / "state"), "--config", str(config)]
    bootstrap = [nodes[0].text, nodes[1].text]
    with DaemonProcess(out=out, listen=f"{prefix}.1.1", bootstrap=bootstrap, extra=extra) as daemon:
        _, node_id = daemon.listening()
        wait_for(lambda: not daemon.running(), seconds)
        wait_for(lambda: done() or not daemon.running(), PATIENCE_SECONDS)
        ended = daemon.terminate()
        log = daemon.log_tail()
        return Run({node.text: list(node.heard) for node in nodes}, node_id, ended, log)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Run the daemon twice among the same scripted nodes."""
    directory = tmp_path_factory.mktemp("etiquette")
    prefix = loopback.own_network()
    rng = random.Random(7)
    network = ScriptedNetwork(rng)
    nodes = _add_nodes(network, prefix, rng)
    [brisk] = nodes["brisk"]
    able = [node for node in network.nodes if not node.manners.dead]
    sampled = {infohash.hex() for node in able for infohash in node.manners.samples}
    named = {infohash.hex() for node in nodes["patient"] for infohash in node.manners.samples}

    def all_was_asked() -> bool:
        records = read_records(directory / "peers.jsonl")
        asked = all(node.queries(b"sample_infohashes") for node in able)
        again = len(brisk.queries(b"sample_infohashes")) > 1
        told = sampled <= set(infohashes_in(records)) and named <= peers_in(records).keys()
        return asked and again and told

    def anybody_was_asked() -> bool:
        return any(node.queries() for node in able)

    with network:
        first = _run(directory, prefix, network.nodes, FIRST_RUN_SECONDS, all_was_asked)
        second = _run(directory, prefix, network.nodes, SECOND_RUN_SECONDS, anybody_was_asked)
    records = read_records(directory / "peers.jsonl")
    return Scene(nodes, first, second, infohashes_in(records), peers_in(records))


@pytest.fixture(params=["first", "second"])
def run(request: pytest.FixtureRequest, scene: Scene) -> Run:
    """Either run, for what must hold in both."""
    return scene.first if request.param == "first" else scene.second


def test_every_datagram_is_proper(run: Run) -> None:
    """Whatever the daemon sends is canonical bencode of at most 1024 bytes, with a 4-byte version."""
    assert run.everything()
    for heard in run.everything():
        assert plain_krpc.is_canonical(heard.data), heard.data
        assert len(heard.data) <= 1024
        assert len(heard.message[b"v"]) == 4


def test_every_query_is_proper(run: Run) -> None:
    """Every query has a 4-byte transaction id, the daemon's one id, and a known method with its target."""
    targets = {b"find_node": b"target", b"sample_infohashes": b"target", b"get_peers": b"info_hash"}
    for heard in (h for h in run.everything() if plain_krpc.is_query(h.data)):
        message = heard.message
        assert len(message[b"t"]) == 4
        assert message[b"a"][b"id"] == run.node_id
        assert message[b"q"] in (b"ping", *targets)
        if message[b"q"] in targets:
            assert len(message[b"a"][targets[message[b"q"]]]) == 20


def test_transaction_ids_do_not_repeat(run: Run) -> None:
    """A node never hears the same transaction id twice within a run."""
    for node, heard in run.heard.items():
        tids = [h.message[b"t"] for h in heard if plain_krpc.is_query(h.data)]
        assert len(tids) == len(set(tids)), node


def test_no_address_is_pressed(run: Run, scene: Scene) -> None:
    """No node hears more than one query a second with a burst of five, over any stretch of a run."""
    for node in scene.all_nodes:
        times = [heard.at for heard in run.queries(node)]
        for start, first in enumerate(times):
            for count, last in enumerate(times[start:], 1):
                assert count <= BURST + RATE * (last - first + SLACK_SECONDS), node.text


def test_willing_nodes_are_sampled_once_an_interval(scene: Scene) -> None:
    """A node that answered with samples is asked exactly once in an interval of an hour, over both runs."""
    for node in scene.nodes["patient"] + scene.nodes["empty"]:
        assert len(scene.first.queries(node, b"sample_infohashes")) == 1, scene.first.log
        assert len(scene.second.queries(node, b"sample_infohashes")) == 0, scene.second.log


def test_a_short_interval_is_kept_and_used(scene: Scene) -> None:
    """A node with an interval of seconds is asked again, but never before the interval is over."""
    [node] = scene.nodes["brisk"]
    asked = [run.queries(node, b"sample_infohashes") for run in (scene.first, scene.second)]
    times = [heard.at for of_run in asked for heard in of_run]
    assert len(times) >= 2, scene.first.log
    assert all(later - earlier >= SHORT_INTERVAL for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize(("kind", "most"), [("nodes_only", 1), ("error_204", 1), ("silent", 2)])
def test_unwilling_nodes_are_left_alone(scene: Scene, kind: str, most: int) -> None:
    """Nodes without BEP 51 are not asked for samples again, not even after a restart; silence may be loss."""
    for node in scene.nodes[kind]:
        runs = [run.queries(node, b"sample_infohashes") for run in (scene.first, scene.second)]
        assert 1 <= len(runs[0]) <= most
        assert sum(map(len, runs)) <= most


def test_mere_rumours_are_hardly_tried(scene: Scene) -> None:
    """An address that never answered is tried once, and once again at most, however many nodes name it."""
    tried = [[heard.message[b"q"] for heard in scene.first.queries(node)] for node in scene.nodes["dead"]]
    assert max(map(len, tried)) <= 2, tried


def test_all_samples_and_their_peers_are_reported(scene: Scene) -> None:
    """Every sampled infohash is reported, with the peer that its holder names."""
    holders = scene.nodes["patient"] + scene.nodes["brisk"]
    sampled = {infohash.hex() for node in holders for infohash in node.manners.samples}
    assert set(scene.found) == sampled, scene.first.log
    for node in scene.nodes["patient"]:
        [peer] = node.manners.values
        for infohash in node.manners.samples:
            [reported] = scene.peers[infohash.hex()]
            assert plain_krpc.pack_address(plain_krpc.parse_address(reported)) == peer


def test_a_restart_keeps_the_id(scene: Scene) -> None:
    """With the same state directory the daemon comes back as the same node."""
    assert scene.first.node_id == scene.second.node_id


def test_sigterm_ends_each_run_cleanly(run: Run) -> None:
    """SIGTERM ends the daemon with code 0 within 5 s."""
    assert run.exit.code == 0, run.log
    assert run.exit.seconds <= 5
