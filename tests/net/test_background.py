"""Tasks beside a block: they end with it, and errors come out as whoever wrote the block expects them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from crawler.net.background import background


async def test_tasks_end_with_the_block() -> None:
    """What was started is cancelled when the block is over, and the block waits for its end."""
    ended: list[str] = []

    async def task() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("task")

    async with background() as nursery:
        nursery.start_soon(task)
        await trio.testing.wait_all_tasks_blocked()

    assert ended == ["task"]


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    """Whoever wrote the block catches its error by its own name, not in a group."""

    async def block() -> None:
        async with background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await block()


async def test_an_error_of_a_task_ends_the_block() -> None:
    """A task that fails cancels the block, and its error is not lost."""

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("the task's")

    async def block() -> None:
        async with background() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()

    with trio.fail_after(5), pytest.RaisesGroup(pytest.RaisesExc(LookupError, match="the task's")):
        await block()


async def test_cancelling_goes_through() -> None:
    """A block that is cancelled from outside ends so, and with it the tasks."""
    with trio.move_on_after(0) as scope:
        async with background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    assert scope.cancelled_caught
