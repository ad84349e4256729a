"""Jobs whose peers were all dead, and when each of them is to be tried again.

All that have rested equally often rest equally long, so there is one queue for each number of rests, and the
first of each queue is the first that is due. No heap, and whichever rested most often is at hand when there
are too many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawler.crawl.fetch_job import Phase

if TYPE_CHECKING:
    from crawler.crawl.fetch_job import FetchConfig, Job


class Resting:
    """The jobs that rest."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._queues: list[dict[bytes, Job]] = [{} for _ in range(config.max_retries + 1)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def lie_down(self, job: Job, now: float) -> bool:
        """Let ``job`` rest, longer each time; False if it has rested often enough."""
        if job.rests >= self._config.max_retries:
            return False
        job.due = now + self._config.retry_after * self._config.retry_factor**job.rests
        job.rests += 1
        self.put(job)
        return True

    def put(self, job: Job) -> None:
        """Let ``job`` rest until its ``due``."""
        job.phase = Phase.RESTING
        self._queues[job.rests][job.infohash] = job
        self._count += 1

    def remove(self, job: Job) -> None:
        """Let ``job`` go."""
        del self._queues[job.rests][job.infohash]
        self._count -= 1

    def in_order(self) -> list[Job]:
        """Return all of them, so that putting them back one by one restores the order."""
        return [job for queue in self._queues for job in queue.values()]

    def next_due(self) -> float:
        """Return when the first has rested enough."""
        return min((self._first(queue).due for queue in self._queues if queue), default=float("inf"))

    def pop_due(self, now: float) -> Job | None:
        """Return a job that has rested enough; it rests no more."""
        for queue in self._queues:
            if queue and (job := self._first(queue)).due <= now:
                self.remove(job)
                return job
        return None

    def pop_surplus(self) -> Job | None:
        """Return the job that rested most often, of these the first, if there are too many."""
        if self._count <= self._config.max_resting:
            return None
        job = self._first(next(queue for queue in reversed(self._queues) if queue))
        self.remove(job)
        return job

    @staticmethod
    def _first(queue: dict[bytes, Job]) -> Job:
        return next(iter(queue.values()))
