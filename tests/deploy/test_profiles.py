"""The profiles for a line at home and for a server say what they promise."""

from __future__ import annotations

import re
import tomllib

import pytest

from crawler import config
from tests.deploy.shipped import CONFIG

PROFILES = {"home.toml": 100.0, "server.toml": 5000.0}


@pytest.mark.parametrize(("name", "rate"), PROFILES.items())
def test_rates(name: str, rate: float) -> None:
    """A line at home asks 100 queries a second, a server 5,000; both keep a state and bound their files."""
    loaded = config.load(CONFIG / name, {}, {})

    assert loaded.limits.max_rate == rate
    assert loaded.state.directory
    assert loaded.output.rotate_interval > 0
    assert loaded.output.max_total > 0


def test_a_line_at_home_gives_little_away() -> None:
    """What strangers may have of a home's upstream is at most half a megabit a second."""
    assert config.load(CONFIG / "home.toml", {}, {}).reply_budget.byte_rate * 8 <= 500_000


@pytest.mark.parametrize("name", PROFILES)
def test_every_part_of_a_profile_is_explained(name: str) -> None:
    """A comment stands at the head of each file, and in it the command that uses it."""
    text = (CONFIG / name).read_text(encoding="utf-8")

    assert f"dht-crawler --config config/{name}" in text
    assert len(re.findall(r"(?m)^# ", text)) > len(tomllib.loads(text))
