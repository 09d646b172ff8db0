"""A report as a table on the terminal."""

import sys
from typing import IO

from falaj.server.bench.measured import Measured
from falaj.server.bench.report import Point, Report
from falaj.server.ops.log_lines import printable

# Times are in microseconds, `client` and the server's `queue` and `infer` of a request, `rows` of a batch.
_COLUMNS = ("load", "req/s", "p50", "p90", "p99", "p99.9", "errors", "client", "queue", "infer", "rows")
# What a terminal that is narrower breaks by itself, in place of figures that are cut off.
_LEAST_WIDTH = 100
# Wide enough that what is piped into a program is never folded.
_PIPE_WIDTH = 10_000


def print_report(report: Report, file: IO[str] | None = None) -> None:
    """Print a table for each target, and what is to be said of its figures."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    file = file or sys.stdout
    terminal = file.isatty()
    width = max(_LEAST_WIDTH, Console(file=file).width) if terminal else _PIPE_WIDTH
    console = Console(file=file, width=width, highlight=False)
    for target in report.targets:
        points = report.of(target)
        console.print(Text(f"{printable(target)}, {points[0].form}: µs", style="bold" if terminal else ""))
        table = Table(box=None, pad_edge=False, header_style="bold" if terminal else "")
        columns = columns_of(_COLUMNS, points, "seq/s")
        for column in columns:
            table.add_column(column, justify="left" if column == "load" else "right", no_wrap=True)
        for point in points:
            style = "red" if terminal and point.failed else ""
            table.add_row(*(Text(cell, style=style) for cell in _cells(point)))
        console.print(table)
        for line in notes(points):
            console.print(Text(printable(line)))
    if report.problem:
        console.print(Text(printable(report.problem), style="red" if terminal else ""))


def columns_of(columns: tuple[str, ...], points: list[Point], name: str) -> tuple[str, ...]:
    """Return the columns: behind the requests a second, where they are of sequences, those a second."""
    of_sequences = any(point.measured.sequences_per_s is not None for point in points)
    return (*columns[:2], name, *columns[2:]) if of_sequences else columns


def notes(points: list[Point]) -> list[str]:
    """Return what a reader of the figures has to know: errors, and what did not settle."""
    lines = []
    for point in points:
        measured = point.measured
        for kind, count in sorted(measured.errors.items()):
            lines.append(f"{point.load_text}: {count:,} x {kind}: {measured.error_texts[kind]}")
        if not measured.stable:
            last = f"{len(measured.windows)} windows"
            lines.append(f"{point.load_text}: throughput or p50 still varied after {last}")
        if measured.unsent:
            what = "a connection" if measured.sequences_per_s is None else "a connection or a sequence"
            lines.append(f"{point.load_text}: {measured.unsent:,} requests waited for {what} at the end")
        if measured.sequences_left:
            left = f"{measured.sequences_left:,} sequences could not be ended"
            lines.append(f"{point.load_text}: {left}: the server keeps them until they are idle")
        if measured.late_p99_us > max(1000.0, 0.2 * measured.p99_us):
            late = f"{measured.late_p99_us:,.0f} µs"
            lines.append(f"{point.load_text}: the load generator itself was up to {late} late (p99)")
    return lines


def _cells(point: Point) -> list[str]:
    measured = point.measured
    mark = "" if measured.stable else " ~"
    per_s = measured.sequences_per_s
    quantiles = (measured.p50_us, measured.p90_us, measured.p99_us, measured.p999_us)
    return [
        point.load_text,
        f"{measured.throughput:,.0f}{mark}",
        *(() if per_s is None else (f"{per_s:,.0f}",)),
        *(f"{value:,.0f}" for value in quantiles),
        f"{point.failed:,}",
        f"{measured.client_cpu_us_per_request:.1f}",
        *_server(measured),
    ]


def _server(measured: Measured) -> tuple[str, str, str]:
    told = measured.server
    if told is None:
        return ("-", "-", "-")
    return (f"{told.queue_us:,.0f}", f"{told.compute_infer_us:,.1f}", f"{told.mean_batch:.1f}")
