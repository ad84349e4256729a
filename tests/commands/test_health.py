"""The health command over HTTP: whom it asks, what it makes of the answer, and that it never hangs."""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from crawler import cli
from crawler.commands import health
from crawler.monitoring.pages import Watched, application
from crawler.net.http import HttpServer
from crawler.net.http_terms import HttpConfig
from crawler.state.directory import StateDirectory
from crawler.wire.compact import format_address, pack_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for variable in [name for name in os.environ if name.startswith("DHT_CRAWLER_")]:
        monkeypatch.delenv(variable)


@contextlib.asynccontextmanager
async def serving(problems: list[str], listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """Serve a daemon's pages in the block; yield the address."""
    watched = Watched(lambda _accept: (b"", "text/plain"), lambda: problems, dict)
    server = HttpServer(application(watched), HttpConfig(listen=listen))
    async with trio.open_nursery() as nursery:
        yield format_address(pack_address(await nursery.start(server.run)))
        nursery.cancel_scope.cancel()


async def check(*words: str) -> int:
    """Run the command in a thread, as the server answers in this one."""
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(cli.main, ["health", *words])


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"])
async def test_alive_and_ready(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that answers is alive, and ready when it says so; one that listens everywhere is asked too."""
    async with serving([], listen) as address:
        assert await check("--http", address) == 0
        assert await check("--ready", "--http", address) == 0
    assert capsys.readouterr().out.splitlines() == ["alive", "ready"]


async def test_alive_but_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that is not ready is alive all the same, and tells why, without a way to the terminal."""
    async with serving(["no good node", "disk \x1b[2J full"]) as address:
        assert await check("--http", address) == 0
        assert await check("--ready", "--http", address) == 1
    assert capsys.readouterr().out.splitlines() == ["alive", "/readyz says 503: no good node; disk ?[2J full"]


async def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that nobody has is one line and code 1."""
    async with serving([]) as address:
        pass
    assert await check("--http", address) == 1
    assert capsys.readouterr().out.startswith("no answer from 127.0.0.1 port ")


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
async def test_no_hang_and_no_trace(
    said: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Silence, another protocol and half an answer are one line each, soon."""
    monkeypatch.setattr(health, "_PATIENCE", 0.2)

    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(said)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, answer, 0, host="127.0.0.1")
        [listener] = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        began = time.monotonic()
        assert await check("--http", f"127.0.0.1:{port}") == 1
        assert time.monotonic() - began < 3
        nursery.cancel_scope.cancel()
    assert capsys.readouterr().out.count("\n") == 1


async def test_the_state_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without words, as in a container, the daemon's own address is asked, whatever the environment names."""
    monkeypatch.setenv("DHT_CRAWLER_STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("DHT_CRAWLER_HTTP_LISTEN", "127.0.0.1:9")
    async with serving(["not yet"]) as address:
        StateDirectory(tmp_path, lambda *_: None).beat(address)
        assert await check() == 0
        assert await check("--ready") == 1
    assert await check() == 1
    assert capsys.readouterr().out.splitlines()[:2] == ["alive", "/readyz says 503: not yet"]


async def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no state tells, as with a state elsewhere, the address in the environment is asked."""
    monkeypatch.setenv("DHT_CRAWLER_STATE_DIRECTORY", str(tmp_path / "elsewhere"))
    async with serving([]) as address:
        monkeypatch.setenv("DHT_CRAWLER_HTTP_LISTEN", address)
        assert await check() == 0


async def test_without_http_the_heartbeat_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon started without HTTP takes back the address that an earlier one left."""
    monkeypatch.setenv("DHT_CRAWLER_STATE_DIRECTORY", str(tmp_path))
    StateDirectory(tmp_path, lambda *_: None).beat("127.0.0.1:9")
    assert await check() == 1
    StateDirectory(tmp_path, lambda *_: None).beat()
    assert await check() == 0
