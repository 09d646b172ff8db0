"""Requests that were sampled, and what became of their spans, as metrics."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, Metric

if TYPE_CHECKING:
    from falaj.server.tracing.service import TraceService


def trace_metrics(traces: "TraceService | None") -> Iterable[Metric]:
    """Yield the metrics of tracing; 0 where it is not enabled."""
    counts = None if traces is None else traces.counts()
    for name, text, value in (
        ("falaj_trace_requests", "Requests that were sampled", counts and counts.recorded),
        ("falaj_trace_exported", "Of them, those whose spans the collector took", counts and counts.exported),
    ):
        yield CounterMetricFamily(name, text, value or 0)
    lost = "Of them, those whose spans were lost"
    dropped = CounterMetricFamily("falaj_trace_dropped", lost, labels=["reason"])
    if counts is not None:
        dropped.add_metric(["full"], counts.full)
        dropped.add_metric(["export"], counts.failed)
    yield dropped
