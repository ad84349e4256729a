"""What a process that runs for months asks of the C library's memory allocator.

glibc raises the size from which a block gets pages of its own each time such a block is freed, up to 32 MiB.
After a filter was saved, every batch of lines and every block that is freed stays in the heap between small
ones: four million infohashes then held 237 MiB in place of 108. A fixed threshold gives large blocks back.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 256 * 1024


def give_back_large_blocks() -> None:
    """Let freed blocks of 256 KiB and more go back to the system at once, where the C library is glibc."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - not every system has what it loads

        # Another C library has no such function, and needs none.
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
