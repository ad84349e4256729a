"""What may change while the daemon runs: the rate limits and the level of the log, at SIGHUP.

The same sources are read as at the start; when one of them is wrong, nothing
changes. What can't change without a restart is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from crawler import log
from crawler.settings.sources import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.config import Config
    from crawler.daemon.run import Run

_LIVE_SECTIONS = {"limits", "reply_budget"}
_LIVE_KEYS = {"log.level"}


async def reload(run: Run, load: Callable[[], Config], logger: Any) -> None:
    """Read the configuration again with ``load``, which may raise ConfigError, and apply what can be."""
    try:
        # In a thread, since the file may be on a disk that does not answer.
        config = await trio.to_thread.run_sync(load, abandon_on_cancel=True)
    except ConfigError as error:
        logger.warning("config.refused", problem=str(error))
        return
    changed = changes(run.shared.config, config)
    live = {key: values for key, values in changed.items() if _is_live(key)}
    was = {key: old for key, (old, _) in live.items()}
    before = log.LEVELS.index(run.shared.config.log.level)
    quieter = log.LEVELS.index(config.log.level) > before
    if not quieter:
        log.set_level(config.log.level)
    apply(run, config)
    logger.info("config.reloaded", changed={key: new for key, (_, new) in live.items()}, was=was)
    rest = sorted(set(changed) - set(live))
    if rest:
        logger.warning("config.needs_restart", keys=rest)
    if quieter:
        log.set_level(config.log.level)


def changes(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Return ``section.key`` → (old value, new value) of what differs."""
    before, after = attrs.asdict(old, recurse=False), attrs.asdict(new, recurse=False)
    pairs = {
        f"{name}.{field.name}": (getattr(section, field.name), getattr(after[name], field.name))
        for name, section in before.items()
        for field in attrs.fields(type(section))
    }
    return {key: (one, other) for key, (one, other) in pairs.items() if one != other}


def apply(run: Run, config: Config) -> None:
    """Obey the limits of ``config`` from now on."""
    shared = run.shared
    shared.budget.reconfigure(config.limits)
    for station in run.stations:
        station.pace.set_rate(config.limits.max_rate)
        station.node.reply_budget.reconfigure(config.reply_budget)
    shared.config = attrs.evolve(
        shared.config,
        limits=config.limits,
        reply_budget=config.reply_budget,
        log=attrs.evolve(shared.config.log, level=config.log.level),
    )


def _is_live(key: str) -> bool:
    return key in _LIVE_KEYS or key.partition(".")[0] in _LIVE_SECTIONS
