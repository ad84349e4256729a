"""What holds for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

_RUN_SYNC = trio.to_thread.run_sync


@pytest.fixture(autouse=True)
def _threads_are_threads_again() -> Iterator[None]:
    """Undo stand-ins for Trio's threads last of all.

    A scene in virtual time and a scripted disk may both put one in place, nested; the inner one then puts the
    outer one back after that was undone, and the next test would meet it.
    """
    yield
    trio.to_thread.run_sync = _RUN_SYNC
