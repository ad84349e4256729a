"""What npm brings: from any registry, and able to run without native modules."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.interop.node_packages import DIRECTORY, node_or_skip


def test_npm_lock_names_no_registry() -> None:
    """Every package of the npm lock is named by its hash alone, so that any mirror will do."""
    packages = json.loads((DIRECTORY / "package-lock.json").read_text())["packages"]

    foreign = {path: said for path, said in packages.items() if path.startswith("node_modules/")}
    assert len(foreign) > 20
    assert all(
        said.get("link") or ("integrity" in said and "resolved" not in said) for said in foreign.values()
    )


@pytest.mark.interop
def test_client_and_server_load() -> None:
    """Both halves of npm's bittorrent-tracker load in node without a native module."""
    code = (
        "import Client from 'bittorrent-tracker/client'; import Server from 'bittorrent-tracker/server';"
        "console.log(typeof Client, typeof Server)"
    )

    told = subprocess.run(
        [node_or_skip(), "--input-type=module", "--eval", code],
        cwd=DIRECTORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (told.stdout, told.stderr) == ("function function\n", "")
