"""The [reading] section: how `tail` and `replay` read files of records."""

from __future__ import annotations

import attrs

from crawler.settings import setting


@attrs.frozen
class ReadingConfig:
    """How files of records are read; the daemon itself reads none."""

    poll_interval: float = setting(
        0.25, unit="s", help="Pause between two looks at a file that has nothing new.", above=0
    )
    piece: int = setting(
        1 << 20, unit="B", help="So much is read at once; a longer line is read in one go.", minimum=4096
    )
    max_line: int = setting(
        16 << 20, unit="B", help="A longer line is no record: it is skipped and counted.", minimum=4096
    )
    max_distinct: int = setting(
        500_000,
        unit="infohashes",
        help="Distinct ones that tail counts, and that replay --dedupe remembers; 100 B each.",
        minimum=2,
    )
