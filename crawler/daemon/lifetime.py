"""How long a run lasts: until its time is over, a signal comes, or nobody reads its output any more."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import attrs
import trio

from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class RunConfig:
    """How long the run lasts, and how it speaks of itself."""

    duration: float = setting(0.0, unit="s", help="Stop after so long; 0: run until stopped.", minimum=0)
    status_interval: float = setting(
        60.0, unit="s", help="All counters are logged this often; 0: only at exit.", minimum=0
    )
    drain_timeout: float = setting(
        4.0, unit="s", help="How long the end may take: last answers, last lines, state.", above=0
    )


@attrs.define(eq=False)
class Lifetime:
    """Says when the run is to end, and why."""

    config: RunConfig
    over: trio.Event = attrs.field(factory=trio.Event)
    reason: str = ""

    def end(self, reason: str) -> None:
        """Let the run end; the first reason is kept."""
        if not self.over.is_set():
            self.reason = reason
            self.over.set()

    async def watch_clock(self) -> None:
        """End the run when its duration is over."""
        if self.config.duration:
            await trio.sleep(self.config.duration)
            self.end("duration")

    async def watch_signals(
        self,
        at_once: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """End the run at SIGINT or SIGTERM; a second one calls ``at_once``."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                if self.over.is_set():
                    at_once()
                    return
                self.end(signal.Signals(number).name)
