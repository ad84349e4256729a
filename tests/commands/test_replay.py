"""The replay command as people start it: old files, torn and compressed, into the daemon's own sinks."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crawler import cli
from crawler.commands.progress import progress_text
from tests.commands.command_line import Done, interrupt, start
from tests.interop.daemon_process import REPOSITORY, wait_for
from tests.sinks.lines import files_of, found

LINES = found(0, 2000).lines().splitlines(keepends=True)


def run(*words: str) -> Done:
    """Run replay to its end."""
    with start("replay", *words) as process:
        out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err)


@pytest.fixture(name="parts")
def three_parts(tmp_path: Path) -> list[str]:
    """Return files of records: plain with garbage in it, gzip, and zstd with a last line that is torn."""
    zstandard = pytest.importorskip("zstandard")
    plain, packed, zst = (tmp_path / name for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst"))
    plain.write_bytes(b"".join([*LINES[:700], b"\x1b[2J\n", *LINES[700:800]]))
    packed.write_bytes(gzip.compress(b"".join(LINES[800:1500])))
    zst.write_bytes(zstandard.ZstdCompressor().compress(b"".join(LINES[1500:]) + b'{"type":"infoh'))
    return [str(plain), str(packed), str(zst)]


def test_every_record_arrives_in_order(tmp_path: Path, parts: list[str]) -> None:
    """Three forms of files into two sinks; what is no record is left out, counted and named."""
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    done = run(*parts, "--into", str(one), "--into", f"jsonl:{two}")
    assert done.code == 0
    assert one.read_bytes() == two.read_bytes() == b"".join(LINES)
    assert f"dht-crawler: {parts[0]}: 1 line that is no record was skipped\n" in done.err
    assert f"dht-crawler: {parts[2]}: 1 line that is no record was skipped\n" in done.err
    assert re.search(r"(?m)^malformed +2 lines", done.err)
    assert re.search(r"(?m)^written +2,000 of 2,000, acknowledged by the disk$", done.err)
    assert "\x1b" not in done.err


def test_a_pipe_takes_it_too(parts: list[str]) -> None:
    """From stdin to stdout, chosen by time and type, so that replay is a filter."""
    with open(parts[1], "rb") as stdin:  # noqa: PTH123 - a file of the fixture
        words = [sys.executable, "-m", "crawler", "replay", "-", "--into", "-", "--until", "2027-01-01"]
        shell = subprocess.run(words, stdin=stdin, capture_output=True, check=False, cwd=REPOSITORY)
    assert (shell.returncode, shell.stdout) == (0, b"".join(LINES[800:1500]))
    for choice in (["--type", "peers"], ["--since", "2026-01-02"], ["--until", "2026-01-01"]):
        assert run(*parts, "--into", "-", *choice).out == ""


def test_settings_of_the_output_are_obeyed(tmp_path: Path, parts: list[str]) -> None:
    """The sink is the daemon's: it rotates and compresses as the file of settings says."""
    config = tmp_path / "my.toml"
    config.write_text('[output]\nrotate_size = 50000\ncompress = "none"\n')
    out = tmp_path / "out" / "all.jsonl"
    out.parent.mkdir()
    assert run(*parts, "--into", str(out), "--config", str(config)).code == 0
    files = sorted(files_of(out), key=lambda file: (file == out, file.name))
    assert len(files) > 1
    assert all(file.suffix not in {".gz", ".zst"} for file in files)
    assert b"".join(file.read_bytes() for file in files) == b"".join(LINES)


def test_dedupe_writes_an_infohash_once(tmp_path: Path, parts: list[str]) -> None:
    """Infohash records that were there before are left out and counted; records of peers all stay."""
    peers = [
        json.dumps({"type": "peers", "ts": "2026-01-01T00:00:00.000Z", "infohash": f"{number:040x}"})
        for number in (1, 1)
    ]
    more = tmp_path / "more.jsonl"
    more.write_text("\n".join(peers) + "\n")
    out = tmp_path / "out.jsonl"
    done = run(*parts, str(more), *parts, "--into", str(out), "--dedupe")
    assert done.code == 0
    assert out.read_bytes() == b"".join(LINES) + more.read_bytes()
    assert re.search(r"(?m)^repeated +2,000 infohash records left out$", done.err)


def test_records_of_types_that_nobody_knows_are_left_out(tmp_path: Path) -> None:
    """A sink gets only records of types that readers of its schema know."""
    odd = tmp_path / "odd.jsonl"
    odd.write_bytes(LINES[0].replace(b'"infohash","ts"', b'"newer","ts"') + LINES[1])
    out = tmp_path / "out.jsonl"
    done = run(str(odd), "--into", str(out))
    assert (done.code, out.read_bytes()) == (0, LINES[1])
    assert re.search(r"(?m)^unknown +1 records of other types", done.err)


def test_a_damaged_file_ends_with_1(tmp_path: Path, parts: list[str]) -> None:
    """What could be read is written, the next file too; the exit code says that it is not all."""
    broken = tmp_path / "broken.gz"
    with open(parts[1], "rb") as whole:  # noqa: PTH123 - a file of the fixture
        broken.write_bytes(whole.read()[:-12])
    out = tmp_path / "out.jsonl"
    done = run(str(broken), parts[0], "--into", str(out))
    assert done.code == 1
    assert f"cannot read {broken} any further: damaged" in done.err
    assert out.read_bytes().endswith(b"".join(LINES[700:800]))


def test_a_sink_whose_reader_leaves_ends_it_with_1(tmp_path: Path) -> None:
    """Not everything was taken, and nothing more is said."""
    big = tmp_path / "big.jsonl"
    big.write_bytes(found(0, 50_000).lines())
    process = start("replay", str(big), "--into", "-")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process:
        assert process.wait(20) == 1
        assert process.stderr.read() == ""


def test_a_slow_sink_gets_everything_too(tmp_path: Path) -> None:
    """Files can wait: with several sinks none has to do without what it was too slow for."""
    big, out = tmp_path / "big.jsonl", tmp_path / "out.jsonl"
    big.write_bytes(found(0, 50_000).lines())
    with start("replay", str(big), "--into", str(out), "--into", "-") as process:
        assert wait_for(lambda: out.exists() and out.stat().st_size > 1 << 20, 20)
        time.sleep(1.0)  # in which nobody reads
        said, err = process.communicate(timeout=60)
    assert (process.returncode, "overflow" in err) == (0, False), err
    assert said.encode() == big.read_bytes() == out.read_bytes()


def test_ctrl_c_writes_what_was_read(tmp_path: Path) -> None:
    """An interrupted replay of an endless pipe leaves whole lines, and says how many."""
    pipe, out = tmp_path / "pipe", tmp_path / "out.jsonl"
    os.mkfifo(pipe)
    keep = os.open(pipe, os.O_RDWR)
    process = start("replay", str(pipe), "--into", str(out))
    os.write(keep, b"".join(LINES[:100]))
    done = interrupt(process, lambda: out.exists() and out.stat().st_size > 0)
    os.close(keep)
    assert done.code == 130
    assert out.read_bytes() == b"".join(LINES[:100])
    assert re.search(r"(?m)^written +100 of 100", done.err)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_one_ctrl_c_ends_it_when_the_sink_takes_nothing(tmp_path: Path, parts: list[str]) -> None:
    """A full disk is waited for, but not for long after Ctrl-C; what is missing is told."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[run]\ndrain_timeout = 0.2\n", encoding="utf-8")
    with start("replay", *parts, "--into", "/dev/full", "--config", str(settings)) as process:
        assert process.stderr is not None
        # What was skipped in the files may be told before or after.
        assert any("sink.write_failed" in line for line in process.stderr)
        done = interrupt(process, lambda: True)
    assert done.code == 130
    assert re.search(r"(?m)^written +0 of \d", done.err)
    assert re.search(r"(?m)^trouble +No space left on device$", done.err)


@pytest.mark.parametrize(
    ("taken", "total", "shown"),
    [
        (0, 2 << 20, "[........................]   0 %  0.0 of 2.0 MiB  500 lines  250 lines/s"),
        (1 << 20, 2 << 20, "[############............]  50 %  1.0 of 2.0 MiB  500 lines  250 lines/s"),
        (3 << 20, 2 << 20, "[########################] 100 %  3.0 of 2.0 MiB  500 lines  250 lines/s"),
        (0, 0, "[########################] 100 %  0.0 of 0.0 MiB  500 lines  250 lines/s"),
        (1 << 20, None, "1.0 MiB  500 lines  250 lines/s"),
    ],
)
def test_progress_tells_how_far_it_is(taken: int, total: int | None, shown: str) -> None:
    """Bytes read of all there are, and lines written; a pipe has no end that could be named."""
    assert progress_text(taken, total, 500, 2.0) == shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--into x", "FILE is missing"),
        ("a.jsonl", "--into"),
        ("nowhere --into x", "cannot read nowhere: No such file"),
        ("a.jsonl --into a.jsonl", "a file cannot be replayed into itself"),
        ("link.jsonl --into jsonl:a.jsonl", "a file cannot be replayed into itself"),
        ("a.jsonl --into no/such/place", "cannot open no/such/place for writing"),
        ("a.jsonl --into x --into x", "is there twice"),
        ("a.jsonl --into x --until never", "--until 'never': allowed is a time such as"),
        ("a.jsonl --into x --bogus", "nknown option: --bogus"),
    ],
)
def test_bad_input_gets_one_line_from_replay(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: str,
    said: str,
) -> None:
    """Exit code 2 and one printable line that names what is wrong; nothing was written or cut."""
    monkeypatch.chdir(tmp_path)
    content = LINES[0] + b"torn"
    (tmp_path / "a.jsonl").write_bytes(content)
    (tmp_path / "link.jsonl").symlink_to("a.jsonl")
    assert cli.main(["replay", *words.split()]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("dht-crawler: error: ")
    assert said in err
    assert (tmp_path / "a.jsonl").read_bytes() == content
    assert not (tmp_path / "x").exists()
