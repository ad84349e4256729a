"""What is there to be found in a world, as a file to hold a crawl's output against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from crawler.wire.compact import format_address

if TYPE_CHECKING:
    from pathlib import Path

    from crawler.simnet.world import Truth, World


def write_truth(world: World, path: Path) -> int:
    """Write a JSON object a line for each infohash, reachable or not, and return how many are reachable.

    Each line has ``infohash`` (40 hex digits), ``reachable`` (whether a living node that speaks BEP 51 has
    it in the first sample that it gives) and ``peers`` (a list of ``"address:port"``, all that get_peers
    can find).

    Raises:
        OSError: the file cannot be written.
    """
    reachable = 0
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for truth in world.truth():
            reachable += truth.reachable
            file.write(encode(_as_json(truth)) + b"\n")
    return reachable


def _as_json(truth: Truth) -> dict[str, object]:
    return {
        "infohash": truth.infohash.hex(),
        "reachable": truth.reachable,
        "peers": [format_address(peer) for peer in truth.peers],
    }
