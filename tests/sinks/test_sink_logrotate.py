"""config/logrotate.conf with the real logrotate: it is understood, and what each way to rotate costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.torture.rotate import rotate, settings

if TYPE_CHECKING:
    from pathlib import Path

TIMES = 6

ENVIRONMENT = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin"}

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("logrotate", path=ENVIRONMENT["PATH"]) is None,
    reason="logrotate is not installed",
)


def test_logrotate_understands_what_is_shipped(tmp_path: Path) -> None:
    """`logrotate -d` reads the shipped settings without a word of error or warning, and finds our file."""
    output, path = tmp_path / "peers.jsonl", tmp_path / "rotate.conf"
    output.write_bytes(b"{}\n")
    path.write_text(settings("as shipped", output), encoding="utf-8")
    path.chmod(0o600)
    command = ["logrotate", "-d", "--state", str(tmp_path / "state"), str(path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=30)

    assert done.returncode == 0
    said = [line for line in done.stderr.splitlines() if "debug mode does nothing" not in line]
    assert [line for line in said if "error" in line or "warning" in line] == []
    assert f"considering log {output}" in done.stderr


@pytest.mark.parametrize("way", ["as shipped", "without the signal"])
def test_create_loses_nothing(tmp_path: Path, way: str) -> None:
    """Rotated under load, with its signal and without, every acknowledged line is there once, none torn."""
    toll = rotate(tmp_path, way, TIMES, 0.1)

    assert (toll.lost, toll.torn, toll.twice, toll.complaints) == (0, 0, 0, "")
    assert toll.files == TIMES
    assert toll.acknowledged > 500


def test_copytruncate_leaves_a_file_of_lines(tmp_path: Path) -> None:
    """Cut off behind its back the sink goes on at the new end; only what was written meanwhile is lost."""
    toll = rotate(tmp_path, "copytruncate", TIMES, 0.1)

    assert toll.complaints == ""
    assert toll.twice == 0
    assert toll.lost < toll.acknowledged / 2
    assert toll.torn <= 2 * TIMES
