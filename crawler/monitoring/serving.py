"""The HTTP side of a run: what it tells, joined to the server that tells it.

`pages` says what is answered, `net/http` is the server; nothing but this page knows both and the run.
"""

from __future__ import annotations

import ipaddress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import trio

from crawler import __version__, metrics
from crawler.monitoring import figures, metrics_table, status
from crawler.net.http import ExtraMissingError, HttpServer, url_of
from crawler.settings.sources import ConfigError
from crawler.wire.compact import format_address, pack_address

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from crawler.daemon.run import Run


def build(run: Run, on_event: Callable[..., None], opened: contextlib.ExitStack) -> HttpServer | None:
    """Make the server, bound and not yet answering; None when it is not wanted.

    Raises:
        ConfigError: the address cannot be had, or packages are missing.
    """
    config = run.shared.config.http
    if not config.listen:
        return None
    try:
        import_module("prometheus_client")  # told now rather than at the first request
        from crawler.monitoring.pages import Watched, application  # noqa: PLC0415 - it imports the extra

        server: HttpServer | None = None
        told = Watched(
            metrics=lambda accept: metrics.render(_figures(run, server), metrics_table.TABLE, accept),
            problems=lambda: problems(run),
            status=lambda: _status(run),
        )
        server = HttpServer(application(told), config, on_event)
    except OSError as error:
        raise ConfigError(f"cannot serve HTTP on {config.listen}: {error.strerror or error}") from error
    except ImportError as error:
        raise ConfigError(
            f'--http needs packages that are missing ({error.name}): pip install "dht-crawler[http]"'
        ) from error
    except ExtraMissingError as error:
        raise ConfigError(str(error)) from error
    opened.callback(server.close)
    return server


async def serve(server: HttpServer, nursery: trio.Nursery, on_event: Callable[..., None]) -> None:
    """Start answering, and say where; warn when others than this machine can ask."""
    address = await nursery.start(server.run, name="http")
    on_event("http.listening", url=url_of(address))
    if not ipaddress.ip_address(address[0]).is_loopback:
        on_event("http.exposed", url=url_of(address), problem="anybody who reaches this address may ask")


def address_of(server: HttpServer | None) -> str:
    """Return ``ADDR:PORT`` of the server; "" when there is none."""
    return "" if server is None else format_address(pack_address(server.local))


def problems(run: Run) -> list[str]:
    """Return why the run is not ready: it is when some node is good and some output takes lines."""
    now = trio.current_time()
    found = []
    if run.lifetime.over.is_set():
        found.append("the run is ending")
    if not any(station.node.table.statistics(now).good for station in run.stations):
        found.append("no good node in the routing table")
    outputs = run.sink.each()
    if all(counts.trouble for counts in outputs.values()):
        found += [f"output {path}: {counts.trouble}" for path, counts in outputs.items()]
    elif run.shared.outlet.full:
        found.append("the outputs lag: asking pauses")
    return found


def _figures(run: Run, server: HttpServer | None) -> dict[str, Any]:
    return figures.gather(run, server, trio.current_time())


def _status(run: Run) -> dict[str, Any]:
    return {"version": __version__, "problems": problems(run), **status.collect(run, trio.current_time())}
