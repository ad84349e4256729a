"""Fill a small disk of its own under a writing sink, free it again, and tell how that went.

Run as ``unshare -rm python -m tests.torture.small_disk DIRECTORY``: it mounts a file system in memory there,
which nobody else sees and which goes with the process.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

import trio

from crawler.sinks.config import OutputConfig
from tests.sinks.lines import Log, WatchedSink, numbers_at, until, write_numbers

_SIZE = 256 * 1024
_BATCHES, _EACH = 100, 10  # about 150 kB: more than the disk holds beside the filler


def main() -> None:
    """Mount, fill, free, and print what came of it as JSON."""
    directory = Path(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", str(directory).encode(), b"tmpfs", 0, f"size={_SIZE}".encode()):
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    (directory / "filler").write_bytes(bytes(_SIZE // 2))
    print(json.dumps(trio.run(_fill_and_free, directory)))  # noqa: T201 - what the command is for


async def _fill_and_free(directory: Path) -> dict[str, object]:
    path = directory / "out.jsonl"
    log = Log()
    sink = WatchedSink(path, OutputConfig(flush_interval=0.01, max_batch=20, retry_first=0.2), log)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_numbers, sink, _BATCHES, _EACH)
            await until(lambda: bool(sink.statistics().trouble))
            when_full = sink.statistics().lines_written
            (directory / "filler").unlink()
            freed = trio.current_time()
            await until(lambda: sink.statistics().lines_written > when_full)
            resumed = trio.current_time() - freed
    sink.close()
    return {
        "problems": sorted({fields["problem"] for fields in log.of("sink.write_failed")}),
        "resumed_after": resumed,
        "acknowledged": len(sink.acknowledged),
        "lost": len(set(sink.acknowledged) - set(numbers_at(path))),
        "twice": len(numbers_at(path)) - len(set(numbers_at(path))),
    }


if __name__ == "__main__":
    main()
