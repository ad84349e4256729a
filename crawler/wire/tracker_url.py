"""Tracker URLs: the three schemes there are, read strictly, as most come from magnet links of strangers."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

import attrs

MAX_URL: Final = 2048

_PORTS: Final = {"http": 80, "https": 443}
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
_SHOWN: Final = 80


class TrackerUrlError(ValueError):
    """No URL of a tracker; the message is one line for the person who gave it."""


@attrs.frozen
class TrackerUrl:
    """Where a tracker is.

    Attributes:
        text: the whole URL, as it was given.
        scheme: ``"http"``, ``"https"`` or ``"udp"``.
        host: a name, or an address literal without brackets; lower case.
        port: 1 to 65535.
        path: with its leading slash; may be empty.
        query: without its question mark; may be empty.
    """

    text: str
    scheme: str
    host: str
    port: int
    path: str = ""
    query: str = ""

    @property
    def place(self) -> str:
        """``HOST:PORT``, an IPv6 literal in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """``scheme://HOST:PORT``: what may be shown to anybody, for paths and queries may hold passkeys."""
        return f"{self.scheme}://{self.place}"

    @property
    def target(self) -> str:
        """Path and query, as BEP 41 and HTTP send them; empty when there are none."""
        return f"{self.path}?{self.query}" if self.query else self.path


def parse_tracker_url(text: str) -> TrackerUrl:
    """The parts of an announce URL; a fragment is left out.

    Raises:
        TrackerUrlError: another scheme, no host, no port where none is usual, a user name, or characters that
            have no place in a URL.
    """
    shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
    if len(text) > MAX_URL or _UNSAFE.search(text):
        raise TrackerUrlError(
            f"not a tracker: {shown}; allowed are {MAX_URL} characters of plain ASCII, no spaces"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise TrackerUrlError(f"not a tracker: {shown}: {error}") from None
    host = parts.hostname or ""
    if port is None:
        port = _PORTS.get(parts.scheme)
    problem = _problem(parts, host, port)
    if problem or port is None:
        raise TrackerUrlError(f"not a tracker: {shown}: {problem}")
    return TrackerUrl(text.partition("#")[0], parts.scheme, host.lower(), port, parts.path, parts.query)


def _problem(parts: SplitResult, host: str, port: int | None) -> str:
    if parts.scheme not in {*_PORTS, "udp"}:
        return "it must begin with http://, https:// or udp://"
    if not _HOST.fullmatch(host):
        return "it has no host"
    if not port:
        return "it has no port from 1 to 65535"
    if parts.username is not None or parts.password is not None:
        return "a user name or password in it is not supported"
    return ""
