"""The tree of Trio's tasks as text: what runs inside what, and the line that each waits at.

For whoever asks a living daemon why it does nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = Path(__file__).resolve().parent.parent
_TRIO = Path(trio.__file__).resolve().parent
_INDENT = "  "


def tree(root: trio.lowlevel.Task) -> list[str]:
    """Return a line for ``root`` and each task below it, two spaces deeper than the task that started it.

    A line is ``name  file:line function, in what it awaits there``. The place is the innermost of our own
    code, else of any code but Trio's. Siblings that wait alike share a line, with their number, and what is
    below them stands together too, so that a thousand lookups are a few lines.
    """
    return [f"{_INDENT * depth}{line}" for depth, line in _lines([root], 0)]


def _lines(siblings: list[trio.lowlevel.Task], depth: int) -> Iterator[tuple[int, str]]:
    alike: dict[str, list[trio.lowlevel.Task]] = {}
    for task in sorted(siblings, key=lambda task: task.name):
        alike.setdefault(_line(task), []).append(task)
    for line, group in alike.items():
        yield depth, line if len(group) == 1 else f"{line} (x{len(group)})"
        nurseries = [nursery for task in group for nursery in task.child_nurseries]
        yield from _lines([child for nursery in nurseries for child in nursery.child_tasks], depth + 1)


def _line(task: trio.lowlevel.Task) -> str:
    return f"{task.name}  {_place(task)}"


def _place(task: trio.lowlevel.Task) -> str:
    frames = [(frame.f_code, line) for frame, line in task.iter_await_frames()]
    if not frames:
        return "about to start"
    folders = [Path(code.co_filename).parents for code, _ in frames]
    ours = [at for at, parents in enumerate(folders) if _OURS in parents]
    others = [at for at, parents in enumerate(folders) if _TRIO not in parents]
    at = (ours or others or [0])[-1]
    code, line = frames[at]
    path = Path(code.co_filename)
    # From the package's folder on: where it is installed says nothing.
    shown = path.relative_to(_OURS.parent) if ours else Path(*path.parts[-2:])
    inner = f", in {frames[at + 1][0].co_qualname}" if at + 1 < len(frames) else ""
    return f"{shown.as_posix()}:{line} {code.co_qualname}{inner}"
