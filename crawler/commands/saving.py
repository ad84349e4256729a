"""Writing a result to a file that a person named, without ever losing what is there."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SaveError(ValueError):
    """The file cannot be written; the message is one line for a person."""


def check_place(place: Path, *, force: bool) -> None:
    """Refuse early what `save` would have to refuse after a long search.

    Raises:
        SaveError: it exists, or there is no such directory, or it is not ours to write to.
    """
    if place.is_dir():
        raise SaveError(f"--save {place}: that is a directory")
    if place.exists() and not force:
        raise _exists(place)
    if not place.parent.is_dir():
        raise SaveError(f"--save {place}: there is no directory {place.parent}")
    if not os.access(place.parent, os.W_OK):
        raise SaveError(f"--save {place}: no permission to write to {place.parent}")


def save(place: Path, content: bytes, *, force: bool) -> None:
    """Write ``content`` to ``place``, all of it or nothing; what is there stays unless ``force`` is given.

    Raises:
        SaveError: it exists by now, or the disk refuses.
    """
    # With force the old file stays until the new one is whole; without, nobody else's file can be hit.
    written = place.with_name(f"{place.name}.{os.getpid()}.part") if force else place
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
            written.replace(place)
    except FileExistsError:
        raise _exists(written) from None
    except OSError as error:
        raise SaveError(f"--save {place}: {error.strerror}") from error


def _exists(place: Path) -> SaveError:
    return SaveError(f"--save {place}: it exists; --force replaces it")
