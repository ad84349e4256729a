"""Files that people named are written whole or not at all, and never lost."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from crawler.commands.saving import SaveError, check_place, save

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_file_is_written_as_others_are(tmp_path: Path) -> None:
    """It has the content and the permissions that the user's umask gives."""
    place = tmp_path / "new.torrent"
    check_place(place, force=False)
    before = os.umask(0o027)
    try:
        save(place, b"content", force=False)
    finally:
        os.umask(before)
    assert place.read_bytes() == b"content"
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


def test_what_is_there_stays_unless_forced(tmp_path: Path) -> None:
    """An existing file is refused at once, and again at the end, unless --force is given."""
    place = tmp_path / "old.torrent"
    place.write_bytes(b"old")
    with pytest.raises(SaveError, match="it exists; --force replaces it"):
        check_place(place, force=False)
    with pytest.raises(SaveError, match=r"old\.torrent: it exists; --force replaces it"):
        save(place, b"new", force=False)
    assert place.read_bytes() == b"old"
    check_place(place, force=True)
    save(place, b"new", force=True)
    assert place.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [place]


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path) -> None:
    """A dangling link counts as something that is there."""
    place = tmp_path / "link"
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SaveError, match="it exists"):
        check_place(place, force=False)
    with pytest.raises(SaveError, match="it exists"):
        save(place, b"new", force=False)
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """With --force the file behind a link is replaced, and the link still leads there."""
    place, target = tmp_path / "link", tmp_path / "file"
    target.write_bytes(b"old")
    place.symlink_to(target)
    check_place(place, force=True)
    save(place, b"new", force=True)
    assert (place.is_symlink(), target.read_bytes()) == (True, b"new")


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    """--force on a pipe, a device or a link to one would put a file in its place, so it is refused."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for place in (pipe, link):
        with pytest.raises(SaveError, match="that is no file, and --force replaces files only"):
            check_place(place, force=True)


@pytest.mark.parametrize("force", [True, False])
def test_a_name_that_is_too_long_is_refused_early(tmp_path: Path, force: bool) -> None:
    """What the system says of such a name is the line that people get; the longest that it takes is taken."""
    with pytest.raises(SaveError, match="File name too long"):
        check_place(tmp_path / ("n" * 256), force=force)
    longest = tmp_path / ("n" * 255)
    check_place(longest, force=force)
    save(longest, b"new", force=force)
    assert longest.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (".", "that is a directory"),
        ("no/such/file", "there is no directory"),
        ("a/b", "there is no directory"),
    ],
)
def test_impossible_places_are_refused_early(tmp_path: Path, place: str, said: str) -> None:
    """Nobody waits for a search whose result could not be written."""
    (tmp_path / "a").write_bytes(b"a file in the way")
    with pytest.raises(SaveError, match=said):
        check_place(tmp_path / place, force=True)


@pytest.mark.parametrize("force", [True, False])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """A write that fails half-way leaves the old file, or no file, and says what the system said."""
    place = tmp_path / "file"
    if force:
        place.write_bytes(b"old")

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(SaveError, match="No space left on device"):
        save(place, b"new", force=force)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([b"old"] if force else [])
