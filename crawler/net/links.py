"""Many TCP links at once, each driving a state machine, without a task, a cancel scope or a wait of its own.

What one link needs of Trio (a task, two scopes, three waits) costs as much as all the rest of a short talk
with a peer. So all links of a crawl are in one `net/readiness` here, one task waits for it, and hands what
arrived to the machines, batch by batch; one heap has all their times. `net/tcp` has the same for one link, as
a coroutine. Nothing is decided here, and nothing that is called here may block.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import trio

from crawler.net.readiness import open_readiness
from crawler.net.tcp import Link, LinkError, link_error, start_dialling
from crawler.swarm.assembly import OverBudgetError
from crawler.swarm.connection import PeerFault

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from crawler.net.readiness import Readiness
    from crawler.net.tcp import Machine

LinkFailure = LinkError | PeerFault | OverBudgetError
_FAILURES: Final = (LinkError, PeerFault, OverBudgetError)
_NEVER: Final = float("inf")
_TICK: Final = 0.02
"""Seconds between two looks where no descriptor tells that something is ready."""
_SPARE_TIMERS: Final = 1000
"""So many timers of links that are gone may wait for their time beside those of the living."""


class Caller(Protocol):
    """Who wants a link, and is told what becomes of it."""

    def connected(self, now: float) -> Machine:
        """Return the machine that the link, which is now open, is to drive."""

    def ended(self, failure: LinkFailure | None, now: float) -> None:
        """Take note that the link is closed: because of a failure, or because the machine has finished."""

    def dropped(self) -> None:
        """Take note that the link is closed with all others, because :meth:`Links.run` ends."""


class Line(Link):
    """A link among many, from its dialling on."""

    __slots__ = ("caller", "deadline", "due", "fd", "machine", "readiness", "writing")

    def __init__(self, caller: Caller, readiness: Readiness, sock: socket.socket, deadline: float) -> None:
        super().__init__(sock)
        self.caller = caller
        self.readiness = readiness
        self.fd = sock.fileno()
        self.deadline = deadline
        self.due = _NEVER
        self.machine: Machine | None = None
        self.writing = True


class Links:
    """All links.

    Args:
        dial_timeout: seconds after which a connection that is not open is given up.
        opening: opens what tells which of them are ready.
    """

    def __init__(self, dial_timeout: float, opening: Callable[[], Readiness] = open_readiness) -> None:
        self._dial_timeout = dial_timeout
        self._opening = opening
        self._readiness: Readiness | None = None
        self._lines: dict[int, Line] = {}
        self._timers: list[tuple[float, int, Line]] = []
        self._number = count()
        self._patience: trio.CancelScope | None = None
        self._busy = False

    def __len__(self) -> int:
        """Return how many are open or being opened."""
        return len(self._lines)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Carry bytes and time between links and machines until cancelled; then all are closed."""
        readiness = self._readiness = self._opening()
        try:
            task_status.started()
            while True:
                await self._wait(readiness)
                self._carry(readiness)
        finally:
            for line in list(self._lines.values()):
                self.close_line(line)
                line.caller.dropped()
            self._readiness = None
            readiness.close()

    def open(self, address: bytes, caller: Caller, deadline: float) -> Line:
        """Begin to dial a compact address; ``caller`` is told of everything, but not before this returns.

        Args:
            address: of either family.
            caller: is told.
            deadline: when the link is closed at the latest, with ``deadline`` as the reason.

        Raises:
            LinkError: it cannot be dialled at all.
        """
        readiness = self._readiness
        assert readiness is not None, "open() follows run()"  # noqa: S101 - our own fault
        line = Line(caller, readiness, start_dialling(address), deadline)
        try:
            readiness.watch(line.fd, writable=True)
        except OSError as error:
            line.close()
            raise link_error(error) from None
        self._lines[line.fd] = line
        self._be_back(line, min(trio.current_time() + self._dial_timeout, deadline))
        return line

    def close_line(self, line: Line) -> None:
        """Close a link; its caller is told nothing. May be called again."""
        if self._lines.get(line.fd) is line:
            del self._lines[line.fd]
            line.readiness.forget(line.fd)
            line.due = _NEVER
            line.machine = None
            line.close()

    async def _wait(self, readiness: Readiness) -> None:
        """Wait until something is ready, or due."""
        with trio.CancelScope(deadline=self._next_due()) as self._patience:
            ready = readiness.descriptor()
            if ready is not None:
                await trio.lowlevel.wait_readable(ready)
            else:
                await trio.sleep(0 if self._busy else _TICK)

    def _carry(self, readiness: Readiness) -> None:
        """Let every link that is ready, or whose time has come, go on."""
        now = trio.current_time()
        lines = self._lines
        ready = [lines[fd] for fd in readiness.ready() if fd in lines]
        self._busy = bool(ready)
        for line in ready:
            # One that came before it may have closed it.
            if lines.get(line.fd) is line:
                self._go_on(line, now)
        self._handle_timers(now)

    def _go_on(self, line: Line, now: float) -> None:
        machine = line.machine
        try:
            if machine is None:
                line.check_open()
                machine = line.machine = line.caller.connected(now)
            elif line.unsent:
                line.send_some(line.unsent)
            elif (received := line.receive_some()) is not None:
                machine.receive_data(received, now)
            if not machine.finished:
                self._say(line, machine, now)
                return
        except _FAILURES as failure:
            self._end(line, failure, now)
        else:
            self._end(line, None, now)

    def _say(self, line: Line, machine: Machine, now: float) -> None:
        """Send what there is to say; while the other side does not read, nothing is read from it either."""
        while not line.unsent and (data := machine.data_to_send(now)):
            line.send_some(data)
        writing = bool(line.unsent)
        if writing is not line.writing:
            line.writing = writing
            line.readiness.turn(line.fd, writable=writing)
        due = machine.next_timer()
        if due < line.due:
            self._be_back(line, due)

    def _end(self, line: Line, failure: LinkFailure | None, now: float) -> None:
        self.close_line(line)
        line.caller.ended(failure, now)

    # Time. A timer is moved only to be earlier: being woken in vain now and then is cheaper.

    def _be_back(self, line: Line, due: float) -> None:
        timers = self._timers
        if len(timers) > 2 * len(self._lines) + _SPARE_TIMERS:
            timers[:] = [timer for timer in timers if timer[2].due == timer[0]]
            heapq.heapify(timers)
        line.due = due
        heapq.heappush(timers, (due, next(self._number), line))
        if self._patience is not None and due < self._patience.deadline:
            self._patience.deadline = due

    def _next_due(self) -> float:
        timers = self._timers
        while timers and timers[0][2].due != timers[0][0]:
            heapq.heappop(timers)
        return timers[0][0] if timers else _NEVER

    def _handle_timers(self, now: float) -> None:
        due = []
        while self._next_due() <= now:
            line = heapq.heappop(self._timers)[2]
            line.due = _NEVER
            due.append(line)
        # Each once, or a machine that is due again at once would keep everybody else waiting.
        for line in due:
            if self._lines.get(line.fd) is line:
                self._handle_timer(line, now)

    def _handle_timer(self, line: Line, now: float) -> None:
        machine = line.machine
        if now >= line.deadline or machine is None:
            self._end(line, LinkError("deadline" if now >= line.deadline else "dial_timeout"), now)
            return
        try:
            machine.handle_timer(now)
            self._say(line, machine, now)
        except _FAILURES as failure:
            self._end(line, failure, now)
        else:
            if line.due > line.deadline:
                self._be_back(line, line.deadline)
