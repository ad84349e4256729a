"""How far a long reading has come: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from crawler.commands.screen import Screen

_WIDTH: Final = 24
_MIB: Final = 1 << 20
_LIVE_SECONDS: Final = 0.2
_PLAIN_SECONDS: Final = 10.0


class Progress:
    """Tells of bytes read and lines written."""

    def __init__(self, screen: Screen, total: int | None) -> None:
        """Tell on ``screen``; ``total`` are the bytes that there are to read, None when nobody knows."""
        self._screen = screen
        self._total = total
        self._began: float | None = None

    @property
    def pause(self) -> float:
        """Seconds until it is to be shown again."""
        return _LIVE_SECONDS if self._screen.has_live_line else _PLAIN_SECONDS

    def show(self, now: float, taken: int, lines: int) -> None:
        """Show that ``taken`` bytes were read and ``lines`` written by ``now``, seconds that only grow."""
        if self._began is None:
            self._began = now
            return
        text = progress_text(taken, self._total, lines, now - self._began)
        if self._screen.has_live_line:
            self._screen.live(text)
        else:
            self._screen.remark(text)


def progress_text(taken: int, total: int | None, lines: int, seconds: float) -> str:
    """Return how far it is; an empty file is done."""
    rate = f"{lines:,} lines  {lines / seconds if seconds > 0 else 0:,.0f} lines/s"
    if total is None:
        return f"{taken / _MIB:,.1f} MiB  {rate}"
    # A file that has grown since it was measured is no more than done.
    done = min(1.0, taken / total) if total else 1.0
    bar = ("#" * int(done * _WIDTH)).ljust(_WIDTH, ".")
    return f"[{bar}] {100 * done:3.0f} %  {taken / _MIB:,.1f} of {total / _MIB:,.1f} MiB  {rate}"
