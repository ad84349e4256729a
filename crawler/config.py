"""The configuration: every section in one frozen object, loaded from defaults, file, environment and flags.

A section is defined beside the code that obeys it; here it gets its name and its place in the file, a line
each. What must hold between settings, or needs more than a bound, is checked here too. Only what puts a
daemon together and the commands know this module; everybody else is handed a section.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs

from crawler.crawl.bootstrap import BootstrapConfig
from crawler.crawl.credit import CreditConfig
from crawler.crawl.explore import ExploreConfig
from crawler.crawl.failures import FailuresConfig
from crawler.crawl.fetch_job import FetchConfig
from crawler.crawl.frontier import FrontierConfig
from crawler.crawl.locate import LocateConfig
from crawler.crawl.outlet import OutletConfig
from crawler.crawl.pace import PaceConfig
from crawler.crawl.refresh import RefreshConfig
from crawler.crawl.rumours import RumoursConfig
from crawler.crawl.sample import SampleConfig
from crawler.crawl.seen import SeenConfig
from crawler.crawl.sightings import SightingsConfig
from crawler.crawl.trackers import TrackersConfig
from crawler.daemon.lifetime import RunConfig
from crawler.dht.identity import IdentityConfig
from crawler.dht.lookup import LookupConfig
from crawler.dht.peers import PeerStoreConfig
from crawler.dht.reply_budget import ReplyBudgetConfig
from crawler.dht.responder import ResponderConfig
from crawler.dht.routing import RoutingConfig
from crawler.dht.tokens import TokenConfig
from crawler.dht.transactions import TransactionsConfig
from crawler.log import LogConfig
from crawler.net.http_terms import HttpConfig
from crawler.net.limits import LimitsConfig
from crawler.net.peer_listener import ListenerConfig
from crawler.net.peers import PeersConfig
from crawler.net.tracker_config import TrackerClientConfig
from crawler.net.udp import NetworkConfig
from crawler.reading.config import ReadingConfig
from crawler.settings import toml_text
from crawler.settings.sources import ConfigError, Given, options_of, read_environment, read_file, read_flags
from crawler.sinks.config import OutputConfig
from crawler.state.directory import StateConfig
from crawler.swarm.announce import AnnounceConfig
from crawler.swarm.assembly import MemoryConfig
from crawler.swarm.connection import ConnectionConfig
from crawler.swarm.metadata import MetadataConfig
from crawler.swarm.pex import PexConfig
from crawler.swarm.registry import RegistryBounds
from crawler.swarm.serving import ServingConfig
from crawler.swarm.tracker_policy import TrackerPolicy
from crawler.tracker.config import TrackerServerConfig
from crawler.wire.compact import pack_address, parse_address
from crawler.wire.metainfo import MetainfoLimits
from crawler.wire.tracker_url import TrackerUrlError, parse_tracker_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["FLAGS", "OPTIONS", "Config", "ConfigError", "default_toml", "load", "to_toml"]


@attrs.frozen
class Config:
    """Every setting there is. The order is the order of the file: what people change most comes first."""

    output: OutputConfig = attrs.field(factory=OutputConfig)
    state: StateConfig = attrs.field(factory=StateConfig)
    network: NetworkConfig = attrs.field(factory=NetworkConfig)
    limits: LimitsConfig = attrs.field(factory=LimitsConfig)
    run: RunConfig = attrs.field(factory=RunConfig)
    log: LogConfig = attrs.field(factory=LogConfig)
    http: HttpConfig = attrs.field(factory=HttpConfig)
    bootstrap: BootstrapConfig = attrs.field(factory=BootstrapConfig)
    refresh: RefreshConfig = attrs.field(factory=RefreshConfig)
    sample: SampleConfig = attrs.field(factory=SampleConfig)
    locate: LocateConfig = attrs.field(factory=LocateConfig)
    fetch: FetchConfig = attrs.field(factory=FetchConfig)
    serve: ServingConfig = attrs.field(factory=ServingConfig)
    explore: ExploreConfig = attrs.field(factory=ExploreConfig)
    frontier: FrontierConfig = attrs.field(factory=FrontierConfig)
    rumours: RumoursConfig = attrs.field(factory=RumoursConfig)
    credit: CreditConfig = attrs.field(factory=CreditConfig)
    seen: SeenConfig = attrs.field(factory=SeenConfig)
    sightings: SightingsConfig = attrs.field(factory=SightingsConfig)
    pace: PaceConfig = attrs.field(factory=PaceConfig)
    outlet: OutletConfig = attrs.field(factory=OutletConfig)
    lookup: LookupConfig = attrs.field(factory=LookupConfig)
    transactions: TransactionsConfig = attrs.field(factory=TransactionsConfig)
    routing: RoutingConfig = attrs.field(factory=RoutingConfig)
    identity: IdentityConfig = attrs.field(factory=IdentityConfig)
    responder: ResponderConfig = attrs.field(factory=ResponderConfig)
    reply_budget: ReplyBudgetConfig = attrs.field(factory=ReplyBudgetConfig)
    peer_store: PeerStoreConfig = attrs.field(factory=PeerStoreConfig)
    tokens: TokenConfig = attrs.field(factory=TokenConfig)
    failures: FailuresConfig = attrs.field(factory=FailuresConfig)
    peers: PeersConfig = attrs.field(factory=PeersConfig)
    connection: ConnectionConfig = attrs.field(factory=ConnectionConfig)
    metadata: MetadataConfig = attrs.field(factory=MetadataConfig)
    memory: MemoryConfig = attrs.field(factory=MemoryConfig)
    pex: PexConfig = attrs.field(factory=PexConfig)
    metainfo: MetainfoLimits = attrs.field(factory=MetainfoLimits)
    listener: ListenerConfig = attrs.field(factory=ListenerConfig)
    trackers: TrackersConfig = attrs.field(factory=TrackersConfig)
    reading: ReadingConfig = attrs.field(factory=ReadingConfig)
    tracker_client: TrackerClientConfig = attrs.field(factory=TrackerClientConfig)
    announces: AnnounceConfig = attrs.field(factory=AnnounceConfig)
    tracker_server: TrackerServerConfig = attrs.field(factory=TrackerServerConfig)
    tracker_policy: TrackerPolicy = attrs.field(factory=TrackerPolicy)
    tracker_memory: RegistryBounds = attrs.field(factory=RegistryBounds)


# Flag -> the setting that it overrides. `cli` defines how each flag is written.
FLAGS = {
    "--out": "output.path",
    "--state": "state.directory",
    "--resighting": "seen.resighting",
    "--listen": "network.listen",
    "--bootstrap": "network.bootstrap",
    "--allow-private": "network.allow_private",
    "--max-rate": "limits.max_rate",
    "--duration": "run.duration",
    "--status-interval": "run.status_interval",
    "--no-peers": "locate.enabled",
    "--metadata": "fetch.enabled",
    "--serve-metadata": "serve.enabled",
    "--http": "http.listen",
    "--log-level": "log.level",
    "--log-format": "log.format",
}
# The same for the `tracker` command, which reads its settings from the same sources.
TRACKER_FLAGS = {
    "--udp": "tracker_server.udp",
    "--http": "tracker_server.http",
    "--metrics": "tracker_server.metrics",
    "--trusted-proxy": "tracker_server.trusted_proxies",
    "--allow": "tracker_server.allow",
    "--interval": "tracker_policy.interval",
    "--max-numwant": "tracker_policy.max_numwant",
    "--ip-rate": "tracker_policy.ip_rate",
    "--ip-burst": "tracker_policy.ip_burst",
    "--lifetime": "tracker_memory.lifetime",
    "--max-swarms": "tracker_memory.max_swarms",
    "--max-peers": "tracker_memory.max_peers",
    "--status-interval": "run.status_interval",
    "--log-level": "log.level",
    "--log-format": "log.format",
}

SECTIONS: dict[str, type] = {
    name: type(section) for name, section in attrs.asdict(Config(), recurse=False).items()
}
OPTIONS = options_of(SECTIONS)

_HEADING = (
    "dht-crawler: every setting with its default. Keep what you change, drop the rest. A value here beats "
    "the default, an environment variable DHT_CRAWLER_<SECTION>_<KEY> (lists with commas) beats the file, "
    "a flag beats all. Made by `make config` from the code."
)
_HEADING_IN_FORCE = "dht-crawler: the configuration in force."


def load(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    *,
    where: Mapping[str, str] = FLAGS,
) -> Config:
    """Return the configuration: defaults, overridden by ``file``, then ``environ``, then ``flags``.

    Args:
        file: a TOML file of sections, or None.
        environ: the environment; only ``DHT_CRAWLER_*`` is looked at.
        flags: flag, as in ``where``, → its value: text as the person typed it, a bool, or a list of texts.
        where: flag → the setting that it overrides.

    Raises:
        ConfigError: one line that names the source, the value and what is allowed.
    """
    given = _last_words(file, environ, flags, where)
    sections: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        chosen = {key: one for (owner, key), one in given.items() if owner == name}
        try:
            sections[name] = section(**{key: one.value for key, one in chosen.items()})
        except ValueError as error:  # a check of the owner's that goes beyond a bound
            places = ", ".join(one.place for one in chosen.values())
            raise ConfigError(f"{places}: {error}") from error
    config = Config(**sections)
    for key, problem in _contradictions(config):
        place = given[key].place if key in given else "default of [{}] {}".format(*key)
        raise ConfigError(f"{place}: {problem}")
    return config


def _last_words(
    file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object], where: Mapping[str, str]
) -> dict[tuple[str, str], Given]:
    """Return (section, key) → the word that counts."""
    given: dict[tuple[str, str], Given] = {}
    sources: Iterable[Iterator[Given]] = (
        iter(()) if file is None else read_file(file, OPTIONS),
        read_environment(environ, OPTIONS),
        read_flags(flags, where, OPTIONS),
    )
    for source in sources:
        given.update(((one.option.section, one.option.key), one) for one in source)
    return given


def _contradictions(config: Config) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield ((section, key), problem) for what a bound can't say."""
    for problem in _listen_problems(config.network.listen):
        yield ("network", "listen"), problem
    if config.http.listen and not _is_address(config.http.listen):
        yield ("http", "listen"), _no_address(config.http.listen)
    for peer in config.network.bootstrap:
        if not _is_host_and_port(peer):
            yield ("network", "bootstrap"), f'"{peer}" is not HOST:PORT with a port from 1 to 65535'
    for url in config.trackers.urls:
        try:
            parse_tracker_url(url)
        except TrackerUrlError as error:
            yield ("trackers", "urls"), str(error)
    if config.trackers.urls and not config.locate.enabled:
        yield (
            ("trackers", "urls"),
            "trackers are asked for peers, so locate.enabled must be true (no --no-peers)",
        )
    if config.fetch.enabled and not config.locate.enabled:
        yield (
            ("fetch", "enabled"),
            "metadata comes from peers, so locate.enabled must be true (no --no-peers)",
        )
    if config.serve.enabled and not config.fetch.enabled:
        yield ("serve", "enabled"), "there is metadata to serve only with fetch.enabled (--metadata)"
    yield from _tracker_problems(config)


def _tracker_problems(config: Config) -> Iterator[tuple[tuple[str, str], str]]:
    server, interval, lifetime = (
        config.tracker_server,
        config.tracker_policy.interval,
        config.tracker_memory.lifetime,
    )
    metrics = (server.metrics,) if server.metrics else ()
    for key, addresses in (("udp", server.udp), ("http", server.http), ("metrics", metrics)):
        for text in addresses:
            if not _is_address(text):
                yield ("tracker_server", key), _no_address(text)
    for text in server.trusted_proxies:
        try:
            pack_address((text, 0))
        except ValueError:
            yield ("tracker_server", "trusted_proxies"), f'"{text}" is no IP address'
    if lifetime is not None and lifetime < interval:
        yield (
            ("tracker_memory", "lifetime"),
            f"{lifetime:g} s is shorter than tracker_policy.interval ({interval} s): nobody would be kept",
        )


def _listen_problems(addresses: tuple[str, ...]) -> Iterator[str]:
    if not addresses:
        yield "at least one address to listen on is needed"
    seen = set()
    for text in addresses:
        try:
            address = parse_address(text)
        except ValueError:
            yield _no_address(text)
            return
        if address in seen and address[1] != 0:
            yield f'"{text}" is there twice'
        seen.add(address)


def _no_address(text: str) -> str:
    return f'"{text}" is not ADDR:PORT with a literal address and a port from 0 to 65535'


def _is_address(text: str) -> bool:
    with contextlib.suppress(ValueError):
        parse_address(text)
        return True
    return False


def _is_host_and_port(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    if host.startswith("["):
        with contextlib.suppress(ValueError):
            return parse_address(text)[1] > 0
        return False
    named = host and ":" not in host and not any(c.isspace() or not c.isprintable() for c in host)
    return bool(colon and named and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16)


def to_toml(config: Config) -> str:
    """Return ``config`` as commented TOML that `load` reads back as the same configuration."""
    heading = _HEADING if config == Config() else _HEADING_IN_FORCE
    named = {f"tracker {flag}": target for flag, target in TRACKER_FLAGS.items() if flag not in FLAGS}
    named["tracker --http"] = TRACKER_FLAGS["--http"]
    return toml_text.render(config, OPTIONS, {**named, **FLAGS}, heading)


def default_toml() -> str:
    """Return the text of config/default.toml: every key with its meaning, unit, range and default."""
    return to_toml(Config())
