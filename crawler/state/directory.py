"""The files of the state: node ids, good nodes and ledgers by family, what waits for peers or for metadata.

A file is written aside, synced and renamed, so that a crash leaves the old one whole. It carries a checksum;
a file that does not match is set aside under `.damaged`, reported, and the run starts without it. Times are
kept as epoch seconds, because Trio's clock starts anew with the process.

The ledger is written in pieces with a checkpoint between them: a million nodes take a second or two, and the
crawl goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import zlib
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from crawler.settings import setting
from crawler.state.damage import set_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_MAGIC = b"dht-crawler state 1\n"
_HEARTBEAT = "heartbeat"
_LENGTH = 4
_fcntl: Any = None
with contextlib.suppress(ImportError):
    _fcntl = importlib.import_module("fcntl")  # Windows has none


@attrs.frozen
class StateConfig:
    """Where and how often the state is saved."""

    directory: str = setting(
        "", unit="", help="Directory for the state; empty: nothing is kept over a restart."
    )
    save_interval: float = setting(60.0, unit="s", help="How often the state is saved.", above=0)
    note_interval: float = setting(
        2.0, unit="s", help="How often it is noted who may be asked again when, between saves.", above=0
    )
    max_unnoted: int = setting(
        200_000,
        unit="nodes",
        help="May wait to be noted by a disk that is full; the oldest beyond wait for the next save.",
        minimum=1000,
    )


class DamagedStateError(Exception):
    """A state file does not hold what it should."""


class StateDirectory:
    """The files of one state directory."""

    def __init__(self, path: Path, on_event: Callable[..., None]) -> None:
        """Make the directory if need be; ``on_event(name, **fields)`` is told of damage, for the log.

        Raises:
            OSError: when it cannot be made.
        """
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._on_event = on_event
        self._told: str | None = None
        self._saving = trio.Lock()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other daemons out for as long as the block lasts, where directories can be locked.

        Raises:
            BlockingIOError: another one has it.
        """
        with contextlib.ExitStack() as opened:
            if _fcntl is not None:
                fd = os.open(self.path, os.O_RDONLY)
                opened.callback(os.close, fd)
                try:
                    _fcntl.flock(fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
                except BlockingIOError:
                    raise
                except OSError:
                    self._on_event("state.not_locked", directory=str(self.path))
            yield

    def load(self, name: str) -> list[Any]:
        """Return the pieces saved as ``name``; none when there is no such file or it is damaged."""
        path = self.path / name
        try:
            return list(_pieces(path.read_bytes()))
        except FileNotFoundError:
            return []
        except (DamagedStateError, OSError) as error:
            set_aside(path, str(error), self._on_event)
            return []

    def has(self, name: str) -> bool:
        """Whether anything was ever saved as ``name``."""
        return (self.path / name).exists()

    async def save(self, name: str, pieces: Iterable[Any]) -> None:
        """Replace what is saved as ``name``; ``pieces`` are of what msgpack knows, each encoded by itself.

        One save waits for the other: the last one, at exit, may come in the midst of the periodic one.

        Raises:
            OSError: when the disk does not take it; the old file stays.
        """
        async with self._saving:
            await self._save(name, pieces)

    async def _save(self, name: str, pieces: Iterable[Any]) -> None:
        aside = self.path / (name + ".new")
        encode = msgspec.msgpack.Encoder().encode
        checksum = 0
        async with await trio.open_file(aside, "wb") as file:
            await file.write(_MAGIC)
            for piece in pieces:
                data = encode(piece)
                data = len(data).to_bytes(_LENGTH, "big") + data
                checksum = zlib.crc32(data, checksum)
                await file.write(data)
            await file.write(bytes(_LENGTH) + checksum.to_bytes(4, "big"))
            await file.flush()
            await trio.to_thread.run_sync(os.fsync, file.fileno())
        await trio.to_thread.run_sync(os.replace, aside, self.path / name)

    def beat(self, address: str = "") -> None:
        """Touch the heartbeat file, which the health check reads; it says at which address HTTP is served."""
        path = self.path / _HEARTBEAT
        if address == self._told:
            path.touch()
        else:
            path.write_text(address, "ascii")
            self._told = address

    def discard(self, name: str, problem: str) -> None:
        """Set the file ``name`` aside, because what it holds makes no sense: ``problem``."""
        set_aside(self.path / name, problem, self._on_event)


def _pieces(data: bytes) -> Iterator[Any]:
    if not data.startswith(_MAGIC):
        raise DamagedStateError("it does not begin as a state file of this version does")
    body = memoryview(data)[len(_MAGIC) :]
    checksum, at = 0, 0
    while True:
        length = int.from_bytes(body[at : at + _LENGTH], "big")
        if length == 0:
            break
        piece = body[at : at + _LENGTH + length]
        checksum = zlib.crc32(piece, checksum)
        at += _LENGTH + length
        if at >= len(body):
            raise DamagedStateError("it ends too early")
        try:
            yield msgspec.msgpack.decode(piece[_LENGTH:])
        except msgspec.DecodeError as error:
            raise DamagedStateError(str(error)) from error
    if body[at + _LENGTH :] != checksum.to_bytes(4, "big"):
        raise DamagedStateError("its checksum does not match")
