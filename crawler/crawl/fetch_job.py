"""What a job of the fetch is, where it can stand, and the settings that all pages of the fetch obey."""

from __future__ import annotations

import enum
from collections import Counter, deque
from typing import Protocol

import attrs

from crawler.settings import setting


@attrs.frozen
class FetchConfig:
    """How metadata is fetched from peers."""

    enabled: bool = setting(
        False, unit="", help="Fetch the metadata of the infohashes that somebody has (--metadata)."
    )
    deadline: float = setting(
        30.0, unit="s", help="An infohash is given so long, from the first dial on; then it rests.", above=0
    )
    hedge_after: float = setting(
        1.0, unit="s", help="When the last peer dialled takes longer, the next is dialled as well.", above=0
    )
    max_dials: int = setting(
        200, unit="peers", help="Peers dialled or talked to at once, for all infohashes.", minimum=1
    )
    max_jobs: int = setting(
        64,
        unit="infohashes",
        help="Fetched at once; fewer than max_dials, so that slow peers leave room to dial the next.",
        minimum=1,
    )
    max_per_ip: int = setting(
        2, unit="peers", help="Dialled or talked to at once at one IP address.", minimum=1
    )
    max_per_job: int = setting(
        16, unit="peers", help="Dialled or talked to at once for one infohash.", minimum=1
    )
    max_peers: int = setting(
        200, unit="peers", help="Peers kept for one infohash; more are dropped.", minimum=1
    )
    max_waiting: int = setting(
        20_000,
        unit="infohashes",
        help="That wait or are being fetched; of the lowest rank, the one that waited longest is dropped.",
        minimum=1,
    )
    max_resting: int = setting(
        50_000,
        unit="infohashes",
        help="Whose peers were all dead and that will be tried again; the one tried most often is dropped.",
        minimum=0,
    )
    max_seeking: int = setting(
        64, unit="infohashes", help="That have rested and wait for new peers at once.", minimum=1
    )
    retry_after: float = setting(
        600.0, unit="s", help="The first rest of an infohash whose peers were all dead.", above=0
    )
    retry_factor: float = setting(4.0, unit="", help="Each further rest is so many times as long.", minimum=1)
    max_retries: int = setting(
        4, unit="", help="After so many rests an infohash is given up.", minimum=0, maximum=32
    )
    remembered: int = setting(
        2_000_000,
        unit="infohashes",
        help="The latest fetched, which are not to be fetched again; 4.3 MB per million.",
        minimum=1000,
    )
    max_line: int = setting(
        4 << 20, unit="bytes", help="Longest line of a record; files beyond it are left out.", minimum=4096
    )
    max_read_at_once: int = setting(
        64 << 10,
        unit="bytes",
        help="Longer info dicts are read in a thread, so that the crawl goes on meanwhile.",
        minimum=0,
    )


class Origin(enum.IntEnum):
    """How a peer became known, best first: by itself, by a node, by another peer."""

    ANNOUNCED = 0
    NAMED = 1
    EXCHANGED = 2


class Rank(enum.IntEnum):
    """In which order waiting jobs begin."""

    ANNOUNCED = 0
    FRESH = 1
    DOUBTED = 2
    RETRY = 3


class Phase(enum.Enum):
    """Where a job stands."""

    WAITING = enum.auto()
    RUNNING = enum.auto()
    READING = enum.auto()
    SEEKING = enum.auto()
    RESTING = enum.auto()
    OVER = enum.auto()


class Hearsay(Protocol):
    """What a peer that is talked to tells of others."""

    @property
    def peers(self) -> tuple[bytes, ...]:
        """Compact addresses, all so far."""


@attrs.define(eq=False)
class Dial:
    """One peer, asked for the infohash of one job until ``deadline``."""

    job: Job
    peer: bytes
    deadline: float
    hearsay: Hearsay | None = None


def _queues() -> tuple[deque[bytes], ...]:
    """Return an empty queue for each `Origin`, written out since each job makes them."""
    return deque(), deque(), deque()


@attrs.define(eq=False)
class Job:
    """One infohash that is to be fetched.

    Attributes:
        infohash: 20 bytes.
        rank: when it begins.
        phase: where it stands.
        peers: compact addresses not dialled yet, a queue for each `Origin`.
        known: all addresses that were ever in ``peers``.
        dials: the peers that are being dialled or talked to.
        last: the latest of all dials, over or not, and when it began.
        deadline: when the fetch from these peers ends; set by the first dial.
        crowded_since: when it began to wait for room at an IP address.
        sought: whether these peers were sought all over the DHT.
        rests: how often it has rested.
        due: when it has rested enough.
        excused: how often our own limits got in its way.
        timer: when it is to be looked at again.
        queued: whether it waits for its next dial.
        parked: whether it waits for room at an IP address.
        woken_for: the IP address where there is room, just now.
    """

    infohash: bytes
    rank: Rank
    phase: Phase = Phase.WAITING
    peers: tuple[deque[bytes], ...] = attrs.field(factory=_queues)
    known: set[bytes] = attrs.field(factory=set)
    dials: dict[bytes, Dial] = attrs.field(factory=dict)
    last: Dial | None = None
    last_began: float = 0.0
    deadline: float | None = None
    crowded_since: float | None = None
    sought: bool = False
    rests: int = 0
    due: float = 0.0
    excused: int = 0
    timer: float = float("inf")
    queued: bool = False
    parked: bool = False
    woken_for: bytes | None = None

    def forget_peers(self) -> None:
        """Begin anew, without peers."""
        for peers in self.peers:
            peers.clear()
        self.known.clear()
        self.last = self.deadline = self.crowded_since = None
        self.sought = False
        self.excused = 0
        self.timer = float("inf")


@attrs.define
class FetchCounters:
    """What became of the jobs, and of their peers."""

    jobs_in: int = 0
    fetched: int = 0
    gave_up: Counter[str] = attrs.field(factory=Counter)
    dropped: Counter[str] = attrs.field(factory=Counter)
    rested: int = 0
    dialled: int = 0
    hedged: int = 0
    peers_dead_lately: int = 0
    peers_exchanged: int = 0
    peers_over_limit: int = 0
