"""Names to text: UTF-8 kept, old code pages guessed, nothing lost, no surrogate ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire.names import MAX_NAME_BYTES, Text, decode_names


def decode(*names: bytes) -> list[Text]:
    """Return the names of one torrent as text."""
    texts = decode_names(names)
    return [texts[name] for name in names]


@pytest.mark.parametrize("name", ["", "plain", "Ünïcödé", "日本語", "a\x1b[31m\n\0\u202e/../", "\U0001d518"])
def test_utf8_is_kept_as_it_is(name: str) -> None:
    """Valid UTF-8 needs no guess and no raw bytes, whatever characters it has."""
    assert decode(name.encode()) == [Text(name)]


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("Война и мир - Сезон 1 - Серия 5.avi", "cp1251"),
        ("Война и мир - Сезон 1 - Серия 5.avi", "koi8_r"),
        ("Война и мир - Сезон 1 - Серия 5.avi", "cp866"),
        ("[电影天堂]流浪地球2.国语中字.mkv", "gb18030"),
        ("中文電影名稱 繁體.avi", "big5"),
        ("日本語のファイル名 アニメ 第01話.mkv", "shift_jis"),
        ("日本語のファイル名 アニメ 第01話.mkv", "euc_jp"),
        ("한국어 영화 제목 2023.avi", "euc_kr"),
        ("Größe über alles Ärger.mp3", "cp1252"),
        ("Zażółć gęślą jaźń", "cp1250"),
        ("فيلم عربي جديد", "cp1256"),
    ],
)
def test_old_code_pages_are_guessed(name: str, encoding: str) -> None:
    """Common code pages give the right text back, with the guess and the raw bytes beside it."""
    raw = name.encode(encoding)

    [text] = decode(raw)

    assert text.text == name
    assert text.raw == raw
    assert text.encoding is not None


def test_one_guess_serves_the_whole_torrent() -> None:
    """A name too short for a guess of its own is read with the code page that its neighbours give away."""
    long = "Сборник популярных песен и романсов, том первый"
    names = [long.encode("cp1251"), "Мир".encode("cp1251"), b"plain.txt"]

    texts = decode(*names)

    assert [text.text for text in texts] == [long, "Мир", "plain.txt"]
    assert [text.encoding for text in texts] == ["cp1251", "cp1251", None]


def test_damaged_utf8_stays_utf8() -> None:
    """A name that was cut within a character is not mistaken for another code page."""
    raw = "日本語のファイル名".encode()[:-1]

    [text] = decode(raw)

    assert text == Text("日本語のファイル\N{REPLACEMENT CHARACTER}", "utf-8", raw)


def test_the_hopeless_is_kept_raw() -> None:
    """Bytes that no code page explains still come out, as replacement characters and as they were."""
    raw = b"\xff\xfea\0b\0\x81\x8d\x8f\x90\x9d"

    [text] = decode(raw)

    assert text.raw == raw
    assert "a" in text.text


def test_long_names_are_cut() -> None:
    """A name of a megabyte costs no more than one of a kilobyte."""
    [plain, odd] = decode(b"x" * 2_000_000, b"\xe4" * 2_000_000)

    assert plain.text == "x" * MAX_NAME_BYTES
    assert len(odd.raw or b"") == MAX_NAME_BYTES


def test_equal_names_share_one_text() -> None:
    """Directories that come again for each file are decoded and kept once."""
    first, second = decode(b"dir", bytes(bytearray(b"dir")))

    assert first is second


@given(names=st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_become_text_that_can_be_written(names: list[bytes]) -> None:
    """Every name gives text without surrogates, and the raw bytes whenever the text is not exactly them."""
    for name, text in zip(names, decode(*names), strict=True):
        text.text.encode()
        assert (text.raw or text.text.encode()) == name
