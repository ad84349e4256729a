"""Values as a person reads them. Whatever strangers named is shown so that nothing in it moves the cursor."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024


def visible(text: str) -> str:
    r"""Return ``text`` with all that is not plainly visible as an escape such as ``\x1b`` or ``\u202e``.

    That is control and format characters (bidi marks, zero widths), line and paragraph separators, lone
    surrogates and characters unknown; and the backslash, so that no name can feign an escape.
    """
    return "".join(map(_visible, text))


def visible_path(components: Iterable[str]) -> str:
    """Return path components joined by slashes; a slash within one is an escape."""
    return "/".join(visible(component).replace("/", "\\x2f") for component in components)


def bytes_text(count: int) -> str:
    """Return a size: exact, and with a unit where that says more."""
    text = f"{count:,} byte" + "s" * (count != 1)
    size = float(count)
    unit = ""
    for larger in _UNITS:
        if size < _STEP:
            break
        size, unit = size / _STEP, larger
    return f"{text} ({size:.1f} {unit})" if unit else text


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, ``1:05``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def about(estimate: int | None) -> str:
    """Return an estimate in words."""
    return "unknown, no node told" if estimate is None else f"about {estimate}"


def table(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return ``name  value`` lines, the values below each other."""
    width = max(len(name) for name, _ in rows)
    return [f"{name.ljust(width)}  {value}" for name, value in rows]


def _visible(character: str) -> str:
    if character == "\\":
        return "\\\\"
    # isprintable() is false for spaces other than U+0020 too, and those do no harm.
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
