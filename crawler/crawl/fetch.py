"""What it is: verified metadata of the infohashes that somebody has, from the peers that have it.

One fetch serves all sockets. `fetch_jobs` decides whom to dial for what; here each dial becomes a call
(`net/calls`), its outcome goes back to the policy, and what verified becomes a record. Whose peers were all
dead is handed to the lookups. While the sink is behind, or too much that was fetched waits to be read, nobody
new is dialled.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from crawler.crawl.failures import Failures
from crawler.crawl.fetch_jobs import FetchJobs
from crawler.crawl.seen import Seen, SeenConfig
from crawler.crawl.seen_slices import KEY_BYTES
from crawler.net.calls import Wish
from crawler.net.peers import FetchError
from crawler.records import PeersFound, metadata_found
from crawler.swarm.pex import PexConfig, PexInbox
from crawler.wire import metainfo
from crawler.wire.metainfo import MetainfoError, MetainfoLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from crawler.crawl.failures import FailuresConfig
    from crawler.crawl.fetch_job import Dial, FetchConfig, Origin
    from crawler.crawl.outlet import Outlet
    from crawler.net.calls import Calls
    from crawler.records import MetadataFound
    from crawler.swarm.metadata import VerifiedMetadata
    from crawler.swarm.serving import MetadataCache
    from crawler.wire.metainfo import Metainfo

    _Read = tuple[Metainfo, MetadataFound]

_PAUSE: Final = 0.1
"""Seconds until a fetch that had to pause looks again."""
_MAX_READING: Final = 32 << 20
"""Bytes of fetched info dicts that wait to be read; while there are more, nobody new is dialled."""
_RECENT: Final = 50_000
"""Fetched infohashes that are remembered exactly, before the filter."""
_PIECE: Final = 2000
_HASH_BYTES: Final = 20


@attrs.frozen
class FetchSections:
    """The sections of the configuration that the fetch obeys itself."""

    fetch: FetchConfig
    failures: FailuresConfig
    pex: PexConfig = attrs.field(factory=PexConfig)
    metainfo: MetainfoLimits = attrs.field(factory=MetainfoLimits)


@attrs.define
class ReadingCounters:
    """What was read of the metadata that was fetched."""

    bytes_fetched: int = 0
    private: int = 0
    truncated: int = 0


class Fetcher:
    """The fetch of one run.

    Args:
        sections: settings.
        calls: dials peers.
        outlet: takes the records.
        seek: asks for a lookup of the peers of an infohash; :meth:`sought` must follow.
        admit: whether a compact address is one that may be dialled.
        spread: False lifts the limit of failures per IP address, for tests and closed networks.
        cache: is given what was verified and may be served.

    Attributes:
        jobs: the policy, and its counters.
        reading: counters of what was read.
        paused: says that nothing new is to be begun, such as while there is no network.
        on_verified: is told of every infohash whose metadata was verified.
    """

    def __init__(
        self,
        sections: FetchSections,
        calls: Calls,
        outlet: Outlet,
        *,
        seek: Callable[[bytes], None],
        admit: Callable[[bytes], bool],
        spread: bool = True,
        cache: MetadataCache | None = None,
    ) -> None:
        self._sections = sections
        self._calls = calls
        self._outlet = outlet
        self._seek = seek
        self._admit = admit
        self._cache = cache
        remembered = SeenConfig(capacity=sections.fetch.remembered, recent=_RECENT)
        self.failures = Failures(sections.failures, spread=spread)
        self.jobs = FetchJobs(sections.fetch, self.failures, Seen(remembered, os.urandom(KEY_BYTES)))
        self.reading = ReadingCounters()
        self.paused: Callable[[], bool] = _never
        self.on_verified: Callable[[bytes], None] = _tell_nobody
        self._hang_up: dict[Dial, Callable[[], None]] = {}
        self._news = trio.Event()
        self._being_read = 0
        self._nursery: trio.Nursery | None = None
        self._readers = trio.CapacityLimiter(1)

    def offer(self, infohash: bytes, peers: Iterable[bytes], origin: Origin, now: float) -> None:
        """``peers`` (compact addresses that may be dialled) are said to have ``infohash``."""
        self.jobs.offer(infohash, peers, origin, now)
        self._news.set()

    def sought(self, infohash: bytes, now: float) -> None:
        """The lookup of ``infohash`` is over, or will never be."""
        self.jobs.sought(infohash, now)
        self._news.set()

    async def run(self) -> None:
        """Fetch until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._calls.run)
            self._nursery = nursery
            while True:
                now = trio.current_time()
                self._news = trio.Event()
                wake = self._advance(now)
                with trio.CancelScope(deadline=wake):
                    await self._news.wait()

    def to_pieces(self, wall_minus_now: float) -> Iterator[list[list[Any]]]:
        """Yield all jobs as rows for the state; ``wall_minus_now`` turns times into epoch seconds."""
        rows = [
            [infohash, rests, due + wall_minus_now]
            for infohash, rests, due in self.jobs.saved(trio.current_time())
        ]
        for start in range(0, len(rows), _PIECE):
            yield rows[start : start + _PIECE]

    def restore(self, pieces: Iterable[Any], wall_minus_now: float) -> None:
        """Put the jobs of an earlier run back.

        Raises:
            ValueError: at the first row that makes no sense; those before it are back.
        """
        for piece in pieces:
            try:
                for infohash, rests, due in piece:
                    self.jobs.restore(_checked(infohash), max(int(rests), 0), float(due) - wall_minus_now)
            except (TypeError, ValueError) as error:
                raise ValueError(f"a row is malformed: {error}") from error

    def _advance(self, now: float) -> float:
        """Begin what may begin now; return when to look again."""
        jobs = self.jobs
        jobs.handle_timer(now)
        wake = float("inf")
        if self._outlet.full or self._being_read > _MAX_READING or self.paused():
            wake = now + _PAUSE
        else:
            while (dial := jobs.next_dial(now)) is not None:
                self._dial(dial, now)
        for infohash in jobs.take_wanted():
            self._seek(infohash)
        return min(wake, jobs.next_timer())

    def _dial(self, dial: Dial, now: float) -> None:
        dial.hearsay = inbox = PexInbox(self._admit, self._sections.pex)
        wish = Wish(dial.peer, dial.job.infohash, inbox, dial.deadline, partial(self._on_end, dial))
        try:
            self._hang_up[dial] = self._calls.begin(wish)
        except FetchError as error:
            self.jobs.failed(dial, error.reason, now, blame=error.blame)

    def _on_end(self, dial: Dial, outcome: VerifiedMetadata | FetchError, now: float) -> None:
        del self._hang_up[dial]
        self._write_peers(dial, now)
        if isinstance(outcome, FetchError):
            self.jobs.failed(dial, outcome.reason, now, blame=outcome.blame)
        else:
            self._take(dial, outcome, now)
        self._news.set()

    def _write_peers(self, dial: Dial, now: float) -> None:
        if dial.hearsay is not None and dial.hearsay.peers:
            at = self._outlet.wall_clock(now)
            self._outlet.put(PeersFound(at, dial.job.infohash, "pex", dial.hearsay.peers, (dial.peer,)))

    def _take(self, dial: Dial, found: VerifiedMetadata, now: float) -> None:
        others = self.jobs.fetched(dial)
        if others is None:
            return
        self.on_verified(dial.job.infohash)
        for other in others:
            self._hang_up.pop(other)()
            self._write_peers(other, now)
            self.jobs.failed(other, "outrun", now, blame=False)
        read = partial(_make_record, self._outlet.wall_clock(now), found, dial.peer, self._sections)
        if len(found.info) <= self._sections.fetch.max_read_at_once:
            self._write(dial, found, _try_to(read))
        else:
            assert self._nursery is not None  # noqa: S101 - calls end while run() goes on
            self._being_read += len(found.info)
            self._nursery.start_soon(self._read_aside, dial, found, read, name="read metadata")

    async def _read_aside(self, dial: Dial, found: VerifiedMetadata, read: Callable[[], _Read]) -> None:
        try:
            done = await trio.to_thread.run_sync(_try_to, read, limiter=self._readers)
        finally:
            self._being_read -= len(found.info)
        self._write(dial, found, done)
        self._news.set()

    def _write(self, dial: Dial, found: VerifiedMetadata, read: _Read | None) -> None:
        """Write the record of what was fetched; None if it is of no use."""
        if read is None:
            self.jobs.over(dial.job, "unreadable")
            return
        said, record = read
        self.reading.bytes_fetched += len(found.info)
        self.reading.private += said.private
        self.reading.truncated += said.files_truncated
        self._outlet.put_metadata(record)
        if self._cache is not None:
            for infohash in {found.infohash, *_dht_names(said)}:
                self._cache.add(infohash, found.info, private=said.private)
        self.jobs.over(dial.job)


def _checked(infohash: bytes) -> bytes:
    if len(infohash) != _HASH_BYTES:
        raise ValueError("an infohash has the wrong size")
    return bytes(infohash)


def _tell_nobody(_infohash: bytes) -> None:
    pass


def _never() -> bool:
    return False


def _try_to(read: Callable[[], _Read]) -> _Read | None:
    try:
        return read()
    except MetainfoError:
        return None


def _make_record(at: float, found: VerifiedMetadata, peer: bytes, sections: FetchSections) -> _Read:
    said = metainfo.parse(found.info, sections.metainfo, sha1=found.sha1)
    return said, metadata_found(at, found.infohash, said, peer, max_line=sections.fetch.max_line)


def _dht_names(said: Metainfo) -> Iterator[bytes]:
    """Yield the 20-byte names that a torrent goes by."""
    if said.infohash_v1 is not None:
        yield said.infohash_v1
    if said.infohash_v2 is not None:
        yield said.infohash_v2[:_HASH_BYTES]
