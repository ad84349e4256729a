"""The endpoint: pumps datagrams, keeps to the budget, and gives every outcome to who asked."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.dht.events import Answered, PingWanted, Refused, Sighting, TimedOut
from crawler.net.dht import NoAnswerError, QueryFailedError, RefusedError
from crawler.wire import krpc
from crawler.wire.compact import pack_address, parse_address
from tests.net.endpoints import (
    HERE,
    Owner,
    ScriptedNode,
    make_endpoint,
    make_node,
    names,
    network,
    refuse,
    scripted,
    silent,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trio.testing import MockClock

    from crawler.net.dht import Endpoint
    from crawler.simnet.memory import MemoryNetwork


@attrs.define
class Bench:
    """A running endpoint and its network."""

    net: MemoryNetwork
    nursery: trio.Nursery

    async def endpoint(self, **options: Any) -> Endpoint:
        """Start an endpoint."""
        endpoint = make_endpoint(self.net, **options)
        await self.nursery.start(endpoint.run)
        return endpoint

    def node(self, number: int, script: Callable[[krpc.Query], Any] = names()) -> ScriptedNode:  # noqa: B008 - it has no state
        """Start a scripted node."""
        node = scripted(self.net, number, script)
        self.nursery.start_soon(node.run)
        return node


@pytest.fixture
async def bench(nursery: trio.Nursery) -> AsyncIterator[Bench]:
    """A network with nobody in it; what runs on it ends with the test, which has to take the clock itself."""
    yield Bench(network(), nursery)
    nursery.cancel_scope.cancel()


async def test_a_query_brings_its_answer(bench: Bench, autojump_clock: MockClock) -> None:
    """Who asks gets the response that matches, with the time it took."""
    endpoint, node = await bench.endpoint(), bench.node(1)

    answer = await endpoint.ping(node.compact)

    assert answer.response.id == node.id
    assert answer.transaction.compact == node.compact
    assert answer.rtt == pytest.approx(0.1, abs=0.01)
    assert endpoint.last_answer == pytest.approx(trio.current_time(), abs=0.01)


async def test_each_kind_of_query_asks_what_it_says(bench: Bench, autojump_clock: MockClock) -> None:
    """ping, find_node and get_peers carry their arguments and our id; `want` only when both are wanted."""
    endpoint, node = await bench.endpoint(), bench.node(1)

    await endpoint.ping(node.compact)
    await endpoint.find_node(node.compact, b"t" * 20)
    await endpoint.find_node(node.compact, b"u" * 20, both_families=True)
    await endpoint.get_peers(node.compact, b"h" * 20)

    own = {b"id": endpoint.node.id}
    assert [(query.method, query.args) for _, query in node.heard] == [
        (b"ping", own),
        (b"find_node", own | {b"target": b"t" * 20}),
        (b"find_node", own | {b"target": b"u" * 20, b"want": [b"n4", b"n6"]}),
        (b"get_peers", own | {b"info_hash": b"h" * 20}),
    ]
    assert endpoint.node.counters.queries_sent == 4


async def test_a_refusal_names_its_code(bench: Bench, autojump_clock: MockClock) -> None:
    """A KRPC error reaches who asked as an exception that carries the number."""
    endpoint, node = await bench.endpoint(), bench.node(1, refuse(202))

    with pytest.raises(RefusedError) as caught:
        await endpoint.ping(node.compact)
    assert caught.value.code == 202
    assert isinstance(caught.value, QueryFailedError)


async def test_silence_is_an_exception_after_the_timeout(bench: Bench, autojump_clock: MockClock) -> None:
    """Who asks a node that never answers waits for the timeout and no longer."""
    endpoint, node = await bench.endpoint(), bench.node(1, silent)
    began = trio.current_time()

    with pytest.raises(NoAnswerError):
        await endpoint.ping(node.compact)
    assert trio.current_time() - began == pytest.approx(2.0, abs=0.2)
    assert endpoint.last_answer < 0


async def test_an_answer_from_elsewhere_does_not_count(bench: Bench, autojump_clock: MockClock) -> None:
    """A response from another address than was asked settles nothing, even with the right transaction id."""
    endpoint = await bench.endpoint()
    forger = bench.node(2)

    def forge(query: krpc.Query) -> None:
        forger.socket.send_batch([(krpc.response(query.tid, {b"id": forger.id}), HERE)])

    node = bench.node(1, forge)
    with pytest.raises(NoAnswerError):
        await endpoint.ping(node.compact)
    assert endpoint.node.counters.dropped["response_unmatched"] == 1


async def test_a_cancelled_query_is_no_trouble(bench: Bench, autojump_clock: MockClock) -> None:
    """Who no longer wants the answer leaves nothing behind that its arrival could break."""
    endpoint, node = await bench.endpoint(), bench.node(1)
    with trio.move_on_after(0.05):
        await endpoint.ping(node.compact)
    await trio.sleep(1)

    assert endpoint.waiting == 0
    assert endpoint.node.counters.answers == 1
    assert (await endpoint.ping(node.compact)).response.id == node.id


REFUSED = [
    "127.0.0.9:0",
    "127.0.0.9:1",
    "0.0.0.0:80",
    "0.1.2.3:80",
    "224.0.0.1:80",
    "255.255.255.255:80",
    "[::]:80",
]
PRIVATE = ["127.0.0.9:6881", "10.0.0.1:6881", "192.168.1.1:6881", "[::1]:6881", "[fd00::1]:6881"]


@pytest.mark.parametrize("text", [*REFUSED, *PRIVATE])
async def test_forbidden_addresses_are_never_contacted(
    bench: Bench, autojump_clock: MockClock, text: str
) -> None:
    """Nothing is sent to what is not of the public internet, nor to a port that does not exist."""
    endpoint = await bench.endpoint(allow_private=False)
    address = pack_address(parse_address(text))

    assert not endpoint.may_contact(address)
    with pytest.raises(NoAnswerError):
        await endpoint.ping(address)
    assert endpoint.node.counters.queries_sent == 0
    assert bench.net.undeliverable == 0


@pytest.mark.parametrize("text", [*REFUSED, "[ff02::1]:80"])
async def test_some_addresses_are_forbidden_everywhere(
    bench: Bench, autojump_clock: MockClock, text: str
) -> None:
    """In a private network, too, nobody is at port 0 or 1, at a multicast or an unspecified address."""
    endpoint = await bench.endpoint()

    assert not endpoint.may_contact(pack_address(parse_address(text)))


async def test_private_addresses_can_be_allowed(bench: Bench, autojump_clock: MockClock) -> None:
    """With allow_private, loopback and private networks may be contacted; we ourselves still not."""
    endpoint = await bench.endpoint()

    assert all(endpoint.may_contact(pack_address(parse_address(text))) for text in PRIVATE)
    assert not endpoint.may_contact(pack_address(HERE))


async def test_queries_wait_for_the_budget(bench: Bench, autojump_clock: MockClock) -> None:
    """Coroutines that ask share the overall rate, and those that wait are counted."""
    endpoint = await bench.endpoint(limits={"max_rate": 10.0, "burst": 0.1})
    nodes = [bench.node(number) for number in range(1, 22)]
    began = trio.current_time()
    most_waiting = 0

    async with trio.open_nursery() as asking:
        for node in nodes:
            asking.start_soon(endpoint.ping, node.compact)
        await trio.sleep(0.05)
        most_waiting = endpoint.waiting

    assert most_waiting == 20
    assert endpoint.waiting == 0
    assert trio.current_time() - began == pytest.approx(2.1, abs=0.2)
    times = sorted(node.heard[0][0] for node in nodes)
    assert all(later - earlier > 0.08 for earlier, later in itertools.pairwise(times[1:]))


async def test_one_ip_is_asked_once_a_second(bench: Bench, autojump_clock: MockClock) -> None:
    """After a burst of five, queries to one IP leave a second apart, whoever asks and at whatever port."""
    endpoint, node = await bench.endpoint(), bench.node(1)
    other = ScriptedNode(b"x" * 20, bench.net.socket((node.socket.local[0], 7000)), names())
    bench.nursery.start_soon(other.run)

    async with trio.open_nursery() as asking:
        for _ in range(4):
            asking.start_soon(endpoint.ping, node.compact)
            asking.start_soon(endpoint.ping, other.compact)

    times = sorted(at for at, _ in node.heard + other.heard)
    assert times[4] - times[0] < 0.1
    assert [round(at - times[0]) for at in times[5:]] == [1, 2, 3]


async def test_a_full_transaction_table_makes_queries_wait(bench: Bench, autojump_clock: MockClock) -> None:
    """When no more queries may be in flight, the next one waits until an earlier one is given up."""
    node = make_node(max_in_flight=16, longest_timeout=5.0)
    endpoint = await bench.endpoint(node=node)
    dead = [pack_address(("127.1.1.1", port)) for port in range(2000, 2004)]
    dead += [pack_address((f"127.2.{number}.1", 2000)) for number in range(12)]
    lively = bench.node(1)

    async def ask(address: bytes) -> None:
        with pytest.raises(NoAnswerError):
            await endpoint.ping(address)

    async with trio.open_nursery() as asking:
        for address in dead:
            asking.start_soon(ask, address)
        await trio.sleep(0.1)
        assert node.transactions.room == 0
        await endpoint.ping(lively.compact)
        assert trio.current_time() == pytest.approx(5.2, abs=0.3)


async def test_batches_go_to_their_owner(bench: Bench, autojump_clock: MockClock) -> None:
    """Transactions that were opened in a batch are settled by a plain call, answered, refused or overdue."""
    endpoint = await bench.endpoint()
    nodes = [bench.node(1), bench.node(2, refuse(204)), bench.node(3, silent)]
    owner, now = Owner(), trio.current_time()
    queries = []
    for node in nodes:
        tid = endpoint.node.open_query(node.socket.local, node.compact, b"ping", owner, node, now)
        queries.append((krpc.ping(tid, endpoint.node.id), node.socket.local))
    endpoint.send_queries(queries, now)
    await trio.sleep(3)

    outcomes = {outcome.transaction.context.id: type(outcome) for outcome in owner.outcomes}
    assert outcomes == dict(zip((node.id for node in nodes), (Answered, Refused, TimedOut), strict=True))
    assert len(owner.outcomes) == 3


async def test_a_late_answer_settles_a_second_time(bench: Bench, autojump_clock: MockClock) -> None:
    """An answer after the timeout still reaches the owner, who was told of the timeout before."""
    endpoint = await bench.endpoint()
    node = bench.node(1, silent)
    owner, now = Owner(), trio.current_time()
    tid = endpoint.node.open_query(node.socket.local, node.compact, b"ping", owner, None, now)
    endpoint.send_queries([(krpc.ping(tid, endpoint.node.id), node.socket.local)], now)
    await trio.sleep(4)
    node.socket.send_batch([(krpc.response(tid, {b"id": node.id}), HERE)])
    await trio.sleep(1)

    assert [type(outcome) for outcome in owner.outcomes] == [TimedOut, Answered]
    assert endpoint.node.counters.late_answers == 1


async def test_bytes_are_counted_and_budgeted(bench: Bench, autojump_clock: MockClock) -> None:
    """Queries count by their size in the counters and in the budget for bytes."""
    endpoint, node = await bench.endpoint(limits={"max_bytes_out": 100.0, "burst": 0.5}), bench.node(1)
    for _ in range(3):
        await endpoint.ping(node.compact)

    size = len(krpc.ping(b"abcd", endpoint.node.id))
    assert endpoint.node.counters.bytes_out == 3 * size
    assert node.heard[2][0] - node.heard[0][0] == pytest.approx((3 * size - 50) / 100 - size / 100, abs=0.3)
    assert endpoint.budget.held_back["bytes"] > 0


async def test_we_answer_and_tell_of_sightings(bench: Bench, autojump_clock: MockClock) -> None:
    """A query to us is answered, and the infohash that it names is passed on with who named it."""
    sightings: list[tuple[Sighting, float]] = []
    endpoint = await bench.endpoint(on_sighting=lambda sighting, now: sightings.append((sighting, now)))
    socket = bench.net.socket(("127.0.0.7", 6881))
    socket.send_batch([(krpc.get_peers(b"tt", b"q" * 20, b"h" * 20), HERE)])
    [(reply, source)] = await socket.receive_batch()

    response = krpc.decode(reply)
    assert isinstance(response, krpc.Response)
    assert (source, response.tid, response.id) == (HERE, b"tt", endpoint.node.id)
    assert response.body[b"token"]
    [(sighting, at)] = sightings
    assert sighting == Sighting(b"h" * 20, "get_peers", pack_address(socket.local), None)
    assert at == pytest.approx(0.05, abs=0.02)


async def test_sightings_may_be_of_no_interest(bench: Bench, autojump_clock: MockClock) -> None:
    """Without anybody to tell, infohashes that others name are simply not told."""
    await bench.endpoint()
    socket = bench.net.socket(("127.0.0.7", 6881))
    socket.send_batch([(krpc.get_peers(b"tt", b"q" * 20, b"h" * 20), HERE)])

    assert len(await socket.receive_batch()) == 1


async def test_who_queries_us_is_wanted_for_a_ping(bench: Bench, autojump_clock: MockClock) -> None:
    """A stranger that asks us is kept for a ping that could prove it, up to a bound; not if read-only."""
    endpoint = await bench.endpoint()
    sockets = [bench.net.socket((f"127.3.{number // 200}.{number % 200 + 1}", 6881)) for number in range(300)]
    for socket in sockets:
        socket.send_batch([(krpc.ping(b"tt", bytes(18) + bytes(divmod(socket.local[1], 256))), HERE)])
    sockets[0].send_batch([(krpc.ping(b"tt", b"r" * 20, read_only=True), HERE)])
    await trio.sleep(1)

    assert len(endpoint.want_pings) == 256
    address, wanted = next(iter(endpoint.want_pings.items()))
    assert isinstance(wanted, PingWanted)
    assert wanted.address == address


async def test_a_full_house_sheds_at_the_door(bench: Bench, autojump_clock: MockClock) -> None:
    """While what arrives could not be kept, datagrams are dropped unread and counted."""
    full = True
    endpoint = await bench.endpoint(house_full=lambda: full)
    socket = bench.net.socket(("127.0.0.7", 6881))
    socket.send_batch([(krpc.ping(b"tt", b"q" * 20), HERE)] * 3)
    await trio.sleep(1)

    assert endpoint.shed == 3
    assert endpoint.node.counters.datagrams_in == 0
    full = False
    socket.send_batch([(krpc.ping(b"tt", b"q" * 20), HERE)])
    assert len(await socket.receive_batch()) == 1


@pytest.mark.parametrize("data", [b"", b"x", b"d", b"de", b"d1:y1:qe", b"d1:t2:aa1:y1:ree", b"\xff" * 1500])
async def test_garbage_moves_a_counter(bench: Bench, autojump_clock: MockClock, data: bytes) -> None:
    """A datagram that is no message is dropped with a reason, and the endpoint goes on."""
    endpoint, node = await bench.endpoint(), bench.node(1)
    node.socket.send_batch([(data, HERE)])
    await trio.sleep(1)

    assert endpoint.node.counters.dropped.total() == 1
    assert (await endpoint.ping(node.compact)).response.id == node.id


async def test_a_fault_of_our_own_ends_the_endpoint(
    autojump_clock: MockClock,
) -> None:
    """When an owner crashes over an outcome, the crash leaves by the nursery, and the socket is closed."""
    net = network()

    class Faulty:
        def settle(self, _outcome: object, _now: float) -> None:
            raise ZeroDivisionError

    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            endpoint = make_endpoint(net)
            await nursery.start(endpoint.run)
            endpoint.node.open_query(("127.0.0.9", 1), b"\x7f\0\0\x09\0\x01", b"ping", Faulty(), None, 0.0)
            await trio.sleep_forever()
    assert net.socket(HERE).local == HERE


async def test_the_socket_closes_with_the_endpoint(bench: Bench, autojump_clock: MockClock) -> None:
    """A cancelled endpoint frees its address."""
    endpoint = make_endpoint(bench.net)
    with trio.move_on_after(1):
        await endpoint.run()

    assert bench.net.socket(HERE).local == HERE
