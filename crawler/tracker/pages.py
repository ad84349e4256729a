"""What a tracker tells its owner over HTTP: /stats and /metrics, at its own door or at one apart.

An ASGI application of functions that it is handed, and what `HttpTracker` shares with it: how a page is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from crawler.net.http_terms import Message

_PLAIN: Final = b"text/plain"
_JSON: Final = b"application/json"
_METHODS: Final = {"GET", "HEAD"}
_FINE, _NOT_FOUND, _WRONG_METHOD = 200, 404, 405


@attrs.frozen
class Page:
    """An answer over HTTP."""

    body: bytes
    kind: bytes = _PLAIN
    status: int = _FINE

    async def send(self, scope: Message, send: Callable[[Message], Awaitable[None]]) -> None:
        """Answer the request of ``scope`` with it."""
        headers = [
            (b"content-type", self.kind),
            (b"content-length", str(len(self.body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self.body})


def wrong_method(scope: Message) -> Page | None:
    """The refusal of anything but GET and HEAD."""
    return None if scope["method"] in _METHODS else Page(b"only GET\n", status=_WRONG_METHOD)


def not_found(text: bytes) -> Page:
    """The answer at paths where there is nothing."""
    return Page(text, status=_NOT_FOUND)


@attrs.frozen
class OwnersPages:
    """The pages, and an ASGI application of nothing else.

    Attributes:
        figures: gives all counters, for /stats.
        metrics: gives the text of /metrics and its media type for what a reader accepts.
    """

    figures: Callable[[], Mapping[str, Any]]
    metrics: Callable[[str], tuple[bytes, str]]

    def page(self, scope: Message) -> Page | None:
        """The page that ``scope`` asks for, if it is one of these."""
        path = scope["path"]
        if path == "/stats":
            return Page(msgspec.json.encode(self.figures()) + b"\n", _JSON)
        if path == "/metrics":
            accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
            text, kind = self.metrics(accept)
            return Page(text, kind.encode())
        return None

    async def __call__(
        self,
        scope: Message,
        _receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        page = (
            wrong_method(scope) or self.page(scope) or not_found(b"a tracker's figures: /metrics, /stats\n")
        )
        await page.send(scope, send)
