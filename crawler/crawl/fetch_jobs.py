"""Which peer is dialled next for which infohash: the policy of the fetch, without a socket or a clock.

A job is one infohash that somebody has and whose metadata we want. Its way:

    waiting -> running -> reading -> over        a peer gave it
               running -> seeking -> waiting     no peer is left: a lookup asks the DHT anew
                          seeking -> resting     in vain: it rests, longer each time
                                     resting -> seeking
                                     resting -> over         at last it is given up

While a job runs its peers are hedged: the next one is dialled as soon as the last one failed, or has taken
`hedge_after`. Peers that announced themselves go first, then those that nodes named, then those that other
peers named. Jobs that run go before jobs that wait; of these, announced ones first, then fresh ones, the
newest first because its peers are the likeliest to be still there, then those that may be invented
(`crawl/credit`), which also have one start in four to themselves, then those that rested. Far fewer jobs run
than peers are dialled, or all dials could be slow ones and none left to overtake them.

What is full drops, and counts it: of the jobs of the lowest rank, the one that waited longest; of those that
rest, the one that rested most often. Jobs: in = fetched + gave_up + dropped + held.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from itertools import count
from typing import TYPE_CHECKING, Final

from crawler.crawl.fetch_job import Dial, FetchCounters, Job, Origin, Phase, Rank
from crawler.crawl.resting import Resting
from crawler.wire.compact import ip_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from crawler.crawl.failures import Failures
    from crawler.crawl.fetch_job import FetchConfig
    from crawler.crawl.seen import Seen

_MAX_EXCUSES: Final = 3
"""So often a peer is tried again for a job after we got in our own way."""
_TURNED_AWAY: Final = frozenset({"closed_in_handshake", "reset_in_handshake"})
"""What a peer does when we dial it while another of our handshakes with it goes on: Transmission takes one
of an IP address at a time. Without such another one it means that the peer does not have the torrent."""
_NEVER: Final = frozenset({"forbidden_address", "outrun"})
"""Reasons without blame that will be no different the next time."""
_CROWDED: Final = 10
"""So many deadlines a job may wait for room at the IP address where all its peers are."""
_DOUBTED_TURN: Final = 4
"""One start in so many is for an infohash in doubt, or nobody new could ever prove right."""
_RANKS: Final = {
    Origin.ANNOUNCED: Rank.ANNOUNCED,
    Origin.NAMED: Rank.FRESH,
    Origin.EXCHANGED: Rank.FRESH,
}


class FetchJobs:
    """All jobs.

    Args:
        config: limits and patience.
        failures: the peers that are not worth dialling.
        done: the infohashes that are not to be fetched again.

    Attributes:
        counters: what became of the jobs.
        in_flight: peers dialled or talked to right now.
        doubts: whether an infohash may well be invented.
    """

    def __init__(self, config: FetchConfig, failures: Failures, done: Seen) -> None:
        self.counters = FetchCounters()
        self.in_flight = 0
        self._config = config
        self._failures = failures
        self._done = done
        self._jobs: dict[bytes, Job] = {}
        self._waiting: dict[Rank, dict[bytes, Job]] = {rank: {} for rank in Rank}
        self._running: deque[Job] = deque()
        self._active = 0
        self._resting = Resting(config)
        self._seeking = 0
        self._wanted: list[bytes] = []
        self._per_ip: Counter[bytes] = Counter()
        self._parked: dict[bytes, deque[Job]] = {}
        self._timers: list[tuple[float, int, Job]] = []
        self._number = count()
        self._starts = 0
        self.doubts: Callable[[bytes], bool] = _never

    @property
    def held(self) -> int:
        """Jobs that are not over."""
        return len(self._jobs)

    @property
    def resting(self) -> int:
        """Of these, the ones that rest."""
        return len(self._resting)

    @property
    def seeking(self) -> int:
        """Of these, the ones that wait for a lookup."""
        return self._seeking

    # What comes in.

    def offer(self, infohash: bytes, peers: Iterable[bytes], origin: Origin, now: float) -> None:
        """``peers`` (compact) are said to have ``infohash``: begin a job, or help the one that there is."""
        job = self._jobs.get(infohash)
        if job is None:
            if infohash not in self._done:
                self._begin(infohash, peers, origin)
            return
        rank = Rank.ANNOUNCED if origin is Origin.ANNOUNCED else job.rank
        if job.phase in {Phase.SEEKING, Phase.RESTING}:
            peers = [peer for peer in peers if not self._failures.knows(peer, infohash, now)]
            if not peers:
                return
            if job.phase is Phase.RESTING:
                job.forget_peers()
            self._add_peers(job, peers, origin)
            self._take_out(job)
            self._wait(job, rank)
            return
        self._add_peers(job, peers, origin)
        if job.phase is Phase.WAITING and rank < job.rank:
            self._take_out(job)
            self._wait(job, rank)
        elif job.phase is Phase.RUNNING:
            self._queue(job)

    def sought(self, infohash: bytes, now: float) -> None:
        """A lookup for ``infohash`` is over, or will never be; what it found was offered before."""
        job = self._jobs.get(infohash)
        if job is None:
            return
        job.sought = True
        if job.phase is Phase.SEEKING:
            self._take_out(job)
            self._rest(job, now)

    def restore(self, infohash: bytes, rests: int, due: float) -> None:
        """Put back a job of an earlier run, to rest until ``due``; call it in the order of :meth:`saved`."""
        if infohash in self._jobs:
            return
        self.counters.jobs_in += 1
        job = self._jobs[infohash] = Job(infohash, Rank.RETRY)
        job.rests, job.due = min(rests, self._config.max_retries), due
        self._resting.put(job)
        self._drop_surplus()

    def saved(self, now: float) -> Iterator[tuple[bytes, int, float]]:
        """Yield (infohash, rests, due) of every job, in the order in which they are to be put back."""
        for job in list(self._jobs.values()):
            if job.phase is not Phase.RESTING:
                yield job.infohash, job.rests, now
        for job in self._resting.in_order():
            yield job.infohash, job.rests, job.due

    # What goes out.

    def take_wanted(self) -> list[bytes]:
        """Return infohashes whose peers a lookup has to find; :meth:`sought` must follow for each."""
        wanted, self._wanted = self._wanted, []
        return wanted

    def next_dial(self, now: float) -> Dial | None:
        """Return a peer to dial now; :meth:`failed` or :meth:`fetched` must follow."""
        while self.in_flight < self._config.max_dials and (job := self._next_job()) is not None:
            dial = self._next_of(job, now) if job.phase is Phase.RUNNING else None
            woken_for, job.woken_for = job.woken_for, None
            if woken_for is not None and (dial is None or ip_of(dial.peer) != woken_for):
                self._wake_one(woken_for)
            if dial is not None:
                return dial
        return None

    def next_timer(self) -> float:
        """Return when :meth:`handle_timer` is due."""
        timers = self._timers
        while timers and timers[0][2].timer != timers[0][0]:
            heapq.heappop(timers)
        due = timers[0][0] if timers else float("inf")
        if self._seeking < self._config.max_seeking:
            due = min(due, self._resting.next_due())
        return due

    def handle_timer(self, now: float) -> None:
        """Do what is due: hedge slow peers, end what takes too long, seek peers for jobs that have rested."""
        while self._timers and self._timers[0][0] <= now:
            due, _, job = heapq.heappop(self._timers)
            if job.timer == due:
                job.timer = float("inf")
                self._queue(job)
        while self._seeking < self._config.max_seeking and (job_due := self._resting.pop_due(now)):
            job_due.rank = Rank.RETRY
            self._seek(job_due)

    # What came of a dial.

    def failed(self, dial: Dial, reason: str, now: float, *, blame: bool = True) -> None:
        """The peer of ``dial`` did not give it, for ``reason``; ``blame`` tells whether it is its doing."""
        job = dial.job
        self._close(dial)
        blame = blame and not (reason in _TURNED_AWAY and ip_of(dial.peer) in self._per_ip)
        if blame:
            self._failures.add(dial.peer, job.infohash, reason, now)
        if job.phase is not Phase.RUNNING:
            return
        if not blame and reason not in _NEVER and job.excused < _MAX_EXCUSES:
            job.excused += 1
            job.peers[Origin.EXCHANGED].append(dial.peer)
            self._look_again(job, now + self._config.hedge_after)
        else:
            self._queue(job)

    def fetched(self, dial: Dial) -> list[Dial] | None:
        """The peer of ``dial`` gave it, and it verified; :meth:`over` must follow.

        Returns:
            the job's other dials, which are of no use any more; or None when another peer was faster.
        """
        job = dial.job
        self._close(dial)
        if job.phase is not Phase.RUNNING:
            return None
        job.phase = Phase.READING
        return list(job.dials.values())

    def over(self, job: Job, fault: str = "") -> None:
        """What was fetched for ``job`` has left, or was of no use: ``fault`` says why."""
        if fault:
            self.counters.gave_up[fault] += 1
        else:
            self.counters.fetched += 1
        self._done.sift((job.infohash,))
        self._end(job)

    # Where jobs go.

    def _begin(self, infohash: bytes, peers: Iterable[bytes], origin: Origin) -> None:
        rank = _RANKS[origin]
        if rank is Rank.FRESH and self.doubts(infohash):
            rank = Rank.DOUBTED
        job = self._jobs[infohash] = Job(infohash, rank)
        self.counters.jobs_in += 1
        self._add_peers(job, peers, origin)
        self._wait(job, job.rank)

    def _wait(self, job: Job, rank: Rank) -> None:
        job.phase, job.rank = Phase.WAITING, rank
        self._waiting[rank][job.infohash] = job
        if len(self._jobs) - len(self._resting) <= self._config.max_waiting:
            return
        lowest = next(waiting for waiting in reversed(self._waiting.values()) if waiting)
        surplus = next(iter(lowest.values()))
        self._take_out(surplus)
        self._drop(surplus, "waiting")

    def _seek(self, job: Job) -> None:
        job.forget_peers()
        job.phase = Phase.SEEKING
        self._seeking += 1
        self._wanted.append(job.infohash)

    def _rest(self, job: Job, now: float) -> None:
        job.forget_peers()
        if not self._resting.lie_down(job, now):
            self.counters.gave_up["all_dead"] += 1
            self._end(job)
            return
        self.counters.rested += 1
        self._drop_surplus()

    def _drop_surplus(self) -> None:
        surplus = self._resting.pop_surplus()
        if surplus is not None:
            self._drop(surplus, "resting")

    def _drop(self, job: Job, where: str) -> None:
        self.counters.dropped[where] += 1
        self._end(job)

    def _take_out(self, job: Job) -> None:
        """Take ``job`` out of the room where it is, on its way to another one."""
        if job.phase is Phase.WAITING:
            del self._waiting[job.rank][job.infohash]
        elif job.phase is Phase.SEEKING:
            self._seeking -= 1
        elif job.phase is Phase.RESTING:
            self._resting.remove(job)

    def _end(self, job: Job) -> None:
        job.phase = Phase.OVER
        job.forget_peers()
        del self._jobs[job.infohash]

    # Whom a running job dials.

    def _next_job(self) -> Job | None:
        if self._running:
            job = self._running.popleft()
            job.queued = False
            return job
        if self._active >= self._config.max_jobs:
            return None
        self._starts += 1
        doubted = self._waiting[Rank.DOUBTED] if self._starts % _DOUBTED_TURN == 0 else {}
        for waiting in (doubted, *self._waiting.values()):
            if waiting:
                _, job = waiting.popitem()
                job.phase = Phase.RUNNING
                return job
        return None

    def _next_of(self, job: Job, now: float) -> Dial | None:
        """Return the next dial of a running ``job``; if there is none, see to it that the job goes on."""
        config = self._config
        if job.deadline is not None and now >= job.deadline:
            self._run_dry(job, now)
            return None
        if job.last is not None and job.last.peer in job.dials:
            slow = job.last_began + config.hedge_after
            if now < slow:
                self._look_again(job, slow)
                return None
        if len(job.dials) >= config.max_per_job:
            return None
        self._listen(job)
        peer = self._pick(job, now)
        if peer is not None:
            return self._open(job, peer, now)
        if job.dials:
            self._look_again(job, now + config.hedge_after)
        elif any(job.peers):
            self._wait_for_room(job, now)
        else:
            self._run_dry(job, now)
        return None

    def _pick(self, job: Job, now: float) -> bytes | None:
        """Take the best peer of ``job`` that may be dialled now; park the job where there is no room."""
        for peers in job.peers:
            for _ in range(len(peers)):
                peer = peers.popleft()
                if self._failures.knows(peer, job.infohash, now):
                    self.counters.peers_dead_lately += 1
                elif self._per_ip[ip_of(peer)] < self._config.max_per_ip:
                    return peer
                else:
                    peers.append(peer)
                    self._park(job, ip_of(peer))
        return None

    def _open(self, job: Job, peer: bytes, now: float) -> Dial:
        if job.deadline is None:
            job.deadline = now + self._config.deadline
        job.crowded_since = None
        self.counters.dialled += 1
        self.counters.hedged += bool(job.dials)
        self._active += not job.dials
        dial = Dial(job, peer, job.deadline)
        job.dials[peer] = job.last = dial
        job.last_began = now
        self._per_ip[ip_of(peer)] += 1
        self.in_flight += 1
        self._look_again(job, now + self._config.hedge_after)
        return dial

    def _close(self, dial: Dial) -> None:
        job, ip = dial.job, ip_of(dial.peer)
        self._listen(job)
        del job.dials[dial.peer]
        self._active -= not job.dials
        self.in_flight -= 1
        self._per_ip[ip] -= 1
        if not self._per_ip[ip]:
            del self._per_ip[ip]
        self._wake_one(ip)

    def _run_dry(self, job: Job, now: float) -> None:
        """``job`` has nobody left to dial: seek others, unless that was done already."""
        if job.dials:
            return
        if job.sought:
            self._rest(job, now)
        else:
            self._seek(job)

    def _add_peers(self, job: Job, peers: Iterable[bytes], origin: Origin) -> None:
        queue, limit = job.peers[origin], self._config.max_peers
        for peer in peers:
            if peer in job.known:
                continue
            if len(job.known) >= limit:
                self.counters.peers_over_limit += 1
                continue
            job.known.add(peer)
            queue.append(peer)

    def _listen(self, job: Job) -> None:
        """Take the peers that those who are talked to have named so far."""
        if job.phase is not Phase.RUNNING:
            return
        for dial in job.dials.values():
            if dial.hearsay is not None and dial.hearsay.peers:
                before = len(job.known)
                self._add_peers(job, dial.hearsay.peers, Origin.EXCHANGED)
                self.counters.peers_exchanged += len(job.known) - before

    # When a job is looked at again.

    def _queue(self, job: Job) -> None:
        if job.phase is Phase.RUNNING and not job.queued:
            job.queued = True
            self._running.append(job)

    def _look_again(self, job: Job, when: float) -> None:
        if when < job.timer:
            job.timer = when
            heapq.heappush(self._timers, (when, next(self._number), job))

    def _park(self, job: Job, ip: bytes) -> None:
        if not job.parked:
            job.parked = True
            self._parked.setdefault(ip, deque()).append(job)

    def _wake_one(self, ip: bytes) -> None:
        """If there is room at ``ip``, let the first job that waits for it have a look."""
        parked = self._parked.get(ip)
        if parked is None or self._per_ip[ip] >= self._config.max_per_ip:
            return
        while parked:
            job = parked.popleft()
            job.parked = False
            if job.phase is Phase.RUNNING:
                job.woken_for = ip
                self._queue(job)
                break
        if not parked:
            del self._parked[ip]

    def _wait_for_room(self, job: Job, now: float) -> None:
        if job.crowded_since is None:
            job.crowded_since = now
        patience = job.deadline or job.crowded_since + _CROWDED * self._config.deadline
        if now >= patience:
            self._run_dry(job, now)
        else:
            self._look_again(job, patience)


def _never(_infohash: bytes) -> bool:
    return False
