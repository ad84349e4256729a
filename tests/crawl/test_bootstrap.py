"""Bootstrap: seeds at the start, and again whenever the crawl runs dry, within a minute and not for ever."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import itertools
import random
import socket
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.crawl.bootstrap import Bootstrap, BootstrapConfig, Seeds, look_up_node
from crawler.crawl.frontier import Standing
from crawler.dht.lookup import LookupConfig
from crawler.wire.compact import Family, join_nodes, pack_address
from tests.crawl.stages import Stages
from tests.net.endpoints import ScriptedNode, names, scripted, silent
from tests.sim.crawl_scene import run_in_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio.testing import MockClock


def bootstrap(
    stages: Stages, *, hosts: Sequence[str] = (), saved: Sequence[bytes] = (), **config: Any
) -> Bootstrap:
    """Return the bootstrap of ``stages``."""
    return Bootstrap(
        BootstrapConfig(**config),
        stages.endpoint,
        seeds=Seeds(hosts, saved),
        sampler=stages.sampler,
        pace=stages.pace,
        lookup=LookupConfig(),
        others={},
        rng=random.Random(5),
        on_event=stages.on_event,
    )


async def run_for(
    stages: Stages, seconds: float, *tasks: Callable[[], Any], nodes: Sequence[ScriptedNode] = ()
) -> None:
    """Run the endpoint, the nodes and the tasks for so long."""
    with trio.move_on_after(seconds):
        async with stages.running(*nodes) as nursery:
            for task in tasks:
                nursery.start_soon(task)
            await trio.sleep_forever()


def text(node: ScriptedNode) -> str:
    """Return a node's address as a user would give it."""
    return "{}:{}".format(*node.socket.local)


async def test_hosts_are_the_way_in(autojump_clock: MockClock) -> None:
    """The hosts named are asked at once, and whom they name becomes known."""
    stages = Stages.joined()
    friend = scripted(stages.net, 2)
    router = scripted(stages.net, 1, names(friend))
    await run_for(stages, 3, bootstrap(stages, hosts=[text(router)]).run, nodes=[router, friend])

    assert router.heard[0][0] < 0.2
    assert router.heard[0][1].method == b"find_node"
    assert router.heard[0][1].args[b"want"] == [b"n4", b"n6"]
    assert {contact.address for contact in stages.frontier} == {router.compact, friend.compact}
    assert (
        "bootstrap.seeded",
        {"family": "IPV4", "reason": "no_good_node", "asked": 1, "answered": 1},
    ) in stages.events


async def test_our_neighbourhood_is_looked_up(autojump_clock: MockClock) -> None:
    """After the way in is found we look for our own id, so that our neighbours get to know us."""
    stages = Stages.joined()
    friend = scripted(stages.net, 2)
    router = scripted(stages.net, 1, names(friend))
    await run_for(stages, 5, bootstrap(stages, hosts=[text(router)]).run, nodes=[router, friend])

    targets = [query.args[b"target"] for _, query in router.heard + friend.heard]
    assert stages.endpoint.node.id in targets


async def test_saved_nodes_are_asked_too(autojump_clock: MockClock) -> None:
    """Nodes of the last run are a way in of their own, as many as are set."""
    stages = Stages.joined()
    saved = [scripted(stages.net, number) for number in range(1, 41)]
    await run_for(
        stages, 1, bootstrap(stages, saved=[node.compact for node in saved], seeds=16).run, nodes=saved
    )

    assert sum(b"find_node" in node.methods for node in saved) >= 16
    assert stages.events[0][1]["asked"] == 16


async def test_nobody_to_ask_is_no_news(autojump_clock: MockClock) -> None:
    """A family that knows nobody is not reported on every half minute."""
    stages = Stages.joined()
    await run_for(stages, 300, bootstrap(stages).run)

    assert stages.events == []


async def test_a_lost_datagram_is_not_the_end(autojump_clock: MockClock) -> None:
    """A seed that does not answer is asked a second time, and no third time in one seeding."""
    stages = Stages.joined()
    router = scripted(stages.net, 1, silent)
    await run_for(
        stages,
        6,
        bootstrap(stages, hosts=[text(router)], first_pause=100.0, blind_pause=100.0).run,
        nodes=[router],
    )

    assert len(router.heard) == 2
    assert stages.events[-1][1]["answered"] == 0


async def test_it_is_tried_again_while_nobody_answers(autojump_clock: MockClock) -> None:
    """Without any answer seeding is repeated, slower and slower, up to the pause for the blind."""
    stages = Stages.joined()
    router = scripted(stages.net, 1, silent)
    await run_for(stages, 300, bootstrap(stages, hosts=[text(router)]).run, nodes=[router])

    times = [at for at, _ in router.heard][::2]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] < 12
    assert all(gap <= 30 + 10 for gap in gaps)
    assert gaps[-1] > 30


async def test_a_healthy_crawl_is_left_alone(autojump_clock: MockClock) -> None:
    """While there are good nodes and new infohashes nobody is asked again."""
    stages = Stages.joined()
    router = scripted(stages.net, 1)

    async def find() -> None:
        while True:
            stages.sampler.counters.new += 1
            stages.sampler.counters.asked += 100
            await trio.sleep(10)

    await run_for(stages, 600, bootstrap(stages, hosts=[text(router)]).run, find, nodes=[router])

    assert stages.events == [stages.events[0]]


class Seedings:
    """Stands in for the seeding, and writes down when it is wanted and why."""

    def __init__(self, bootstrap: Bootstrap, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wanted: list[tuple[float, str]] = []
        monkeypatch.setattr(bootstrap, "_seed", self._seed)

    async def _seed(self, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.wanted.append((trio.current_time(), reason))

    def after(self, time: float) -> list[float]:
        """Return when seeding was wanted after ``time``."""
        return [at for at, _ in self.wanted if at > time]


async def watch_for(seconds: float, *tasks: Callable[[], Any]) -> None:
    """Run tasks for so long, without an endpoint."""
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(task)


def make_good(stages: Stages) -> None:
    """Give the table a node that has just answered."""
    stages.endpoint.node.table.heard(b"g" * 20, b"\x7f\x63\x00\x01\x17\x70", trio.current_time())


async def crawl(stages: Stages, until: float, *, new: int) -> None:
    """Count ten queries a second until then, each of which brings ``new`` infohashes."""
    await trio.lowlevel.checkpoint()
    while trio.current_time() < until:
        await trio.sleep(1)
        make_good(stages)
        stages.sampler.counters.asked += 10
        stages.sampler.counters.new += 10 * new


async def test_a_barren_crawl_is_seeded_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When queries bring nothing new for a while seeding comes, then ever more seldom."""
    stages = Stages.joined()
    seeding = bootstrap(stages)
    seedings = Seedings(seeding, monkeypatch)

    async def run() -> None:
        make_good(stages)
        await crawl(stages, 100, new=1)
        await crawl(stages, 4000, new=0)

    await watch_for(4000, seeding.run, run)

    first, *later = seedings.after(0.5)
    assert 120 <= first <= 125
    assert {reason for at, reason in seedings.wanted if at > 1} == {"barren"}
    gaps = [b - a for a, b in itertools.pairwise([first, *later])]
    assert gaps[0] < 45
    assert gaps[-1] == pytest.approx(600, abs=30)
    assert gaps == sorted(gaps)


async def test_after_long_drought_a_new_one_is_met_within_a_minute(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a network had nothing new, once it had again the next drought is met like the first."""
    stages = Stages.joined()
    seeding = bootstrap(stages)
    seedings = Seedings(seeding, monkeypatch)

    async def run() -> None:
        make_good(stages)
        await crawl(stages, 100, new=1)
        await crawl(stages, 5000, new=0)
        await crawl(stages, 5020, new=1)
        await crawl(stages, 6000, new=0)

    await watch_for(6000, seeding.run, run)

    assert seedings.after(5020)[0] <= 5020 + 60


async def test_a_lost_uplink_is_met_within_a_minute(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody answers seeding is tried at least every forty seconds, even after a long drought."""
    stages = Stages.joined()
    seeding = bootstrap(stages)
    seedings = Seedings(seeding, monkeypatch)

    async def run() -> None:
        make_good(stages)
        await crawl(stages, 2000, new=0)
        stages.pace.uplink_lost = True

    await watch_for(2700, seeding.run, run)

    times = seedings.after(2000)
    assert times[0] <= 2060
    assert all(later - earlier <= 40 for earlier, later in itertools.pairwise(times))
    assert seedings.wanted[-1][1] == "no_answers"


async def test_few_queries_prove_no_drought(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crawl whose nodes all rest asks little, and that is no reason to seed."""
    stages = Stages.joined()
    stages.know([(bytes([n]) * 20, pack_address((f"127.8.{n}.1", 2000))) for n in range(40)])
    seeding = bootstrap(stages)
    seedings = Seedings(seeding, monkeypatch)

    async def rest() -> None:
        while True:
            make_good(stages)
            stages.sampler.counters.asked += 1
            await trio.sleep(10)

    await watch_for(1000, rest, seeding.run)

    assert seedings.after(1) == []


async def test_a_tiny_network_is_asked_for_more(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When hardly anybody is known and nobody may be asked, seeding is tried now and then."""
    stages = Stages.joined()
    seeding = bootstrap(stages)
    seedings = Seedings(seeding, monkeypatch)

    async def rest() -> None:
        while True:
            make_good(stages)
            await trio.sleep(10)

    await watch_for(200, rest, seeding.run)

    assert len(seedings.after(1)) >= 3
    assert seedings.wanted[-1][1] == "nobody_to_ask"


async def test_givers_are_seeds(autojump_clock: MockClock) -> None:
    """Nodes that gave samples in this run are asked when the crawl runs dry."""
    stages = Stages.joined()
    giver = stages.node(1, names())
    contact = stages.frontier.take()
    assert contact is not None
    stages.frontier.gave(contact, 1, 1, 600, 0.0)
    assert contact.standing is Standing.GIVES
    await run_for(stages, 2, bootstrap(stages).run, nodes=[giver])

    assert b"find_node" in giver.methods


async def test_seeds_need_not_wait_for_names(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved nodes are asked at once even while a name server keeps us waiting."""
    stages = Stages.joined()
    saved = scripted(stages.net, 1)

    async def sleep(*_arguments: object, **_options: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(trio.to_thread, "run_sync", sleep)
    seeding = bootstrap(stages, hosts=["router.example.org:6881"], saved=[saved.compact])
    await run_for(stages, 5, seeding.run, nodes=[saved])

    assert saved.heard
    assert saved.heard[0][0] < 0.5


async def test_unresolved_names_are_told_and_counted(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without an address is a warning with its cause, and no hindrance to the others."""
    stages = Stages.joined()
    router = scripted(stages.net, 1)

    def fail(*_arguments: object, **_options: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_line)
    seeding = bootstrap(stages, hosts=["router.example.org:6881", text(router)])
    await run_for(stages, 1, seeding.run, nodes=[router])

    [fields] = [fields for event, fields in stages.events if event == "bootstrap.host_unresolved"]
    assert fields["host"] == "router.example.org:6881"
    assert "Name or service not known" in fields["problem"]
    assert seeding.counters.hosts_unresolved == 1
    assert router.heard


async def test_a_host_that_may_not_be_contacted_is_told(autojump_clock: MockClock) -> None:
    """A bootstrap address of a private network is refused with a word, unless it is allowed."""
    stages = Stages.joined()
    stages.endpoint.allow_private = False
    router = scripted(stages.net, 1)
    await run_for(stages, 1, bootstrap(stages, hosts=[text(router)]).run, nodes=[router])

    assert ("bootstrap.host_not_global", {"host": text(router)}) in stages.events
    assert router.heard == []


async def test_nodes_of_the_other_family_are_passed_on(autojump_clock: MockClock) -> None:
    """What a seed names of the other family, which we ask for, reaches that family's crawl."""
    stages = Stages.joined()
    node6 = (b"6" * 20, pack_address(("2001:db8::1", 6881)))
    router = scripted(stages.net, 1, lambda _query: {b"nodes6": join_nodes([node6])})
    seeding = bootstrap(stages, hosts=[text(router)])
    other = Listener()
    seeding._others = {Family.IPV6: other}  # type: ignore[dict-item] # it only learns
    await run_for(stages, 1, seeding.run, nodes=[router])

    assert node6 in other.learned


@attrs.define
class Listener:
    """Stands in for the sampler of another family."""

    learned: list[tuple[bytes, bytes]] = attrs.field(factory=list)

    def learn(self, nodes: list[tuple[bytes, bytes]], *, vouched: bool) -> int:
        """Take nodes."""
        assert vouched
        self.learned += nodes
        return len(nodes)


async def test_a_lookup_of_nodes_starts_from_the_table(autojump_clock: MockClock) -> None:
    """The nodes closest to a target are found from those that the table knows, questionable ones too."""
    stages = Stages.joined()
    goal = scripted(stages.net, 2)
    guide = scripted(stages.net, 9, names(goal))
    stages.endpoint.node.table.heard(guide.id, guide.compact, trio.current_time() - 1000)
    answers: list[bytes] = []

    async def look_up() -> None:
        lookup = await look_up_node(
            stages.endpoint,
            stages.frontier,
            bytes(20),
            LookupConfig(),
            lambda answer: answers.append(answer.response.id),
        )
        assert [candidate.id for candidate in lookup.closest()] == [goal.id, guide.id]

    await run_for(stages, 3, look_up, nodes=[goal, guide])

    assert answers == [guide.id, goal.id]


async def test_lookup_of_nodes_obeys_the_settings(autojump_clock: MockClock) -> None:
    """Who sets [lookup] sets it for seeding too: with one query a lookup, one node is asked."""
    stages = Stages.joined()
    nodes = [scripted(stages.net, number) for number in (2, 3, 4)]
    for node in nodes:
        stages.endpoint.node.table.heard(node.id, node.compact, trio.current_time())
    asked: list[bytes] = []

    async def look_up() -> None:
        await look_up_node(
            stages.endpoint,
            stages.frontier,
            bytes(20),
            LookupConfig(max_queries=1),
            lambda answer: asked.append(answer.response.id),
        )

    await run_for(stages, 3, look_up, nodes=nodes)

    assert len(asked) == 1
