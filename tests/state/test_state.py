"""The state directory: what was saved comes back whole, or is set aside and said so."""

# ruff: noqa: ASYNC240 - test files are small

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.state.directory import StateDirectory
from tests.sim.crawl_scene import run_in_line
from tests.sinks.lines import Log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECES: list[Any] = [{"a": b"\x00" * 20}, [[b"x" * 6, 1, 2.5]], [], "text"]


@pytest.fixture
def log() -> Log:
    """A log that is still empty."""
    return Log()


@pytest.fixture
def state(tmp_path: Path, log: Log) -> StateDirectory:
    """A state directory that does not exist yet, two levels deep."""
    return StateDirectory(tmp_path / "deep" / "state", log)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where ``state`` keeps the file that the tests save."""
    return tmp_path / "deep" / "state" / "some"


async def test_what_was_saved_comes_back(state: StateDirectory, log: Log) -> None:
    """Pieces are loaded in their order and as they were, and replace those of an earlier save."""
    await state.save("some", ["old"])
    await state.save("some", PIECES)

    assert state.load("some") == PIECES
    assert log.events == []


def test_nothing_saved_is_no_damage(state: StateDirectory, log: Log) -> None:
    """A first start finds no files and reports nothing."""
    assert state.load("some") == []
    assert log.events == []


async def test_no_other_file_is_left(state: StateDirectory, path: Path) -> None:
    """What is written aside ends in its place."""
    await state.save("some", PIECES)

    assert [file.name for file in path.parent.iterdir()] == ["some"]


@pytest.mark.parametrize("cut", [0, 1, 10, 20, 21, 25, 30, -9, -8, -5, -4, -1])
async def test_a_cut_file_is_set_aside(state: StateDirectory, log: Log, path: Path, cut: int) -> None:
    """Wherever a file was cut short, it is moved aside whole, reported once, and gives nothing."""
    await state.save("some", PIECES)
    cut_data = path.read_bytes()[:cut]
    path.write_bytes(cut_data)

    assert state.load("some") == []
    aside = path.with_name("some.damaged")
    assert aside.read_bytes() == cut_data
    assert not path.exists()
    [(event, fields)] = log.events
    assert event == "state.damaged"
    assert (fields["file"], fields["set_aside"]) == (str(path), str(aside))
    assert state.load("some") == []
    assert len(log.events) == 1


async def test_every_changed_byte_is_seen(state: StateDirectory, log: Log, path: Path) -> None:
    """Whichever byte of a file changes, nothing of it is believed."""
    await state.save("some", PIECES)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        assert state.load("some") == []
    assert len(log.events) == len(whole)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_content_is_fatal(tmp_path_factory: pytest.TempPathFactory, junk: bytes, well_begun: bool) -> None:
    """Any content at all is loaded or set aside."""
    directory = tmp_path_factory.mktemp("state")
    state = StateDirectory(directory, Log())
    (directory / "some").write_bytes((b"dht-crawler state 1\n" if well_begun else b"") + junk)

    assert isinstance(state.load("some"), list)


async def test_pieces_that_are_no_messages_are_damage(state: StateDirectory, log: Log, path: Path) -> None:
    """A piece that its checksum covers but msgpack cannot read is damage, too."""
    await state.save("some", [])
    piece = (1).to_bytes(4, "big") + b"\xc1"
    path.write_bytes(b"dht-crawler state 1\n" + piece + bytes(4) + zlib.crc32(piece).to_bytes(4, "big"))

    assert state.load("some") == []
    assert [event for event, _ in log.events] == ["state.damaged"]


def test_a_file_that_cannot_be_read_is_no_crash(state: StateDirectory, log: Log, path: Path) -> None:
    """A directory in the place of a file is reported and moved out of the way."""
    path.mkdir()

    assert state.load("some") == []
    assert [event for event, _ in log.events] == ["state.damaged"]
    assert not path.exists()


async def test_what_makes_no_sense_can_be_discarded(state: StateDirectory, log: Log, path: Path) -> None:
    """Whoever cannot use what a whole file holds has it set aside with the reason."""
    await state.save("some", PIECES)
    state.discard("some", "not a ledger")

    assert not path.exists()
    [(_, fields)] = log.events
    assert fields["problem"] == "not a ledger"


async def test_a_failed_save_leaves_the_old_file(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk does not take the new file, the save says so and the old state is still there."""
    await state.save("some", ["old"])

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            await state.save("some", ["new"])

    assert state.load("some") == ["old"]


async def test_a_save_that_cannot_encode_leaves_the_old_file(state: StateDirectory) -> None:
    """A fault in what is to be saved does not cost what was saved before."""

    def pieces() -> Iterator[object]:
        yield ["new"]
        raise ValueError("our own fault")

    await state.save("some", ["old"])
    with pytest.raises(ValueError, match="our own fault"):
        await state.save("some", pieces())

    assert state.load("some") == ["old"]


async def test_two_saves_at_once_do_not_mix(
    state: StateDirectory, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The save at exit may meet the periodic one: each is whole, and the later one stays."""
    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_line)
    first, second = [["first"] * 50] * 200, [["second"] * 50] * 100

    async with trio.open_nursery() as nursery:
        nursery.start_soon(state.save, "some", first)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        nursery.start_soon(state.save, "some", second)

    assert state.load("some") == second
    assert log.events == []


async def test_the_crawl_goes_on_during_a_save(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long file is written in pieces, and others run between them."""
    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_line)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await state.save("some", ["piece"] * 100)
        nursery.cancel_scope.cancel()

    assert turns >= 100


def test_the_heartbeat_is_a_touched_file(state: StateDirectory, path: Path) -> None:
    """Each beat gives the heartbeat file the current time."""
    state.beat()
    heartbeat = path.with_name("heartbeat")
    os.utime(heartbeat, (1, 1))
    state.beat()

    assert heartbeat.stat().st_mtime > 1


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path, log: Log) -> None:
    """A file in the way of the directory is an error that the caller can tell the user."""
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"):
        StateDirectory(tmp_path / "file" / "state", log)


def test_what_msgpack_knows_is_enough() -> None:
    """Bytes, floats and nested lists, which are all that is saved, survive msgpack unchanged."""
    row = [b"\xff" * 18, b"\x00" * 20, 2, 1767225600.125, 7, 1, 0]

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row)) == row
