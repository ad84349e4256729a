"""The tail command as people start it: in a pipe, on a terminal, on files that are rotated under it."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import trio

from crawler import cli
from crawler.records import Record
from crawler.sinks.config import OutputConfig
from crawler.sinks.jsonl import JsonlSink
from tests.commands.command_line import Done, interrupt, start
from tests.interop.daemon_process import REPOSITORY, wait_for
from tests.sinks.lines import Log, found, numbers_in

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "\x1b[2J\x9b1A\u202eevil\u2066\u200d\r\b\x7f\ufdd0 日本"
SGR = re.compile(r"\x1b\[[0-9;]*m")


def record(number: int, kind: str = "infohash", **more: object) -> str:
    """Return a line whose timestamp is so many seconds into 2026."""
    ts = f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000Z"
    return json.dumps({"type": kind, "ts": ts, "infohash": f"{number:040x}"} | more, ensure_ascii=False)


def run(*words: str) -> Done:
    """Run tail to its end."""
    with start("tail", *words) as process:
        out, err = process.communicate(timeout=30)
    return Done(process.returncode, out, err)


def numbers(text: str) -> list[int]:
    """Return the numbers of the infohashes in lines of JSON."""
    return [int(json.loads(line)["infohash"], 16) for line in text.splitlines()]


@pytest.fixture(name="path")
def hundred_records(tmp_path: Path) -> Path:
    """Return a file of 100 records, every tenth of them of peers, and two lines that are none."""
    path = tmp_path / "out.jsonl"
    lines = [record(number, "peers" if number % 10 == 9 else "infohash") for number in range(100)]
    path.write_text("\n".join([*lines[:50], "", "\x1b[2Jgarbage", *lines[50:]]) + '\n{"type":"torn', "utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("", range(90, 100)),
        ("-n 3", range(97, 100)),
        ("--lines 3 --type peers", (79, 89, 99)),
        ("--type peers,metadata --from-start", range(9, 100, 10)),
        ("--from-start", range(100)),
        ("--since 2026-01-01T00:01:30Z", range(90, 100)),
        ("--since 2026-01-01T02:01:38+02:00 --type infohash --type metadata", (98,)),
        ("--since 1s", ()),
        ("-n 0", ()),
    ],
)
def test_what_is_shown_is_what_was_asked_for(path: Path, words: str, shown: range) -> None:
    """The last ten, so many of a type, from the start, from a time on; a summary tells of them."""
    done = run(str(path), "--no-follow", *words.split())
    assert (done.code, numbers(done.out)) == (0, list(shown))
    assert re.search(rf"(?m)^records +{len(shown)}\b", done.err)
    assert re.search(r"(?m)^malformed +\d lines", done.err)
    assert len(done.err.splitlines()) <= 6


@pytest.mark.parametrize("form", ["gz", "stdin"])
def test_other_inputs_are_read_to_their_end(path: Path, form: str) -> None:
    """A compressed file gives its last lines, stdin gives all; garbage is shown escaped if asked."""
    packed = path.with_name("out.jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    if form == "gz":
        done = run(str(packed))
        assert (done.code, numbers(done.out)) == (0, list(range(90, 100)))
        done = run(str(packed), "--verbose", "--from-start")
        assert (done.code, numbers(done.out)) == (0, list(range(100)))
        assert "no record: \\x1b[2Jgarbage\n" in done.err
        packed.write_bytes(packed.read_bytes()[:-9])
        assert run(str(packed)).code == 1
        return
    with path.open("rb") as stdin:
        words = [sys.executable, "-m", "crawler", "tail", "-"]
        shell = subprocess.run(
            words, stdin=stdin, capture_output=True, text=True, check=False, cwd=REPOSITORY
        )
    assert (shell.returncode, numbers(shell.stdout)) == (0, list(range(100)))


def test_ctrl_c_ends_it_with_a_summary(tmp_path: Path) -> None:
    """It waits for a file that is not there, follows it, and tells what it was when it is stopped."""
    path = tmp_path / "later.jsonl"
    process = start("tail", str(path))
    assert process.stderr is not None
    assert process.stderr.readline() == f"dht-crawler: waiting for {path}\n"
    path.write_text(record(1) + "\n")
    assert process.stdout is not None
    assert numbers(process.stdout.readline()) == [1]
    done = interrupt(process, lambda: True)
    assert done.code == 130
    assert re.search(r"(?m)^records +1: 1 infohash\n", done.err)


def test_a_reader_that_leaves_ends_it_quietly(path: Path) -> None:
    """As in `tail | head`: at once, though nothing more is written, without a word, with 0."""
    process = start("tail", str(path))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process:
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


def on_a_terminal(*words: str, colour: bool = True) -> str:
    """Return what tail writes to a terminal, both streams."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "TERM"}} | {"TERM": "xterm"}
    if not colour:
        environment["NO_COLOR"] = "1"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "crawler", "tail", *words],
        cwd=REPOSITORY,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    got = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 4096):
                got.extend(data)
        except OSError:  # how Linux says that the other side is closed
            return

    thread = threading.Thread(target=read)
    thread.start()
    assert process.wait(30) == 0
    thread.join(10)
    os.close(ours)
    return got.decode("utf-8").replace("\r\n", "\n")


@pytest.mark.parametrize("words", [(), ("--json",), ("--verbose",)])
@pytest.mark.parametrize("colour", [True, False])
def test_hostile_text_moves_no_cursor(tmp_path: Path, words: tuple[str, ...], colour: bool) -> None:
    """Names, addresses, types and garbage of whatever characters: on a terminal all of it is printable."""
    path = tmp_path / "evil.jsonl"
    lines = [
        record(1, "metadata", name=EVIL, files=[{"path": EVIL, "size": 1}], size=1, peer=EVIL, private=True),
        record(2, EVIL, source=EVIL, **{EVIL: EVIL}),
        record(3, "peers", source=EVIL, peers=[EVIL] * 5, seeds=EVIL),
        record(4, "peers", peers=EVIL),
        record(5, "infohash", source={EVIL: [EVIL]}, node=None),
        record(6, "metadata", name=EVIL * 1000),
        EVIL.replace("\r", ""),
    ]
    # Also raw, as no JSON writer of ours would leave them.
    raw = [line.replace("\\u001b", "\x1b").replace("\\b", "\b") for line in lines]
    path.write_text("\n".join([*lines, *raw]) + "\n", encoding="utf-8")
    text = on_a_terminal(str(path), "--no-follow", "-n", "100", *words, colour=colour)
    if "--json" not in words:
        assert bool(SGR.search(text)) is colour
        assert "日本" in text
    plain = SGR.sub("", text)
    assert all(line.isprintable() for line in plain.split("\n")), ascii(plain)
    assert len(plain.split("\n")) <= 35
    assert re.search(r"(?m)^records +6\b", plain)


@pytest.mark.parametrize("compress", ["gzip", "zstd", "none"])
def test_rotation_by_the_sink_loses_nothing(tmp_path: Path, compress: str) -> None:
    """A real sink that closes a file every few lines, and compresses it: every line once, in order."""
    path = tmp_path / "out.jsonl"
    total = 3000
    process = start("tail", str(path))
    got: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stderr.readline().startswith("dht-crawler: waiting for")
    reader = threading.Thread(target=got.extend, args=(process.stdout,))
    reader.start()

    async def write() -> None:
        config = OutputConfig(rotate_size=20_000, compress=compress, flush_interval=0.01, max_batch=20)
        sink = JsonlSink(str(path), config, Log())
        sender, receiver = trio.open_memory_channel[list[Record]](0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.run, receiver)
            with sender:
                for first in range(0, total, 20):
                    await sender.send([found(first, 20)])
                    await trio.sleep(0.005)
        assert sink.statistics().rotated > 10
        sink.close()

    trio.run(write)
    try:
        assert wait_for(lambda: len(got) >= total, 20)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
        reader.join()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    assert numbers_in("".join(got).encode()) == list(range(total))

    # What was closed is found again, by the times at which it was closed.
    again = run(str(path), "--since", "2020-01-01", "--no-follow")
    assert numbers_in(again.out.encode()) == list(range(total))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nowhere --no-follow", "cannot read nowhere: No such file"),
        (". --no-follow", "cannot read .: "),
        ("x --lines -1", "--lines -1: allowed is a whole number from 0 on"),
        ("x --lines 1 --from-start", "--lines and --from-start each say where to begin"),
        ("x --from-start --since 1d", "--from-start and --since each say where to begin"),
        ("x --json --pretty", "--json and --pretty"),
        ("x --type peer", "--type 'peer': allowed are infohash, peers, metadata"),
        ("x --since yesterday", "--since 'yesterday': allowed is a time such as"),
        ("--bogus", "Unknown option: --bogus"),
        ("x y", "unknown argument 'y'"),
        ("x --config nowhere.toml", "nowhere.toml"),
    ],
)
def test_bad_input_gets_one_line_from_tail(capfd: pytest.CaptureFixture[str], words: str, said: str) -> None:
    """Exit code 2 and one printable line that names what is wrong."""
    assert cli.main(["tail", *words.split()]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("dht-crawler: error: ")
    assert said in err
