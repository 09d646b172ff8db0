"""A report as one page of HTML that needs nothing else."""

from collections.abc import Iterator
from html import escape

from falaj.server.bench.chart import COLOURS, Curve, chart
from falaj.server.bench.report import Point, Report
from falaj.server.bench.table import columns_of, notes

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; font-size: 12px; }
svg text { fill: currentColor; } svg .grid { stroke: #8884; }
.failed { color: #d1242f; } .key { display: inline-block; width: 1em; height: 3px; vertical-align: middle; }
"""
_CURVES = (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"))
_HEAD = (
    "load", "requests/s", "p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "mean µs", "max µs", "answered", "errors",
    "client CPU µs", "windows", "server: queue µs", "input µs", "infer µs", "output µs", "rows/batch",
)  # fmt: skip


def html_text(report: Report) -> str:
    """Return the page."""
    title = " against ".join(report.targets)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>falaj bench: {escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            *([f'<p class="failed">{escape(report.problem)}</p>'] if report.problem else []),
            *_curves(report),
            *_tables(report),
            *_facts("How it was measured", {key: str(value) for key, value in report.settings.items()}),
            *_facts("The machine of the load generator", report.machine),
            "</body></html>\n",
        ]
    )


def _curves(report: Report) -> Iterator[str]:
    keys = (
        f'<span class="key" style="background:{COLOURS[i % len(COLOURS)]}"></span> {escape(target)}'
        for i, target in enumerate(report.targets)
    )
    yield f"<p>{' &nbsp; '.join(keys)}</p>"
    for name, attribute in _CURVES:
        curves = [
            Curve(
                target,
                [
                    (
                        point.measured.throughput,
                        getattr(point.measured, attribute),
                        f"{point.load_text}: {point.measured.throughput:,.0f} requests/s, "
                        f"{name} {getattr(point.measured, attribute):,.0f} µs",
                    )
                    for point in report.of(target)
                ],
            )
            for target in report.targets
        ]
        yield f"<h2>{name} latency against throughput</h2>"
        yield chart(f"{name} latency against throughput", curves)


def _tables(report: Report) -> Iterator[str]:
    for target in report.targets:
        points = report.of(target)
        yield f"<h2>{escape(target)}, {escape(points[0].form)}</h2><table><tr>"
        heads = columns_of(_HEAD, points, "sequences/s")
        yield "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"
        for point in points:
            cells = "".join(f"<td>{escape(cell)}</td>" for cell in _cells(point))
            yield f"<tr{' class=failed' if point.failed else ''}>{cells}</tr>"
        yield "</table>"
        lines = [f"<li>{escape(line)}</li>" for line in notes(points)]
        if lines:
            yield f"<ul>{''.join(lines)}</ul>"


def _cells(point: Point) -> list[str]:
    measured, server = point.measured, point.measured.server
    latencies = ("p50_us", "p90_us", "p99_us", "p999_us", "mean_us", "max_us")
    cells = [point.load_text, f"{measured.throughput:,.0f}"]
    if measured.sequences_per_s is not None:
        cells.append(f"{measured.sequences_per_s:,.0f}")
    cells += [f"{getattr(measured, name):,.0f}" for name in latencies]
    cells += [f"{measured.answered:,}", f"{point.failed:,}", f"{measured.client_cpu_us_per_request:.1f}"]
    cells.append(f"{len(measured.windows)}{'' if measured.stable else ' ~'}")
    if server is None:
        return [*cells, *["-"] * 5]
    phases = (server.queue_us, server.compute_input_us, server.compute_infer_us, server.compute_output_us)
    return [*cells, *(f"{value:,.1f}" for value in phases), f"{server.mean_batch:.1f}"]


def _facts(title: str, facts: dict[str, str]) -> Iterator[str]:
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in facts.items())
    yield f"<h2>{title}</h2><table>{rows}</table>"
