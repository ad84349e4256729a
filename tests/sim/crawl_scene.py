"""A whole daemon in virtual time: `app.run` over a simulated network, with a seed for everything.

What would tie a run to the real world is replaced here and nowhere else: the wall clock follows the virtual
one, threads run in line (or the autojumping clock would race ahead of a disk that is being written), and
chance comes from the scene's seed, so that every failure can be seen again.
"""

from __future__ import annotations

import contextlib
import gc
import json
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import attrs
import pytest
import structlog
import trio

from crawler import app
from crawler.config import Config
from crawler.daemon import building, run
from crawler.net.udp import NetworkConfig
from crawler.simnet.memory import MemoryNetwork
from crawler.simnet.world import World, WorldConfig
from crawler.sinks.config import OutputConfig
from crawler.wire.compact import format_address, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from crawler.simnet.memory import Datagram, MemorySocket
    from crawler.wire.compact import Address

LISTEN = "127.0.0.1:6881"
EPOCH = 1_767_225_600.0
"""The wall clock at virtual time 0: 2026-01-01T00:00:00Z."""


class Passage(NamedTuple):
    """One datagram; ``at`` is when it left, or when it arrives."""

    at: float
    source: Address
    destination: Address
    size: int


class SceneNetwork(MemoryNetwork):
    """A memory network that writes down what our sockets send and receive, and whose cable can be pulled.

    Attributes:
        connected: False loses every datagram in either direction.
        sent: everything that a socket sent, lost or not.
        received: everything that was on its way to a socket.
    """

    def __init__(self, world: World | None, *, rng: random.Random, **options: float) -> None:
        super().__init__(world, rng=rng, **options)
        self.connected = True
        self.sent: list[Passage] = []
        self.received: list[Passage] = []

    def carry(self, data: bytes, source: MemorySocket, destination: Address, now: float) -> None:
        self.sent.append(Passage(now, source.local, destination, len(data)))
        if self.connected:
            super().carry(data, source, destination, now)

    def _deliver(self, receiver: MemorySocket, due: float, datagram: Datagram) -> None:
        if self.connected:
            self.received.append(Passage(due, datagram[1], receiver.local, len(datagram[0])))
            super()._deliver(receiver, due, datagram)


@attrs.define(eq=False)
class Scene:
    """A world, a network, an output file, and the runs of the daemon in them; a context manager.

    Attributes:
        out: the output file; every run appends to it.
        events: the log of all runs, as structlog's capture gives it.
    """

    world: World
    network: SceneNetwork
    out: Path
    seed: int
    events: list[Any] = attrs.field(factory=list)
    _stack: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack)

    @classmethod
    def of(cls, directory: Path, seed: int, **world: Any) -> Self:
        """Return a scene in ``directory``; ``world`` are settings of the simulated network."""
        simulated = World(WorldConfig(seed=seed, **world))
        network = SceneNetwork(simulated, rng=random.Random(seed))
        return cls(simulated, network, directory / "out.jsonl", seed)

    def __enter__(self) -> Self:
        self._stack.enter_context(virtual_process(self.seed))
        self.events = self._stack.enter_context(structlog.testing.capture_logs())
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def config(self, **sections: dict[str, Any]) -> Config:
        """Return the configuration of a crawl of this world, with some settings of some sections changed."""
        bootstrap = "{}:{}".format(*self.world.bootstrap)
        base = Config(
            output=OutputConfig(path=(str(self.out),)),
            network=NetworkConfig(listen=(LISTEN,), bootstrap=(bootstrap,), allow_private=True),
        )
        changes = {name: attrs.evolve(getattr(base, name), **keys) for name, keys in sections.items()}
        return attrs.evolve(base, **changes)

    async def crawl(self, seconds: float, **sections: dict[str, Any]) -> int:
        """Run the daemon for so long and return its exit code."""
        sections = {
            **sections,
            "run": {"status_interval": 0.0, **sections.get("run", {}), "duration": seconds},
        }
        return await app.run(self.config(**sections), open_socket=self.open_socket)

    def open_socket(self, listen: str, _config: NetworkConfig) -> MemorySocket:
        """Open a socket of the network as `app.run` wants it."""
        return self.network.socket(parse_address(listen))

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of one type that have been written so far."""
        lines = self.out.read_text("ascii").splitlines() if self.out.exists() else []
        return [record for line in lines if (record := json.loads(line))["type"] == kind]

    def found(self) -> list[str]:
        """Return the infohashes written so far, in their order, with repeats."""
        return [record["infohash"] for record in self.records("infohash")]

    def reachable(self) -> set[str]:
        """Return the infohashes that a complete sweep finds."""
        return {truth.infohash.hex() for truth in self.world.truth() if truth.reachable}

    def true_peers(self) -> dict[str, set[str]]:
        """Return the peers of every infohash that there is."""
        return {t.infohash.hex(): {format_address(peer) for peer in t.peers} for t in self.world.truth()}

    def status(self, event: str = "crawler.stopped") -> list[dict[str, Any]]:
        """Return the fields of all events of one name."""
        return [fields for fields in self.events if fields["event"] == event]


@contextlib.contextmanager
def virtual_process(seed: int) -> Iterator[None]:
    """Let a run draw from ``seed``, read the virtual clock, and run threads in line; undo it afterwards."""
    thresholds = gc.get_threshold()
    seeds = random.Random(seed)
    # Trio shuffles who runs first; pytest-trio has made that depend on this generator alone.
    trio._core._run._r.seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        draw: Callable[[], random.Random] = lambda: random.Random(seeds.random())  # noqa: E731 - used twice
        patch.setattr(building, "random", SimpleNamespace(Random=draw, SystemRandom=draw))
        patch.setattr(run, "time", SimpleNamespace(time=lambda: EPOCH + trio.current_time()))
        patch.setattr(trio.to_thread, "run_sync", run_in_line)
        try:
            yield
        finally:
            gc.set_threshold(*thresholds)
            gc.unfreeze()


async def run_in_line(function: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
    """Stand in for `trio.to_thread.run_sync`: call at once, in this thread."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)
