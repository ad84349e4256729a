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
    from collections.abc import Collection, Iterable

MAX_NAME_BYTES: Final = 1024
"""Names are cut to this length; file systems end at 255 characters, which are at most 1020 bytes."""

_BREAK: Final = b"\n"
"""Between two names; no character of UTF-8 goes on past it, so that the whole is UTF-8 if each name is."""
_MAX_SAMPLE_BYTES: Final = 2048
_CODE_PAGES: Final = (
    *("gb18030", "big5", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949"),
    *("cp1251", "koi8_r", "cp866", "cp1252", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "iso8859_1"),
)
"""What clients before UTF-8 wrote. Guessing among these only is 20 times as fast, and more often right."""


@attrs.define(unsafe_hash=True)
class Text:
    """A name as text. A value: not frozen, because a large torrent has thousands and that doubles their cost.

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


def are_plain(names: Collection[bytes]) -> bool:
    """Whether all ``names`` are UTF-8 and none is too long, so that decoding them is all there is to do."""
    return is_utf8(_BREAK.join(names)) and max(map(len, names), default=0) <= MAX_NAME_BYTES


def decode_names(names: Collection[bytes]) -> dict[bytes, Text]:
    """Return name → text for all names of one torrent; those that are not UTF-8 tell the code page."""
    if are_plain(names):
        return {name: Text(name.decode()) for name in names}
    encoding = _code_page(names)
    return {name: _decode(name[:MAX_NAME_BYTES], encoding) for name in names}


def _decode(name: bytes, encoding: str | None) -> Text:
    if is_utf8(name):
        return Text(name.decode())
    if _mostly_utf8(name):
        return Text(name.decode(errors="replace"), "utf-8", name)
    if encoding is None:
        return Text(name.decode(errors="replace"), None, name)
    return Text(name.decode(encoding, errors="replace"), encoding, name)


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
