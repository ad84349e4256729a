"""What signals do to a running daemon; those that end it are `lifetime`'s.

Where the system lacks a signal, nobody can send it, and nothing waits for it.
"""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from crawler.daemon import reloading, tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from crawler.config import Config
    from crawler.daemon.run import Run

_MOST_TASKS = 500


async def watch_signals(
    actions: Mapping[str, Callable[[], Awaitable[None]]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call the action of each signal that comes, named as in the module `signal`, one after the other."""
    by_number = {getattr(signal, name): act for name, act in actions.items() if hasattr(signal, name)}
    if not by_number:
        task_status.started()
        return
    with trio.open_signal_receiver(*by_number) as signals:
        task_status.started()
        async for number in signals:
            await by_number[signal.Signals(number)]()


def actions(
    run: Run,
    load: Callable[[], Config] | None,
    count: Callable[[], Mapping[str, Any]],
    logger: Any,
) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return what signals do to ``run``.

    Args:
        run: what they are done to.
        load: reads the configuration as at the start; None where it can't be read again.
        count: returns all counters, for the log.
        logger: is told.
    """
    return {"SIGHUP": partial(_hang_up, run, load, logger), "SIGUSR1": partial(_tell, count, logger)}


async def _hang_up(run: Run, load: Callable[[], Config] | None, logger: Any) -> None:
    """Follow outputs that were renamed, and read the settings again."""
    run.sink.reopen()
    if load is not None:
        await reloading.reload(run, load, logger)


async def _tell(count: Callable[[], Mapping[str, Any]], logger: Any) -> None:
    """Log all counters, and what every task is doing, an event each."""
    await trio.lowlevel.checkpoint()
    logger.info("crawler.status", **count())
    root = trio.lowlevel.current_root_task()
    if root is not None:
        lines = tasks.tree(root)
        logger.info("crawler.tasks", lines=len(lines))
        for line in lines[:_MOST_TASKS]:
            logger.info("crawler.task", task=line, sampled=False)
