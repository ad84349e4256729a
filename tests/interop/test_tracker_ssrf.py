"""T11: no URL, no redirect and no name leads a tracker's client into somebody's own network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop import namespace
from tests.interop.daemon_process import REPOSITORY
from tests.interop.tracker_scene import RESOLVER, TRACKER

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", name="seen")
def what_was_seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Play the scene in a network namespace of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    directory: Path = tmp_path_factory.mktemp("ssrf")
    words = ["unshare", "-rnm", sys.executable, "-m", "tests.interop.tracker_scene", str(directory)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == namespace.REFUSED or "unshare" in done.stderr:
        pytest.skip(f"no network namespace here: {done.stdout}{done.stderr}"[:200])
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_nothing_inward_was_dialled(seen: dict[str, Any]) -> None:
    """Of all connections that were begun, over IPv4 and IPv6, every single one went to the public tracker."""
    assert set(seen["dialled"]) == {TRACKER}


def test_nothing_inward_was_sent_a_datagram(seen: dict[str, Any]) -> None:
    """No datagram went to a forbidden address; what moved was the talk with the resolver."""
    assert set(seen["sent_to"]) == {RESOLVER}


def test_each_is_refused_for_what_it_is(seen: dict[str, Any]) -> None:
    """Every way inwards is refused, and told apart from a tracker that is down."""
    for name, outcome in seen["outcomes"].items():
        if not name.startswith("good"):
            assert outcome in {"forbidden_address", "unresolved", "bad_redirect"}, name


def test_good_trackers_are_reached(seen: dict[str, Any]) -> None:
    """The same client reaches what is public, by literal, by name and by redirect."""
    good = {name: outcome for name, outcome in seen["outcomes"].items() if name.startswith("good")}
    assert len(good) == 5
    assert set(good.values()) == {"answered"}


def test_a_name_is_looked_up_once(seen: dict[str, Any]) -> None:
    """A name that would lead inwards at the second look is looked at once for an announce."""
    assert seen["asked"]["rebind.example"] == seen["asked"]["rebound.example"] == 1
