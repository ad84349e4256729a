"""What one run is made of, and what of it is saved.

`building` makes one, `app` lets it live; signals, new settings and the figures get at its parts from here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crawler.crawl.lookups import PeerLookups
    from crawler.crawl.trackers import TrackerStage
    from crawler.daemon.fetching import Fetching
    from crawler.daemon.lifetime import Lifetime
    from crawler.daemon.station import FamilyParts, Shared, Station
    from crawler.sinks.outputs import Outputs
    from crawler.state.directory import StateDirectory
    from crawler.state.seen_keeper import SeenKeeper
    from crawler.wire.compact import Family


@attrs.define(eq=False)
class WallClock:
    """Trio's time to epoch seconds; set anew now and then, since the system's clock may be corrected."""

    offset: float = 0.0

    def set(self) -> None:
        """Compare the two clocks."""
        self.offset = time.time() - trio.current_time()

    def __call__(self, now: float) -> float:
        """Return the epoch seconds of Trio's ``now``."""
        return now + self.offset


@attrs.define(eq=False)
class Run:
    """What one run is made of."""

    shared: Shared
    stations: list[Station]
    families: dict[Family, FamilyParts]
    lookups: PeerLookups | None
    fetching: Fetching | None
    trackers: TrackerStage | None
    sink: Outputs
    keeper: SeenKeeper
    state: StateDirectory | None
    clock: WallClock
    lifetime: Lifetime
    began: float
    asking: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    sink_done: trio.Event = attrs.field(factory=trio.Event)


async def save_state(run: Run, state: StateDirectory) -> None:
    """Save what survives a restart.

    Raises:
        OSError: the disk does not take it.
    """
    run.clock.set()
    now = trio.current_time()
    ids = {station.listen: station.node.id for station in run.stations}
    await state.save("ids", [ids])
    for family, parts in run.families.items():
        good = [
            node.address
            for station in run.stations
            if station.parts is parts
            for node in station.node.table.good_nodes(now)
        ]
        await state.save(f"nodes.{family.name.lower()}", [good or list(parts.saved_nodes)])
        if parts.keeper is not None:
            await parts.keeper.save(run.clock.offset)
    # Noted before and saved after what waits: between the two an infohash may be in both, but not in neither.
    found = run.keeper.counts()
    if run.lookups is not None:
        await state.save("locate", _waiting(run))
    await state.save("found", [found])
    if run.fetching is not None:
        await state.save("fetch", run.fetching.fetcher.to_pieces(run.clock.offset))


def _waiting(run: Run) -> Iterator[list[Any]]:
    """Return what waits for peers: no sample will bring it again, since its infohash is known."""
    yield from run.shared.lookup_queue.to_pieces()
    for station in run.stations:
        if station.locator is not None:
            yield from station.locator.to_pieces()
