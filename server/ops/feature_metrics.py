"""What the log of served features has taken, as metrics."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, Metric

if TYPE_CHECKING:
    from falaj.server.feature_log import FeatureLog

_LABELS = ("model", "version")


def log_metrics(log: "FeatureLog | None") -> Iterable[Metric]:
    """Yield the metrics of the log of served features."""
    written = CounterMetricFamily("falaj_feature_log_rows", "Rows that were written", labels=_LABELS)
    dropped = CounterMetricFamily("falaj_feature_log_dropped_rows", "Rows that were dropped", labels=_LABELS)
    for (model, version), counts in (log.counts() if log is not None else {}).items():
        for family, count in zip((written, dropped), counts, strict=True):
            family.add_metric([model, str(version)], count)
    yield written
    yield dropped
