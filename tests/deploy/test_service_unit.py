"""config/dht-crawler.service: systemd's own checks, and what the daemon does held against what it may do."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from crawler import cli
from crawler.config import Config
from tests.deploy.shipped import CONFIG, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.conftest import Crawl

UNIT = (CONFIG / "dht-crawler.service").read_text(encoding="utf-8")
MOST_EXPOSED = 15  # tenths, of 100; systemd calls up to 20 "OK"

systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def settings(key: str) -> list[str]:
    """Return the values of a key of the unit, in their order."""
    return re.findall(rf"(?m)^{key}=(.*)$", UNIT.replace("\\\n", " "))


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it is after an installation: its program is there."""
    program = tmp_path / "dht-crawler"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o755)
    path = tmp_path / "dht-crawler.service"
    path.write_text(UNIT.replace("/opt/dht-crawler/bin/dht-crawler --", f"{program} --"), encoding="utf-8")
    return path


@systemd
def test_systemd_understands_it(unit: Path) -> None:
    """`systemd-analyze verify` has nothing to say against the unit."""
    done = run("systemd-analyze", "--man=no", "verify", str(unit))

    assert (done.returncode, done.stderr.strip()) == (0, "")


@systemd
def test_a_misspelt_unit_is_noticed(unit: Path) -> None:
    """The check is no ornament: a key that systemd does not know is told."""
    unit.write_text(unit.read_text(encoding="utf-8").replace("NoNewPrivileges", "NoNewPriviledges"))

    assert "NoNewPriviledges" in run("systemd-analyze", "--man=no", "verify", str(unit)).stderr


@systemd
def test_it_is_hardened(unit: Path) -> None:
    """`systemd-analyze security` rates the unit's exposure at 1.5 of 10 at the most."""
    done = run(
        "systemd-analyze",
        "security",
        "--no-pager",
        "--offline=true",
        f"--threshold={MOST_EXPOSED}",
        str(unit),
    )

    assert done.returncode == 0, done.stdout[-500:]


@systemd
def test_the_daemon_makes_no_call_that_is_forbidden(crawl: Crawl) -> None:
    """Every system call of a whole crawl, start and end too, is one that SystemCallFilter lets through."""
    allowed: set[str] = set()
    for line in settings("SystemCallFilter"):
        names = {name for group in line.removeprefix("~").split() for name in members(group)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    made = crawl.calls()

    assert {"recvfrom", "sendto", "fdatasync"} & made
    assert made - allowed == set()


def members(name: str) -> set[str]:
    """Return the system calls of a set of systemd's, sets within it too."""
    if not name.startswith("@"):
        return {name}
    listed = run("systemd-analyze", "--no-pager", "syscall-filter", name).stdout
    words = [line.strip() for line in listed.splitlines()[1:]]
    return {call for word in words if word and not word.startswith("#") for call in members(word)}


def test_the_daemon_opens_no_socket_that_is_forbidden(crawl: Crawl) -> None:
    """Every socket of a whole crawl is of a family that RestrictAddressFamilies lets through."""
    [families] = settings("RestrictAddressFamilies")
    used = {match[1] for line in crawl.traced() if (match := re.search(r" socket(?:pair)?\((AF_\w+)", line))}

    assert "AF_INET" in used
    assert used <= set(families.split())


def test_the_daemon_has_no_writable_code(crawl: Crawl) -> None:
    """No memory is writable and executable, or becomes executable, which MemoryDenyWriteExecute forbids."""
    assert settings("MemoryDenyWriteExecute") == ["yes"]
    wanted = [line for line in crawl.traced() if re.search(r" (mmap|mprotect|pkey_mprotect|shmat)\(", line)]

    assert [line for line in wanted if "PROT_WRITE|PROT_EXEC" in line] == []
    assert [line for line in wanted if "mprotect(" in line and "PROT_EXEC" in line] == []


def test_what_systemd_starts_is_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line is the daemon's, the reload a hangup, and there is time to end in."""
    [start], [stop], [reload] = settings("ExecStart"), settings("TimeoutStopSec"), settings("ExecReload")
    assert cli.main(["--help"]) == 0
    known = capsys.readouterr().out
    assert [word for word in shlex.split(start) if word.startswith("--") and word not in known] == []
    assert reload == "/bin/kill -HUP $MAINPID"
    assert float(stop) > Config().run.drain_timeout + 5


@pytest.mark.skipif(sys.platform == "win32", reason="systemd is Linux's")
def test_the_directories_are_one() -> None:
    """It starts in the directory that systemd makes for it, to which the profiles' relative paths lead."""
    [state], [working] = settings("StateDirectory"), settings("WorkingDirectory")

    assert working == f"/var/lib/{state}"
