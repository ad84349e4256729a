"""Magnet links (BEP 9, 53; BEP 52's ``btmh``), read tolerantly and written so that no name can break out.

Nothing in a link is trusted: names are not resolved, trackers only have their scheme checked, and whether a
peer's address may be dialled is for the caller to ask `compact.is_global`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, unquote_plus

import attrs

from crawler.wire.compact import format_address, pack_address, parse_address
from crawler.wire.ids import ID_BYTES, parse_infohash

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINK: Final = 8 * 1024
MAX_TRACKERS: Final = 64
MAX_PEERS: Final = 64
MAX_SELECTED: Final = 1000
MAX_FILE_INDEX: Final = 10_000

_SCHEME: Final = "magnet:?"
_BTIH: Final = "urn:btih:"
_BTMH: Final = "urn:btmh:"
_SHA256_MULTIHASH: Final = re.compile(r"1220([0-9a-f]{64})", re.ASCII | re.IGNORECASE)
_NUMBERED: Final = re.compile(r"\.[0-9]+$", re.ASCII)
_RANGE: Final = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", re.ASCII)
_TRACKER: Final = re.compile(r"(?:https?|udp)://[^\x00-\x20\x7f]+", re.ASCII | re.IGNORECASE)


class MagnetError(ValueError):
    """The link names no torrent; the message is one line for the person who typed it."""


@attrs.frozen
class Magnet:
    """What a magnet link says; at least one of the two hashes is there.

    Attributes:
        infohash: 20 bytes: SHA-1 of a v1 or hybrid torrent's info dict (in the wild also a cut v2 hash).
        infohash_v2: 32 bytes: SHA-256 of a v2 or hybrid torrent's info dict.
        name: display name: hostile text.
        trackers: announce URLs of http, https or udp.
        peers: compact addresses; host names are left out.
        select_only: indices of the wanted files, sorted (BEP 53); empty for all.
    """

    infohash: bytes | None = None
    infohash_v2: bytes | None = None
    name: str | None = None
    trackers: tuple[str, ...] = ()
    peers: tuple[bytes, ...] = ()
    select_only: tuple[int, ...] = ()

    @property
    def targets(self) -> tuple[bytes, ...]:
        """What to look up in the DHT: 20 bytes each, two for a hybrid torrent."""
        found = [self.infohash, self.infohash_v2 and self.infohash_v2[:ID_BYTES]]
        return tuple(dict.fromkeys(target for target in found if target))


def parse_magnet(link: str) -> Magnet:
    """Return what a magnet link says; parameters that are unknown or unusable are left out.

    Raises:
        MagnetError: too long, no magnet link, a broken hash, or no hash at all.
    """
    text = link.strip()
    if len(text) > MAX_LINK:
        raise MagnetError(f"the magnet link is too long: {len(text)} characters, {MAX_LINK} are allowed")
    if text[: len(_SCHEME)].lower() != _SCHEME:
        raise MagnetError("not a magnet link: it does not start with 'magnet:?'")
    values: dict[str, list[str]] = {}
    for name, value in _parameters(text[len(_SCHEME) :]):
        values.setdefault(name, []).append(value)
    infohash, infohash_v2 = _hashes([unquote(topic) for topic in values.get("xt", [])])
    names = [unquote_plus(name) for name in values.get("dn", [])]
    return Magnet(
        infohash,
        infohash_v2,
        name=names[0] if names else None,
        trackers=tuple(_trackers(values.get("tr", [])))[:MAX_TRACKERS],
        peers=tuple(_peers(values.get("x.pe", [])))[:MAX_PEERS],
        select_only=_selection(",".join(map(unquote, values.get("so", [])))),
    )


def format_magnet(magnet: Magnet) -> str:
    """Return the link for ``magnet``, everything that is not plain in it percent-encoded."""
    parts = []
    if magnet.infohash is not None:
        parts.append(f"xt={_BTIH}{magnet.infohash.hex()}")
    if magnet.infohash_v2 is not None:
        parts.append(f"xt={_BTMH}1220{magnet.infohash_v2.hex()}")
    if magnet.name is not None:
        parts.append(f"dn={quote(magnet.name, safe='', errors='replace')}")
    parts += [f"tr={quote(url, safe='', errors='replace')}" for url in magnet.trackers]
    parts += [f"x.pe={format_address(peer)}" for peer in magnet.peers]
    if magnet.select_only:
        parts.append("so=" + ",".join(map(str, magnet.select_only)))
    return _SCHEME + "&".join(parts)


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    for part in query.replace("&amp;", "&").split("&"):
        name, _, value = part.partition("=")
        yield _NUMBERED.sub("", unquote(name).lower()), value


def _hashes(topics: list[str]) -> tuple[bytes | None, bytes | None]:
    infohash = infohash_v2 = None
    for topic in topics:
        prefix, digits = topic[: len(_BTIH)].lower(), topic[len(_BTIH) :]
        if prefix == _BTIH:
            infohash = infohash or _infohash(digits)
        elif prefix == _BTMH:
            infohash_v2 = infohash_v2 or _multihash(digits)
    if infohash is None and infohash_v2 is None:
        raise MagnetError("the magnet link names no torrent: it has no xt=urn:btih: or xt=urn:btmh:")
    return infohash, infohash_v2


def _infohash(digits: str) -> bytes:
    if digits != digits.strip():
        raise MagnetError("the magnet link's btih has white space in it")
    try:
        return parse_infohash(digits)
    except ValueError as error:
        raise MagnetError(f"the magnet link's btih is broken: {error}") from None


def _multihash(digits: str) -> bytes:
    match = _SHA256_MULTIHASH.fullmatch(digits)
    if match is None:
        raise MagnetError("the magnet link's btmh is broken: 1220 and 64 hex digits are needed")
    return bytes.fromhex(match[1])


def _trackers(values: list[str]) -> Iterator[str]:
    seen = set()
    for url in map(unquote, values):
        if _TRACKER.fullmatch(url) and url not in seen:
            seen.add(url)
            yield url


def _peers(values: list[str]) -> Iterator[bytes]:
    seen = {b""}
    for text in map(unquote, values):
        try:
            peer = pack_address(parse_address(text))
        except ValueError:
            continue
        if peer not in seen and any(peer[-2:]):
            seen.add(peer)
            yield peer


def _selection(text: str) -> tuple[int, ...]:
    chosen: set[int] = set()
    for item in text.split(","):
        match = _RANGE.fullmatch(item)
        if match is None:
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        room = MAX_SELECTED - len(chosen)
        chosen.update(range(first, min(last, MAX_FILE_INDEX, first + room - 1) + 1))
    return tuple(sorted(chosen))
