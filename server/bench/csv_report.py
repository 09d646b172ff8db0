"""A report as CSV: a row for each point, units in the names of the columns."""

import csv
import io
from collections.abc import Iterator

from falaj.server.bench.report import Point, Report

_FIGURES = (
    "throughput", "p50_us", "p90_us", "p99_us", "p999_us", "mean_us", "max_us", "answered",
    "client_cpu_us_per_request", "stable", "late_p99_us", "unsent", "sequences_per_s", "sequences_left",
)  # fmt: skip
_SERVER = (
    "requests", "failed", "executions", "mean_batch", "queue_us", "compute_input_us", "compute_infer_us",
    "compute_output_us",
)  # fmt: skip
COLUMNS = (
    "target", "url", "model", "form", "arrivals", "concurrency", "rate", "streams", "threads", *_FIGURES,
    "windows", "failed", "errors", *(f"server_{name}" for name in _SERVER),
)  # fmt: skip


def csv_text(report: Report) -> str:
    """Return the whole file. What a server does not say of itself is empty."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for point in report.points:
        rows.writerow(_row(point))
    return text.getvalue()


def _row(point: Point) -> Iterator[object]:
    load, measured = point.load, point.measured
    yield from (point.target, point.url, point.model, point.form)
    yield from (load.arrivals, load.concurrency, load.rate, load.streams, load.threads)
    yield from (_rounded(getattr(measured, name)) for name in _FIGURES)
    yield len(measured.windows)
    yield point.failed
    yield "; ".join(f"{kind}: {count}" for kind, count in sorted(measured.errors.items()))
    server = measured.server
    yield from ("" if server is None else _rounded(getattr(server, name)) for name in _SERVER)


def _rounded(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return round(value, 3) if isinstance(value, float) else value
