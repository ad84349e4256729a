"""Results on stdout, the rest on stderr, and a live line that is never in the way."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from crawler.commands.complaint import refuse
from crawler.commands.screen import Screen


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def shown(self) -> str:
        """Return what was written since the last call."""
        text = self.getvalue()
        self.truncate(0)
        self.seek(0)
        return text


def pretend_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put one terminal in place of both streams; not as a fixture, whose work pytest undoes."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_the_live_line_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result takes the live line off, spaces and all, and a shorter live line leaves no rest behind."""
    terminal = pretend_terminal(monkeypatch)
    screen = Screen()
    screen.live("0:01  some peers")
    screen.live("0:02  few")
    screen.line("127.0.0.1:1")
    screen.live("0:03")
    screen.take_off()
    screen.take_off()

    first, rest = "\r0:01  some peers\r0:02  few       ", "\r         \r127.0.0.1:1\n\r0:03\r    \r"
    assert terminal.shown() == first + rest


def test_a_live_line_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut to the terminal's width, or it would leave rests on the lines above."""
    terminal = pretend_terminal(monkeypatch)
    monkeypatch.setattr(os, "get_terminal_size", lambda _fd: os.terminal_size((10, 5)))
    Screen().live("x" * 50)
    assert terminal.shown() == "\r" + "x" * 9
    monkeypatch.setattr(os, "get_terminal_size", lambda _fd: os.terminal_size((0, 0)))
    Screen().live("x" * 100)
    assert terminal.shown() == "\r" + "x" * 79


def test_pipes_and_dumb_terminals_have_no_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a line cannot be taken back, none is shown."""
    terminal = pretend_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    assert not Screen().has_live_line
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    screen = Screen()
    screen.live("0:01")
    assert not screen.has_live_line
    assert (pipe.getvalue(), terminal.shown()) == ("", "")


def test_records_are_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is in a value, a program reads one object a line."""
    Screen(json=True).record(type="peer", name="\u202eä\n\x1b")
    line = capsys.readouterr().out
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == {"type": "peer", "name": "\u202eä\n\x1b"}


def test_events_are_for_those_who_ask(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --verbose nothing is said about single nodes; with it, nothing moves the cursor."""
    Screen().event("failed", node="n", problem="no answer")
    assert capsys.readouterr() == ("", "")
    Screen(verbose=True).event("failed", node="n", problem="\x1b[2J")
    assert capsys.readouterr() == ("", "failed        node=n  problem=\\x1b[2J\n")


def test_a_reader_that_went_away_ends_it_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line that nobody takes calls for the end; later ones are not even tried."""
    read, write = os.pipe()
    os.close(read)
    called: list[bool] = []
    with os.fdopen(os.dup(write), "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        screen = Screen()
        screen.on_reader_gone = lambda: called.append(True)
        screen.line("a")
        screen.line("b")
        # What is left in the buffer could not be flushed at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    os.close(write)

    assert (called, screen.reader_gone) == ([True], True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_ends_it_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written calls for the end as well, and the system's reason is kept for the last word."""
    called: list[bool] = []
    with open("/dev/full", "w", encoding="utf-8") as stream:  # noqa: PTH123 - a device, as the shell opens it
        monkeypatch.setattr(sys, "stdout", stream)
        screen = Screen()
        screen.on_reader_gone = lambda: called.append(True)
        screen.line("a")
        screen.line("b")
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

    assert (called, screen.reader_gone, screen.trouble) == ([True], True, "No space left on device")


def test_a_closed_stderr_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a stderr there is no live line, and remarks do not end up among the results."""
    monkeypatch.setattr(sys, "stderr", None)
    screen = Screen(verbose=True)
    screen.live("0:01")
    screen.event("failed")
    screen.remark("a remark")
    assert refuse("a refusal") == 2
    assert capsys.readouterr().out == ""


def test_characters_that_the_terminal_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old encoding costs characters, never a traceback."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Screen().line("Größe")
    assert raw.getvalue() == b"Gr\\xf6\\xdfe\n"
