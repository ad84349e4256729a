"""What is answered over HTTP to whoever watches the daemon: four pages and a list of them.

An ASGI application, apart from any server and from the run that it tells of: it is handed functions. GET and
HEAD only, no cookies, no CORS; nothing here changes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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

    async def metrics(request: Request) -> Response:
        text, kind = watched.metrics(request.headers.get("accept", ""))
        return Response(text, headers={**_HEADERS, "content-type": kind})

    async def alive(_request: Request) -> Response:
        return _json({"alive": True})

    async def ready(_request: Request) -> Response:
        problems = watched.problems()
        return _json({"ready": not problems, "problems": problems}, _NOT_READY if problems else _FINE)

    async def status(_request: Request) -> Response:
        return _json(watched.status())

    async def pages(_request: Request) -> Response:
        return _json({"pages": sorted(routes)})

    routes = {"/metrics": metrics, "/healthz": alive, "/readyz": ready, "/status": status}
    return Starlette(
        routes=[Route(path, page, methods=["GET"]) for path, page in {**routes, "/": pages}.items()]
    )


def _json(value: Any, status: int = _FINE) -> Response:
    return Response(
        msgspec.json.encode(value) + b"\n",
        status,
        headers={**_HEADERS, "content-type": "application/json"},
    )
