"""The tree of tasks that a living daemon tells when asked: who runs inside whom, and where each waits."""

from __future__ import annotations

import re
import socket

import trio

from crawler.daemon import tasks
from crawler.net.tcp import Link


async def waiting(event: trio.Event) -> None:
    """Wait for an event."""
    await event.wait()


def below(lines: list[str], name: str) -> list[str]:
    """Return the lines of a task and of all below it, without the task's own indentation."""
    start = next(at for at, line in enumerate(lines) if line.lstrip().startswith(f"{name}  "))
    depth = len(lines[start]) - len(lines[start].lstrip())
    end = next(
        (at for at in range(start + 1, len(lines)) if len(lines[at]) - len(lines[at].lstrip()) <= depth),
        len(lines),
    )
    return [line[depth:] for line in lines[start:end]]


async def test_nesting_and_names() -> None:
    """A task stands below the one whose nursery it runs in; alike ones are one line with their number."""
    event = trio.Event()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(waiting, event, name="the only one")
            for _ in range(5):
                inner.start_soon(waiting, event, name="one of many")
            task_status.started()

    async with trio.open_nursery() as nursery:
        await nursery.start(run, name="parent")
        await trio.testing.wait_all_tasks_blocked()
        root = trio.lowlevel.current_root_task()
        assert root is not None
        found = below(tasks.tree(root), "parent")
        event.set()

    assert re.match(
        r"parent  daemon/test_tasks\.py:\d+ test_nesting_and_names.<locals>.run, in \S+$", found[0]
    )
    place = r"daemon/test_tasks\.py:\d+ waiting, in Event\.wait"
    assert re.match(rf"  one of many  {place} \(x5\)$", found[1])
    assert re.match(rf"  the only one  {place}$", found[2])
    assert len(found) == 3


async def test_the_place_is_in_our_code() -> None:
    """A task that waits in Trio for our sake is shown at our line, with what it awaits there."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def receive() -> None:
        with Link(ours) as link:
            await link.wait_readable()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, name="reader")
        await trio.testing.wait_all_tasks_blocked()
        root = trio.lowlevel.current_root_task()
        assert root is not None
        [line] = below(tasks.tree(root), "reader")
        nursery.cancel_scope.cancel()
    theirs.close()

    assert re.fullmatch(r"reader  crawler/net/tcp\.py:\d+ Link\.\w+, in \S+", line)


async def test_a_task_that_has_not_begun() -> None:
    """A task that was started and did not run yet is told as such."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting, trio.Event(), name="newborn")
        root = trio.lowlevel.current_root_task()
        assert root is not None
        [line] = below(tasks.tree(root), "newborn")
        nursery.cancel_scope.cancel()
    assert line.startswith("newborn  ")
