"""What is shipped around the code: lock files, container, Makefile and CI, as far as files can tell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from crawler import config

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
RUNTIME = PROJECT["project"]["dependencies"]
WANTED = {
    "requirements.lock": RUNTIME,
    "requirements-dev.lock": RUNTIME + PROJECT["dependency-groups"]["dev"],
    "requirements-build.lock": PROJECT["build-system"]["requires"],
}


def locked(name: str) -> dict[str, Version]:
    """Return package → pinned version of a lock file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return {
        package: Version(version) for package, version in re.findall(r"(?m)^([a-z0-9.-]+)==([^ \\]+)", text)
    }


@pytest.mark.parametrize("name", LOCKS)
def test_locks_satisfy_the_project(name: str) -> None:
    """Everything that pyproject.toml asks for is pinned to a version that it allows (else: make lock)."""
    pins = locked(name)
    for line in WANTED[name]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), line


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_address(name: str) -> None:
    """Each pin lists hashes, and no registry is named, so that any mirror serves as well."""
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
    assert len(blocks) == len(locked(name))
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?:|index-url|find-links", text)


def test_developers_run_what_users_run() -> None:
    """The development lock pins every runtime package to the runtime lock's version."""
    assert locked("requirements.lock").items() <= locked("requirements-dev.lock").items()


def test_every_dependency_has_its_reason() -> None:
    """CONTRIBUTING.md says of every package that we ask for why it is there, its licence and its version."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for line in WANTED["requirements-dev.lock"] + WANTED["requirements-build.lock"]:
        assert re.search(rf"(?m)^\| {re.escape(Requirement(line).name)} \|", page), line


def test_the_changelog_knows_this_version() -> None:
    """CHANGELOG.md has a section for the version that is in the code."""
    version = (ROOT / "crawler" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'__version__ = "(.+)"', version)
    assert match
    assert f"## [{match[1]}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Return (instruction, arguments) of the Dockerfile, continued lines joined."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line)]


def last(word: str) -> str:
    """Return the arguments of the last instruction of a kind."""
    return [rest for each, rest in instructions() if each == word][-1]


def test_container_has_two_stages_on_one_pinned_base() -> None:
    """Both stages stand on the same exact tag, so that what was built runs."""
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm", bases[0])
    assert len(set(bases)) == 1


def test_container_runs_without_rights_and_stops_on_sigterm() -> None:
    """A numeric user that is not root, a volume, the port, the stop signal and the entry point are there."""
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last("USER"))
    assert last("VOLUME") == "/data"
    assert last("EXPOSE") == "6881/udp"
    assert last("STOPSIGNAL") == "SIGTERM"
    assert last("ENTRYPOINT") == '["dht-crawler"]'
    assert last("HEALTHCHECK").endswith('CMD ["dht-crawler", "health"]')


def test_container_installs_only_what_is_locked() -> None:
    """Every pip install of packages demands hashes; only our own wheel comes without."""
    for command in (part for word, rest in instructions() if word == "RUN" for part in rest.split("&&")):
        if "pip" in command and " install " in command:
            assert "--require-hashes" in command or "--no-deps --no-index dist/" in command, command


def test_container_copies_what_is_there() -> None:
    """Every file that the Dockerfile copies exists and is let through by .dockerignore."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    for sources in (rest for word, rest in instructions() if word == "COPY" and "--from=" not in rest):
        for source in sources.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignore, source


def test_container_defaults_are_settings() -> None:
    """The settings in the image's environment are accepted by the daemon, and keep all data in the volume."""
    given = dict(word.split("=", 1) for word in shlex.split(last("ENV")) if word.startswith("DHT_CRAWLER_"))
    loaded = config.load(None, given, {})
    assert all(path.startswith("/data/") for path in loaded.output.path)
    assert loaded.state.directory.startswith("/data/")
    assert loaded.http.listen.startswith("127.0.0.1:"), (
        "what the health check asks is for the container alone"
    )


def test_ignored_files_are_no_sources() -> None:
    """What a crawl or a tool leaves in a checkout is ignored by git."""
    for left in ("peers.jsonl", ".venv/x", "state/x", ".hypothesis/x", "crawler/__pycache__/x"):
        done = subprocess.run(["git", "check-ignore", "-q", left], cwd=ROOT, check=False)
        assert done.returncode == 0, left


def test_make_lists_its_targets() -> None:
    """`make` alone explains what can be made."""
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("crawl", "test", "bench", "lint", "types", "lock", "config", "clean", "help"):
        assert re.search(rf"(?m)^make {target} +\S", done.stdout), target


def run_ci(tmp_path: Path, made: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run .ci/run from elsewhere, with a `make` that prints ``made`` and exits with ``code``."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "ip", "unshare", "transmission-daemon", "apt-get"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    (programs / "make").write_text(f"#!/bin/sh\npwd\necho '{made}'\nexit {code}\n", encoding="utf-8")
    for program in programs.iterdir():
        program.chmod(0o755)
    clone = tmp_path / "clone"
    (clone / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", clone / ".ci" / "run")
    return subprocess.run(
        ["bash", str(clone / ".ci" / "run")],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("made", "code", "green"),
    [
        ("==== 412 passed, 3 skipped in 93.10s (0:01:33) ====", 0, True),
        ("3 passed in 0.1s", 0, True),
        ("==== 1 failed, 411 passed in 93.10s ====", 2, False),
        ("==== no tests ran in 0.01s ====", 0, False),
        ("==== 5 skipped in 0.01s ====", 0, False),
        ("", 0, False),
    ],
)
def test_ci_is_green_only_when_tests_passed(tmp_path: Path, made: str, code: int, green: bool) -> None:
    """CI passes on what `make test` says, from any directory, and fails when nothing ran."""
    done = run_ci(tmp_path, made, code)
    assert (done.returncode == 0) == green, done.stderr
    assert done.stdout.splitlines()[0] == str(tmp_path / "clone")


def test_ci_can_be_started() -> None:
    """.ci/run is executable."""
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR
