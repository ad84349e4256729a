"""The memory of infohashes, full size: ten million different ones through it and the sink, then a restart.

One process finds them, twenty an answer, as a crawl does but faster than any: they are sifted, put into the
outlet, written and synced by the sink, and saved by the keeper, on a real disk. What the process holds at the
end is read from the kernel, beside what the formula in `crawler/crawl/seen.py` gives. A second process then
starts from the state alone. Run by ``make bench``; ``--infohashes 100000000`` shows what the capacity costs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from crawler.crawl.outlet import Outlet, OutletConfig
from crawler.crawl.seen import Seen, SeenConfig
from crawler.daemon.allocator import give_back_large_blocks
from crawler.records import InfohashesFound, Record
from crawler.sinks.config import OutputConfig
from crawler.sinks.outputs import Outputs
from crawler.state.seen_keeper import SeenKeeper
from crawler.state.slice_files import SliceFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB: Final = 1 << 20
EACH: Final = 20
BETWEEN_FLUSHES: Final = 50
INFOHASH_BYTES, WAITING_BYTES = 121, 73
NODE: Final = bytes(6)
PROBES: Final = 20_000


def answers(count: int, seed: int) -> Iterator[list[bytes]]:
    """Yield ``count`` infohashes, all different, in answers of twenty."""
    rng = random.Random(seed)
    for _ in range(0, count, EACH):
        blob = rng.randbytes(EACH * 20)
        yield [blob[at : at + 20] for at in range(0, len(blob), 20)]


def predicted(seen: Seen, rate: float) -> float:
    """Return the bytes that the settings give for what is remembered, and what waits at so many a second."""
    config, slices = SeenConfig(), seen.slices
    each = 1.4427 * math.log2(16 / config.error_rate) / 8
    room = sum(one.capacity for one in slices.live)
    waiting = rate * (config.journal_interval + OutputConfig().flush_interval)
    return INFOHASH_BYTES * min(slices.count, config.recent) + each * room + WAITING_BYTES * waiting


def memory() -> tuple[int, int]:
    """Return what this process holds in memory, and the most it ever held, in bytes (VmRSS, VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024


def start(directory: Path, outlet: Outlet | None, sink: Outputs | None) -> tuple[Seen, SeenKeeper]:
    """Return the memory as `building` makes it, from what ``directory`` holds."""
    files = SliceFiles(directory / "seen", say_event)
    key, stored = files.load()
    seen = Seen(SeenConfig(), key or os.urandom(32), keeps_unsaved=True)
    keeper = SeenKeeper(
        SeenConfig(),
        seen,
        files,
        lines_in=lambda: 0 if outlet is None else outlet.lines_in,
        lines_durable=lambda: 0 if sink is None else sink.lines_durable,
        wall_clock=lambda _now: time.time(),
        on_event=say_event,
    )
    keeper.restore(stored, time.time())
    return seen, keeper


async def find(directory: Path, count: int, rate: float) -> dict[str, Any]:
    """Find ``count`` infohashes, ``rate`` a second, and return the figures."""
    sender, receiver = trio.open_memory_channel[list[Record]](64)
    sink = Outputs(OutputConfig((str(directory / "out.jsonl"),)), say_event)
    outlet = Outlet(OutletConfig(), sender, lambda _now: time.time(), lambda: sink.lines_settled)
    seen, keeper = start(directory, outlet, sink)
    give_back_large_blocks()
    before, _ = memory()
    sifting = 0.0
    began, cpu = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        nursery.start_soon(keeper.run)
        for number, answer in enumerate(answers(count, 1)):
            since = time.perf_counter()
            new = seen.sift(answer)
            sifting += time.perf_counter() - since
            outlet.put(InfohashesFound(time.time(), "sample", NODE, tuple(new)))
            if number % BETWEEN_FLUSHES == 0:
                outlet.flush()
                await trio.sleep(max(0.0, began + number * EACH / rate - time.perf_counter()))
                while outlet.full:
                    await trio.sleep(0.01)
                    outlet.flush()
        await outlet.finish()
        while sink.lines_durable < outlet.lines_in:  # noqa: ASYNC110 - a count has no Event
            await trio.sleep(0.05)
        while keeper.unsaved:
            await keeper.step()
        after, most = memory()
        nursery.cancel_scope.cancel()
    seconds = time.perf_counter() - began
    figures = {
        "found": seen.total,
        "before": before,
        "after": after,
        "most": most,
        "predicted": predicted(seen, rate),
        "slices": len(seen.slices.live),
        "disk": keeper.counters.disk_bytes,
        "filters_saved": keeper.counters.filters_saved,
        "new_us": sifting / count * 1e6,
        "rate": count / seconds,
        "cpu_us": (time.process_time() - cpu) / count * 1e6,
        **ask(seen, count),
    }
    keeper.close()
    sink.close()
    return figures


def ask(seen: Seen, count: int) -> dict[str, float]:
    """Return the microseconds that an answer takes whose infohashes are known, of old or from just now."""
    old = list(answers(min(PROBES, count // 20), 1))
    figures = {}
    for name in ("known_old_us", "known_recent_us"):
        began = time.perf_counter()
        for answer in old:
            seen.sift(answer)
        figures[name] = (time.perf_counter() - began) / len(old) * 1e6
    return figures


def restart(directory: Path, count: int) -> dict[str, Any]:
    """Start from the state and return the figures."""
    give_back_large_blocks()
    before, _ = memory()
    began = time.perf_counter()
    seen, keeper = start(directory, None, None)
    seconds = time.perf_counter() - began
    after, most = memory()
    unknown = sum(len(seen.sift(answer)) for answer in answers(count, 1))
    strange = sum(len(answer) - len(seen.sift(answer)) for answer in answers(1_000_000, 2))
    keeper.close()
    return {
        "seconds": seconds,
        "before": before,
        "after": after,
        "most": most,
        "unknown": unknown,
        "mistaken": strange,
        "slices": len(seen.slices.live),
    }


def in_process(what: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a process of its own prints of ``what``."""
    command = [sys.executable, __file__, "--only", what, "--at", str(directory)]
    command += ["--infohashes", str(options.infohashes), "--rate", str(options.rate)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="the memory of infohashes")
    parser.add_argument("--infohashes", type=int, default=10_000_000)
    parser.add_argument("--rate", type=float, default=100_000, help="infohashes a second")
    parser.add_argument("--only", choices=("find", "restart"), help="used by the script itself")
    parser.add_argument("--at", type=Path, help="used by the script itself")
    options = parser.parse_args()
    if options.only == "find":
        say(json.dumps(trio.run(find, options.at, options.infohashes, options.rate)))
        return
    if options.only == "restart":
        say(json.dumps(restart(options.at, options.infohashes)))
        return
    with tempfile.TemporaryDirectory() as directory:
        tell_found(in_process("find", Path(directory), options))
        tell_restart(in_process("restart", Path(directory), options))
    say(f"load average {os.getloadavg()[0]:.2f}")


def tell_found(it: dict[str, Any]) -> None:
    """Print what finding came to."""
    held = it["after"] - it["before"]
    say(f"{it['found']:,} infohashes found, written and saved at {it['rate']:,.0f} a second")
    say(
        f"    RSS {it['after'] / MIB:.0f} MiB, {it['before'] / MIB:.0f} of them before the first:"
        f" {held / MIB:.0f} MiB for what is remembered, {it['predicted'] / MIB:.0f} predicted"
        f" ({held / it['predicted']:.2f} of it); {it['most'] / MIB:.0f} MiB at the most"
    )
    say(
        f"    {it['slices']} slices, {it['filters_saved']} times a filter saved;"
        f" on the disk {it['disk'] / MIB:.1f} MiB, {it['disk'] / it['found']:.2f} bytes an infohash"
    )
    say(f"    a new infohash {it['new_us']:.2f} us to sift, {it['cpu_us']:.2f} us of CPU until it is saved")
    say(
        f"    an answer of {EACH} known ones: {it['known_recent_us']:.2f} us from the set,"
        f" {it['known_old_us']:.2f} us from the filters"
    )


def tell_restart(it: dict[str, Any]) -> None:
    """Print what the restart came to."""
    say(
        f"restart: {it['seconds']:.2f} s, {it['slices']} slices, {(it['after'] - it['before']) / MIB:.0f} MiB"
        f" ({it['most'] / MIB:.0f} at the most in all); {it['unknown']} of them not known,"
        f" {it['mistaken']} of a million others taken for known"
    )


def say_event(event: str, **fields: Any) -> None:
    sys.stderr.write(f"{event} {fields}\n")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
