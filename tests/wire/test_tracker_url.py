"""Tracker URLs: what is one, what is none, and what of them may be shown."""

from __future__ import annotations

import pytest

from crawler.wire.tracker_url import TrackerUrl, TrackerUrlError, parse_tracker_url


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("udp://tracker.example.com:80/dir?a=b&c=d", ("udp", "tracker.example.com", 80, "/dir", "a=b&c=d")),
        ("udp://tracker.example.com:6969", ("udp", "tracker.example.com", 6969, "", "")),
        ("http://T.example/announce", ("http", "t.example", 80, "/announce", "")),
        ("HTTPS://t.example/a?passkey=x#part", ("https", "t.example", 443, "/a", "passkey=x")),
        ("udp://[2001:db8::1]:6969/announce", ("udp", "2001:db8::1", 6969, "/announce", "")),
        ("http://1.2.3.4:8080/", ("http", "1.2.3.4", 8080, "/", "")),
    ],
)
def test_parts(text: str, parts: tuple[str, str, int, str, str]) -> None:
    """Scheme, host, port, path and query are told apart; usual ports need not be said."""
    assert parse_tracker_url(text) == TrackerUrl(text.partition("#")[0], *parts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must begin with"),
        ("tracker.example.com:80", "must begin with"),
        *((f"{scheme}://t:1/", "must begin with") for scheme in ("wss", "file", "gopher", "ftp", "unix")),
        ("http://", "no host"),
        ("http:///announce", "no host"),
        ("http://a%00b/", "no host"),
        ("udp://tracker.example.com/announce", "no port"),
        ("udp://t:0/", "no port"),
        ("udp://t:65536/", "out of range"),
        ("udp://t:x/", "Port"),
        ("http://user:secret@t/", "password"),
        ("http://[::1/", "Invalid IPv6"),
        ("http://t/\r\nX: y", "plain ASCII"),
        ("http://t/ a", "plain ASCII"),
        ("http://tracker.exämple/", "plain ASCII"),
        ("http://t/" + "a" * 3000, "2048"),
    ],
)
def test_what_is_none_gets_one_line(text: str, said: str) -> None:
    """Other schemes, missing parts, passwords and stray characters are refused in one printable line."""
    with pytest.raises(TrackerUrlError) as caught:
        parse_tracker_url(text)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_what_is_shown_has_no_passkey() -> None:
    """The origin names the tracker without path and query, and brackets an IPv6 literal."""
    url = parse_tracker_url("https://[2001:db8::1]/0123456789abcdef/announce?key=secret")

    assert url.origin == "https://[2001:db8::1]:443"
    assert url.target == "/0123456789abcdef/announce?key=secret"
    assert parse_tracker_url("udp://t:1").target == ""
