"""How coroutines ask nodes that only rumour knows: once, and in step with the sampling.

A lookup meets addresses that the sampler has queued or has just tried in vain. Asking them on top of that
would let whoever names a victim's address earn several datagrams, so both go through the ledger: who asks
first claims the address, and what came of it counts for the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from crawler.net.dht import NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crawler.crawl.frontier import Frontier
    from crawler.dht.events import Answered


async def ask_once(
    frontier: Frontier, address: bytes, ask: Callable[[bytes], Awaitable[Answered]]
) -> Answered:
    """Ask compact ``address`` by ``ask``, unless it was tried in vain or is being tried.

    Raises:
        NoAnswerError: it is not to be asked, or did not answer.
        RefusedError: it answered with an error.
    """
    if not frontier.claim(address):
        raise NoAnswerError
    answered: bool | None = True
    try:
        return await ask(address)
    except NoAnswerError:
        answered = False
        raise
    except trio.Cancelled:
        answered = None
        raise
    finally:
        frontier.release(address, trio.current_time(), answered=answered)
