"""What model versions have done, as metrics: the names that dashboards made for NVIDIA Triton expect, and
Falaj's own histograms."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)

from falaj.server.ops.buckets import row_buckets, time_buckets

Row = Mapping[str, Any]
_LABELS = ("model", "version")

# Names of counters without the ending that OpenMetrics wants: see metrics.py for how they are typed.
_COUNTERS: tuple[tuple[str, str, Callable[[Row], float]], ...] = (
    ("nv_inference_request_success", "Requests answered", lambda row: row["requests_ok"]),
    ("nv_inference_count", "Rows inferred (a batch of n counts n)", lambda row: row["rows"]),
    ("nv_inference_exec_count", "Batches run", lambda row: row["batches"]),
    (
        "nv_inference_request_duration_us",
        "Microseconds from arrival until the answer was handed out, summed over answered requests",
        lambda row: row["ok_request_ns"] // 1000,
    ),
    (
        "nv_inference_queue_duration_us",
        "Microseconds waited for a run, summed over answered requests",
        lambda row: row["ok_queue_ns"] // 1000,
    ),
    (
        "nv_inference_compute_input_duration_us",
        "Microseconds of putting a batch's inputs together, summed over its answered requests",
        lambda row: row["ok_assemble_ns"] // 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Microseconds of a batch's run, summed over its answered requests",
        lambda row: row["ok_run_ns"] // 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "Microseconds of handing out a batch's answers, summed over its answered requests",
        lambda row: row["ok_deliver_ns"] // 1000,
    ),
)
# Of the versions that keep answers; the first four as Triton's dashboards know them.
_CACHE: tuple[tuple[str, str, Callable[[Row], float]], ...] = (
    (
        "nv_cache_num_hits_per_model",
        "Requests answered without a run of their own",
        lambda row: row["cache_hits"],
    ),
    ("nv_cache_num_misses_per_model", "Requests looked up and run", lambda row: row["cache_misses"]),
    (
        "nv_cache_hit_duration_per_model",
        "Microseconds of looking up, summed over hits",
        lambda row: row["cache_hit_ns"] // 1000,
    ),
    (
        "nv_cache_miss_duration_per_model",
        "Microseconds of looking up and of keeping answers, summed over misses",
        lambda row: row["cache_miss_ns"] // 1000,
    ),
)
_CACHE_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("falaj_cache_joined", "Requests that waited for the run of an equal one", "cache_joined"),
    ("falaj_cache_skipped", "Requests that were run without being looked up", "cache_skipped"),
    ("falaj_cache_evicted", "Answers dropped to make room", "cache_evicted"),
    ("falaj_cache_outdated", "Answers dropped because they were too old", "cache_outdated"),
)
_CACHE_GAUGES: tuple[tuple[str, str, Callable[[Row], float]], ...] = (
    ("falaj_cache_bytes", "Memory of kept answers", lambda row: row["cache_bytes"]),
    ("falaj_cache_entries", "Answers that are kept", lambda row: row["cache_entries"]),
)
_REASONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("REJECTED", ("refused_full", "refused_deadline", "refused_slo", "expired")),
    ("CANCELED", ("cancelled",)),
    ("BACKEND", ("requests_failed",)),
    ("OTHER", ("refused_invalid", "unloaded")),
)
_GAUGES: tuple[tuple[str, str, Callable[[Row], float]], ...] = (
    ("nv_inference_pending_request_count", "Requests waiting for a run", lambda row: row["waiting_requests"]),
    ("nv_model_load_duration_secs", "Seconds that loading took", lambda row: row["load_seconds"]),
    ("falaj_buffer_bytes", "Memory of requests, batches and their pools", lambda row: row["buffer_bytes"]),
    ("falaj_model_bytes", "Memory that the model's runtime holds for it", lambda row: row["model_bytes"]),
    (
        "falaj_oldest_batch_seconds",
        "How long the batch that runs longest has been running; 0: none runs",
        lambda row: row["oldest_batch_ns"] / 1e9,
    ),
)
_SEQUENCES: tuple[tuple[str, str, str], ...] = (
    ("falaj_sequences", "Sequences of a stateful model that are live", "sequences_live"),
    ("falaj_sequences_waiting", "Of them, those that wait for a slot", "sequences_in_line"),
)
_SEQUENCE_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("falaj_sequences_begun", "Sequences that were begun", "sequences_begun"),
    ("falaj_sequences_ended_idle", "Sequences that ended by their idle timeout", "sequences_ended_idle"),
    ("falaj_sequences_refused", "Starts that were refused: max_sequences were live", "sequences_refused"),
)
_OWN_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("falaj_elements", "Elements of padded inputs that were real", "real_elements"),
    ("falaj_padding_elements", "Elements of padded inputs that were added", "padded_elements"),
    ("falaj_retried_alone", "Requests run again alone after their batch had failed", "retried_alone"),
    ("falaj_stale_features", "Requests answered without what their store has now", "stale_features"),
)
_TIMES: tuple[tuple[str, str, str, str], ...] = (
    (
        "falaj_request_seconds",
        "Time from arrival to answer, of each answered request",
        "request_ns_histogram",
        "request_ns",
    ),
    (
        "falaj_queue_seconds",
        "Time waited for a run, of each request that ran",
        "queue_ns_histogram",
        "queue_ns",
    ),
    ("falaj_compute_seconds", "Time of each batch's run", "run_ns_histogram", "run_ns"),
)


def model_metrics(rows: Sequence[Row], *, histograms: bool) -> Iterable[Metric]:
    """Yield the metrics of model versions. `rows`: Engine.stats()."""
    for name, text, value in _COUNTERS:
        yield _family(UnknownMetricFamily(name, text, labels=_LABELS), rows, value)
    failures = UnknownMetricFamily(
        "nv_inference_request_failure", "Requests that failed, by reason", labels=(*_LABELS, "reason")
    )
    for row in rows:
        for reason, keys in _REASONS:
            failures.add_metric([*_labels(row), reason], sum(row[key] for key in keys))
    yield failures
    for name, text, value in _GAUGES:
        yield _family(GaugeMetricFamily(name, text, labels=_LABELS), rows, value)
    for name, text, key in _SEQUENCES:
        yield _family(GaugeMetricFamily(name, text, labels=_LABELS), rows, itemgetter(key))
    for name, text, key in (*_OWN_COUNTERS, *_SEQUENCE_COUNTERS):
        own = CounterMetricFamily(name, text, labels=_LABELS)
        for row in rows:
            own.add_metric(_labels(row), row[key])
        yield own
    yield from _cache_metrics([row for row in rows if row["keeps_answers"]])
    if histograms:
        yield from _histograms(rows)


def _cache_metrics(rows: Sequence[Row]) -> Iterable[Metric]:
    for name, text, value in _CACHE:
        yield _family(UnknownMetricFamily(name, text, labels=_LABELS), rows, value)
    for name, text, key in _CACHE_COUNTERS:
        counter = CounterMetricFamily(name, text, labels=_LABELS)
        for row in rows:
            counter.add_metric(_labels(row), row[key])
        yield counter
    for name, text, value in _CACHE_GAUGES:
        yield _family(GaugeMetricFamily(name, text, labels=_LABELS), rows, value)


def _histograms(rows: Sequence[Row]) -> Iterable[Metric]:
    for name, text, bins, total in _TIMES:
        times = HistogramMetricFamily(name, text, labels=_LABELS, unit="seconds")
        for row in rows:
            times.add_metric(_labels(row), time_buckets(row[bins]), row[total] / 1e9)
        yield times
    batches = HistogramMetricFamily("falaj_batch_rows", "Rows of each batch", labels=_LABELS)
    for row in rows:
        batches.add_metric(_labels(row), row_buckets(row["batch_rows_histogram"]), row["rows"])
    yield batches


def _family(
    family: UnknownMetricFamily | GaugeMetricFamily, rows: Sequence[Row], value: Callable[[Row], float]
) -> Metric:
    for row in rows:
        family.add_metric(_labels(row), value(row))
    return family


def _labels(row: Row) -> list[str]:
    return [row["name"], str(row["version"])]
