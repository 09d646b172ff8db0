"""What the log of served features has taken, and what its last audit found, as metrics."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from falaj.features.errors import DataError
from falaj.features.served.summary import read_audit

if TYPE_CHECKING:
    from falaj.server.feature_log import FeatureLog

_log = logging.getLogger("falaj.metrics")

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
    there = GaugeMetricFamily("falaj_feature_log_bytes", "Bytes of the log's files")
    removed = CounterMetricFamily("falaj_feature_log_removed_files", "Files of the log that were removed")
    if log is not None:
        kept = log.kept()
        there.add_metric([], kept.bytes)
        removed.add_metric([], kept.removed)
    yield there
    yield removed


def audit_metrics(path: Path | None) -> Iterable[Metric]:
    """Yield the metrics of the audit whose summary is at `path`."""
    ratio = GaugeMetricFamily(
        "falaj_feature_mismatch_ratio",
        "Share of served values that training sets do not have so, by the last audit",
        labels=("view", "column", "cause"),
    )
    at = GaugeMetricFamily("falaj_feature_audit_timestamp_seconds", "When it was, since 1970", labels=())
    try:
        found = None if path is None else read_audit(path)
    except DataError as error:
        _log.warning("the last audit of served features is not shown: %s", error)
        found = None
    if found is not None:
        at.add_metric([], found.at_us / 1e6)
        for each in found.columns:
            for cause, count in each.mismatches.items():
                share = count / each.compared if each.compared else 0.0
                ratio.add_metric([each.view, each.column, cause], share)
    yield ratio
    yield at
