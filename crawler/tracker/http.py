"""The HTTP side of the tracker: an ASGI application for /announce and /scrape.

Requests that are wrong get a bencoded ``failure reason`` with status 200, since clients throw away the body
of any other. Who announces is whoever the connection comes from, whatever it says of itself (BEP 7): else
anybody could send a swarm's connections to a third party.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from crawler.swarm.tracker_policy import TrackerCounters
from crawler.tracker.pages import Page, not_found, wrong_method
from crawler.wire import tracker_http as wire
from crawler.wire.compact import Family, pack_address
from crawler.wire.tracker import AnnounceAnswer, Event, TrackerFailure, TrackerRequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crawler.net.http_terms import Message
    from crawler.swarm.registry import Registry
    from crawler.swarm.tracker_policy import Doorman, TrackerPolicy
    from crawler.tracker.pages import OwnersPages

_MAPPED: Final = bytes(10) + b"\xff\xff"
_FORWARDED: Final = b"x-forwarded-for"
_NOT_ALLOWED: Final = "this tracker does not serve that infohash"


class HttpTracker:
    """An ASGI application that answers from one registry.

    Args:
        registry: who is in which swarm.
        config: how clients are answered.
        doorman: who may ask for what.
        trusted_proxies: IPs (4 or 16 bytes) whose X-Forwarded-For is believed.
        pages: what its owner may read here too; None: nothing.

    Attributes:
        counters: what it was asked.
    """

    def __init__(
        self,
        registry: Registry,
        config: TrackerPolicy,
        doorman: Doorman,
        *,
        trusted_proxies: frozenset[bytes] = frozenset(),
        pages: OwnersPages | None = None,
    ) -> None:
        self.counters = TrackerCounters()
        self._registry = registry
        self._config = config
        self._doorman = doorman
        self._trusted = trusted_proxies
        self._pages = pages

    async def __call__(
        self,
        scope: Message,
        _receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        await self._page(scope, trio.current_time()).send(scope, send)

    def _page(self, scope: Message, now: float) -> Page:
        path = scope["path"]
        if path in {"/announce", "/scrape"}:
            return wrong_method(scope) or Page(self._ask(scope, path, now))
        page = wrong_method(scope) or (self._pages and self._pages.page(scope))
        return page or not_found(b"a BitTorrent tracker: /announce, /scrape\n")

    def _ask(self, scope: Message, path: str, now: float) -> bytes:
        """Return the bencoded answer to an announce or a scrape."""
        self.counters.received += 1
        ip = self._ip_of(scope)
        if ip is None:
            return self._refuse("no_address", "your address is not known")
        wait = self._doorman.wait(ip, now)
        if wait:
            return self._refuse("over_rate", "too many requests", retry_in=wait)
        try:
            if path == "/announce":
                return self._announce(scope["query_string"], ip, now)
            return self._scrape(scope["query_string"], now)
        except TrackerRequestError as error:
            return self._refuse("bad_request", str(error))

    def _announce(self, query: bytes, ip: bytes, now: float) -> bytes:
        request = wire.parse_announce(query)
        if not self._doorman.serves(request.infohash):
            return self._refuse("not_allowed", _NOT_ALLOWED)
        address = ip + request.port.to_bytes(2, "big")
        count = self._config.peers_for(request.numwant)
        standing = self._registry.announce(
            request.infohash,
            address,
            request.event,
            count,
            now,
            seed=request.left == 0,
            peer_id=request.peer_id,
        )
        own = Family.of(address)
        other = Family.IPV6 if own is Family.IPV4 else Family.IPV4
        more = (
            b""
            if request.event is Event.STOPPED
            else self._registry.draw(request.infohash, other, count, now)
        )
        self.counters.answered["announce"] += 1
        answer = AnnounceAnswer(
            interval=self._config.interval,
            min_interval=min(self._config.min_interval, self._config.interval),
            seeders=standing.seeders,
            leechers=standing.leechers,
            completed=standing.completed,
            peers=(*_split(standing.peers, own), *_split(more, other)),
            external_ip=ip,
        )
        if request.compact is not False:
            return wire.encode_announce(answer)
        ids = {} if request.no_peer_id else self._registry.peer_ids(request.infohash, answer.peers)
        return wire.encode_announce(answer, compact=False, peer_ids=ids)

    def _scrape(self, query: bytes, now: float) -> bytes:
        infohashes = wire.parse_scrape(query)
        if not infohashes:
            return self._refuse("no_infohash", "name the infohashes; there is no scrape of everything")
        if not all(map(self._doorman.serves, infohashes)):
            return self._refuse("not_allowed", _NOT_ALLOWED)
        self.counters.answered["scrape"] += 1
        return wire.encode_scrape({infohash: self._registry.scrape(infohash, now) for infohash in infohashes})

    def _refuse(self, reason: str, text: str, *, retry_in: float | None = None) -> bytes:
        self.counters.refused[reason] += 1
        return wire.encode_failure(TrackerFailure(text, retry_in))

    def _ip_of(self, scope: Message) -> bytes | None:
        """The 4 or 16 bytes of who asks; behind a proxy that is trusted, whom that one names last."""
        ip = _packed(scope["client"][0])
        if ip in self._trusted:
            named = [value for name, value in scope["headers"] if name.lower() == _FORWARDED]
            return _packed(named[-1].decode("latin-1").rsplit(",", 1)[-1].strip()) if named else None
        return ip


def _packed(host: str) -> bytes | None:
    """The bytes of an IP, of IPv4 inside of IPv6 as IPv4; None for what is no IP."""
    try:
        ip = pack_address((host, 0))[:-2]
    except ValueError:
        return None
    return ip[len(_MAPPED) :] if len(ip) > len(_MAPPED) and ip.startswith(_MAPPED) else ip


def _split(peers: bytes, family: Family) -> list[bytes]:
    size = family.address_bytes
    return [peers[at : at + size] for at in range(0, len(peers), size)]
