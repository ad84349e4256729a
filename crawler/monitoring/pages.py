"""What is answered over HTTP to whoever watches the daemon: four pages and a list of them.

An ASGI application, apart from any server and from the run that it tells of: it is handed functions. GET and
HEAD only, no cookies, no CORS; nothing here changes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_FINE, _NOT_READY = 200, 503


@attrs.frozen
class Watched:
    """What there is to tell.

    Attributes:
        metrics: gives the text of all metrics and its media type for what a reader accepts.
        problems: says why the daemon is not ready; nothing when it is.
        status: gives all counters, ready for JSON.
    """

    metrics: Callable[[str], tuple[bytes, str]]
    problems: Callable[[], list[str]]
    status: Callable[[], Mapping[str, Any]]


def application(watched: Watched) -> Starlette:
    """Return the application that tells of ``watched``."""

    def metrics(request: Request) -> Response:
        text, kind = watched.metrics(request.headers.get("accept", ""))
        return Response(text, headers={**_HEADERS, "content-type": kind})

    def ready(_request: Request) -> Response:
        problems = watched.problems()
        return _json({"ready": not problems, "problems": problems}, _NOT_READY if problems else _FINE)

    pages = {
        "/metrics": metrics,
        "/healthz": lambda _request: _json({"alive": True}),
        "/readyz": ready,
        "/status": lambda _request: _json(watched.status()),
    }
    index = {"/": lambda _request: _json({"pages": sorted(pages)})}
    return Starlette(
        routes=[Route(path, _page(page), methods=["GET"]) for path, page in {**pages, **index}.items()]
    )


def _page(answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """Return ``answer`` as Starlette wants it; a plain function would be called in a thread."""

    async def page(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return answer(request)

    return page


def _json(value: Any, status: int = _FINE) -> Response:
    return Response(
        msgspec.json.encode(value) + b"\n",
        status,
        headers={**_HEADERS, "content-type": "application/json"},
    )
