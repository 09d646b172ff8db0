"""Pushes to views, how far views are, and what the log of served features has taken and its last audit found,
as metrics."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from falaj.features.errors import DataError
from falaj.features.served.summary import read_audit
from falaj.server.ops.buckets import time_buckets

if TYPE_CHECKING:
    from falaj.server.feature_log import FeatureLog
    from falaj.server.feature_service import FeatureService

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


def push_metrics(features: "FeatureService | None", *, histograms: bool) -> Iterable[Metric]:
    """Yield the metrics of pushes."""
    rows = CounterMetricFamily("falaj_feature_push_rows", "Rows that were written", labels=["view"])
    unchanged = CounterMetricFamily(
        "falaj_feature_push_unchanged_entities", "Entities that a push left as they were", labels=["view"]
    )
    refused = CounterMetricFamily(
        "falaj_feature_push_refused", "Pushes that were not written", labels=["view", "reason"]
    )
    times = HistogramMetricFamily(
        "falaj_feature_push_seconds",
        "Time from a push's arrival until it was durable",
        labels=["view"],
        unit="seconds",
    )
    for view, of in (features.pushes.by_view() if features is not None else {}).items():
        rows.add_metric([view], of.rows)
        unchanged.add_metric([view], of.unchanged)
        times.add_metric([view], time_buckets([*of.bins.items()]), of.total_ns / 1e9)
    for labels, count in (features.pushes.refusals() if features is not None else {}).items():
        refused.add_metric(labels, count)
    yield from (rows, unchanged, refused)
    if histograms:
        yield times


def age_metrics(features: "FeatureService | None") -> Iterable[Metric]:
    """Yield how far the views in the store are."""
    until = GaugeMetricFamily(
        "falaj_feature_materialized_timestamp_seconds",
        "What had arrived by then, since 1970, is in the store",
        labels=["view"],
    )
    newest = GaugeMetricFamily(
        "falaj_feature_newest_timestamp_seconds",
        "When the newest row that was materialised became known, since 1970",
        labels=["view"],
    )
    for view, of in (features.times.by_view() if features is not None else {}).items():
        until.add_metric([view], of.until_us / 1e6)
        if of.newest_us is not None:
            newest.add_metric([view], of.newest_us / 1e6)
    yield until
    yield newest
