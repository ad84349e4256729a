"""A tracker put together: one registry, any number of addresses at which it is asked over UDP and HTTP."""

from __future__ import annotations

import contextlib
from collections import Counter
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs
import trio

from crawler import metrics
from crawler.net.datagrams import DatagramServer
from crawler.net.http import ExtraMissingError, HttpServer
from crawler.net.http_terms import HttpConfig
from crawler.net.limits import KeyedBuckets
from crawler.swarm.connection_ids import ConnectionIds
from crawler.swarm.registry import Registry, RegistryBounds
from crawler.swarm.tracker_policy import STRANGERS, Doorman, TrackerPolicy
from crawler.swarm.udp_tracker import UdpTracker
from crawler.tracker.figures import TABLE
from crawler.tracker.http import HttpTracker
from crawler.tracker.pages import OwnersPages
from crawler.wire.compact import parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet

    from crawler.net.http_terms import AsgiApp
    from crawler.wire.compact import Address

_SWEEP_SECONDS: Final = 1.0


class ListenError(OSError):
    """An address cannot be bound; the message is one line that names it."""


@attrs.frozen
class TrackerSettings:
    """Everything that can be set of a tracker.

    Attributes:
        tracker: how clients are answered.
        registry: how much is remembered.
        http: the patience with HTTP clients; its ``listen`` is not read.
        trusted_proxies: IPs (4 or 16 bytes) whose X-Forwarded-For is believed.
        allowed: the only infohashes that are served; None for all.
    """

    tracker: TrackerPolicy = attrs.field(factory=TrackerPolicy)
    registry: RegistryBounds = attrs.field(factory=RegistryBounds)
    http: HttpConfig = attrs.field(factory=lambda: HttpConfig(max_connections=1000))
    trusted_proxies: frozenset[bytes] = frozenset()
    allowed: AbstractSet[bytes] | None = None


class TrackerServer:
    """A tracker, bound from the moment of construction; :meth:`run` answers.

    Args:
        udp: literal addresses ("ADDR:PORT") to be asked at over UDP; port 0 picks one.
        http: the same over HTTP.
        pages: where /stats and /metrics are served, and nowhere else; "": wherever HTTP is.
        settings: everything else.
        rng: draws keys and seeds; `SystemRandom` in the wild.
        on_event: is told ``http.failed`` with ``exc_info``, should an HTTP request hit a fault of ours.

    Attributes:
        registry: who is in which swarm.
        udp: the bound UDP addresses.
        http: the bound HTTP addresses.
        pages: the bound address of the pages, if they have one of their own.

    Raises:
        ListenError: an address cannot be bound.
        ExtraMissingError: HTTP is wanted and its packages are not installed.
        ValueError: no literal address and port.
    """

    def __init__(
        self,
        *,
        udp: tuple[str, ...] = (),
        http: tuple[str, ...] = (),
        pages: str = "",
        settings: TrackerSettings,
        rng: Random,
        on_event: Callable[..., None] = lambda *_words, **_fields: None,
    ) -> None:
        config = settings.tracker
        # Who is given out may be guessed, and the system's chance would be a call into the kernel each time.
        self.registry = Registry(settings.registry, Random(rng.getrandbits(128)), interval=config.interval)
        self.doorman = Doorman(
            KeyedBuckets(config.ip_rate, config.ip_burst, config.max_tracked).take,
            KeyedBuckets(config.ip_rate, config.ip_burst, STRANGERS).take,
            settings.allowed,
        )
        self._udp_tracker = UdpTracker(self.registry, config, self.doorman, ConnectionIds(rng))
        self._pages = OwnersPages(self.figures, lambda accept: metrics.render(self.figures(), TABLE, accept))
        self._http_tracker = HttpTracker(
            self.registry,
            config,
            self.doorman,
            trusted_proxies=settings.trusted_proxies,
            pages=None if pages else self._pages,
        )
        self._datagrams: list[DatagramServer] = []
        self._doors: list[HttpServer] = []
        self._began: float | None = None
        try:
            for listen in udp:
                with _binding(f"{listen} (UDP)"):
                    self._datagrams.append(DatagramServer(self._udp_tracker.answer, parse_address(listen)))
            doors: list[tuple[AsgiApp, str]] = [(self._http_tracker, listen) for listen in http]
            doors += [(self._pages, pages)] if pages else []
            for app, listen in doors:
                self._doors.append(_door(app, attrs.evolve(settings.http, listen=listen), on_event))
        except BaseException:
            self.close()
            raise
        self.udp: list[Address] = [server.local for server in self._datagrams]
        self.http: list[Address] = [server.local for server in self._doors[: len(http)]]
        self.pages: Address | None = self._doors[-1].local if pages else None

    def close(self) -> None:
        """Close all sockets; for a tracker that was bound and never ran."""
        for server in self._datagrams:
            server.close()
        for door in self._doors:
            door.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Answer until cancelled."""
        self._began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for datagrams in self._datagrams:
                await nursery.start(datagrams.run, name="udp")
            for door in self._doors:
                await nursery.start(door.run, name="http")
            task_status.started()
            while True:
                await trio.sleep(_SWEEP_SECONDS)
                self.registry.sweep(trio.current_time())
        raise AssertionError("the loop above ends by cancellation only")

    def figures(self) -> dict[str, Any]:
        """Return all counters as a tree of plain values."""
        errors = sum((server.socket.errors for server in self._datagrams), Counter())
        doors = [door.counters for door in self._doors]
        return {
            "seconds": round(trio.current_time() - self._began, 1) if self._began is not None else 0.0,
            "registry": {
                "swarms": self.registry.swarm_count,
                "peers": self.registry.peer_count,
                "events": attrs.asdict(self.registry.counters),
            },
            "carriers": {
                "udp": _plain(self._udp_tracker.counters),
                "http": _plain(self._http_tracker.counters),
            },
            "socket_errors": dict(errors),
            "http": {
                "open": sum(door.connections for door in self._doors),
                "accepted": sum(counters.accepted for counters in doors),
                "ended": dict(sum((counters.ended for counters in doors), Counter())),
                "failed": sum(counters.failed for counters in doors),
            },
        }


def _door(app: AsgiApp, config: HttpConfig, on_event: Callable[..., None]) -> HttpServer:
    """Open an HTTP address, where failures are told and requests are not."""
    try:
        import_module("prometheus_client")  # told now rather than at the first request
    except ImportError as error:
        raise ExtraMissingError(
            f'HTTP needs packages that are missing ({error.name}): pip install "dht-crawler[http]"'
        ) from error
    with _binding(f"{config.listen} (HTTP)"):
        return HttpServer(app, config, _only_failures(on_event))


@contextlib.contextmanager
def _binding(what: str) -> Iterator[None]:
    """Tell in a `ListenError` which address could not be bound."""
    try:
        yield
    except OSError as error:
        raise ListenError(f"cannot listen on {what}: {error.strerror or error}") from error


def _only_failures(on_event: Callable[..., None]) -> Callable[..., None]:
    """Leave out what is told of every request."""

    def tell(event: str, **fields: Any) -> None:
        if event != "http.request":
            on_event(event, **fields)

    return tell


def _plain(counters: Any) -> dict[str, Any]:
    return {
        key: dict(value) if isinstance(value, Counter) else value
        for key, value in attrs.asdict(counters, recurse=False).items()
    }
