"""Magnet links: the fact sheet's vectors, what must fail, and names that try to break out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire.magnet import Magnet, MagnetError, format_magnet, parse_magnet

V1 = "a8a8e4abd7ea0ce39b5e5b2ded34b631de2df51c"
V2 = "d4792757eefa02241ccfde3cf7abb29ba93a60e4d16b9c464efce8440b89fa27"
HYBRID_V1 = "ff03877eb324a78189682c7395a22bf15dc9d21e"
HYBRID_V2 = "2c7e7a87aa50acd3bbcbe7394e6caa7ffb973cf988844ef92ce1bc4c0914000e"
LINK = f"magnet:?xt=urn:btih:{V1}"


@pytest.mark.parametrize(
    "link",
    [
        LINK,
        f"magnet:?xt=urn:btih:{V1.upper()}",
        "magnet:?xt=urn:btih:VCUOJK6X5IGOHG26LMW62NFWGHPC35I4",
        "magnet:?xt=urn:btih:vcuojk6x5igohg26lmw62nfwghpc35i4",
        "MAGNET:?XT=URN:BTIH:" + V1,
        f"magnet:?xt.1=urn:btih:{V1}&xt.2=urn:sha1:whatever",
        f"magnet:?xt=urn%3Abtih%3A{V1}",
        f"  magnet:?dn=x&amp;xt=urn:btih:{V1}\n",
        f"magnet:?foo&=&&xt=urn:btih:{V1}&unknown=1",
    ],
)
def test_one_torrent_in_many_spellings(link: str) -> None:
    """Hex and base32, any case, numbered, escaped or HTML-quoted: all name the same 20 bytes."""
    assert parse_magnet(link).targets == (bytes.fromhex(V1),)


def test_v2_link_is_looked_up_by_its_head() -> None:
    """A v2 link carries 32 bytes, and the DHT is asked for the first 20."""
    magnet = parse_magnet(f"magnet:?xt=urn:btmh:1220{V2}")

    assert magnet == Magnet(infohash_v2=bytes.fromhex(V2))
    assert magnet.targets == (bytes.fromhex(V2[:40]),)


def test_hybrid_link_has_two_targets() -> None:
    """A hybrid link names both infohashes, and both are looked up."""
    magnet = parse_magnet(f"magnet:?xt=urn:btih:{HYBRID_V1}&xt=urn:btmh:1220{HYBRID_V2}")

    assert magnet.targets == (bytes.fromhex(HYBRID_V1), bytes.fromhex(HYBRID_V2[:40]))


@pytest.mark.parametrize(
    "link",
    [
        "",
        "magnet:",
        "magnet:?",
        "magnet:?dn=name",
        "magnet:?xt=urn:sha1:abc",
        "http://example.org/?xt=urn:btih:" + V1,
        f"magnet:?xt=urn:btih:{V1[:39]}",
        f"magnet:?xt=urn:btih:{V1}0",
        f"magnet:?xt=urn:btih:{V1[:39]}g",
        f"magnet:?xt=urn:btih:%20{V1}",
        *(f"magnet:?xt=urn:btih:{bad}CUOJK6X5IGOHG26LMW62NFWGHPC35I4" for bad in "0189"),
        f"magnet:?xt=urn:btmh:1114{V1}",
        f"magnet:?xt=urn:btmh:1220{V2[:63]}",
        f"magnet:?xt=urn:btmh:1220{V2}00",
        f"magnet:?xt=urn:btih:{V1}&xt=urn:btmh:1114{V1}",
        f"magnet:?xt=urn:btih:zz&xt=urn:btih:{V1}",
        LINK + "&dn=" + "a" * 8192,
    ],
)
def test_broken_links_are_refused_in_one_line(link: str) -> None:
    """No hash, a broken hash anywhere, another scheme or too long: one error, one line."""
    with pytest.raises(MagnetError) as caught:
        parse_magnet(link)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_and_plus_signs() -> None:
    """In names a plus is a space and UTF-8 is decoded; in trackers a plus stays."""
    magnet = parse_magnet(f"{LINK}&dn=a+b%2B%C3%A9%FF&dn=second&tr=http%3A%2F%2Ft%2Fa+b")

    assert magnet.name == "a b+é\N{REPLACEMENT CHARACTER}"
    assert magnet.trackers == ("http://t/a+b",)


def test_trackers_are_filtered_and_capped() -> None:
    """Only http, https and udp, each once, without control characters, at most 64."""
    wanted = [f"udp://t{number}/announce" for number in range(70)]
    others = ["ftp://a", "javascript:x", "http://", "http://a%0d%0aX:1", "wss://b", wanted[0]]

    magnet = parse_magnet(LINK + "".join(f"&tr.{n}={url}" for n, url in enumerate(others + wanted)))

    assert magnet.trackers == tuple(wanted[:64])


def test_peers_are_literal_addresses() -> None:
    """Addresses of both families are taken, names and port 0 are not, and never more than 64."""
    link = (
        LINK
        + "&x.pe=1.2.3.4:6881&x.pe=%5B2001:db8::1%5D:51413&x.pe=example.org:1&x.pe=1.2.3.4:0&x.pe=1.2.3.4"
    )
    crowd = LINK + "".join(f"&x.pe=9.9.9.{number}:1" for number in range(100))

    magnet = parse_magnet(link)

    assert magnet.peers == (
        bytes.fromhex("010203041ae1"),
        bytes.fromhex("20010db8000000000000000000000001c8d5"),
    )
    assert len(parse_magnet(crowd).peers) == 64


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("0,2,4,6-8", (0, 2, 4, 6, 7, 8)),
        ("0%2C2", (0, 2)),
        ("3-1,x,-5,7-,1.5,9", (9,)),
        ("10000,10001,9999-10005", (9999, 10000)),
        ("", ()),
    ],
)
def test_selected_files(text: str, chosen: tuple[int, ...]) -> None:
    """BEP 53's lists and ranges are read; bad items and indices above 10000 are skipped."""
    assert parse_magnet(f"{LINK}&so={text}").select_only == chosen


def test_selected_files_are_capped() -> None:
    """A range of a billion costs no more than a thousand numbers."""
    assert parse_magnet(f"{LINK}&so=5-999999999").select_only == tuple(range(5, 1005))


def test_link_is_written_plainly() -> None:
    """Hashes come first and in lower case, everything else is escaped."""
    magnet = Magnet(
        bytes.fromhex(HYBRID_V1),
        bytes.fromhex(HYBRID_V2),
        name="a&tr=evil\n'\"é",
        trackers=("udp://t:1/a?b=c",),
        peers=(bytes.fromhex("010203041ae1"),),
        select_only=(1, 3),
    )

    link = format_magnet(magnet)

    assert link == (
        f"magnet:?xt=urn:btih:{HYBRID_V1}&xt=urn:btmh:1220{HYBRID_V2}&dn=a%26tr%3Devil%0A%27%22%C3%A9"
        "&tr=udp%3A%2F%2Ft%3A1%2Fa%3Fb%3Dc&x.pe=1.2.3.4:6881&so=1,3"
    )
    assert parse_magnet(link) == magnet


@given(name=st.text(max_size=40))
def test_no_name_breaks_out(name: str) -> None:
    """Whatever a torrent is called, its link is plain ASCII, has no more parameters, and reads back."""
    link = format_magnet(Magnet(bytes.fromhex(V1), name=name))

    assert link.isascii()
    assert link.isprintable()
    assert link.count("&") == 1
    assert parse_magnet(link).infohash == bytes.fromhex(V1)
    assert parse_magnet(link).name == name.encode(errors="replace").decode()
