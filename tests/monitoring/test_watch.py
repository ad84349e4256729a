"""Whoever watches over HTTP: when the daemon calls itself ready, and what it refuses to begin."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import errno
import socket
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from crawler.config import ConfigError
from crawler.daemon import building
from crawler.monitoring import serving
from crawler.monitoring.pages import Watched, application
from crawler.net.http import HttpServer, url_of
from crawler.net.http_terms import HttpConfig
from tests.sim.crawl_scene import Scene
from tests.sim.full_run import kept
from tests.sinks.flaky_disk import FlakyDisk

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from crawler.daemon.run import Run


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Return the list in which every run stands as soon as it is put together."""
    made: list[Run] = []
    monkeypatch.setattr(building, "assemble", kept(building.assemble, made))
    return made


async def problems_at(runs: list[Run], *times: float) -> list[list[str]]:
    """Return what keeps the run from being ready at each of some virtual times."""
    found = []
    for at in times:
        await trio.sleep_until(at)
        found.append(serving.problems(runs[-1]))
    return found


async def watched(
    scene: Scene, runs: list[Run], *times: float, seconds: float = 20, **sections: Any
) -> list[Any]:
    """Crawl, and return the problems at some times of the run."""
    found: list[Any] = []

    async def look() -> None:
        found.extend(await problems_at(runs, *times))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await scene.crawl(seconds, **sections)
    return found


async def test_ready_once_a_node_is_good(tmp_path: Path, autojump_clock: MockClock, runs: list[Run]) -> None:
    """At the start nobody is known; some seconds later the daemon is ready; at its end it is not."""
    with Scene.of(tmp_path, 21, nodes=200, infohashes=100) as scene:
        found = await watched(scene, runs, 0.0001, 15.0, 20.01)

    assert found == [["no good node in the routing table"], [], ["the run is ending"]]


async def test_not_ready_without_an_uplink(
    tmp_path: Path, autojump_clock: MockClock, runs: list[Run]
) -> None:
    """A daemon that nobody answers never becomes ready."""
    with Scene.of(tmp_path, 22, nodes=200, infohashes=100) as scene:
        scene.network.connected = False
        assert await watched(scene, runs, 15.0) == [["no good node in the routing table"]]


async def test_not_ready_while_the_disk_is_full(
    tmp_path: Path, autojump_clock: MockClock, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output that takes no lines is named with what is wrong."""
    with Scene.of(tmp_path, 23, nodes=200, infohashes=500) as scene:
        FlakyDisk(error=errno.ENOSPC).install(monkeypatch)
        [[problem]] = await watched(scene, runs, 15.0)

    assert problem.startswith(f"output {scene.out}: ")
    assert "No space left" in problem


@pytest.fixture
def scene(tmp_path: Path) -> Any:
    """Yield a small scene."""
    with Scene.of(tmp_path, 24, nodes=50, infohashes=50) as made:
        yield made


async def test_a_busy_port_is_one_line(scene: Scene, autojump_clock: MockClock) -> None:
    """The address is bound before anything is sent, and who has it already keeps it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"^cannot serve HTTP on {address}: Address already in use$"):
            await scene.crawl(5, http={"listen": address})
    assert not scene.network.sent


@pytest.mark.parametrize("missing", ["starlette.applications", "hypercorn.config", "prometheus_client"])
async def test_a_missing_extra_is_one_line(
    scene: Scene, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Whichever package lacks, the line names the extra that brings it."""
    for name in ("crawler.monitoring.pages", "crawler.net.http_connection"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r'pip install "dht-crawler\[http\]"$'):
        await scene.crawl(5, http={"listen": "127.0.0.1:0"})


@pytest.mark.parametrize(("listen", "exposed"), [("127.0.0.1:0", 0), ("[::1]:0", 0), ("0.0.0.0:0", 1)])
async def test_who_can_ask_is_told(
    scene: Scene, autojump_clock: MockClock, listen: str, exposed: int
) -> None:
    """An address that others can reach is allowed, with a warning."""
    assert await scene.crawl(0.5, http={"listen": listen}) == 0
    assert len(scene.status("http.listening")) == 1
    assert [fields["log_level"] for fields in scene.status("http.exposed")] == ["warning"] * exposed


async def test_nothing_is_opened_unless_asked(scene: Scene, autojump_clock: MockClock) -> None:
    """Without --http there is no HTTP."""
    assert await scene.crawl(0.5) == 0
    assert not scene.status("http.listening")


async def ask(watched: Watched, method: str, path: str) -> httpx2.Response:
    """Ask a real server that tells of ``watched``."""
    server = HttpServer(application(watched), HttpConfig(listen="127.0.0.1:0"))
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.run)
        async with httpx2.AsyncClient(base_url=url_of(address)) as client:
            answer = await client.request(method, path)
        nursery.cancel_scope.cancel()
    return answer


def nothing(problems: list[str]) -> Watched:
    """Return something to watch that has ``problems``."""
    return Watched(lambda accept: (accept.encode(), "text/x"), lambda: problems, lambda: {"a": 1})


@pytest.mark.parametrize("problems", [[], ["no good node in the routing table", "the run is ending"]])
async def test_readiness_is_a_status_code(problems: list[str]) -> None:
    """200 when there is no problem, else 503, with every reason as JSON."""
    answer = await ask(nothing(problems), "GET", "/readyz")
    assert answer.status_code == (503 if problems else 200)
    assert answer.json() == {"ready": not problems, "problems": problems}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
async def test_nothing_can_be_changed(method: str, path: str) -> None:
    """Only reading is allowed, and no page is shared with other origins."""
    answer = await ask(nothing([]), method, path)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("path", "code", "kind"),
    [
        ("/", 200, "application/json"),
        ("/healthz", 200, "application/json"),
        ("/status", 200, "application/json"),
        ("/metrics", 200, "text/x"),
        ("/secret", 404, "text/plain; charset=utf-8"),
        ("/healthz/../etc", 404, "text/plain; charset=utf-8"),
    ],
)
async def test_pages_and_their_types(path: str, code: int, kind: str) -> None:
    """Every page says what it is; HEAD says the same without the page."""
    for method in ("GET", "HEAD"):
        answer = await ask(nothing([]), method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (code, kind)
        assert bool(answer.content) == (method == "GET")
