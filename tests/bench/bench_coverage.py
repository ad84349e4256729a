"""Prints what share of a simulated network's infohashes a crawl finds, and what each query brings.

Run by ``make bench``. `tests/sim/test_coverage.py` holds the middle size to 99 %; this shows the spread over
seeds, and a smaller and a larger network at the same manners. ``--config FILE`` tries other settings.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `make bench` runs this as a plain script

from tests.sim.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen
class Size:
    """A network, and the crawl that suits it: queries per second, and seconds."""

    nodes: int
    infohashes: int
    rate: int
    seconds: float


SIZES = (
    Size(2000, 10_000, 1000, 45.0),
    Size(20_000, 100_000, 5000, 45.0),
    Size(100_000, 500_000, 5000, 60.0),
)
MIXED = {"dead": 0.3, "bep51": 0.7, "loss": 0.02, "interval": 600, "rtt": 100}


def line(size: Size, seed: int, config: Sequence[str]) -> str:
    """Crawl once and return what came of it."""
    world = MIXED | {"nodes": size.nodes, "infohashes": size.infohashes, "seed": seed}
    with tempfile.TemporaryDirectory() as directory:
        result = sweep(Path(directory), world, ["--max-rate", str(size.rate), *config], size.seconds)
    network = result.network.summary
    return (
        f"{size.nodes:,} nodes, {size.rate:,} queries/s, {size.seconds:g} s, seed {seed}: {result.line()};"
        f" repeats {network['sample_repeats']}, invented {len(result.invented)},"
        f" false peers {len(result.false_peers)}, kernel drops {network['kernel_drops']};"
        f" load {os.getloadavg()[0]:.1f}"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="coverage of simulated networks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--nodes", type=int, nargs="+", help="only the networks of these sizes")
    parser.add_argument("--config", type=Path, help="settings for the daemon")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    config = ["--config", str(options.config.resolve())] if options.config else []
    for size in SIZES:
        if options.nodes is None or size.nodes in options.nodes:
            for seed in options.seeds:
                sys.stdout.write(line(size, seed, config) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
