"""What a metric is, and how figures become the text that Prometheus reads.

Figures are a tree of plain values. A metric names the leaves of that tree that it tells; ``*`` in its source
stands for any key, which becomes a label. So a list of metrics is data: it is rendered, documented and held
against the tree by tests (the daemon's is `monitoring/metrics_table`). prometheus-client writes the text; it
is an extra, so it is imported when somebody asks.
"""

from __future__ import annotations

import enum
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client.core import Metric as Family

PREFIX = "dht_crawler_"
_PLAIN = "text/plain"
_OPENMETRICS = "application/openmetrics-text"


class Kind(enum.Enum):
    """What may happen to a metric's value over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Distribution(NamedTuple):
    """How many values were how large: ``counts`` has one more than ``bounds``, for those beyond the last."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@attrs.frozen
class Metric:
    """One metric.

    Attributes:
        name: without the prefix, and without the ``_total`` that the text adds to a counter.
        kind: what may happen to its value.
        help: what it counts, one sentence.
        source: the leaves that it tells, keys joined by dots.
        labels: a name for each ``*`` of the source.
        unit: of its value.
    """

    name: str
    kind: Kind
    help: str
    source: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    _path: tuple[str, ...] = attrs.field(init=False)

    @_path.default
    def _split(self) -> tuple[str, ...]:
        return tuple(self.source.split("."))

    @property
    def full_name(self) -> str:
        """The name as it stands in the text."""
        return PREFIX + self.name + ("_total" if self.kind is Kind.COUNTER else "")

    def samples(self, figures: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield (label values, value) of every leaf of ``monitoring/figures`` that it tells."""
        yield from _descend(figures, self._path, ())

    def tells(self, path: Sequence[str]) -> bool:
        """Whether the leaf at ``path`` is one of its."""
        return len(path) == len(self._path) and all(
            want in {"*", key} for want, key in zip(self._path, path, strict=True)
        )


def _descend(
    node: Any, path: tuple[str, ...], labels: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not path:
        yield labels, node
    elif path[0] == "*":
        for key, inner in node.items():
            yield from _descend(inner, path[1:], (*labels, key))
    elif path[0] in node:
        yield from _descend(node[path[0]], path[1:], labels)


def leaves(figures: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (keys, value) of every value in the tree."""
    for key, value in figures.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def render(figures: Mapping[str, Any], table: Sequence[Metric], accept: str = "") -> tuple[bytes, str]:
    """Return the text of all metrics, and its media type.

    Args:
        figures: the tree.
        table: the metrics.
        accept: what the reader accepts, as its HTTP header says: it gets OpenMetrics unless it names only
            plain text, the older form, which `promtool check metrics` reads.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector, exposition  # noqa: PLC0415 - an extra
    from prometheus_client.openmetrics import exposition as openmetrics  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures, table))
    ProcessCollector(registry=registry)
    if _PLAIN in accept and _OPENMETRICS not in accept:
        return exposition.generate_latest(registry), exposition.CONTENT_TYPE_PLAIN_0_0_4
    text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call] # the library's gap
    return text, openmetrics.CONTENT_TYPE_LATEST


class _Collector:
    """What prometheus-client asks for metrics."""

    def __init__(self, figures: Mapping[str, Any], table: Sequence[Metric]) -> None:
        self._figures = figures
        self._table = table

    def collect(self) -> Iterator[Family]:
        """Yield a family for each metric that there is something to tell of."""
        for metric in self._table:
            samples = list(metric.samples(self._figures))
            if samples:
                yield _family(metric, samples)


def _family(metric: Metric, samples: list[tuple[tuple[str, ...], Any]]) -> Family:
    from prometheus_client import core  # noqa: PLC0415 - an extra

    # Only what the name ends with may stand as the unit.
    unit = metric.unit if metric.name.endswith(f"_{metric.unit}") else ""
    words = (PREFIX + metric.name, metric.help)
    if metric.kind is Kind.HISTOGRAM:
        histogram = core.HistogramMetricFamily(*words, labels=metric.labels, unit=unit)
        for labels, value in samples:
            histogram.add_metric(labels, _buckets(value), value.total)
        return histogram
    make = core.CounterMetricFamily if metric.kind is Kind.COUNTER else core.GaugeMetricFamily
    family = make(*words, labels=metric.labels, unit=unit)
    for labels, value in samples:
        family.add_metric(labels, number(value))
    return family


def number(value: Any) -> float:
    """Return a figure as a number: a flag or a text is 1 when it is there."""
    return float(value) if isinstance(value, int | float) else float(bool(value))


def _buckets(value: Distribution) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in value.bounds), "+Inf"]
    return list(zip(bounds, accumulate(map(float, value.counts)), strict=True))


def to_markdown(table: Sequence[Metric]) -> str:
    """Return the metrics as the rows of a table for people."""
    lines = ["| metric | type | unit | labels | meaning |", "|---|---|---|---|---|"]
    for metric in table:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(
            f"| `{metric.full_name}` | {metric.kind.value} | {metric.unit} | {labels} | {metric.help} |"
        )
    return "\n".join(lines) + "\n"
