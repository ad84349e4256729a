"""The sampler: what each kind of answer does to the ledger, the records and who is asked next."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from crawler.crawl.frontier import Phase, Standing
from crawler.records import InfohashesFound
from crawler.wire import krpc
from crawler.wire.compact import join_nodes, pack_address
from tests.crawl.stages import Stages
from tests.net.endpoints import HERE, ScriptedNode, refuse, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


def hashes(*numbers: int) -> list[bytes]:
    """Return infohashes that tests can tell apart."""
    return [number.to_bytes(20, "big") for number in numbers]


def gives(*numbers: int, interval: object = 600, **more: Any) -> Callable[[krpc.Query], dict[bytes, Any]]:
    """Return the script of a node that gives these infohashes as its sample."""
    body = {b"samples": b"".join(hashes(*numbers)), b"num": len(numbers), b"interval": interval}
    body |= {key.encode(): value for key, value in more.items()}
    return lambda _query: body


async def settled(stages: Stages, *nodes: ScriptedNode, seconds: float = 1.0) -> None:
    """Ask everybody who is ready and let the answers come in for so long."""
    with trio.move_on_after(seconds):
        async with stages.running(*nodes):
            for _ in range(10):
                stages.sample()


async def test_samples_become_one_record(autojump_clock: MockClock) -> None:
    """New infohashes of one answer are one record that says who gave them and when, each once for ever."""
    stages = Stages.joined()
    giver = stages.node(1, gives(1, 2, 1))
    other = stages.node(2, gives(2, 3))
    await settled(stages, giver, other)

    assert sorted(stages.found) == hashes(1, 2, 3)
    record = next(r for r in stages.records if isinstance(r, InfohashesFound) and r.node == giver.compact)
    assert record.source == "sample"
    assert record.at == pytest.approx(0.1, abs=0.02)
    counters = stages.sampler.counters
    assert (counters.asked, counters.gave, counters.samples, counters.new) == (2, 2, 5, 3)


async def test_the_query_is_for_samples(autojump_clock: MockClock) -> None:
    """The question is sample_infohashes, with our id and a 20-byte target, and nothing else."""
    stages = Stages.joined()
    giver = stages.node(1, gives(1))
    await settled(stages, giver)

    [(_, query)] = giver.heard
    assert query.method == b"sample_infohashes"
    assert query.args.keys() == {b"id", b"target"}
    assert (query.id, len(query.args[b"target"]), query.read_only) == (stages.endpoint.node.id, 20, False)


@pytest.mark.parametrize(
    ("interval", "rest"),
    [(600, 600), (0, 60), (59, 60), (10**9, 21600), (-5, 21600), (b"600", 21600), ([], 21600), (None, 21600)],
)
async def test_the_interval_is_kept_within_reason(
    autojump_clock: MockClock, interval: object, rest: float
) -> None:
    """A node rests for the interval it states, from a minute to six hours; nonsense means the longest."""
    stages = Stages.joined()
    giver = stages.node(1, gives(1) if interval is None else gives(1, interval=interval))
    if interval is None:
        giver.script = lambda _query: {b"samples": hashes(1)[0]}
    await settled(stages, giver)

    contact = stages.frontier.get(giver.compact)
    assert contact is not None
    assert (contact.standing, contact.phase) == (Standing.GIVES, Phase.WAITING)
    assert contact.due == pytest.approx(rest + 0.1, abs=0.05)


@pytest.mark.parametrize("num", [-1, b"x", 10**30, None])
async def test_an_odd_num_is_no_trouble(autojump_clock: MockClock, num: object) -> None:
    """What a node claims to store is taken only where it makes sense."""
    stages = Stages.joined()
    giver = stages.node(1, gives(1) if num is None else gives(1, num=num))
    await settled(stages, giver)

    contact = stages.frontier.get(giver.compact)
    assert contact is not None
    assert 0 <= contact.num <= 1 << 32
    assert stages.found == hashes(1)


@pytest.mark.parametrize("script", [refuse(204), lambda _query: {b"nodes": b""}, gives(1, samples=b"x" * 19)])
async def test_nodes_without_bep51_are_left_alone(
    autojump_clock: MockClock, script: Callable[[krpc.Query], Any]
) -> None:
    """An error, an answer without samples, or with malformed ones: such a node rests for a day."""
    stages = Stages.joined()
    node = stages.node(1, script)
    await settled(stages, node)

    contact = stages.frontier.get(node.compact)
    assert contact is not None
    assert contact.standing is Standing.MUTE
    assert contact.due == pytest.approx(86400, abs=1)
    assert stages.sampler.counters.muted == 1
    assert stages.found == []


async def test_malformed_samples_are_counted(autojump_clock: MockClock) -> None:
    """Samples of a length that is no multiple of 20 are dropped with a reason."""
    stages = Stages.joined()
    await settled(stages, stages.node(1, gives(samples=b"x" * 19)))

    assert stages.sampler.counters.dropped == {"samples_malformed": 1}


async def test_an_empty_sample_is_a_sample(autojump_clock: MockClock) -> None:
    """A node that stores nothing speaks BEP 51 all the same."""
    stages = Stages.joined()
    node = stages.node(1, gives())
    await settled(stages, node)

    contact = stages.frontier.get(node.compact)
    assert contact is not None
    assert contact.standing is Standing.GIVES
    assert stages.records == []


async def test_a_flood_of_samples_is_cut(autojump_clock: MockClock) -> None:
    """Of more samples than are believed of one answer the rest is dropped and counted."""
    stages = Stages.joined(sample={"max_samples": 5})
    await settled(stages, stages.node(1, gives(*range(8))))

    assert stages.found == hashes(*range(5))
    assert stages.sampler.counters.dropped == {"samples_too_many": 3}


async def test_silence_is_retried_once_where_it_pays(autojump_clock: MockClock) -> None:
    """A node that two others named is asked a second time after a pause; one named once is not."""
    stages = Stages.joined()
    named_once, named_twice = stages.node(1, silent), stages.node(2, silent)
    stages.sampler.learn([named_twice.contact])
    with trio.move_on_after(60):
        async with stages.running(named_once, named_twice):
            while True:
                stages.sample()
                await trio.sleep(0.5)

    assert [len(named_once.heard), len(named_twice.heard)] == [1, 2]
    assert named_twice.heard[1][0] - named_twice.heard[0][0] >= 4
    assert stages.sampler.counters.silent == 3


async def test_a_late_answer_is_worth_as_much(autojump_clock: MockClock) -> None:
    """Samples that come after the timeout are taken, and the node is not asked again for the retry."""
    stages = Stages.joined()
    node = stages.node(1, silent)
    stages.sampler.learn([node.contact])
    with trio.move_on_after(60):
        async with stages.running(node):
            stages.sample()
            await trio.sleep(5)
            [(_, query)] = node.heard
            body = {b"id": node.id, **gives(7)(query)}
            node.socket.send_batch([(krpc.response(query.tid, body), HERE)])
            while True:
                await trio.sleep(0.5)
                stages.sample()

    assert stages.found == hashes(7)
    assert len(node.heard) == 1
    contact = stages.frontier.get(node.compact)
    assert contact is not None
    assert contact.standing is Standing.GIVES


async def test_a_lost_retry_does_not_break_the_interval(autojump_clock: MockClock) -> None:
    """When the first query is answered after the retry went out, a lost answer to that changes nothing."""
    stages = Stages.joined()
    node = stages.node(1, silent)
    stages.sampler.learn([node.contact])
    with trio.move_on_after(500):
        async with stages.running(node):
            while len(node.heard) < 2:
                stages.sample()
                await trio.sleep(0.25)
            query = node.heard[0][1]
            body = {b"id": node.id, **gives(7)(query)}
            node.socket.send_batch([(krpc.response(query.tid, body), HERE)])
            while True:
                await trio.sleep(1)
                stages.sample()

    assert stages.found == hashes(7)
    assert len(node.heard) == 2


async def test_answers_name_new_contacts(autojump_clock: MockClock) -> None:
    """Nodes of an answer become contacts, vouched for if it brought new infohashes; each address once."""
    stages = Stages.joined()
    first, second = (
        (b"a" * 20, pack_address(("127.8.0.1", 1000))),
        (b"b" * 20, pack_address(("127.8.0.2", 1000))),
    )
    blob = join_nodes([first, first, second])
    await settled(
        stages, stages.node(1, gives(1, nodes=blob)), stages.node(2, gives(2, nodes=join_nodes([second])))
    )

    assert len(stages.frontier) == 4
    for node_id, address in (first, second):
        contact = stages.frontier.get(address)
        assert contact is not None
        assert contact.id == node_id
        assert contact.standing is Standing.VOUCHED


async def test_barren_answers_vouch_for_nobody(autojump_clock: MockClock) -> None:
    """Nodes named beside infohashes that are all known are mere rumours."""
    stages = Stages.joined()
    rumour = (b"a" * 20, pack_address(("127.8.0.1", 1000)))
    await settled(stages, stages.node(1, gives(nodes=join_nodes([rumour]))))

    contact = stages.frontier.get(rumour[1])
    assert contact is not None
    assert contact.standing is Standing.UNTRIED


@pytest.mark.parametrize("nodes", [b"x", b"x" * 27, 5, [b"x" * 26], {}])
async def test_odd_nodes_are_no_trouble(autojump_clock: MockClock, nodes: object) -> None:
    """Whatever stands in place of the nodes, the samples beside it count."""
    stages = Stages.joined()
    await settled(stages, stages.node(1, gives(1, nodes=nodes)))

    assert stages.found == hashes(1)


async def test_a_flood_of_nodes_is_cut(autojump_clock: MockClock) -> None:
    """Of an answer that names far more nodes than any honest one only the first are taken."""
    stages = Stages.joined()
    flood = [(bytes([n]) * 20, pack_address((f"127.8.{n}.1", 2000))) for n in range(50)]
    await settled(stages, stages.node(1, gives(1, nodes=join_nodes(flood))))

    assert len(stages.frontier) == 1 + 32


async def test_forbidden_rumours_are_dropped(autojump_clock: MockClock) -> None:
    """Nodes that may not be contacted never enter the ledger, and are counted."""
    stages = Stages.joined()
    bad = [(b"a" * 20, pack_address(address)) for address in [HERE, ("127.8.0.1", 0), ("224.0.0.1", 80)]]
    await settled(stages, stages.node(1, gives(1, nodes=join_nodes(bad))))

    assert len(stages.frontier) == 1
    assert stages.sampler.counters.dropped == {"node_not_contactable": 3}


def test_one_ip_gets_few_first_contacts() -> None:
    """A liar who lists a victim under many ports gains as many datagrams as are allowed, and no more."""
    stages = Stages.joined(rumours={"contacts_per_ip": 3}, limits={"ip_burst": 100.0, "prefix_burst": 100.0})
    victim = [(bytes([port % 256]) * 20, pack_address(("127.8.0.1", port))) for port in range(2000, 2050)]
    stages.know(victim)

    assert len(stages.sampler.next_queries(100, 0.0)) == 3
    assert stages.rumours.refused == 47


async def test_a_flood_in_one_network_does_not_stop_the_rest(autojump_clock: MockClock) -> None:
    """While one /24 is at its limit its nodes wait, and nodes elsewhere are asked at once."""
    stages = Stages.joined(limits={"prefix_burst": 5.0})
    flood = [(bytes([n % 256]) * 20, pack_address(("127.8.0.1", 2000 + n))) for n in range(100)]
    flood += [(bytes([n]) * 20, pack_address((f"127.8.0.{n}", 3000))) for n in range(2, 250)]
    stages.know(flood)
    node = stages.node(9, gives(1))
    await settled(stages, node)

    assert len(node.heard) == 1
    assert stages.sampler.counters.asked == 6


def test_a_flood_costs_little_time_at_once() -> None:
    """However many contacts of one network must wait, a batch looks at a bounded number of them."""
    stages = Stages.joined()
    flood = [
        (number.to_bytes(2, "big") * 10, pack_address((f"127.8.0.{1 + number % 250}", 2000 + number // 250)))
        for number in range(5000)
    ]
    stages.know(flood)
    stages.sampler.next_queries(100, 0.0)
    assert stages.frontier.ready >= 4500

    elsewhere = [(bytes([n]) * 20, pack_address((f"127.9.{n}.1", 2000))) for n in range(200)]
    stages.know(elsewhere)
    asked = [address for at in range(1, 100) for _, address in stages.sampler.next_queries(100, at / 100)]
    assert sum(host.startswith("127.9.") for host, _ in asked) == 200


async def test_a_changed_id_is_followed(autojump_clock: MockClock) -> None:
    """The ledger keeps the id that a node answers with, and queries carry our own newest id."""
    stages = Stages.joined()
    node = stages.node(1, gives(1))
    node.id = b"z" * 20
    await settled(stages, node)
    contact = stages.frontier.get(node.compact)
    assert contact is not None
    assert contact.id == b"z" * 20

    stages.endpoint.node.change_id(b"n" * 20, trio.current_time())
    other = stages.node(2, gives(2))
    stages.endpoint.socket = stages.net.socket(HERE)
    await settled(stages, other)
    assert other.heard[0][1].id == b"n" * 20


async def test_who_answers_is_told(autojump_clock: MockClock) -> None:
    """The stage that explores hears of every node that answers, with its id and address."""
    stages = Stages.joined()
    met: list[tuple[bytes, bytes]] = []
    stages.sampler.on_answer = lambda node_id, address, _now: met.append((node_id, address))
    node = stages.node(1, lambda _query: {})
    await settled(stages, node, stages.node(2, silent))

    assert met == [node.contact]


async def test_without_a_locator_nobody_is_located(autojump_clock: MockClock) -> None:
    """When no peers are sought, infohashes are found all the same."""
    stages = Stages.joined(with_peers=False)
    await settled(stages, stages.node(1, gives(1)))

    assert stages.found == hashes(1)
    assert stages.locator.counters.infohashes_in == 0


async def test_new_infohashes_are_to_be_located(autojump_clock: MockClock) -> None:
    """What is new goes on to the locator; what is known does not go twice."""
    stages = Stages.joined()
    await settled(stages, stages.node(1, gives(1, 2)), stages.node(2, gives(1, 2)))

    assert stages.locator.counters.infohashes_in == 2


async def test_a_pardon_takes_back_the_blame(autojump_clock: MockClock) -> None:
    """Nodes that were silent since the last answer are ready again when the silence was ours."""
    stages = Stages.joined()
    nodes = [stages.node(number, silent) for number in range(1, 11)]
    await settled(stages, *nodes, seconds=3)
    assert stages.frontier.ready == 0

    stages.sampler.pardon()

    assert stages.frontier.ready == 10
    assert len(stages.sampler.next_queries(100, trio.current_time())) == 10


async def test_an_answer_confirms_the_blame(autojump_clock: MockClock) -> None:
    """Once somebody has answered, those who were silent before keep their rest, pardon or not."""
    stages = Stages.joined()
    dead = [stages.node(number, silent) for number in range(1, 6)]
    await settled(stages, *dead, seconds=3)
    stages.endpoint.socket = stages.net.socket(HERE)
    await settled(stages, stages.node(7, gives(1)))

    stages.sampler.pardon()

    assert stages.frontier.ready == 0


async def test_who_answered_another_question_may_be_sampled(autojump_clock: MockClock) -> None:
    """A node that answered a ping becomes a contact under the id that it gave."""
    stages = Stages.joined()
    node = ScriptedNode(b"s" * 20, stages.net.socket(("127.0.5.1", 6881)), gives(1))
    async with trio.open_nursery() as nursery:
        await nursery.start(stages.endpoint.run)
        nursery.start_soon(node.run)
        stages.sampler.met(await stages.endpoint.ping(node.compact))
        nursery.cancel_scope.cancel()

    contact = stages.frontier.get(node.compact)
    assert contact is not None
    assert (contact.id, contact.standing) == (node.id, Standing.VOUCHED)


@pytest.mark.parametrize(("share", "near"), [(1.0, 200), (0.0, 0)])
def test_targets_are_near_or_far(share: float, near: int) -> None:
    """As many queries as set aim at the asked node's own id, the others at its farther buckets."""
    stages = Stages.joined(sample={"near_share": share})
    ids = [bytes([number, 1, *bytes(18)]) for number in range(200)]
    for number, node_id in enumerate(ids):
        stages.sampler.learn([(node_id, pack_address((f"127.8.{number}.1", 2000)))])
    sent = [krpc.decode(data) for data, _ in stages.sampler.next_queries(200, 0.0)]

    targets = [query.args[b"target"] for query in sent if isinstance(query, krpc.Query)]
    assert len(targets) == 200
    assert sum(target in ids for target in targets) == near
