"""Up to which line somebody has everything, when outputs drop different lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.sinks.config import OutputConfig
from crawler.sinks.outputs import Outputs
from tests.sinks.lines import Log, found

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 9)),
        st.tuples(st.sampled_from([0, 1, 2]), st.integers(1, 30)),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_durable_is_the_first_line_that_nobody_has(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str | int, int]]
) -> None:
    """However three outputs drop and lag, it counts the lines before the first that none has written."""
    directory: Path = tmp_path_factory.mktemp("outputs")
    outputs = Outputs(OutputConfig(tuple(str(directory / name) for name in "abc"), max_queue=20), Log())
    legs = outputs._legs
    queues: list[list[int]] = [[] for _ in legs]
    total, written = 0, set[int]()
    for what, count in steps:
        if isinstance(what, int):
            done, queues[what] = queues[what][:count], queues[what][count:]
            legs[what].sink.lines_written += len(done)
            written.update(done)
        elif outputs._all_have_room or any(leg.is_ahead for leg in legs):
            for leg, queue in zip(legs, queues, strict=True):
                if leg.has_room:
                    queue.extend(range(total, total + count))
            outputs._offer([found(total, count)])
            total += count
        missing = (line for line in range(total) if line not in written)
        assert outputs.lines_durable == next(missing, total)
    outputs.close()


def test_what_only_a_lost_reader_had_holds_up_nothing(tmp_path: Path) -> None:
    """When the reader of one output goes, what it alone was to get is passed over, but nothing else is."""
    outputs = Outputs(OutputConfig((str(tmp_path / "a"), str(tmp_path / "b")), max_queue=10), Log())
    ahead, behind = outputs._legs
    outputs._offer([found(0, 12)])
    ahead.sink.lines_written = 12
    outputs._offer([found(12, 8)])
    assert behind.dropped == 8
    assert outputs.lines_durable == 12
    ahead.gone = True
    assert outputs.lines_durable == 20
    behind.sink.lines_written = 12
    outputs._offer([found(20, 5)])
    assert outputs.lines_durable == 20
    behind.sink.lines_written = 17
    assert outputs.lines_durable == 25
    outputs.close()


def test_when_all_readers_are_gone_nothing_more_is_durable(tmp_path: Path) -> None:
    """Lines that no output will ever write are never called written."""
    outputs = Outputs(OutputConfig((str(tmp_path / "a"), str(tmp_path / "b"))), Log())
    outputs._offer([found(0, 12)])
    for leg in outputs._legs:
        leg.sink.lines_written = 5
        leg.gone = True
    assert outputs.lines_durable == 5
    outputs.close()
