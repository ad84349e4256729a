"""Following a path of lines through everything that becomes of it: renamed, closed, compressed, emptied.

A file is left for the next only when there is something in the next one, and then it is read to its end once
more: a writer that goes from one to the other writes nothing to the old any more. What was closed between two
looks, by the naming of our own outputs, is read in its turn, compressed or not.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.reading.file import GrowingFile
from crawler.reading.lines import LineStream, Piece, UnreadableError, first_bytes
from crawler.sinks.segments import closed_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.reading.config import ReadingConfig
    from crawler.sinks.segments import Segment

_AND_LATER = "~"  # sorts behind the digits of a stamp


class Follower:
    """Reads one path for as long as anybody wants; calls may block on the disk, so make them in a thread."""

    def __init__(
        self,
        path: str,
        config: ReadingConfig,
        on_event: Callable[..., None],
        *,
        place: Callable[[GrowingFile], None] | None = None,
        since: str | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            path: where the file is, or will be.
            config: how much is read at once.
            on_event: called as ``on_event(name, **fields)`` with what a person may want to know.
            place: takes the file that is there at first to where reading begins; else that is its start.
            since: begin with the closed files that may have records from this timestamp on.
        """
        self._path = path
        self._config = config
        self._on_event = on_event
        self._place = place or _stay
        self._known = None if since is None else "".join(c for c in since if c not in "-:Z")
        self._emptied = 0
        self._live: GrowingFile | None = None  # the one that was at the path when we looked last
        self._closed: deque[Segment] = deque()  # to be read before it
        self._now: GrowingFile | LineStream | None = None  # what is being read
        self._release: Callable[[], None] = _nothing
        self._reading = path
        self._leaving = False
        self._said = ""

    def step(self) -> Piece:
        """Return the next lines; what comes is not busy when there is nothing new."""
        if self._now is None:
            return self._next()
        if isinstance(self._now, GrowingFile) and self._now is self._live:
            return self._of_live(self._now)
        return self._of_closed(self._now)

    def rest(self) -> list[bytes]:
        """Return what follows the last line end of the file at the path: a line, if it is whole."""
        rest = self._live.rest() if self._live is not None and self._now is self._live else b""
        return [rest] if rest else []

    def close(self) -> None:
        """Let go of all files."""
        self._release()
        if self._live is not None:
            self._live.close()

    def _of_live(self, file: GrowingFile) -> Piece:
        """Read on in the file that was at the path when we looked last."""
        try:
            piece = file.read()
        except OSError as error:
            self._say("unreadable", problem=_problem(error))
            return Piece()
        if file.times_emptied > self._emptied:
            self._emptied = file.times_emptied
            self._on_event("emptied", path=self._path)
        if piece.busy:
            return piece
        if self._leaving:
            return self._leave(rest=True)
        self._leaving = self._has_successor(file)
        return Piece(busy=self._leaving)

    def _of_closed(self, file: GrowingFile | LineStream) -> Piece:
        try:
            piece = file.read()
        except (OSError, UnreadableError) as error:
            self._on_event("unreadable", path=self._reading, problem=_problem(error))
            return self._leave(rest=False)
        if isinstance(file, LineStream):
            if file.ended:
                self._leave(rest=False)
            return Piece(piece.lines, piece.overlong, busy=True)
        return piece if piece.busy else self._leave(rest=True)

    def _leave(self, *, rest: bool) -> Piece:
        """Go on to the next file; what has no line end in this one is its last line."""
        last = b""
        if rest and isinstance(self._now, GrowingFile):
            last = self._now.rest()
        if self._now is self._live and self._live is not None:
            old = self._live
            opened = self._open_live(old)
            if not opened:
                self._leaving = False
                return Piece()
            self._on_event("renamed", path=self._path)
            old.close()
        self._release()
        self._release, self._now, self._leaving = _nothing, None, False
        return Piece([last] if last else [], busy=True)

    def _next(self) -> Piece:
        """Open what comes next: a closed file, else the one at the path."""
        if self._live is None and not self._open_live(None):
            return Piece()
        if self._closed:
            self._open_closed(self._closed.popleft())
        else:
            self._now = self._live
        return Piece(busy=True)

    def _open_live(self, old: GrowingFile | None) -> bool:
        """Open what is at the path, and note which files were closed since ``old`` was opened."""
        try:
            live = GrowingFile(self._path, self._config)
        except FileNotFoundError:
            self._say("missing")
            if self._known is None:
                # What comes to be closed before we see it at the path is read too.
                self._known = max([one.stamp + _AND_LATER for one in self._segments()], default="")
            self._place = _stay
            return False
        except OSError as error:
            self._say("unreadable", problem=_problem(error))
            return False
        self._said = ""
        self._note_closed(live, old)
        if old is None and not self._closed:
            self._place(live)
        self._live, self._emptied = live, 0
        return True

    def _note_closed(self, live: GrowingFile, old: GrowingFile | None) -> None:
        """Find what was closed after ``old``, or since we are to begin, and before ``live``."""
        segments = self._segments()
        if self._known is not None:
            segments = [one for one in segments if one.stamp >= self._known]
            # Files closed by now: the one that we have just opened may be among them already.
            until = next((n for n, one in enumerate(segments) if _is(one, live)), len(segments))
            segments = segments[:until]
            self._closed.extend(one for one in segments if old is None or not _is(one, old))
        self._known = max([one.stamp + _AND_LATER for one in segments], default=self._known or "")

    def _segments(self) -> list[Segment]:
        """Return the closed files beside the path, each once though it may just be being compressed."""
        try:
            found = closed_files(Path(os.path.realpath(self._path)))
        except OSError:
            return []
        return list({segment.stamp: segment for segment in reversed(found)}.values())[::-1]

    def _open_closed(self, segment: Segment) -> None:
        """Open a closed file, which may have been compressed since it was found."""
        for found in [segment, *(one for one in self._segments() if one.stamp == segment.stamp)]:
            try:
                if found.suffix in {".gz", ".zst"}:
                    # Read without a buffer: the stream takes large pieces.
                    file = open(found.path, "rb", buffering=0)  # noqa: PTH123, SIM115 - closed by _release
                    self._release = file.close
                    self._now = LineStream(file, self._config)
                else:
                    growing = GrowingFile(str(found.path), self._config)
                    self._release, self._now = growing.close, growing
            except FileNotFoundError:
                continue
            except (OSError, UnreadableError) as error:
                self._on_event("unreadable", path=str(found.path), problem=_problem(error))
            self._reading = str(found.path)
            return
        self._on_event("gone", path=str(segment.path))

    def _has_successor(self, file: GrowingFile) -> bool:
        """Whether another file is at the path by now, and there is something in it or in one before it."""
        try:
            here = os.stat(self._path)  # noqa: PTH116 - a Path would be made for each look
        except OSError:
            return False
        if (here.st_dev, here.st_ino) == file.identity:
            return False
        known = self._known or ""
        return here.st_size > 0 or any(one.stamp >= known and not _is(one, file) for one in self._segments())

    def _say(self, event: str, **fields: str) -> None:
        """Report what keeps us from the path, once."""
        if self._said != event:
            self._said = event
            self._on_event(event, path=self._path, **fields)


def _is(segment: Segment, file: GrowingFile) -> bool:
    """Whether a closed file is the one that we have open, as it was or compressed."""
    try:
        if segment.suffix in {".gz", ".zst"}:
            start = file.start()
            with segment.path.open("rb") as packed:
                return bool(start) and start == first_bytes(packed, len(start))
        info = segment.path.stat()
    except (OSError, UnreadableError):
        return False
    return (info.st_dev, info.st_ino) == file.identity


def _stay(_file: GrowingFile) -> None:
    """Begin where the file does."""


def _nothing() -> None:
    """Nothing is to be released."""


def _problem(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
