"""Names in metadata: hostile or ancient bytes to text, losing nothing.

Names should be UTF-8 and mostly are. Those that are not were written in the code page of somebody's Windows,
the same one for the whole torrent; so the code page is guessed once, from all such names together, which is
both surer and far cheaper than guessing name by name. The guess may be wrong: the raw bytes stay beside it.

The text is still hostile: control and bidi characters, slashes and ``..`` are all in it. It is for output
that escapes them and never for a path on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from charset_normalizer import from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAME_BYTES: Final = 1024
"""Names are cut to this length; file systems end at 255 characters, which are at most 1020 bytes."""

_MAX_SAMPLE_BYTES: Final = 2048
_CODE_PAGES: Final = (
    *("gb18030", "big5", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949"),
    *("cp1251", "koi8_r", "cp866", "cp1252", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "iso8859_1"),
)
"""What clients before UTF-8 wrote. Guessing among these only is 20 times as fast, and more often right."""


@attrs.frozen
class Text:
    """A name as text.

    Attributes:
        text: what to show; has no lone surrogates, everything else is possible.
        encoding: the encoding that was guessed, such as ``"cp1251"``; None when the name was plain UTF-8 or
            nothing was found out (``text`` then has U+FFFD in it).
        raw: the bytes of the name when they were not UTF-8, otherwise None.
    """

    text: str
    encoding: str | None = None
    raw: bytes | None = None


def is_utf8(name: bytes) -> bool:
    """Whether ``name`` is valid UTF-8."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


class NameDecoder:
    """Turns the names of one torrent into text.

    Args:
        names: all names of the torrent; those that are not UTF-8 tell the code page.
    """

    def __init__(self, names: Iterable[bytes]) -> None:
        self._encoding = _code_page(names)
        self._known: dict[bytes, Text] = {}

    def __call__(self, name: bytes) -> Text:
        """Return ``name`` as text; equal names give the same object, as directories come again and again."""
        text = self._known.get(name)
        if text is None:
            text = self._known[name] = self._decode(name)
        return text

    def _decode(self, name: bytes) -> Text:
        kept = name[:MAX_NAME_BYTES]
        if is_utf8(kept):
            return Text(kept.decode())
        if _mostly_utf8(kept):
            return Text(kept.decode(errors="replace"), "utf-8", kept)
        if self._encoding is None:
            return Text(kept.decode(errors="replace"), None, kept)
        return Text(kept.decode(self._encoding, errors="replace"), self._encoding, kept)


def _code_page(names: Iterable[bytes]) -> str | None:
    sample = b""
    for name in names:
        if len(sample) >= _MAX_SAMPLE_BYTES:
            break
        if not is_utf8(name) and not _mostly_utf8(name[:MAX_NAME_BYTES]):
            sample += name[:MAX_NAME_BYTES] + b"\n"
    if not sample:
        return None
    best = from_bytes(sample, cp_isolation=list(_CODE_PAGES)).best()
    return best.encoding if best and best.encoding in _CODE_PAGES else None


def _mostly_utf8(name: bytes) -> bool:
    """Whether ``name`` is UTF-8 with a flaw, such as one that was cut in the middle of a character."""
    foreign = [character for character in name.decode(errors="replace") if not character.isascii()]
    return foreign.count("\N{REPLACEMENT CHARACTER}") * 2 < len(foreign)
