"""Prometheus' own checks of its settings and alert rules, with made-up series for each rule."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.deploy.shipped import CONFIG, read_yaml, run

RULE_TESTS = Path(__file__).parent / "alerts.test.yml"

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


@promtool
def test_prometheus_takes_the_settings() -> None:
    """`promtool check config` accepts the settings, and the rules that they name."""
    done = run("promtool", "check", "config", str(CONFIG / "prometheus.yml"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
    assert re.search(r"SUCCESS: \d\d rules found", done.stdout)


@promtool
def test_every_rule_fires_and_is_quiet() -> None:
    """`promtool test rules`: each alert fires for what it is there for, with its words, and not beside it."""
    done = run("promtool", "test", "rules", str(RULE_TESTS))

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_tested_both_ways() -> None:
    """No rule is shipped of which it was not shown when it fires and when not."""
    [group] = read_yaml("alerts.yml")["groups"]
    named = re.findall(r"name: (\w+) (fires|is quiet)", RULE_TESTS.read_text(encoding="utf-8"))

    wanted = [(rule["alert"], word) for rule in group["rules"] for word in ("fires", "is quiet")]
    assert sorted(named) == sorted(wanted)


def test_the_scrape_finds_the_daemon_of_the_container() -> None:
    """Prometheus asks where compose.yaml lets the daemon serve, under the job that the others name."""
    [job] = read_yaml("prometheus.yml")["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]

    assert target == read_yaml("compose.yaml")["services"]["crawler"]["command"][-1]
    dashboard = (CONFIG / "grafana-dashboard.json").read_text(encoding="utf-8")
    assert set(re.findall(r'job="([^"]*)"', json.dumps(json.loads(dashboard)).replace('\\"', '"'))) == {
        job["job_name"]
    }
