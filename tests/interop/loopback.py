"""Loopback addresses for benches: each bench gets a /16 of 127/8 of its own, so that nothing clashes."""

from __future__ import annotations

import itertools
import os

_counter = itertools.count()


def own_network() -> str:
    """Return the first two numbers of a loopback /16, ``"127.x"``, not handed out before in this process.

    The start depends on the process id, so that two test runs at the same time rarely share one; ports are
    chosen by the kernel anyway.
    """
    return f"127.{20 + (os.getpid() * 7 + next(_counter)) % 230}"
