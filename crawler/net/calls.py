"""Fetches from peers that are begun here and end in a callback: how a crawl makes thousands of them.

They are all on `net/links`, which is what makes them cheap. `PeerClient.fetch_metadata` does one of them as a
coroutine, for whoever has only a few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

import attrs
import trio

from crawler.net.links import Links
from crawler.net.peers import FetchError, fetch_error
from crawler.net.readiness import open_readiness
from crawler.net.tcp import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.net.links import LinkFailure
    from crawler.net.peers import PeerClient
    from crawler.net.readiness import Readiness
    from crawler.swarm.metadata import MetadataFetch, VerifiedMetadata
    from crawler.swarm.pex import PexInbox

_DEADLINE = "deadline"


@attrs.define
class Wish:
    """What is wanted of one peer; a value, not frozen because there are thousands.

    Attributes:
        address: compact, 6 or 18 bytes.
        infohash: 20 bytes.
        pex: where peers go that this one tells of.
        deadline: when the call is given up, for the reason ``deadline``, which the client does not count.
        on_end: is given what came of it, and the time, once; not if it was hung up from this side.
    """

    address: bytes
    infohash: bytes
    pex: PexInbox
    deadline: float
    on_end: Callable[[VerifiedMetadata | FetchError, float], None]


class Calls(Protocol):
    """What a crawl fetches by."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Make the calls until cancelled; then hang up on everybody."""

    def begin(self, wish: Wish) -> Callable[[], None]:
        """Call a peer; return what hangs up on it.

        Raises:
            FetchError: it can't even be tried.
        """


class LinkCalls:
    """All calls on one set of links.

    Args:
        client: whom to dial, what to say, and the counters.
        opening: as for `Links`.
    """

    def __init__(self, client: PeerClient, opening: Callable[[], Readiness] = open_readiness) -> None:
        self._client = client
        self._links = Links(client.dial_timeout, opening)
        self.run = self._links.run

    def begin(self, wish: Wish) -> Callable[[], None]:
        """Call a peer; return what hangs up on it.

        Raises:
            FetchError: it can't even be tried.
        """
        client = self._client
        client.check(wish.address)
        client.counters.dialled += 1
        call = _Call(client, wish)
        try:
            line = self._links.open(wish.address, call, wish.deadline)
        except LinkError as error:
            client.counters.failures[error.reason] += 1
            raise FetchError(error.reason, blame=error.blame) from None

        def hang_up() -> None:
            self._links.close_line(line)
            call.dropped()

        return hang_up


@attrs.define(eq=False)
class _Call:
    """One call, as its link knows it."""

    client: PeerClient
    wish: Wish
    fetch: MetadataFetch | None = None

    def connected(self, now: float) -> MetadataFetch:
        self.client.counters.connected += 1
        self.client.counters.open += 1
        self.fetch = self.client.new_fetch(self.wish.infohash, now, pex=self.wish.pex)
        return self.fetch

    def ended(self, failure: LinkFailure | None, now: float) -> None:
        counters, fetch = self.client.counters, self.fetch
        self.dropped()
        if failure is None:
            assert fetch is not None and fetch.result is not None  # noqa: S101, PT018 - a finished fetch has it
            counters.fetched += 1
            self.wish.on_end(fetch.result, now)
            return
        error = fetch_error(failure, fetch)
        if error.reason != _DEADLINE:
            counters.failures[error.reason] += 1
        self.wish.on_end(error, now)

    def dropped(self) -> None:
        if self.fetch is not None:
            self.fetch.close()
            self.fetch = None
            self.client.counters.open -= 1
