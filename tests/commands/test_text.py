"""What strangers named, as a terminal gets it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.commands.metadata import describe
from crawler.commands.text import about, bytes_text, clock, table, visible, visible_path
from crawler.wire import bencode, metainfo

_HARMLESS = "Größe 日本 имя (2026) [v1]\u3000é ﷽ \U0001f600"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\rb\nc\td\x00\x7f\x9b", "a\\rb\\nc\\td\\x00\\x7f\\x9b"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\u2066\u200b\ufeff\u2028\u2029", "\\u2066\\u200b\\ufeff\\u2028\\u2029"),
        ("\\x1b", "\\\\x1b"),
        ("\ud800\U000e0001", "\\ud800\\U000e0001"),
        (_HARMLESS, _HARMLESS),
    ],
)
def test_nothing_moves_the_cursor(hostile: str, shown: str) -> None:
    """Control, format and bidi characters and lone surrogates become escapes; letters stay what they are."""
    assert visible(hostile) == shown


@given(st.text(alphabet=st.characters()))
def test_every_text_becomes_harmless(text: str) -> None:
    """Whatever comes in, only letters, marks, digits, punctuation, symbols and spaces come out."""
    kinds = {unicodedata.category(character) for character in visible(text)}
    assert not {kind for kind in kinds if kind[0] == "C" or kind in {"Zl", "Zp"}}


def test_components_cannot_feign_directories() -> None:
    """A slash inside a component is told from one between components."""
    assert visible_path(["a", "b/../c", "..", ""]) == "a/b\\x2f..\\x2fc/../"


def test_figures_read_well() -> None:
    """Sizes are exact and rounded, times are minutes, estimates say that they are."""
    assert [bytes_text(n) for n in (0, 1, 1023, 1024, 90_000, 5 << 40)] == [
        "0 bytes",
        "1 byte",
        "1,023 bytes",
        "1,024 bytes (1.0 KiB)",
        "90,000 bytes (87.9 KiB)",
        "5,497,558,138,880 bytes (5.0 TiB)",
    ]
    assert [clock(seconds) for seconds in (0, 65.9, 3600)] == ["0:00", "1:05", "60:00"]
    assert (about(None), about(7)) == ("unknown, no node told", "about 7")
    assert table([("a", "1"), ("long", "2")]) == ["a     1", "long  2"]


def info_of(**fields: object) -> bytes:
    """Return a bencoded info dict."""
    return bencode.encode({key.encode(): value for key, value in fields.items()} | {b"piece length": 16384})


def test_a_description_keeps_hostile_names_on_their_lines() -> None:
    """Each file is one line, whatever its name does, and sizes stand below each other before the names."""
    files = [
        {b"length": 5, b"path": [b"\x1b[1A\nspoof", b"x"]},
        {b"length": 123_456, b"path": ["\u202egpj".encode()]},
    ]
    lines = describe(
        metainfo.parse(info_of(name=b"\x1b[2J", files=files, pieces=b"", private=1)), "8.8.8.8:1"
    )

    assert lines[0] == "name          \\x1b[2J"
    assert "private       yes" in lines
    assert "from          8.8.8.8:1" in lines
    assert any(line.startswith("faults") and "bad_pieces" in line for line in lines)
    assert lines[-3:] == ["files         2", "        5  \\x1b[1A\\nspoof/x", "  123,456  \\u202egpj"]
    assert all(visible(line).replace("\\\\", "\\") == line for line in lines)


def test_a_description_says_what_was_guessed_and_left_out() -> None:
    """A guessed encoding, a missing name and files beyond the limit are said."""
    cyrillic = info_of(name="Сборник популярных песен".encode("cp1251"), length=5, pieces=b"h" * 20)
    many = info_of(files=[{b"length": 1, b"path": [b"f%d" % n]} for n in range(30)], pieces=b"h" * 20)
    limits = metainfo.MetainfoLimits(max_files=10)

    assert describe(metainfo.parse(cyrillic), "p")[0].endswith("Сборник популярных песен  (read as cp1251)")
    lines = describe(metainfo.parse(many, limits), "p")
    assert lines[0] == "name          (none)"
    assert lines[-12] == "files         30"
    assert lines[-1] == "  and 20 more"
