"""The journal between two saves, and the ledger that is kept with it."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from crawler.crawl.frontier import Frontier, FrontierConfig
from crawler.state.directory import StateDirectory
from crawler.state.journal import Journal
from crawler.state.ledger_keeper import LedgerKeeper

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS: list[Any] = [[1, b"one"], [], [{"k": 2.5}], [b"x" * 300]]
HERE, THERE = b"\x2d\x01\x02\x03\x1a\xe1", b"\x2d\x01\x02\x04\x1a\xe1"
ID = b"i" * 20
WALL = 1_000_000.0


def frontier() -> Frontier:
    """Return an empty ledger."""
    return Frontier(FrontierConfig(), random.Random(1))


def keeper(directory: Path, contacts: Frontier) -> LedgerKeeper:
    """Return what keeps ``contacts`` in ``directory``, with all of an earlier run put back."""
    kept = LedgerKeeper(StateDirectory(directory, lambda *_: None), "ledger.ipv4", contacts, 1000)
    kept.restore(WALL, admits=lambda _address: True, latest=float("inf"))
    return kept


def settle(contacts: Frontier, address: bytes, interval: float, now: float) -> None:
    """Let the node at ``address`` state its interval."""
    contacts.add(ID, address)
    while (contact := contacts.take()) is not None:
        contacts.gave(contact, 1, 1, interval, now)


def test_every_cut_leaves_whole_blocks(tmp_path: Path) -> None:
    """Wherever a crash cuts the journal, the blocks before the cut are read, and nothing else."""
    Journal(tmp_path, "it").append(BLOCKS)
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    lengths = set()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        read = list(Journal(tmp_path, "it").load())
        assert read == BLOCKS[: len(read)]
        lengths.add(len(read))
    assert lengths == {0, 1, 2, 3, 4}


def test_damaged_block_ends_its_part(tmp_path: Path) -> None:
    """A flipped bit costs the blocks from there on in its part, and none of another part."""
    journal = Journal(tmp_path, "it")
    journal.append(BLOCKS)
    [path] = tmp_path.iterdir()
    journal.turn()
    journal.append([["later"]])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert list(Journal(tmp_path, "it").load()) == [*BLOCKS[:3], ["later"]]


def test_parts_before_a_save_are_forgotten(tmp_path: Path) -> None:
    """What was noted before a save is deleted after it; what came since stays, and a new run adds to it."""
    journal = Journal(tmp_path, "it")
    journal.append([["before"]])
    part = journal.turn()
    journal.append([["since"]])
    journal.forget(part)
    again = Journal(tmp_path, "it")
    again.append([["next run"]])
    assert list(Journal(tmp_path, "it").load()) == [["since"], ["next run"]]
    (tmp_path / "it.journal.other").write_bytes(b"not ours")
    assert len(list(Journal(tmp_path, "it").load())) == 2


def test_failed_append_leaves_the_rest_readable(tmp_path: Path) -> None:
    """When the disk does not take a block, later ones go to a part of their own and are read."""
    journal = Journal(tmp_path, "it")
    journal.append([["one"]])
    (tmp_path / "it.journal.2").mkdir()
    journal.turn()
    with pytest.raises(OSError, match="directory"):
        journal.append([["two"]])
    journal.append([["two"]])
    (tmp_path / "it.journal.2").rmdir()
    assert list(Journal(tmp_path, "it").load()) == [["one"], ["two"]]


async def test_interval_noted_before_a_kill_is_kept(tmp_path: Path) -> None:
    """A node that stated its interval after the last save is left alone by the next run, for as long."""
    first = frontier()
    kept = keeper(tmp_path, first)
    await kept.save(WALL)
    settle(first, HERE, 3600.0, 10.0)
    await kept.note(WALL)

    second = frontier()
    keeper(tmp_path, second)
    contact = second.get(HERE)
    assert contact is not None
    assert contact.due == 3610.0
    second.wake(3600.0)
    assert second.take() is None
    second.wake(3611.0)
    assert second.take() is contact


async def test_journal_is_newer_than_the_whole(tmp_path: Path) -> None:
    """Of the whole and two notes of one node the last note counts; after a save there is no journal left."""
    first = frontier()
    kept = keeper(tmp_path, first)
    settle(first, HERE, 100.0, 0.0)
    settle(first, THERE, 100.0, 0.0)
    await kept.note(WALL)
    await kept.save(WALL)
    assert "journal" not in " ".join(os.listdir(tmp_path))  # noqa: PTH208 - short, and nothing else runs
    for now, interval in ((200.0, 300.0), (600.0, 900.0)):
        first.wake(now)
        contact = first.take()
        while contact is not None:
            first.gave(contact, 0, 1, interval, now)
            contact = first.take()
        await kept.note(WALL)

    second = frontier()
    keeper(tmp_path, second)
    assert {contact.address: contact.due for contact in second} == {HERE: 1500.0, THERE: 1500.0}


async def test_note_that_the_disk_refused_is_made_later(tmp_path: Path) -> None:
    """What a full disk did not take is noted when it has room again."""
    first = frontier()
    kept = keeper(tmp_path, first)
    settle(first, HERE, 3600.0, 10.0)
    (tmp_path / "ledger.ipv4.journal.1").mkdir()
    with pytest.raises(OSError, match="directory"):
        await kept.note(WALL)
    (tmp_path / "ledger.ipv4.journal.1").rmdir()
    await kept.note(WALL)

    second = frontier()
    keeper(tmp_path, second)
    assert second.get(HERE) is not None


@pytest.mark.parametrize("block", [5, [5], [[HERE]], [[HERE, ID, 9, 0.0, 0, 1, 0]], [[THERE, 1]], {"a": 1}])
async def test_rows_without_sense_cost_nothing_else(tmp_path: Path, block: object) -> None:
    """A journal that some other program wrote stops no start, and the saved whole is still put back."""
    first = frontier()
    kept = keeper(tmp_path, first)
    settle(first, THERE, 3600.0, 10.0)
    await kept.save(WALL)
    Journal(tmp_path, "ledger.ipv4").append([block])

    second = frontier()
    keeper(tmp_path, second)
    assert second.get(THERE) is not None
