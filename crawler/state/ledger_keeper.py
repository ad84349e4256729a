"""The ledger on the disk: saved whole now and then, and what was settled meanwhile in a journal.

Saving a million nodes takes seconds, so it is done once a minute; without the journal a kill would forget the
intervals that nodes stated since, and they would be asked again too soon. What a kill can still cost is the
last moments before it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from crawler.crawl import ledger
from crawler.state.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from crawler.crawl.frontier import Contact, Frontier
    from crawler.state.directory import StateDirectory


class LedgerKeeper:
    """The saved ledger of one address family."""

    def __init__(self, state: StateDirectory, name: str, frontier: Frontier, max_unnoted: int) -> None:
        """Keep ``frontier`` under ``name``; so many settled contacts may wait for the disk."""
        self._state = state
        self._name = name
        self._frontier = frontier
        self._journal = Journal(state.path, name)
        self._settled: deque[Contact] = deque(maxlen=max_unnoted)

    def restore(self, wall_minus_now: float, *, admits: Callable[[bytes], bool], latest: float) -> None:
        """Put back what an earlier run saved, and note from now on what is settled; as `ledger.restore`."""
        put_back = partial(
            ledger.restore, self._frontier, wall_minus_now=wall_minus_now, admits=admits, latest=latest
        )
        # The journal is newer than the whole, and of two rows for one address the first counts.
        with contextlib.suppress(ledger.LedgerFormError):
            put_back([_latest(self._journal.load())])
        try:
            put_back(self._state.load(self._name))
        except ledger.LedgerFormError as error:
            self._state.discard(self._name, str(error))
        self._frontier.settled = self._settled

    async def note(self, wall_minus_now: float) -> None:
        """Write what was settled since the last time.

        Raises:
            OSError: the disk does not take it; it is tried again at the next call.
        """
        settled = list(self._settled)
        if not settled:
            return
        self._settled.clear()
        latest = list({contact.address: contact for contact in settled}.values())
        blocks = []
        for start in range(0, len(latest), ledger.PIECE):
            blocks.append(ledger.rows(latest[start : start + ledger.PIECE], wall_minus_now))
            await trio.lowlevel.checkpoint()
        try:
            await trio.to_thread.run_sync(self._journal.append, blocks)
        except OSError:
            settled_since = list(self._settled)
            self._settled.clear()
            self._settled.extend(latest + settled_since)
            raise

    async def save(self, wall_minus_now: float) -> None:
        """Save the whole.

        Raises:
            OSError: the disk does not take it; the last whole and the journal stay.
        """
        part = self._journal.turn()
        await self._state.save(self._name, ledger.to_pieces(self._frontier, wall_minus_now))
        await trio.to_thread.run_sync(self._journal.forget, part)


def _latest(blocks: Iterable[Any]) -> list[Any]:
    """Return the last row of each address."""
    latest: dict[bytes, Any] = {}
    for block in blocks:
        for row in block if isinstance(block, list) else ():
            if isinstance(row, list) and row and isinstance(row[0], bytes):
                latest[row[0]] = row
    return list(latest.values())
