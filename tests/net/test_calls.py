"""Many fetches on one set of links, over real sockets on loopback: how they end, and what they leave."""

from __future__ import annotations

import resource
import select
import selectors
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from crawler.net.calls import LinkCalls, Wish
from crawler.net.links import Line, Links
from crawler.net.peers import FetchError, PeerClient
from crawler.net.readiness import EpollReadiness, SelectorReadiness
from crawler.net.tcp import LinkError
from crawler.swarm.metadata import VerifiedMetadata
from crawler.swarm.pex import PexInbox
from crawler.wire.compact import pack_address
from tests.net.peer_behaviours import DEAD, HASH, INFO, OURS, client_of, hang, honest, serve, trickle

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.net.links import LinkFailure
    from crawler.net.readiness import Readiness

WAYS: dict[str, Callable[[], Readiness]] = {
    "poll": lambda: SelectorReadiness(selectors.PollSelector()),
    "select": lambda: SelectorReadiness(selectors.SelectSelector()),
}
if hasattr(select, "epoll"):
    WAYS["epoll"] = EpollReadiness
    WAYS["selector with a descriptor"] = lambda: SelectorReadiness(selectors.EpollSelector())

Outcome = VerifiedMetadata | FetchError


@attrs.define
class Desk:
    """Where calls are made and outcomes noted."""

    calls: LinkCalls
    outcomes: dict[bytes, Outcome] = attrs.field(factory=dict)
    news: trio.Event = attrs.field(factory=trio.Event)

    def call(self, address: bytes, *, seconds: float = 5.0) -> Callable[[], None]:
        """Begin a call that may take so long."""
        pex = PexInbox(lambda _address: True)
        deadline = trio.current_time() + seconds
        return self.calls.begin(Wish(address, HASH, pex, deadline, partial(self.note, address)))

    def note(self, address: bytes, outcome: Outcome, _now: float) -> None:
        """Note what came of a call, which must be news."""
        assert address not in self.outcomes
        self.outcomes[address] = outcome
        self.news.set()
        self.news = trio.Event()

    async def hear(self, count: int) -> None:
        """Wait until so many calls have ended."""
        with trio.fail_after(10):
            while len(self.outcomes) < count:
                await self.news.wait()


def reason(outcome: Outcome) -> str:
    """Return why a call failed."""
    assert isinstance(outcome, FetchError)
    return outcome.reason


@pytest.mark.parametrize("way", WAYS)
async def test_calls_end_alike_however_readiness_is_told(way: str) -> None:
    """All at once, honest peers give the bytes and dead ones end with a reason, with epoll and without."""
    client = client_of()
    desk = Desk(LinkCalls(client, WAYS[way]))
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.calls.run)
        good = [await serve(nursery, honest, host) for host in ("127.0.0.1", "::1", "127.0.0.1")]
        bad = {await serve(nursery, behaviour): reasons for behaviour, reasons in DEAD}
        for address in (*good, *bad):
            desk.call(address)
        await desk.hear(len(good) + len(bad))
        nursery.cancel_scope.cancel()

    assert [desk.outcomes[address] for address in good] == [VerifiedMetadata(HASH, INFO)] * 3
    for address, reasons in bad.items():
        # Where everything is slow a flood may not come to its end in time.
        late = {"extensions_timeout"} if "flood" in reasons else set()
        assert reason(desk.outcomes[address]) in reasons | late
    counters = client.counters
    assert (counters.dialled, counters.fetched) == (11, 3)
    assert sorted(counters.failures.elements()) == sorted(reason(desk.outcomes[each]) for each in bad)
    assert (counters.open, client.budget.used) == (0, 0)


async def test_who_cannot_be_reached_costs_the_dial_timeout_at_most() -> None:
    """A closed port is refused at once, a silent host is given up in time; neither was ever connected."""
    client = client_of()
    desk = Desk(LinkCalls(client))
    with socket.socket() as closed, socket.socket() as full:
        closed.bind(("127.0.0.1", 0))
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        async with trio.open_nursery() as nursery:
            await nursery.start(desk.calls.run)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            await trio.sleep(0.05)
            nobody, silent = pack_address(closed.getsockname()), pack_address(full.getsockname())
            began = trio.current_time()
            desk.call(nobody)
            desk.call(silent)
            await desk.hear(2)
            took = trio.current_time() - began
            nursery.cancel_scope.cancel()
        for filler in fillers:
            filler.close()

    assert (reason(desk.outcomes[nobody]), reason(desk.outcomes[silent])) == ("refused", "dial_timeout")
    assert 0.3 <= took < 3
    assert (client.counters.connected, client.counters.open) == (0, 0)


async def test_a_call_ends_at_its_deadline() -> None:
    """However patient the machine is, the caller's deadline ends the call; the client counts no failure."""
    client = PeerClient(OURS, allow_private=True)
    desk = Desk(LinkCalls(client))
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.calls.run)
        address = await serve(nursery, hang)
        began = trio.current_time()
        desk.call(address, seconds=0.2)
        await desk.hear(1)
        took = trio.current_time() - began
        nursery.cancel_scope.cancel()

    assert reason(desk.outcomes[address]) == "deadline"
    assert 0.2 <= took < 2
    assert (client.counters.failures, client.counters.open) == ({}, 0)


async def test_hanging_up_tells_nobody_and_leaves_nothing() -> None:
    """A call that is hung up, while dialling or in the middle of it, ends at once and is counted nowhere."""
    client = client_of()
    desk = Desk(LinkCalls(client))
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.calls.run)
        address = await serve(nursery, trickle)
        desk.call(address)()
        hang_up = desk.call(address)
        await trio.sleep(0.1)
        assert client.counters.open == 1
        hang_up()
        hang_up()
        assert client.counters.open == 0
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()

    assert (desk.outcomes, client.counters.failures, client.budget.used) == ({}, {}, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors by /proc")
async def test_the_end_of_the_run_closes_everything() -> None:
    """Cancelled while one call is talked on and one dialled, it closes all sockets and tells nobody."""
    client = client_of()
    desk = Desk(LinkCalls(client))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        before = descriptors()
        async with trio.open_nursery() as nursery:
            await nursery.start(desk.calls.run)
            desk.call(pack_address(server.getsockname()))
            await trio.sleep(0.1)
            assert client.counters.open == 1
            desk.call(pack_address(other.getsockname()))
            nursery.cancel_scope.cancel()
        assert descriptors() == before

    assert (desk.outcomes, client.counters.open) == ({}, 0)


def descriptors() -> int:
    """Return how many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_want_of_descriptors_is_nobodys_fault() -> None:
    """When no socket can be made the call is refused at once, counted, and the peer is not to blame."""
    client = client_of()
    desk = Desk(LinkCalls(client))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.calls.run)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            with pytest.raises(FetchError, match="os_emfile") as caught:
                desk.call(pack_address(("127.0.0.1", 6881)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        nursery.cancel_scope.cancel()

    assert not caught.value.blame
    assert client.counters.failures == {"os_emfile": 1}


async def test_forbidden_addresses_are_refused_and_counted() -> None:
    """An address that may not be dialled gets no socket."""
    client = PeerClient(OURS)
    with pytest.raises(FetchError, match="forbidden_address") as caught:
        Desk(LinkCalls(client)).call(pack_address(("10.0.0.1", 6881)))

    assert not caught.value.blame
    assert (client.counters.dialled, client.counters.failures) == (0, {"forbidden_address": 1})


@attrs.define(eq=False)
class Echo:
    """A machine, and its caller: says ``say``, and has finished when it has heard ``wants`` bytes."""

    say: bytes
    wants: int
    on_end: Callable[[], None] = lambda: None
    heard: int = 0
    ends: list[LinkFailure | None] = attrs.field(factory=list)

    @property
    def finished(self) -> bool:
        return self.heard >= self.wants

    def receive_data(self, data: bytes, _now: float) -> None:
        self.heard += len(data)

    def data_to_send(self, _now: float) -> bytes:
        said, self.say = self.say, b""
        return said

    def next_timer(self) -> float:
        return float("inf")

    def handle_timer(self, _now: float) -> None:
        raise AssertionError("it has no timer")

    def connected(self, _now: float) -> Echo:
        return self

    def ended(self, failure: LinkFailure | None, _now: float) -> None:
        self.ends.append(failure)
        self.on_end()

    def dropped(self) -> None:
        raise AssertionError("nothing is open at the end")


@pytest.mark.parametrize("way", WAYS)
async def test_what_the_kernel_has_no_room_for_is_sent_later(way: str) -> None:
    """Megabytes to a peer that reads slowly arrive whole, and what it says meanwhile is heard afterwards."""
    links, ends = Links(5.0, WAYS[way]), bytearray()
    machine = Echo(bytes(range(256)) * 32768, 5)
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        links.open(pack_address(listener.socket.getsockname()), machine, trio.current_time() + 10)
        stream = await listener.accept()
        await stream.send_all(b"hello")
        await trio.sleep(0.1)
        assert machine.heard == 0
        with trio.fail_after(10):
            while len(ends) < 256 * 32768:
                ends += await stream.receive_some(1 << 20)
            while not machine.ends:  # noqa: ASYNC110 - a list wakes nobody
                await trio.sleep(0.01)
        await stream.aclose()
        await listener.aclose()
        nursery.cancel_scope.cancel()

    assert ends == bytes(range(256)) * 32768
    assert machine.ends == [None]


async def test_one_link_may_close_another_that_is_ready_too() -> None:
    """Of two links whose data came at the same moment, the first one's end closes the other: it ends once."""
    links = Links(5.0)
    lines: list[Line] = []

    def close_all() -> None:
        for line in lines:
            links.close_line(line)

    machines = [Echo(b"", 1, close_all) for _ in range(2)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with trio.open_nursery() as nursery:
            await nursery.start(links.run)
            address = pack_address(server.getsockname())
            lines += [links.open(address, machine, trio.current_time() + 10) for machine in machines]
            ends = [server.accept()[0] for _ in lines]
            await trio.sleep(0.05)
            for end in ends:
                end.send(b"x")
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
        for end in ends:
            end.close()

    assert sorted(len(machine.ends) for machine in machines) == [0, 1]
    assert len(links) == 0


@attrs.define(eq=False)
class Restless(Echo):
    """A machine whose time has always come."""

    timers: int = 0

    def next_timer(self) -> float:
        return float("-inf")

    def handle_timer(self, _now: float) -> None:
        self.timers += 1


async def test_a_machine_that_is_always_due_leaves_time_to_others() -> None:
    """One whose timer is due again at once is given its turn each round, and its deadline still ends it."""
    links, restless = Links(5.0), Restless(b"", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with trio.open_nursery() as nursery:
            await nursery.start(links.run)
            links.open(pack_address(server.getsockname()), restless, trio.current_time() + 0.1)
            with trio.fail_after(5):
                while not restless.ends:  # noqa: ASYNC110 - a list wakes nobody
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    [failure] = restless.ends
    assert isinstance(failure, LinkError)
    assert failure.reason == "deadline"
    assert restless.timers > 1


async def test_timers_of_closed_links_do_not_pile_up() -> None:
    """Thousands of links that end long before their time leave a bounded number of timers behind."""
    links = Links(1000.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = pack_address(server.getsockname())
        async with trio.open_nursery() as nursery:
            await nursery.start(links.run)
            for _ in range(3000):
                links.close_line(links.open(address, Echo(b"", 1), float("inf")))
            nursery.cancel_scope.cancel()

    assert len(links._timers) <= 1001
