"""The log as its readers get it: one line an event, whatever strangers put into it, and never a wait."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler import log
from crawler.log import LogConfig
from crawler.log.sampling import Sampler
from crawler.log.writer import LineWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOG = structlog.get_logger()


class TerminalText(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Claim to be one."""
        return True


def written(say: Callable[[], object], stream: io.StringIO | None = None, **config: Any) -> str:
    """Return what stands in the stream after ``say`` logged."""
    stream = io.StringIO() if stream is None else stream
    with log.started(LogConfig(**config), stream):
        say()
    return stream.getvalue()


def wait_until(true: Callable[[], object]) -> None:
    """Wait for another thread, for at most five seconds."""
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_console_line_reads_left_to_right() -> None:
    """Time, level, event and then key=value, quoted only where bare text could be misread."""
    line = written(lambda: LOG.info("crawl.started", port=6881, rate=0.5, name="a b", plain="x", none=None))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info     crawl\.started "
        r'port=6881 rate=0\.5 name="a b" plain=x none=null\n',
        line,
    )


def test_json_line_has_time_level_and_event_first() -> None:
    """A machine gets one object a line, with typed values."""
    record = json.loads(written(lambda: LOG.warning("x.y", n=1, d={"a": [1, 2.5, True]}), format="json"))
    assert list(record) == ["ts", "level", "event", "n", "d"]
    assert record["d"] == {"a": [1, 2.5, True]}


def test_events_below_the_level_cost_nothing_and_are_gone() -> None:
    """Only events of the level and above are written."""
    text = written(lambda: [LOG.debug("d"), LOG.info("i"), LOG.warning("w"), LOG.error("e")], level="warning")
    assert [line.split()[2] for line in text.splitlines()] == ["w", "e"]


def test_bound_values_stand_in_the_line() -> None:
    """What a task bound to its context is logged with each of its events."""

    def say() -> None:
        with structlog.contextvars.bound_contextvars(task="sample"):
            LOG.info("x")

    assert " task=sample" in written(say)


def test_what_belongs_together_is_not_sampled() -> None:
    """Lines of a list that was asked for all pass, and that they may is not a field of theirs."""

    def say() -> None:
        for number in range(100):
            LOG.info("crawler.task", task=f"  task {number}", sampled=False)

    lines = written(say).splitlines()
    told = [line.partition(" crawler.task ")[2] for line in lines]
    assert told == [f'task="  task {n}"' for n in range(100)]


def test_a_field_cannot_pass_for_time_level_or_event() -> None:
    """What a field is called does not matter: the first three are the log's own."""
    line = json.loads(written(lambda: LOG.info("real.event", ts="1970", level="debug"), format="json"))
    assert (line["ts"][:2], line["level"], line["event"], line["ts_"]) == ("20", "info", "real.event", "1970")


def test_hot_events_are_sampled() -> None:
    """Of events of one name so many a second are logged; the next one after that says how many were not."""
    clock = [0.0]
    sampler = Sampler(2, lambda: clock[0])

    def passed(name: str, level: str = "info") -> dict[str, Any] | None:
        try:
            return dict(sampler(None, "", {"event": name, "level": level}))
        except structlog.DropEvent:
            return None

    assert [passed("hot") is not None for _ in range(5)] == [True, True, False, False, False]
    assert passed("other") == {"event": "other", "level": "info"}
    assert passed("hot", "critical") == {"event": "hot", "level": "critical"}
    clock[0] = 1.0
    assert passed("hot") == {"event": "hot", "level": "info", "suppressed": 3}
    assert passed("hot") == {"event": "hot", "level": "info"}
    assert passed("hot") is None
    clock[0] = 9.0
    assert passed("hot") == {"event": "hot", "level": "info", "suppressed": 1}
    assert sampler.suppressed == 4


def test_sampling_forgets_names_rather_than_grow() -> None:
    """Names made up without end do not fill the memory."""
    sampler = Sampler(1, lambda: 0.0)
    for number in range(5000):
        sampler(None, "", {"event": f"made.up.{number}"})
    assert len(sampler._seconds) <= 1000


def test_a_flood_of_one_event_is_cut_and_counted() -> None:
    """In the log as it is set up, 1,000 events at once are a few lines, and the counts know of the rest."""
    counted: dict[str, int] = {}

    def say() -> None:
        for number in range(1000):
            LOG.warning("peer.misbehaved", number=number)
        counted.update(log.counts())

    lines = written(say, format="json", max_per_second=5).splitlines()
    assert len(lines) < 100
    assert counted["suppressed"] >= 1000 - len(lines)
    assert len(written(say, format="json", max_per_second=0, queue_size=5000).splitlines()) == 1000
    assert log.counts() == {"dropped": 0, "lost": 0, "suppressed": 0}


def test_the_level_can_change() -> None:
    """Loggers that are there already follow a new level."""

    def say() -> None:
        LOG.debug("one")
        log.set_level("debug")
        LOG.debug("two")
        log.set_level("error")
        LOG.warning("three")

    assert re.findall("one|two|three", written(say, format="json")) == ["two"]


def test_colours_only_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Escape sequences go to terminals only, and not where NO_COLOR asks for none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert "\x1b[" not in written(lambda: LOG.info("x"))
    assert "\x1b[32minfo" in written(lambda: LOG.info("x"), TerminalText())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in written(lambda: LOG.info("x"), TerminalText())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(), inner) | st.tuples(inner),
    max_leaves=20,
)


@settings(deadline=None)  # each case starts and ends a thread
@given(st.text(), st.dictionaries(st.text(min_size=1), anything, max_size=5))
def test_whatever_is_logged_is_one_printable_line(event: str, values: dict[str, Any]) -> None:
    """No text of a stranger can start a second line, move a cursor or make logging fail, in either format."""
    values = {key: value for key, value in values.items() if key not in {"event", "exc_info"}}
    for form in log.FORMATS:
        text = written(lambda: LOG.info(event, **values), format=form)
        assert text.endswith("\n")
        assert text[:-1].isprintable(), text
        if form == "json":
            json.loads(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\u202eb", "a\\u202eb"),
        ("\x1b[2J\r\n\x00\u2028", "\\x1b[2J\\r\\n\\x00\\u2028"),
        (b"UT\x12\xff\n", "UT\\x12\\xff\\n"),
        ("x" * 201, "x" * 199 + "…"),
        ("x" * 200, "x" * 200),
        ("\x00" * 1_000_000, ("\\x00" * 50)[:199] + "…"),
        (1 << 64, "0x10000000000000000"),
        (attrs.make_class("Pair", ["a", "b"])(1, "x\n"), {"a": 1, "b": "x\\n"}),
        ([[[[["deep"]]]]], [[[["['deep']"]]]]),
        (ValueError("bad\n"), "bad\\n"),
    ],
)
def test_safe_shows_what_can_be_shown(value: object, shown: object) -> None:
    """Unprintable characters are escaped, long texts cut, odd types become text."""
    assert log.safe(value) == shown


def test_containers_are_cut() -> None:
    """A list with a million entries is no line with a million entries."""
    assert len(log.safe(list(range(1_000_000)))) == 200
    assert len(log.safe({str(n): n for n in range(1000)})) == 200


def fail(error: Exception) -> None:
    """Raise ``error``."""
    raise error


def crash() -> None:
    """Log a crash as the daemon does."""
    try:
        fail(ExceptionGroup("tasks", [ValueError(f"own {n}\x1b\nfake line") for n in range(20)]))
    except ExceptionGroup as error:
        LOG.critical("crawler.crashed", exc_info=error)


def test_a_crash_shows_every_exception_of_a_group() -> None:
    """A group's traceback is complete, and in JSON still one line."""
    record = json.loads(written(crash, format="json"))
    assert all(f"ValueError: own {n}\\x1b" in record["exception"] for n in range(20))
    assert "Traceback (most recent call last)" in record["exception"]


def test_a_traceback_is_one_line_on_the_console() -> None:
    """An event is one line for people too: a traceback's line ends are escaped, and nothing of it is lost."""
    [line] = written(crash).splitlines()
    head, _, told = line.partition(" exception=")
    assert head.endswith("critical crawler.crashed")
    assert json.loads(told) == json.loads(written(crash, format="json"))["exception"]
    assert "\nfake line" not in line


def test_exc_info_true_means_the_current_exception() -> None:
    """`exc_info=True` and `.exception()` work as everywhere."""

    def say() -> None:
        try:
            fail(KeyError("k"))
        except KeyError:
            LOG.exception("x")

    assert "KeyError: 'k'" in written(say)


@attrs.define
class Tap:
    """A stream whose writes wait until the tap is open."""

    opened: threading.Event = attrs.field(factory=threading.Event)
    entered: threading.Event = attrs.field(factory=threading.Event)
    data: bytearray = attrs.field(factory=bytearray)

    def write(self, data: memoryview) -> int:
        """Take at most 10 bytes, as a pipe may."""
        self.entered.set()
        assert self.opened.wait(5)
        self.data += data[:10]
        return len(data[:10])


def test_a_blocked_stream_never_blocks_the_logger() -> None:
    """Lines beyond the queue are dropped and counted, and the gap is reported when space returns."""
    tap = Tap()
    writer = LineWriter(tap.write, 5, lambda count: b"dropped %d\n" % count)
    writer.put(b"first\n")
    assert tap.entered.wait(5)
    for n in range(8):
        writer.put(b"%d\n" % n)
    assert writer.dropped == 3
    tap.opened.set()
    wait_until(lambda: tap.data.endswith(b"dropped 3\n"))
    writer.put(b"last\n")
    writer.close(5)
    assert bytes(tap.data) == b"first\n0\n1\n2\n3\n4\ndropped 3\nlast\n"


def test_closing_waits_no_longer_than_told() -> None:
    """A stream that never takes a byte delays the exit by the timeout only."""
    tap = Tap()
    writer = LineWriter(tap.write, 5, lambda _count: b"")
    writer.put(b"x\n")
    assert tap.entered.wait(5)
    begun = time.monotonic()
    writer.close(0.05)
    assert time.monotonic() - begun < 1
    tap.opened.set()


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_stream_that_is_gone_is_counted(error: Exception) -> None:
    """The reader of stderr may leave; the crawl goes on."""

    def write(_data: memoryview) -> int:
        raise error

    writer = LineWriter(write, 5, lambda _count: b"")
    writer.put(b"x\n")
    wait_until(lambda: writer.lost == 1)
    writer.put(b"y\n")
    writer.close(5)
    assert writer.lost == 2


def test_a_non_blocking_stream_loses_and_repeats_nothing() -> None:
    """Where somebody made stderr non-blocking, a full pipe is tried again from where it stopped."""
    taken = bytearray()
    turns = iter(range(1000))

    def write(data: memoryview) -> int:
        if next(turns) % 2:
            raise BlockingIOError
        taken.extend(data[:3])
        return len(data[:3])

    writer = LineWriter(write, 5, lambda _count: b"")
    writer.put(b"0123456789\n")
    writer.close(5)
    assert bytes(taken) == b"0123456789\n"


def test_the_live_line_stays_below_the_log() -> None:
    """Log lines push the status line down, and it is wiped at the end."""
    stream = TerminalText()
    with log.started(LogConfig(), stream):
        terminal = log.terminal()
        assert terminal.is_there
        terminal.show("status 1\n" + "x" * 200)
        wait_until(lambda: "status 1" in stream.getvalue())
        LOG.info("event")
        wait_until(lambda: "event" in stream.getvalue())
    shown = "status 1\\n" + "x" * 69
    assert len(shown) == 79
    text = stream.getvalue()
    wipe = "\r" + " " * 79 + "\r"
    assert text.startswith(shown + wipe)
    assert text.endswith(shown + wipe)
    assert text.count(shown) == 2


def test_a_terminal_without_a_size_is_taken_for_a_usual_one() -> None:
    """A terminal that says it is 0 columns wide, as some containers' do, still shows the whole line."""
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "w", encoding="utf-8") as stream:
        assert os.get_terminal_size(terminal).columns == 0
        with log.started(LogConfig(), stream):
            log.terminal().show("status")
            assert os.read(controller, 100).startswith(b"status")
    os.close(controller)


@pytest.mark.parametrize(("stream", "form"), [(io.StringIO(), "console"), (TerminalText(), "json")])
def test_the_live_line_is_for_people_at_terminals(stream: io.StringIO, form: str) -> None:
    """Files and machines get no status line."""
    with log.started(LogConfig(format=form), stream):
        assert not log.terminal().is_there
        log.terminal().show("status")
    assert stream.getvalue() == ""
    assert not log.terminal().is_there


def run_python(code: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter on ``code``."""
    return subprocess.Popen([sys.executable, "-W", "error", "-c", code], **options)


def test_exit_is_not_held_up_by_a_full_pipe() -> None:
    """A process whose stderr nobody reads logs on, and then exits, without a traceback."""
    code = (
        "import structlog, sys\nfrom crawler import log\n"
        "with log.started(log.LogConfig(max_per_second=0)):\n"
        "    for n in range(20000): structlog.get_logger().info('x', text='y' * 100)\n"
        "    print('done', flush=True)\n"
    )
    with run_python(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_everything_is_flushed_at_exit(tmp_path: Path) -> None:
    """A burst just before the end is in the file."""
    code = (
        "import structlog\nfrom crawler import log\n"
        "with log.started(log.LogConfig(max_per_second=0)):\n"
        "    for n in range(500): structlog.get_logger().info('x', n=n)\n"
    )
    with (tmp_path / "log").open("wb") as file, run_python(code, stderr=file) as process:
        assert process.wait(10) == 0
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [int(line.rpartition("=")[2]) for line in lines] == list(range(500))


def test_no_stderr_at_all_is_fine() -> None:
    """A service started with stderr closed runs on."""
    code = (
        "import structlog\nfrom crawler import log\n"
        "with log.started(log.LogConfig()): structlog.get_logger().info('x')\n"
    )
    with run_python(code, preexec_fn=lambda: os.close(2)) as process:
        assert process.wait(10) == 0
