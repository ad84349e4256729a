"""The command line as its users meet it: what it explains, what it refuses, with which exit code it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import types
from typing import TYPE_CHECKING, Any

import pytest
import trio

import crawler
from crawler import cli, config
from crawler.commands import health
from crawler.config import Config, ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for variable in [name for name in os.environ if name.startswith("DHT_CRAWLER_")]:
        monkeypatch.delenv(variable)


def daemon_that(monkeypatch: pytest.MonkeyPatch, result: object) -> list[Config]:
    """Put a daemon in place that returns or raises ``result``; return the configurations it is given."""
    started: list[Config] = []

    async def run(config: Config, **_options: object) -> object:
        started.append(config)
        await trio.lowlevel.checkpoint()
        if isinstance(result, BaseException):
            raise result
        return result

    stub = types.ModuleType("crawler.app")
    stub.__dict__["run"] = run
    monkeypatch.setitem(sys.modules, "crawler.app", stub)
    monkeypatch.setattr(crawler, "app", stub, raising=False)
    return started


def shell(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, in a process of its own."""
    words = [sys.executable, "-W", "error", "-m", "crawler", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(words, check=False, text=True, timeout=30, **options)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag, every command, examples and exit codes stand in --help, in lines that fit a terminal."""
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in [*config.FLAGS, "--config", "--version", "simulate", "config", "health", "Examples:"]:
        assert re.search(rf"(?m)^.*{re.escape(word)}\b" if word[-1] != ":" else word, text), word
    assert re.search(r"0  done\n  1  a fault.*\n  2  bad input", text)
    assert max(map(len, text.splitlines())) <= 79
    assert not re.search(r"[^\x20-\x7e\n]", text), "no frames, no colours"
    assert "object at" not in text


@pytest.mark.parametrize(
    "flag", ["--max-rate", "--log-level", "--log-format", "--status-interval", "--listen"]
)
def test_help_states_the_defaults(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    """The default that --help names in brackets is the default."""
    cli.main(["--help"])
    section, key = config.FLAGS[flag].split(".")
    match config.OPTIONS[section][key].default:
        case tuple() as several:
            shown = ", ".join(several)
        case default:
            shown = f"{default:g}" if isinstance(default, float) else default
    text = " ".join(capsys.readouterr().out.split())
    assert f"({shown})" in text.partition(f"{flag} ")[2][:140]


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version and nothing else."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{crawler.__version__}\n"


def test_every_flag_reaches_its_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is said on the command line is what the daemon is started with."""
    started = daemon_that(monkeypatch, 0)
    words = (
        "--max-rate 7 --no-peers --allow-private --listen 127.0.0.1:0 --listen [::1]:0 "
        "--bootstrap a.example:1 --bootstrap 192.0.2.1:2 --log-level error --log-format json "
        f"--out {tmp_path}/x.jsonl --state {tmp_path}/s --duration 5 --status-interval 9"
    )
    assert cli.main(words.split()) == 0
    (said,) = started
    assert said == config.load(
        None,
        {},
        {
            "--max-rate": "7",
            "--no-peers": False,
            "--allow-private": True,
            "--listen": ["127.0.0.1:0", "[::1]:0"],
            "--bootstrap": ["a.example:1", "192.0.2.1:2"],
            "--log-level": "error",
            "--log-format": "json",
            "--out": f"{tmp_path}/x.jsonl",
            "--state": f"{tmp_path}/s",
            "--duration": "5",
            "--status-interval": "9",
        },
    )
    assert said.limits.max_rate == 7
    assert not said.locate.enabled
    assert said.network.allow_private


def test_no_flags_mean_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag that is not given says nothing, so that file and environment count."""
    started = daemon_that(monkeypatch, 0)
    monkeypatch.setenv("DHT_CRAWLER_NETWORK_ALLOW_PRIVATE", "true")
    assert cli.main([]) == 0
    assert started == [config.load(None, {"DHT_CRAWLER_NETWORK_ALLOW_PRIVATE": "true"}, {})]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--max-rat 5", "Unknown option: --max-rat. Did you mean --max-rate?"),
        ("--max-rate", "--max-rate requires an argument"),
        ("--max-rate x", '--max-rate = "x": allowed is a number, above 0 (queries/s)'),
        ("--max-rate -5", '--max-rate = "-5": allowed is a number'),
        ("--out --no-peers", "--out needs a path, not --no-peers"),
        ("--out a --out a", '--out: output "a" is there twice'),
        ("--out=", '--out: "" names no output: allowed are a path, jsonl:PATH and -'),
        ("--no-peers=7", 'Invalid value for --no-peers: unable to convert "7" into bool'),
        ("peers.jsonl", "unknown argument 'peers.jsonl'; see dht-crawler --help"),
        ("crawl --max-rate 5", "unknown argument"),
        ("--config missing.toml", "missing.toml: No such file or directory"),
        ("--log-level LOUD", '--log-level = "LOUD": allowed is one of debug, info, warning, error, critical'),
        ("config --max-rate 0", '--max-rate = "0": allowed is a number, above 0'),
        ("simulate --nodes x", "--nodes"),
        ("health", "health needs --http ADDR:PORT or --state DIR, or DHT_CRAWLER_HTTP_LISTEN or"),
        ("health --ready", "health --ready needs --http ADDR:PORT or DHT_CRAWLER_HTTP_LISTEN"),
        ("health --http 9100", '"9100" is not ADDR:PORT with a port from 1 to 65535'),
        ("health --http 127.0.0.1:0", '"127.0.0.1:0" is not ADDR:PORT with a port from 1 to 65535'),
        ("--http 9100", '--http: "9100" is not ADDR:PORT with a literal address'),
        ("--http localhost:9100", '--http: "localhost:9100" is not ADDR:PORT with a literal address'),
    ],
)
def test_bad_input_gets_one_line(capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    """Whatever is wrong with the words, one line names it, nothing goes to stdout, and the exit code is 2."""
    assert cli.main(words.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("dht-crawler: error: ")
    assert output.err.count("\n") == 1
    assert said in output.err


def test_bad_environment_gets_one_line() -> None:
    """A process started with a misspelt variable ends as one with a misspelt flag, without a traceback."""
    done = shell("--out", "-", env=os.environ | {"DHT_CRAWLER_LIMITS_RATE": "5"})
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"dht-crawler: error: unknown environment variable DHT_CRAWLER_LIMITS_RATE: .*\n", done.stderr
    )


def test_hostile_arguments_stay_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An argument with control characters can't write to the terminal by being refused."""
    assert cli.main(["\x1b[2J\nx"]) == 2
    assert cli.main(["--out", "x", "--log-level", "\x1b[2J\nx"]) == 2
    assert re.fullmatch(r"(dht-crawler: error: [^\x00-\x1f]+\n){2}", capsys.readouterr().err)


def test_config_prints_what_is_in_force(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`config` shows the sum of file, environment and flags, as a file that can be used again."""
    assert cli.main(["config", "--max-rate", "7", "--no-peers"]) == 0
    text = capsys.readouterr().out
    assert tomllib.loads(text)["limits"]["max_rate"] == 7
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert cli.main(["config", "--config", str(tmp_path / "mine.toml")]) == 0
    assert capsys.readouterr().out == text


def test_config_without_more_prints_the_default_file(capsys: pytest.CaptureFixture[str]) -> None:
    """`config > my.toml` is a start for a file of one's own."""
    assert cli.main(["config"]) == 0
    assert capsys.readouterr().out == config.default_toml()


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_daemons_exit_code_is_ours(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """What the daemon returns is what the process exits with."""
    daemon_that(monkeypatch, code)
    assert cli.main([]) == code


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_crash_is_logged_whole(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    """A fault of our own ends with exit code 1 and every traceback of its group in the log."""
    daemon_that(
        monkeypatch, ExceptionGroup("tasks", [ZeroDivisionError("a"), ExceptionGroup("b", [KeyError("c")])])
    )
    assert cli.main(["--log-format", form]) == 1
    output = capfd.readouterr()
    assert output.out == ""
    assert "crawler.crashed" in output.err
    assert "ZeroDivisionError: a" in output.err
    assert "KeyError: 'c'" in output.err
    assert "Traceback (most recent call last)" in output.err
    assert form == "console" or output.err.count("\n") == 1


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: ExceptionGroup("tasks", [ExceptionGroup("x", [e])])])
def test_what_cannot_begin_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], wrap: Any
) -> None:
    """A busy port or an unwritable file is no crash: one line, exit code 2, even out of a nursery."""
    daemon_that(monkeypatch, wrap(ConfigError("--listen: 127.0.0.1:6881: Address already in use")))
    assert cli.main([]) == 2
    assert capfd.readouterr().err == "dht-crawler: error: --listen: 127.0.0.1:6881: Address already in use\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseExceptionGroup("tasks", [KeyboardInterrupt()])])
def test_an_early_interrupt_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException
) -> None:
    """Ctrl-C before the daemon listens for it ends as the shell expects, without a traceback."""
    daemon_that(monkeypatch, error)
    assert cli.main([]) == 130
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("words", ["config", "--help"])
def test_a_closed_pipe_is_no_error(words: str) -> None:
    """`dht-crawler config | head -1` ends without a traceback."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = shell(words, stdout=write)
    finally:
        os.close(write)
    assert done.stderr == ""


def test_light_commands_import_little() -> None:
    """--version and health start without the daemon and without Trio, as containers do twice a minute."""
    code = (
        "import sys; from crawler.cli import main\n"
        "main(['health', '--state', 'nowhere']); main(['--version'])\n"
        "print(sorted({'trio', 'structlog', 'crawler.config', 'crawler.simnet.command'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_simulated_network_is_imported_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon starts where the simulated network can't: nothing of it is imported by a crawl."""
    daemon_that(monkeypatch, 0)
    for name in [name for name in sys.modules if name.startswith("crawler.simnet")]:
        monkeypatch.delitem(sys.modules, name)
    assert cli.main([]) == 0
    assert not [name for name in sys.modules if name.startswith("crawler.simnet")]


def test_health_follows_the_heartbeat(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Alive with a fresh heartbeat, not without one or with an old one; the environment may say where."""
    assert cli.main(["health", "--state", str(tmp_path)]) == 1
    (tmp_path / "heartbeat").touch()
    monkeypatch.setenv("DHT_CRAWLER_STATE_DIRECTORY", str(tmp_path))
    assert cli.main(["health"]) == 0
    os.utime(tmp_path / "heartbeat", (1, 1))
    assert cli.main(["health"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("no heartbeat: ")
    assert lines[1] == "alive"
    assert re.match(r"last heartbeat \d+ s ago: ", lines[2])


@pytest.mark.parametrize(("age", "alive"), [(0, True), (60, True), (61, False), (-3600, True)])
def test_a_heartbeat_older_than_a_minute_is_none(tmp_path: Path, age: float, alive: bool) -> None:
    """The limit is 60 s; a clock that was set back makes nobody ill."""
    beat = tmp_path / "heartbeat"
    beat.touch()
    os.utime(beat, (1_000_000, 1_000_000))
    assert (health.problem_of(tmp_path, 1_000_000 + age) == "") == alive
