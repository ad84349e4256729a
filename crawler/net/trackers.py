"""Asking trackers, whatever they speak: one call to announce, one to scrape, for every URL.

Each family that both sides have is announced over (BEP 7), and what they answer becomes one answer. A host is
asked so many times a second and no more, and so many requests are under way at once. What trackers name is
filtered: nothing that is not global, no port of the system, not ourselves.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import trio

from crawler.net.limits import KeyedBuckets
from crawler.net.tracker_guard import Guard, TrackerError
from crawler.net.tracker_http import HttpTrackers, load_httpx
from crawler.net.tracker_udp import ANYWHERE, UdpTrackers
from crawler.swarm.tracker_exchange import MAX_SCRAPED, Scrape
from crawler.wire import tracker_http
from crawler.wire.compact import Family, ip_of
from crawler.wire.tracker import AnnounceAnswer, TrackerFailure, TrackerReplyError
from crawler.wire.tracker_http import ScrapeAnswer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
    from random import Random

    from crawler.net.tracker_config import TrackerClientConfig
    from crawler.wire.tracker import AnnounceRequest, ScrapeCounts
    from crawler.wire.tracker_url import TrackerUrl

_MAX_HOSTS: Final = 10_000
_ERROR_STATUS: Final = 400
_SHORTEST_SLEEP: Final = 0.001
_Said = TypeVar("_Said", AnnounceAnswer, ScrapeAnswer)


@attrs.define
class TrackerCounters:
    """What became of what trackers were asked."""

    announces: int = 0
    scrapes: int = 0
    answered: int = 0
    failures: Counter[str] = attrs.field(factory=Counter)
    peers: int = 0
    peers_unusable: int = 0
    peers_refused: int = 0
    peers_over_limit: int = 0


class TrackerClient:
    """Asks trackers; :meth:`run` must be running.

    Args:
        config: patience and limits.
        rng: draws transaction numbers; they must not be guessed.
        allow_private: let addresses that are not global pass too, for tests and closed networks.
        tls: what HTTPS trusts; None for what the system trusts.
        own_ips: tells our own addresses, 4 or 16 bytes each, as far as they are known.
        sources: from which address of ours to send, for each family that is to be used.

    Attributes:
        counters: what became of what was asked.
    """

    def __init__(
        self,
        config: TrackerClientConfig,
        rng: Random,
        *,
        allow_private: bool = False,
        tls: ssl.SSLContext | None = None,
        own_ips: Callable[[], Iterable[bytes]] = tuple,
        sources: Mapping[Family, str] = ANYWHERE,
    ) -> None:
        self.counters = TrackerCounters()
        self._config = config
        self._own_ips = own_ips
        self._guard = Guard(allow_private=allow_private, timeout=config.resolve_timeout)
        self._udp = UdpTrackers(config, rng, sources)
        self._http = HttpTrackers(config, self._guard, tls=tls, sources=sources)
        self._hosts = KeyedBuckets(config.host_rate, 1, _MAX_HOSTS)
        self._room = trio.Semaphore(config.max_in_flight)

    @property
    def datagrams_unmatched(self) -> int:
        """Datagrams that answered nothing that was asked."""
        return self._udp.unmatched

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the sockets until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._udp.run)
            task_status.started()

    def check_support(self, url: TrackerUrl) -> None:
        """See that what ``url`` needs is installed.

        Raises:
            TrackerSupportError: it is not; the message is one line for a person.
        """
        if url.scheme != "udp":
            load_httpx()

    async def announce(self, url: TrackerUrl, request: AnnounceRequest) -> AnnounceAnswer:
        """Announce over every family that there is; return what they answered, as one.

        Peers that may not be dialled, and we ourselves, are not in the answer.

        Raises:
            TrackerError: no family gave an answer; the reason is the first one's.
        """
        self.counters.announces += 1
        async with self._counted(url):
            families = await self._guard.addresses(url, self._udp.families)
            asks = {family: partial(self._announce, url, request, family, families) for family in families}
            answers = await _all_of(asks, self._config.family_patience)
        return _united([self.fit(answer, request.port) for answer in answers])

    async def scrape(self, url: TrackerUrl, infohashes: Sequence[bytes]) -> Mapping[bytes, ScrapeCounts]:
        """Ask how large swarms are; what the tracker does not tell is left out.

        Args:
            url: the tracker's announce URL.
            infohashes: 20 bytes each, at most `MAX_SCRAPED`.

        Raises:
            TrackerError: it did not tell; ``no_scrape``: it is not asked that way (BEP 48).
        """
        self.counters.scrapes += 1
        asked = tuple(infohashes[:MAX_SCRAPED])
        async with self._counted(url):
            if url.scheme != "udp":
                return await self._scrape_http(url, asked)
            families = await self._guard.addresses(url, self._udp.families)
            return await self._scrape_udp(families, asked)

    @contextlib.asynccontextmanager
    async def _counted(self, url: TrackerUrl) -> AsyncIterator[None]:
        """Wait for room and the host's turn; count what comes of it."""
        async with self._room:
            await self._turn(url.host)
            try:
                yield
            except TrackerError as error:
                self.counters.failures[error.reason] += 1
                raise
            self.counters.answered += 1

    async def _turn(self, host: str) -> None:
        while wait := self._hosts.take(host.encode(), trio.current_time()):  # noqa: ASYNC110 - it knows no Event
            await trio.sleep(max(wait, _SHORTEST_SLEEP))

    async def _announce(
        self,
        url: TrackerUrl,
        request: AnnounceRequest,
        family: Family,
        addresses: Mapping[Family, Sequence[bytes]],
    ) -> AnnounceAnswer:
        if url.scheme == "udp":
            answer = await self._udp.ask(addresses[family][0], request, url.target.encode())
        else:
            target = _with_query(url, url.path, tracker_http.announce_query(request))
            answer = await self._fetch(url, target, addresses[family], tracker_http.decode_announce)
        assert isinstance(answer, AnnounceAnswer)  # noqa: S101 - what was asked for
        return answer

    async def _scrape_udp(
        self, addresses: Mapping[Family, Sequence[bytes]], infohashes: tuple[bytes, ...]
    ) -> Mapping[bytes, ScrapeCounts]:
        error = TrackerError("unreachable")
        for known in addresses.values():
            try:
                counts = await self._udp.ask(known[0], Scrape(infohashes))
            except TrackerError as failed:
                error = failed
                if failed.reason == "unreachable":
                    continue
                raise
            assert isinstance(counts, tuple)  # noqa: S101 - what was asked for
            # Told by position; a tracker that has a lower limit tells of the first ones only.
            return dict(zip(infohashes, counts, strict=False))
        raise error

    async def _scrape_http(
        self, url: TrackerUrl, infohashes: tuple[bytes, ...]
    ) -> Mapping[bytes, ScrapeCounts]:
        path = tracker_http.scrape_path(url.path)
        if path is None:
            raise TrackerError("no_scrape", hopeless=True)
        target = _with_query(url, path, tracker_http.scrape_query(infohashes))
        families = await self._guard.addresses(url, self._udp.families)
        decode = partial(tracker_http.decode_scrape, wanted=frozenset(infohashes))
        error = TrackerError("unreachable")
        for addresses in families.values():
            try:
                return (await self._fetch(url, target, addresses, decode)).files
            except TrackerError as failed:
                error = failed
                if failed.reason not in {"unreachable", "connect_timeout"}:
                    raise
        raise error

    async def _fetch(
        self,
        url: TrackerUrl,
        target: str,
        addresses: Sequence[bytes],
        decode: Callable[[bytes], _Said | TrackerFailure],
    ) -> _Said:
        """Get ``target`` and decode its body; an error status with a body that says why is as good."""
        status, body = await self._http.get(url, target, addresses)
        try:
            said = decode(body)
        except TrackerReplyError as error:
            raise TrackerError(f"http_{status}" if status >= _ERROR_STATUS else error.reason) from None
        if isinstance(said, TrackerFailure):
            raise TrackerError("failure", text=said.reason, retry_in=said.retry_in)
        return said

    def fit(self, answer: AnnounceAnswer, own_port: int) -> AnnounceAnswer:
        """Leave out of ``answer`` the peers that may not be dialled, and us at ``own_port``."""
        own_ips = {*self._own_ips(), answer.external_ip}
        kept = tuple(
            peer
            for peer in answer.peers
            if self._guard.permits_peer(peer)
            and not (int.from_bytes(peer[-2:], "big") == own_port and ip_of(peer) in own_ips)
        )
        counters, most = self.counters, self._config.max_peers
        counters.peers_unusable += answer.unusable
        counters.peers_refused += len(answer.peers) - len(kept)
        counters.peers_over_limit += max(len(kept) - most, 0)
        counters.peers += len(kept[:most])
        return attrs.evolve(answer, peers=kept[:most])


async def _all_of(
    asks: Mapping[Family, Callable[[], Awaitable[AnnounceAnswer]]], patience: float
) -> list[AnnounceAnswer]:
    """Ask in every way at once; after the first answer the others are given ``patience`` seconds.

    Raises:
        TrackerError: nobody answered; it is the first way's.
    """
    answers: dict[Family, AnnounceAnswer] = {}
    errors: dict[Family, TrackerError] = {}

    async def ask_one(family: Family, ask: Callable[[], Awaitable[AnnounceAnswer]]) -> None:
        try:
            answers[family] = await ask()
        except TrackerError as error:
            errors[family] = error
        else:
            scope.deadline = min(scope.deadline, trio.current_time() + patience)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            for family, ask in asks.items():
                nursery.start_soon(ask_one, family, ask)
    if not answers:
        raise next(errors[family] for family in asks if family in errors)
    return [answers[family] for family in asks if family in answers]


def _united(answers: Sequence[AnnounceAnswer]) -> AnnounceAnswer:
    """What several families' answers say together: all peers, and of each number the largest."""
    first = answers[0]
    if len(answers) == 1:
        return first
    numbers = ("interval", "min_interval", "seeders", "leechers", "completed", "downloaders")
    largest = {
        name: max((n for a in answers if (n := getattr(a, name)) is not None), default=None)
        for name in numbers
    }
    return attrs.evolve(
        first,
        **largest,
        peers=tuple(dict.fromkeys(peer for answer in answers for peer in answer.peers)),
        unusable=sum(answer.unusable for answer in answers),
        warning=next((answer.warning for answer in answers if answer.warning), None),
    )


def _with_query(url: TrackerUrl, path: str, query: str) -> str:
    """The request target that adds ``query`` to what the URL has of its own (BEP 3)."""
    return f"{path or '/'}?{url.query}&{query}" if url.query else f"{path or '/'}?{query}"
