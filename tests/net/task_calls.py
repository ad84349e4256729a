"""Calls with a task for each, on any coroutine that fetches: for peers in virtual time, unknown to epoll."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

from crawler.net.peers import FetchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crawler.net.calls import Wish
    from crawler.swarm.metadata import VerifiedMetadata


class TaskCalls:
    """A task for each call.

    Args:
        fetch: like `PeerClient.fetch_metadata`.
    """

    def __init__(self, fetch: Callable[..., Awaitable[VerifiedMetadata]]) -> None:
        self._fetch = fetch
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Make the calls until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()
        raise AssertionError("the sleep above ends by cancellation only")

    def begin(self, wish: Wish) -> Callable[[], None]:
        """Begin the task of a call; return what cancels it."""
        assert self._nursery is not None, "begin() follows run()"
        scope = trio.CancelScope(deadline=wish.deadline)
        self._nursery.start_soon(self._call, wish, scope)

        def hang_up() -> None:
            wish.on_end = _ignore
            scope.cancel()

        return hang_up

    async def _call(self, wish: Wish, scope: trio.CancelScope) -> None:
        outcome: VerifiedMetadata | FetchError | None = None
        with scope:
            try:
                outcome = await self._fetch(wish.address, wish.infohash, pex=wish.pex)
            except FetchError as error:
                outcome = error
        if outcome is None and trio.current_time() >= wish.deadline:
            outcome = FetchError("deadline")
        if outcome is not None:
            wish.on_end(outcome, trio.current_time())


def _ignore(_outcome: VerifiedMetadata | FetchError, _now: float) -> None:
    """Do nothing."""
