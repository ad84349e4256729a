"""The metrics as Prometheus gets them: all there, well formed, and saying what the status says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from trio.testing import MockClock

from crawler import metrics
from crawler.metrics import PREFIX, Kind, Metric, number, render
from crawler.monitoring import figures, metrics_table
from tests.sim.full_run import full_run

TABLE = metrics_table.TABLE
PLAIN = "text/plain;version=0.0.4"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the figures of a run that has every part."""

    async def run() -> dict[str, Any]:
        return figures.gather(*await full_run(tmp_path_factory.mktemp("run")), trio.current_time())

    return trio.run(run, clock=MockClock(autojump_threshold=0))


def families_of(text: bytes) -> dict[str, Any]:
    """Return name → family as prometheus-client's own strict parser reads them."""
    read = text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call] # the library's gap
    return {family.name: family for family in read}


def test_the_status_says_the_same(told: dict[str, Any]) -> None:
    """Where the status has the sum of what a metric splits, the two agree."""
    samples = {metric.name: list(metric.samples(told)) for metric in TABLE}
    compared = 0
    for source, name in metrics_table.SAME.items():
        if not source.startswith("status."):
            continue
        for labels, value in Metric("", Kind.GAUGE, "", source).samples(told):
            parts = [number(one) for split, one in samples[name] if not labels or split[-1] == labels[-1]]
            if isinstance(value, list):
                assert [round(part, 3) for part in parts] == value, source
            elif isinstance(value, bool | str) or source == "status.lines_written":
                assert number(value) == max(parts), source
            else:
                assert value == sum(parts), source
            compared += 1
    assert compared > 35


def test_the_text_is_openmetrics(told: dict[str, Any]) -> None:
    """prometheus-client's own strict parser reads every family back, with help, type and value."""
    text, kind = render(told, TABLE)
    assert kind.startswith("application/openmetrics-text")
    families = families_of(text)

    for metric in TABLE:
        family = families[PREFIX + metric.name]
        assert (family.documentation, family.type) == (metric.help, metric.kind.value)
        assert family.unit in {"", metric.unit}
        read = {tuple(one.labels.get(k) for k in metric.labels): one.value for one in family.samples}
        for labels, value in metric.samples(told):
            if metric.kind is not Kind.HISTOGRAM:
                assert read[labels] == number(value), metric.name


def test_round_trips_are_a_histogram(told: dict[str, Any]) -> None:
    """Every answer and refusal was timed once, in cumulative buckets, and their sum is plausible."""
    family = families_of(render(told, TABLE)[0])[f"{PREFIX}round_trip_seconds"]
    buckets = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
    [count] = [sample.value for sample in family.samples if sample.name.endswith("_count")]
    [total] = [sample.value for sample in family.samples if sample.name.endswith("_sum")]

    assert buckets == sorted(buckets)
    assert buckets[-1] == count == told["status"]["answers"] + told["status"]["refusals"]
    assert 0.05 < total / count < 0.5


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_promtool_has_nothing_to_say(told: dict[str, Any]) -> None:
    """Prometheus' own checker reads the plain text and finds no fault with names, types and help."""
    text, kind = render(told, TABLE, PLAIN)
    assert kind.startswith("text/plain")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.decode() + done.stderr.decode()) == (0, "")


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", True),
        ("*/*", True),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", True),
        ("text/plain", False),
    ],
)
def test_a_reader_gets_what_it_reads(accept: str, openmetrics: bool) -> None:
    """OpenMetrics unless only plain text is accepted."""
    text, kind = render({"log": {"dropped": 3}}, TABLE, accept)
    assert text.endswith(b"# EOF\n") == openmetrics
    assert kind.startswith("application/openmetrics-text") == openmetrics
    assert b"dht_crawler_log_lines_dropped_total 3.0\n" in text


def test_hostile_labels_stay_in_their_line() -> None:
    """A path or a reason with quotes, newlines and backslashes does not break the text."""
    name = 'a"b\nc\\d'
    text, _ = render({"outputs": {name: {"lines_in": 1}}}, TABLE)
    family = families_of(text)[f"{PREFIX}output_lines"]
    assert family.samples[0].labels == {"output": name}


def test_names_follow_the_convention() -> None:
    """Lower case words, no name twice, base units only, no _total before it is added."""
    names = [metric.name for metric in TABLE]
    assert len(set(names)) == len(names)
    for metric in TABLE:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", metric.name)
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_ms", "_kb"))
        assert len(metric.labels) == metric.source.count("*")
        assert metric.help.endswith(".")


def test_the_page_is_made_from_the_table() -> None:
    """docs/metrics.md lists every metric as the code has it."""
    page = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
    assert page.read_text("utf-8") == metrics_table.page(), metrics_table.__doc__


def test_the_page_can_be_printed() -> None:
    """The command that the page names prints the page."""
    done = subprocess.run(
        [sys.executable, "-m", "crawler.monitoring.metrics_table"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == metrics_table.page()


def test_every_reason_is_explained() -> None:
    """Each reason that the code counts drops by stands on the page."""
    page = metrics_table.page()
    root = Path(metrics.__file__).parent
    texts = [
        (root / part).read_text("utf-8")
        for part in ("monitoring/status.py", "dht/node.py", "crawl/sample.py")
    ]
    reasons = {reason for text in texts for reason in re.findall(r'drop(?:s|ped)\["(\w+)"\]', text)}
    assert len(reasons) > 15
    assert {reason for reason in reasons if f"`{reason}`" not in page} == {"malformed_"} & reasons
