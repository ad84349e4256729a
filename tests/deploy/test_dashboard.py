"""Every metric that the dashboard and the alerts name, held against what the daemon tells."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from crawler.metrics import Kind, Metric
from crawler.monitoring.metrics_table import TABLE
from tests.deploy.shipped import CONFIG, read_yaml, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.conftest import Crawl

DASHBOARD: dict[str, Any] = json.loads((CONFIG / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# Prometheus adds the first two to every series.
EVERYWHERE = {"instance", "job", "le"}
OURS = {
    name: metric
    for metric in TABLE
    for name in (
        [f"{metric.full_name}_{part}" for part in ("bucket", "sum", "count")]
        if metric.kind is Kind.HISTOGRAM
        else [metric.full_name]
    )
}

_NAME = re.compile(r"\b(?:dht_crawler|process)_[a-z0-9_]+")
_SELECTED = re.compile(r"\b((?:dht_crawler|process)_[a-z0-9_]+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|without) \((\w+)\) \(((?:[^()]|\([^()]*\))*)\)")
_OVER_TIME = re.compile(r"\b(?:rate|increase)\(([a-z0-9_]+)")


def alerts() -> list[dict[str, Any]]:
    """Return the rules of config/alerts.yml."""
    rules: list[dict[str, Any]] = read_yaml("alerts.yml")["groups"][0]["rules"]
    return rules


def dashboard_expressions() -> list[str]:
    """Return every expression of the dashboard."""
    said = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return said + [each["expr"] for each in DASHBOARD["annotations"]["list"]]


def expressions() -> list[str]:
    """Return every expression of alerts and dashboard."""
    return dashboard_expressions() + [rule["expr"] for rule in alerts()]


def labels_of(name: str) -> set[str]:
    """Return the labels that series of a metric have."""
    return EVERYWHERE | (set(OURS[name].labels) if name in OURS else set())


@pytest.mark.interop
def test_the_daemon_tells_every_metric_that_is_named(crawl: Crawl) -> None:
    """Each is in the text that a real daemon gave over HTTP, in the family and of the type of the table."""
    read = text_string_to_metric_families(crawl.metrics)  # type: ignore[no-untyped-call] # the library's gap
    families = {family.name: family for family in read}
    named = {name for text in expressions() for name in _NAME.findall(text)}

    assert len(named) > 40
    for name in named:
        metric = OURS.get(name)
        base = name if metric is None else metric.full_name.removesuffix("_total")
        if base not in families:
            # A reason is told from its first occurrence on.
            assert metric is not None, name
            assert {"reason", "limit"} & set(metric.labels), name
            continue
        assert metric is None or families[base].type == metric.kind.value
        told = [set(sample.labels) for sample in families[base].samples]
        assert all(labels <= labels_of(name) for labels in told), (name, told[:3])


def test_metrics_are_used_as_what_they_are() -> None:
    """Rates and increases are taken of counters and buckets only."""
    for text in expressions():
        for name in _OVER_TIME.findall(text):
            assert kind_of(name) in {Kind.COUNTER, Kind.HISTOGRAM}, text
    assert kind_of("dht_crawler_table_good_nodes") is Kind.GAUGE


def kind_of(name: str) -> Kind | None:
    """Return what may happen to a metric's value."""
    metric: Metric | None = OURS.get(name)
    return None if metric is None else metric.kind


def test_labels_are_those_of_the_metric() -> None:
    """What is selected, grouped and shown by is a label of the metrics that it is said of."""
    seen = 0
    for text in expressions():
        for name, selected in _SELECTED.findall(text):
            assert set(re.findall(r"(\w+)=", selected)) <= labels_of(name), text
        for label, inside in _GROUPED.findall(text):
            for name in _NAME.findall(inside):
                assert label in labels_of(name), text
                seen += 1
    assert seen > 15


def test_what_is_shown_beside_a_line_is_there() -> None:
    """A legend names a label that its expression keeps, an alert's words one that its series have."""
    for target in (target for panel in PANELS for target in panel["targets"]):
        kept = set(re.findall(r"\bby \((\w+)\)", target["expr"]))
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept, target
    for rule in alerts():
        words = " ".join(rule["annotations"].values())
        has = (
            set.intersection(*map(labels_of, _NAME.findall(rule["expr"])))
            if "up{" not in rule["expr"]
            else EVERYWHERE
        )
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= has, rule


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    """Every expression of the dashboard is PromQL, with Grafana's variables filled in."""
    texts = [
        text.replace("$__rate_interval", "5m").replace("$instance", ".*") for text in dashboard_expressions()
    ]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(texts)]
    path = tmp_path / "rules.yml"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = run("promtool", "check", "rules", str(path))

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(texts)} rules found" in done.stdout


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    """Ids are there once, panels lie side by side, and each asks the data source that the reader chose."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert sorted(set(ids)) == sorted(ids)
    assert {panel["type"] for panel in DASHBOARD["panels"]} == {"row", "stat", "timeseries"}
    for one, other in itertools.combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        apart = any(
            a[at] + a[size] <= b[at]
            for at, size in (("x", "w"), ("y", "h"))
            for a, b in ((one, other), (other, one))
        )
        assert apart, (one, other)
    for panel in PANELS:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert all(
            part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            for part in (panel, *panel["targets"])
        )
    assert {each["name"] for each in DASHBOARD["templating"]["list"]} == {"datasource", "instance"}
