"""The memory of infohashes over a restart: nothing is lost, little is repeated, no damage is fatal."""

# ruff: noqa: ASYNC240 - test files are small

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.crawl.seen import Seen, SeenConfig
from crawler.state.seen_keeper import SeenKeeper, found_since
from crawler.state.slice_files import SliceFiles
from tests.sim.crawl_scene import run_in_line
from tests.sinks.lines import Log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = SeenConfig(capacity=12_000, recent=1000, journal=1000)
KEY = b"k" * 32


def infohash(number: int) -> bytes:
    return number.to_bytes(20, "big")


def many(start: int, stop: int) -> list[bytes]:
    return [infohash(number) for number in range(start, stop)]


@attrs.define
class Life:
    """One run of a memory with its keeper; the sink's counts are what the test says."""

    directory: Path
    config: SeenConfig = SMALL
    log: Log = attrs.field(factory=Log)
    lines_in: int = 0
    durable: int = 0
    wall: float = 1e9
    seen: Seen = attrs.field(init=False)
    keeper: SeenKeeper = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        files = SliceFiles(self.directory, self.log)
        key, stored = files.load()
        self.seen = Seen(self.config, key or os.urandom(32), keeps_unsaved=True)
        self.keeper = SeenKeeper(
            self.config,
            self.seen,
            files,
            lines_in=lambda: self.lines_in,
            lines_durable=lambda: self.durable,
            wall_clock=lambda now: self.wall + now,
            on_event=self.log,
        )
        self.keeper.restore(stored, self.wall)

    async def find(self, infohashes: list[bytes], *, written: bool = True) -> list[bytes]:
        """Sift and save; the sink has written the lines, or not yet."""
        new = self.seen.sift(infohashes)
        self.lines_in += len(new)
        if written:
            self.durable = self.lines_in
        await self.keeper.step()
        return new

    def names(self) -> list[str]:
        """Return the names of all files."""
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture(autouse=True)
def _in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what goes to a thread run in line, so that virtual time can be used."""
    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_line)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the memory is kept."""
    return tmp_path / "state" / "seen"


async def test_what_was_written_is_known_after_a_restart(directory: Path) -> None:
    """Infohashes whose lines are on the disk are not new to the next run, from journals and filters alike."""
    first = Life(directory)
    for number in range(0, 5000, 50):
        assert len(await first.find(many(number, number + 50))) == 50
    names = first.names()
    assert any(name.endswith(".filter") for name in names)
    assert any(name.endswith(".journal") for name in names)

    second = Life(directory)
    assert second.seen.sift(many(0, 5000)) == []
    assert second.seen.sift(many(5000, 5100)) == many(5000, 5100)
    assert second.seen.slices.count == 5100


@pytest.mark.parametrize("journal", [1000, 100_000])
async def test_what_was_found_after_a_save_is_told(directory: Path, journal: int) -> None:
    """The next run learns what was journalled since the counts were taken, and only that, in its order."""
    config = attrs.evolve(SMALL, journal=journal)
    first = Life(directory, config)
    for number in range(0, 2500, 50):
        await first.find(many(number, number + 50))
    counts = first.keeper.counts()
    for number in range(2500, 2600, 50):
        await first.find(many(number, number + 50))
    await first.find(many(2600, 2700), written=False)

    def told(noted: object) -> list[bytes]:
        return found_since(SliceFiles(directory, Log()).load()[1], noted)

    assert told(counts) == many(2500, 2600)
    assert told(first.keeper.counts()) == []
    assert told([])[-100:] == many(2500, 2600)
    for nonsense in (None, 7, [1], [["x", "y"]], {"a": 1}):
        assert len(told(nonsense)) in {0, len(told([]))}


async def test_what_was_not_written_is_new_after_a_restart(directory: Path) -> None:
    """An infohash is saved only when its own line is on the disk, even when others after it wait already."""
    first = Life(directory)
    await first.find(many(0, 10))
    await first.find(many(10, 20), written=False)
    await first.find(many(20, 30), written=False)
    first.durable = 29
    await first.keeper.step()
    assert first.keeper.unsaved == 10
    assert Life(directory).seen.sift(many(0, 30)) == many(20, 30)


async def test_a_filter_is_saved_when_all_its_lines_are_written(directory: Path) -> None:
    """A filter that holds more than was written waits, and the infohashes behind it wait with it."""
    first = Life(directory)
    await first.find(many(0, 3000), written=False)
    assert first.names() == []
    first.durable = 2999
    await first.keeper.step()
    assert first.names() == []
    first.durable = 3000
    await first.keeper.step()
    assert first.names() != []
    assert Life(directory).seen.sift(many(0, 3000)) == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 400), max_size=60), st.integers(0, 100), st.booleans()), max_size=25
    )
)
def test_no_history_of_crashes_loses_or_invents(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[list[int], int, bool]]
) -> None:
    """After any crash exactly that is known whose lines had been written by the last time of saving."""
    directory = tmp_path_factory.mktemp("seen")
    config = SeenConfig(capacity=4000, recent=1000, journal=1000)

    async def live() -> None:
        life, waiting, saved = Life(directory, config), list[tuple[int, bytes]](), set[bytes]()
        for numbers, percent, crash in history:
            new = life.seen.sift(map(infohash, numbers))
            life.lines_in += len(new)
            waiting += [(life.lines_in, each) for each in new]
            life.durable += (life.lines_in - life.durable) * percent // 100
            await life.keeper.step()
            saved |= {each for mark, each in waiting if mark <= life.durable}
            if crash:
                life, waiting = Life(directory, config), []
                assert {each for each in many(0, 401) if each in life.seen} == saved

    trio.run(live)


async def test_a_restart_in_the_beginning_changes_nothing(directory: Path) -> None:
    """What only the set knows is saved as the rest is: with a kill at any time nothing is new twice."""
    config = SeenConfig(capacity=500_000, recent=1000, journal=1000)
    for end in (300, 1100, 1300, 1900, 4000):
        life = Life(directory, config)
        known = life.seen.slices.count
        assert await life.find(many(0, end - 200)) == many(known, end - 200)
        for number in range(end - 200, end, 50):
            assert await life.find(many(number, number + 50)) == many(number, number + 50)
        assert sum(each.lacking for each in Life(directory, config).seen.slices.live) == 0
        for path in directory.glob("*"):
            assert path.suffix in {".filter", ".journal"}
    assert len(list(directory.glob("*.filter"))) == 1
    fresh = directory.with_name("fresh")
    slow = Life(fresh, config)
    for number in range(0, 1300, 50):
        await slow.find(many(number, number + 50))
        assert all(not each.lacking for each in slow.seen.slices.live) or not list(fresh.glob("*.filter"))
    assert Life(fresh, config).seen.sift(many(0, 1300)) == []


async def test_a_restart_changes_nothing(directory: Path) -> None:
    """A memory that is restarted between batches emits what one that never is emits, forgetting included."""
    rng, key = random.Random(5), None
    ours = Life(directory)
    steady = Seen(SMALL, ours.seen.slices.key)
    for step in range(300):
        batch = [infohash(rng.randrange(60_000)) for _ in range(200)]
        assert await ours.find(batch) == steady.sift(batch)
        if step % 10 == 9:
            key = ours.seen.slices.key
            ours = Life(directory)
            assert ours.seen.slices.key == key
            assert ours.seen.slices.count == steady.slices.count
    assert steady.slices.slices_forgotten > 3


async def test_a_journal_cut_at_any_byte_gives_whole_blocks(directory: Path) -> None:
    """Wherever a crash cuts a journal, the blocks before are known; the rest is new and can be saved."""
    first = Life(directory)
    for number in range(0, 12, 4):
        await first.find(many(number, number + 4))
    [journal] = directory.iterdir()
    whole = journal.read_bytes()
    known = set[int]()
    for length in range(len(whole) + 1):
        for path in directory.iterdir():
            path.unlink()
        journal.write_bytes(whole[:length])
        life = Life(directory)
        count = 12 - len(life.seen.sift(many(0, 12)))
        assert count % 4 == 0
        assert count == 0 or count >= max(known)
        known.add(count)
        await life.find([])
        life.durable = life.lines_in = 12
        await life.keeper.step()
        assert Life(directory).seen.sift(many(0, 12)) == []
    assert known == {0, 4, 8, 12}


async def test_a_change_anywhere_is_noticed(directory: Path) -> None:
    """Whichever byte of a filter or journal changes, nothing that was never found becomes known."""
    life = Life(directory, SeenConfig(capacity=1000, recent=1000, journal=1000))
    await life.find(many(0, 30))
    paths = list(directory.iterdir())
    assert {path.suffix for path in paths} == {".filter", ".journal"}
    for path in paths:
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
            again = Life(directory)
            assert not any(each in again.seen for each in many(30, 60))
            assert [event for event, _ in again.log.events] in (["state.damaged"], ["seen.torn_block"])
            path.write_bytes(whole)
    assert Life(directory).seen.sift(many(0, 30)) == []


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200), st.booleans(), st.sampled_from(["0.filter", "0.0.journal", "7.journal", "x.new"])
)
def test_no_content_is_fatal(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, well_begun: bool, name: str
) -> None:
    """Any file of any content is read, set aside or left alone, and the run goes on."""
    directory = tmp_path_factory.mktemp("seen")
    (directory / name).write_bytes((b"dht-crawler seen 1\n" if well_begun else b"") + junk)
    assert Life(directory).seen.slices.count == 0


async def test_files_of_another_key_are_set_aside(tmp_path: Path) -> None:
    """A filter that was made under another key answers nothing, so it is no part of the memory."""
    config = SeenConfig(capacity=1000, recent=1000, journal=1000)
    for name in ("one", "other"):
        await Life(tmp_path / name, config).find(many(0, 50))
    (tmp_path / "other" / "0.filter").replace(tmp_path / "one" / "1.filter")
    again = Life(tmp_path / "one", config)
    assert [fields["problem"] for fields in again.log.of("state.damaged")] == [
        "it has the name of another file"
    ]
    (tmp_path / "other" / "1.filter").replace(tmp_path / "one" / "1.filter")
    again = Life(tmp_path / "one", config)
    assert [fields["problem"] for fields in again.log.of("state.damaged")] == ["its key is another one"]
    assert "1.filter.damaged" in again.names()


async def test_a_crash_between_saving_and_tidying_is_harmless(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Journals that a saved filter holds are passed over when a crash kept them from being removed."""
    life = Life(directory)
    with monkeypatch.context() as patch:
        patch.setattr(SliceFiles, "_remove", lambda *_: None)
        for number in range(0, 3000, 50):
            await life.find(many(number, number + 50))
    again = Life(directory)
    assert again.seen.slices.count == 3000
    assert again.seen.sift(many(0, 3000)) == []


async def test_what_is_forgotten_leaves_the_disk(directory: Path) -> None:
    """The files of forgotten slices are removed, so the disk is bounded as the memory is."""
    life, most = Life(directory), 0
    for number in range(0, 60_000, 500):
        await life.find(many(number, number + 500))
        most = max(most, life.keeper.counters.disk_bytes)
    numbers = {int(name.split(".")[0]) for name in life.names()}
    assert numbers == {each.number for each in life.seen.slices.live}
    assert most < 13_000 * 4.5 + 2000 * 21 + 40 * 300
    assert life.keeper.counters.disk_bytes == sum(path.stat().st_size for path in directory.iterdir())


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """A disk that is full while the list holds something; a write then is cut short."""
    full: list[bool] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        if full:
            real(fd, bytes(data[:7]))
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    def sync(fd: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_sync(fd)

    real_sync = os.fsync
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", sync)
    yield full
    full.clear()


async def test_a_full_disk_holds_up_nothing_and_is_caught_up_with(
    directory: Path, full_disk: list[bool]
) -> None:
    """While the disk is full the memory works and what is new waits; then all of it is saved, told once."""
    life = Life(directory)
    await life.find(many(0, 10))
    full_disk.append(True)
    for number in range(10, 1510, 50):
        assert len(await life.find(many(number, number + 50))) == 50
    assert life.keeper.counters.failures == 30
    assert life.keeper.unsaved == 1500
    assert len(life.log.of("seen.not_saved")) == 1
    assert len(life.names()) <= 2
    assert Life(directory).seen.slices.count == 10
    full_disk.clear()
    await life.find([])
    assert life.keeper.unsaved == 0
    assert Life(directory).seen.sift(many(0, 1510)) == []


async def test_what_waits_for_a_full_disk_is_bounded(directory: Path, full_disk: list[bool]) -> None:
    """Beyond the bound the oldest wait no longer, counted; they are saved with the filter they are in."""
    life = Life(directory, attrs.evolve(SMALL, max_unsaved=1000, journal=100_000))
    full_disk.append(True)
    for number in range(0, 3000, 50):
        await life.find(many(number, number + 50))
    assert life.keeper.unsaved == 1000
    assert life.keeper.counters.not_journalled == 2000
    full_disk.clear()
    await life.find([])
    await trio.testing.wait_all_tasks_blocked()
    life.seen.slices.live[-1].capacity = life.seen.slices.live[-1].count
    await life.find([])
    assert life.keeper.counters.journalled == 1000
    known = Life(directory).seen
    assert known.sift(many(2000, 3000)) == []


async def test_many_short_runs_leave_few_journals(directory: Path) -> None:
    """Each run begins a journal of its own; when there are many, the filter is saved in their place."""
    for number in range(0, 400, 10):
        await Life(directory).find(many(number, number + 10))
    assert len(list(directory.iterdir())) <= 20
    assert Life(directory).seen.sift(many(0, 400)) == []


async def test_lag_says_how_long_the_oldest_waits(
    directory: Path,
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - turns the clock
) -> None:
    """The lag is the age of the oldest infohash that was looked at and is not saved yet."""
    life = Life(directory)
    assert life.keeper.lag(trio.current_time()) == 0
    await life.find(many(0, 3), written=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.keeper.run)
        await trio.sleep(7)
        assert life.keeper.lag(trio.current_time()) == pytest.approx(7)
        life.durable = 3
        await trio.sleep(2)
        assert life.keeper.lag(trio.current_time()) == 0
        nursery.cancel_scope.cancel()
    life.keeper.close()
    assert Life(directory).seen.slices.count == 3


async def test_without_a_directory_it_only_forgets() -> None:
    """A run without state keeps nothing and still forgets what is too old."""
    seen = Seen(SeenConfig(resighting=1.0), KEY)
    wall = [1e9]
    keeper = SeenKeeper(
        SeenConfig(resighting=1.0),
        seen,
        None,
        lines_in=lambda: 0,
        lines_durable=lambda: 0,
        wall_clock=lambda _now: wall[0],
        on_event=Log(),
    )
    seen.sift(many(0, 3))
    for _ in range(3):
        await keeper.step()
        wall[0] += 3601
    assert seen.sift(many(0, 3)) == many(0, 3)
    assert keeper.unsaved == 0
