"""SIGHUP in virtual time: what changes, what needs a restart, and that a bad file changes nothing."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from among a test's arguments

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler import app, log
from crawler.config import Config, ConfigError
from crawler.daemon import reloading
from crawler.log import LogConfig
from tests.sim.crawl_scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trio.testing import MockClock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGHUP is POSIX")


async def crawl(scene: Scene, seconds: float, *reloads: Callable[[Config], Config], **sections: Any) -> None:
    """Crawl at 200 queries a second, and hang up every ten seconds, with the next of ``reloads`` in place."""
    config = scene.config(
        limits={"max_rate": 200.0}, run={"duration": seconds, "status_interval": 0.0}, **sections
    )
    waiting = list(reloads)

    async def hang_up() -> None:
        for number in range(len(reloads)):
            await trio.sleep_until(10.0 * (number + 1))
            signal.raise_signal(signal.SIGHUP)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hang_up)
        await app.run(config, open_socket=scene.open_socket, reload=lambda: waiting.pop(0)(config))


def changed(**sections: dict[str, Any]) -> Callable[[Config], Config]:
    """Return what changes some settings of some sections."""
    return lambda config: attrs.evolve(
        config, **{name: attrs.evolve(getattr(config, name), **keys) for name, keys in sections.items()}
    )


def refused(_config: Config) -> Config:
    """Load as from a bad file."""
    raise ConfigError("settings.toml: [limits] max_rate = -1: allowed is a number, above 0 (queries/s)")


def rate(scene: Scene, start: float, end: float) -> float:
    """Return how many queries a second were sent in a span of the run."""
    return sum(start <= passage.at < end for passage in scene.network.sent) / (end - start)


async def test_the_rate_changes_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    """From the signal on the new rate is kept to, up or down, and the event says what changed."""
    with Scene.of(tmp_path, 91, nodes=3000, infohashes=5000) as scene:
        await crawl(scene, 30, changed(limits={"max_rate": 50.0}), changed(limits={"max_rate": 400.0}))

    assert 150 < rate(scene, 2, 10) < 220
    assert 40 < rate(scene, 11, 20) < 55
    assert 300 < rate(scene, 21, 30) < 440
    first, second = scene.status("config.reloaded")
    assert (first["changed"], first["was"]) == ({"limits.max_rate": 50.0}, {"limits.max_rate": 200.0})
    assert (second["changed"], second["was"]) == ({"limits.max_rate": 400.0}, {"limits.max_rate": 50.0})
    assert not scene.status("config.needs_restart")


async def test_a_bad_file_changes_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    """One line says what is wrong, the old settings stay, and a later good file counts."""
    with Scene.of(tmp_path, 92, nodes=3000, infohashes=5000) as scene:
        await crawl(scene, 30, refused, changed(limits={"max_rate": 50.0}))

    [fields] = scene.status("config.refused")
    assert fields["log_level"] == "warning"
    assert fields["problem"].startswith("settings.toml: [limits] max_rate = -1")
    assert 150 < rate(scene, 11, 20) < 220
    assert 40 < rate(scene, 21, 30) < 55


async def test_what_needs_a_restart_is_named(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Other keys are listed, every time as long as they differ, and not applied."""
    both = changed(network={"listen": ("127.0.0.1:7",)}, seen={"recent": 2000}, limits={"ip_rate": 2.0})
    with Scene.of(tmp_path, 93, nodes=100, infohashes=100) as scene:
        await crawl(scene, 25, both, both)

    assert [fields["keys"] for fields in scene.status("config.needs_restart")] == [
        ["network.listen", "seen.recent"]
    ] * 2
    first, second = scene.status("config.reloaded")
    assert (first["changed"], second["changed"]) == ({"limits.ip_rate": 2.0}, {})


async def test_without_a_source_a_hangup_ends_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A daemon that was given no way to read its settings again goes on."""
    with Scene.of(tmp_path, 94, nodes=100, infohashes=100) as scene:
        async with trio.open_nursery() as nursery:

            async def hang_up() -> None:
                await trio.sleep(2)
                signal.raise_signal(signal.SIGHUP)

            nursery.start_soon(hang_up)
            assert await scene.crawl(5) == 0
    assert not scene.status("config.reloaded")


@pytest.mark.parametrize(("old", "new"), [("info", "error"), ("error", "debug")])
async def test_the_level_changes_and_says_so(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    """The event stands in the log whichever of the two levels would hide it."""
    said: list[str] = []
    levels = [old]
    monkeypatch.setattr(log, "set_level", levels.append)

    class Logger:
        def info(self, event: str, **_fields: Any) -> None:
            if levels[-1] != "error":
                said.append(event)

    with Scene.of(tmp_path, 95, nodes=10, infohashes=10) as scene:
        monkeypatch.setattr(reloading, "apply", lambda *_: None)
        config = scene.config(log={"level": old})

        class Run:
            shared = type("Shared", (), {"config": config})

        load = lambda: attrs.evolve(config, log=LogConfig(level=new))  # noqa: E731 - handed over once
        await reloading.reload(Run(), load, Logger())  # type: ignore[arg-type] # it needs no more of a run
    assert said == ["config.reloaded"]
    assert levels[-1] == new
