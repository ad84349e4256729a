"""The deployment files, and the programs that check them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

CONFIG = Path(__file__).resolve().parents[2] / "config"
# Debian's, which has Debian's python3-yaml beside it; YAML is none of our own dependencies.
_SYSTEM_PYTHON = "/usr/bin/python3"
_TO_JSON = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


def read_yaml(name: str) -> Any:
    """Return what a YAML file of ``config/`` says; the test is skipped where nothing can read YAML."""
    text = (CONFIG / name).read_text(encoding="utf-8")
    try:
        done = run(_SYSTEM_PYTHON, "-c", _TO_JSON, input=text)
    except OSError:
        pytest.skip(f"{_SYSTEM_PYTHON} is not there")
    if "No module named 'yaml'" in done.stderr:
        pytest.skip("python3-yaml is not installed")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
