"""The [output] section: where records go, when they are put on the disk, and how files are kept small."""

from __future__ import annotations

import attrs

from crawler.settings import setting

STDOUT = "-"
COMPRESSIONS = ("none", "gzip", "zstd")

_SCHEME = "jsonl:"


@attrs.frozen
class OutputConfig:
    """Where the records go, and how they are kept."""

    path: tuple[str, ...] = setting(
        ("peers.jsonl",),
        unit="",
        help='Files that records are appended to, each with all of them; "-" is standard output. '
        'One alone needs no brackets. "jsonl:PATH" is the same as PATH.',
        one_is_enough=True,
    )
    flush_interval: float = setting(
        1.0, unit="s", help="The longest a line waits until it is written and put on the disk.", above=0
    )
    max_batch: int = setting(
        256, unit="lines", help="So many lines are written and put on the disk at once.", minimum=1
    )
    retry_first: float = setting(
        1.0, unit="s", help="Pause after a failed write; doubles each time.", above=0
    )
    retry_longest: float = setting(60.0, unit="s", help="The longest pause after a failed write.", above=0)
    max_queue: int = setting(
        10_000,
        unit="lines",
        help="With several outputs: lines that wait for one that lags; what comes then is dropped for it "
        "and counted, while another has room.",
        minimum=1,
    )
    rotate_size: int = setting(
        0, unit="B", help="A file is closed and a new one begun before it grows beyond this; 0: never.",
        minimum=0,
    )  # fmt: skip
    rotate_interval: float = setting(
        0.0,
        unit="s",
        help="A new file is begun so often, at whole multiples since 1970 (3600: every hour, UTC); 0: never.",
        minimum=0,
    )
    compress: str = setting(
        "gzip",
        unit="",
        help="How closed files are compressed; zstd needs the zstandard package.",
        choices=COMPRESSIONS,
    )
    max_total: int = setting(
        0,
        unit="B",
        help="The oldest closed files are deleted when an output's files take more than this; 0: never.",
        minimum=0,
    )

    def __attrs_post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises:
            ValueError: no output, one without a name, or one of them twice.
        """
        if not self.path:
            raise ValueError("at least one output is needed")
        places = [place_of(target) for target in self.path]
        if "" in places:
            raise ValueError('"" names no output: allowed are a path, jsonl:PATH and -')
        twice = next((place for place in places if places.count(place) > 1), None)
        if twice is not None:
            raise ValueError(f'output "{twice}" is there twice')


def place_of(target: str) -> str:
    """Return the path that a target names: ``jsonl:PATH`` and ``PATH`` are one, ``-`` is stdout."""
    return target.removeprefix(_SCHEME)
