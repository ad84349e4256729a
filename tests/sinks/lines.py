"""What the tests of the sinks write and read: numbered infohashes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler.records import InfohashesFound, Record
from crawler.sinks.jsonl import JsonlSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from crawler.sinks.config import OutputConfig
    from crawler.sinks.disk import Disk

NODE = b"\x01\x02\x03\x04\x1a\xe1"

_WHOLE_LINE = re.compile(rb'\{"type":"infohash",[^\n{}]*"infohash":"([0-9a-f]{40})"[^\n{}]*\}')


@attrs.define
class Log:
    """What a sink, or another part that is handed such a callback, reported."""

    events: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)

    def __call__(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the fields of the events of one name."""
        return [fields for event, fields in self.events if event == name]


def found(first: int, count: int = 1) -> InfohashesFound:
    """Return a record of the infohashes ``first``, ``first + 1`` and so on."""
    infohashes = tuple(number.to_bytes(20, "big") for number in range(first, first + count))
    return InfohashesFound(1767225600.0, "sample", NODE, infohashes)


def numbers_in(data: bytes) -> list[int]:
    """Return the numbers of the lines of a file; every line must be whole."""
    assert not data or data.endswith(b"\n"), f"torn: {data[-100:]!r}"
    numbers = []
    for line in data.split(b"\n")[:-1]:
        match = _WHOLE_LINE.fullmatch(line)
        assert match, f"no whole line: {line[:200]!r}"
        numbers.append(int(match[1], 16))
    return numbers


def files_of(path: Path) -> list[Path]:
    """Return the output at ``path`` and its closed files; not what was cut off."""
    files = path.parent.iterdir()
    return [file for file in files if file.name.startswith(path.name) and file.suffix != ".torn"]


def numbers_at(path: Path) -> list[int]:
    """Return the numbers in the output at ``path`` and in its closed files that are not compressed."""
    return [number for file in files_of(path) for number in numbers_in(file.read_bytes())]


class WatchedSink(JsonlSink):
    """A sink that tells which infohashes it acknowledged."""

    def __init__(
        self,
        path: Path,
        config: OutputConfig,
        log: Callable[..., None],
        *,
        disk: Disk | None = None,
        acknowledged: Callable[[Iterable[int]], None] | None = None,
        **options: Any,
    ) -> None:
        self.acknowledged: list[int] = []
        self._tell = acknowledged or self.acknowledged.extend
        super().__init__(str(path), config, log, disk=disk, **options)

    def _acknowledge(self, batch: list[Record], lines: int) -> None:
        self._tell(
            int.from_bytes(infohash, "big")
            for record in batch
            if isinstance(record, InfohashesFound)
            for infohash in record.infohashes
        )
        super()._acknowledge(batch, lines)


async def write_numbers(sink: JsonlSink, batches: int, each: int = 3, pause: float = 0.0) -> None:
    """Let ``sink`` write the numbers from 0 on, in so many batches, and return when it has."""
    sender, receiver = trio.open_memory_channel[list[Record]](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receiver)
        with sender:
            for number in range(batches):
                await sender.send([found(number * each, each)])
                await trio.sleep(pause)


async def until(condition: Callable[[], bool]) -> None:
    """Return when ``condition`` is met, which nobody announces."""
    await trio.lowlevel.checkpoint()
    while not condition():  # noqa: ASYNC110 - neither a count nor a file has an Event
        await trio.sleep(0.01)


async def run_in_line(function: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
    """Stand in for `trio.to_thread.run_sync`, so that virtual time can be used."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)
