"""Writing a result to a file that a person named, without ever losing what is there."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


class SaveError(ValueError):
    """The file cannot be written; the message is one line for a person."""


def check_place(place: Path, *, force: bool) -> None:
    """Refuse early what `save` would have to refuse after a long search.

    Raises:
        SaveError: it exists, is no file, or there is no such directory, or it is not ours to write to.
    """
    target = _target(place, force=force)
    try:
        found: os.stat_result | None = target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        found = None
    except OSError as error:
        raise SaveError(f"--save {place}: {error.strerror}") from error
    if found is not None:
        if stat.S_ISDIR(found.st_mode):
            raise SaveError(f"--save {place}: that is a directory")
        if not force:
            raise _exists(place)
        if not stat.S_ISREG(found.st_mode):
            raise SaveError(f"--save {place}: that is no file, and --force replaces files only")
    if not target.parent.is_dir():
        raise SaveError(f"--save {place}: there is no directory {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise SaveError(f"--save {place}: no permission to write to {target.parent}")


def save(place: Path, content: bytes, *, force: bool) -> None:
    """Write ``content`` to ``place``, all of it or nothing; what is there stays unless ``force`` is given.

    Raises:
        SaveError: it exists by now, or the disk refuses.
    """
    # With force the old file stays until the new one is whole; without, nobody else's file can be hit.
    target = _target(place, force=force)
    written = target.with_name(f".dht-crawler.{os.getpid()}.part") if force else target
    try:
        with written.open("xb") as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    written.unlink()
                raise
        if force:
            written.replace(target)
    except FileExistsError:
        raise _exists(written) from None
    except OSError as error:
        raise SaveError(f"--save {place}: {error.strerror}") from error


def _target(place: Path, *, force: bool) -> Path:
    """Return where ``place`` leads: a link is not replaced but what it stands for, a device never."""
    return Path(os.path.realpath(place)) if force else place


def _exists(place: Path) -> SaveError:
    return SaveError(f"--save {place}: it exists; --force replaces it")
