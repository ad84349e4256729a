"""Programs of npm's that tests talk to: whether they are installed, and how they are started."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

DIRECTORY: Final = Path(__file__).parent / "node"


def node_or_skip(package: str = "bittorrent-tracker") -> str:
    """Return the path of node, or skip the test with the reason why ``package`` can't run."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (DIRECTORY / "node_modules" / package / "package.json").is_file():
        pytest.skip(f"npm's {package} is not installed: make test does it, where there is npm")
    return node
