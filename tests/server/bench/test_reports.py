"""Reports: what they say, whatever is in them."""

import csv
import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.server.bench.chart import Curve, chart
from falaj.server.bench.csv_report import COLUMNS, csv_text
from falaj.server.bench.html_report import html_text
from falaj.server.bench.load import Load
from falaj.server.bench.measured import Breakdown, Measured, Window
from falaj.server.bench.report import Point, Report
from falaj.server.bench.table import print_report

_WINDOW = Window(1.0, 1000, 1000.0, 100.0, 900.0, 0)
_SERVER = Breakdown(3000, 0, 1500, 2.0, 11.0, 1.0, 5.0, 0.5)
MEASURED = Measured(
    throughput=1000.4,
    p50_us=100.0,
    p90_us=200.0,
    p99_us=900.0,
    p999_us=1500.0,
    mean_us=120.0,
    max_us=2000.0,
    answered=3000,
    errors={},
    error_texts={},
    client_cpu_us_per_request=6.25,
    windows=(_WINDOW,) * 3,
    stable=True,
    late_p99_us=0.0,
    unsent=0,
    server=_SERVER,
)
_FAILED = replace(
    MEASURED,
    errors={"http 503": 12, "timeout": 1},
    error_texts={"http 503": "the status of an answer is 503: <b>full</b>", "timeout": "too late"},
    stable=False,
    unsent=7,
    late_p99_us=5000.0,
    server=None,
)


def _point(target: str, load: Load, measured: Measured = MEASURED) -> Point:
    return Point(target, "http://h:1", "m", "json", load, measured)


REPORT = Report(
    [
        _point("one", Load.closed(1)),
        _point("two & <i>", Load.closed(1), _FAILED),
        _point("one", Load.closed(4)),
        _point("two & <i>", Load.open(2500.0), replace(MEASURED, throughput=4000.0, p99_us=20_000.0)),
    ],
    {"batch": 1},
    {"cpu": "a <cpu>"},
)


def _printed(report: Report) -> str:
    text = io.StringIO()
    print_report(report, text)
    return text.getvalue()


def test_table_shows_each_target_and_what_went_wrong_when_printed() -> None:
    lines = _printed(REPORT).splitlines()
    assert lines[0] == "one, json: µs"
    head = lines[1].split()
    assert head[:3] == ["load", "req/s", "p50"]
    assert lines[2].split() == [
        "1", "at", "a", "time", "1,000", "100", "200", "900", "1,500", "0", "6.2", "11", "5.0", "2.0",
    ]  # fmt: skip
    assert "two & <i>, json: µs" in lines
    text = "\n".join(lines)
    assert "1 at a time: 12 x http 503: the status of an answer is 503: <b>full</b>" in text
    assert "1 at a time: throughput or p50 still varied after 3 windows" in text
    assert "1 at a time: 7 requests waited for a connection at the end" in text
    assert "1 at a time: the load generator itself was up to 5,000 µs late (p99)" in text
    assert "2,500/s poisson" in text


_OF_SEQUENCES = Report(
    [
        _point(
            "one",
            Load.open(250_000.0, arrivals="constant"),
            replace(
                MEASURED,
                throughput=249_876.4,
                sequences_per_s=12_345.6,
                sequences_left=3,
                unsent=9,
                p999_us=1e7,
            ),
        )
    ],
    {},
    {},
)


def test_sequences_have_a_column_when_requests_are_of_them() -> None:
    head, row, *lines = _printed(_OF_SEQUENCES).splitlines()[1:]
    assert head.split()[:4] == ["load", "req/s", "seq/s", "p50"]
    assert row.split()[:5] == ["250,000/s", "constant", "249,876", "12,346", "100"]
    where = "250,000/s constant"
    assert f"{where}: 9 requests waited for a connection or a sequence at the end" in lines
    left = "3 sequences could not be ended: the server keeps them until they are idle"
    assert f"{where}: {left}" in lines
    page = html_text(_OF_SEQUENCES)
    assert "<th>requests/s</th><th>sequences/s</th><th>p50 µs</th>" in page
    assert "<td>249,876</td><td>12,346</td><td>100</td>" in page
    (told,) = csv.DictReader(io.StringIO(csv_text(_OF_SEQUENCES)))
    assert (told["sequences_per_s"], told["sequences_left"]) == ("12345.6", "3")
    (other, *_) = csv.DictReader(io.StringIO(csv_text(REPORT)))
    assert (other["sequences_per_s"], other["sequences_left"]) == ("", "0")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_figure_is_cut_off_when_the_terminal_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    text = _Terminal()
    print_report(REPORT, text)
    print_report(_OF_SEQUENCES, text)
    assert "…" not in text.getvalue()
    assert "20,000" in text.getvalue()
    assert "12,346" in text.getvalue()
    assert "10,000,000" in text.getvalue()


def test_rows_come_back_when_csv_is_read() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(REPORT))))
    assert len(rows) == 4
    assert set(rows[0]) == set(COLUMNS)
    assert (rows[0]["throughput"], rows[0]["stable"], rows[0]["server_queue_us"]) == ("1000.4", "yes", "11.0")
    assert (rows[1]["errors"], rows[1]["failed"]) == ("http 503: 12; timeout: 1", "13")
    assert rows[1]["server_queue_us"] == ""
    assert (rows[3]["arrivals"], rows[3]["rate"]) == ("poisson", "2500.0")


def test_page_is_whole_and_escaped_when_html_is_written() -> None:
    page = html_text(REPORT)
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == page.count("</svg>") == 3
    assert "two &amp; &lt;i&gt;" in page
    assert "<i>" not in page
    assert "&lt;b&gt;full&lt;/b&gt;" in page
    assert "a &lt;cpu&gt;" in page
    assert "http" not in page.replace("http 503", "")  # it loads nothing


def test_plain_has_all_figures_when_json_is_written() -> None:
    plain = REPORT.plain()
    point = plain["points"][3]
    assert (point["target"], point["load"]["rate"], point["throughput"]) == ("two & <i>", 2500.0, 4000.0)
    assert point["server"]["mean_batch"] == 2.0
    assert plain["machine"] == {"cpu": "a <cpu>"}
    assert REPORT.failed == 13


_POINTS = st.lists(st.tuples(st.floats(0, 1e7), st.floats(0, 1e9), st.text(max_size=5)), max_size=8)


@given(st.lists(_POINTS, max_size=3))
def test_every_point_is_inside_the_picture_when_it_is_drawn(of: list[list[tuple[float, float, str]]]) -> None:
    shown = [y for points in of for _, y, _ in points if y > 0]
    drawn = chart("a <title>", [Curve("x", points) for points in of])
    if not shown:
        assert drawn == "<p>a &lt;title&gt;: no request was answered.</p>"
        return
    dots = drawn.split("<circle ")[1:]
    assert len(dots) == len(shown)
    for dot in dots:
        x, y = (float(dot.split(f'{name}="')[1].split('"')[0]) for name in ("cx", "cy"))
        assert 79.9 <= x <= 740.1
        assert 19.9 <= y <= 348.1


def test_picture_is_well_formed_when_it_is_read_as_xml() -> None:
    curves = [Curve("a & b", [(1000.0, 50.0, "1 < 2"), (2000.0, 5e6, "")]), Curve("c", [])]
    tree = ElementTree.fromstring(chart("t", curves))
    texts = [element.text for element in tree.iter("text")]
    assert "requests/s" in texts
    assert "10 s" in texts
    assert "2,000" in texts
    assert len(list(tree.iter("circle"))) == 2


@pytest.mark.parametrize("measured", [MEASURED, _FAILED])
def test_report_can_be_written_when_there_is_one_point(measured: Measured) -> None:
    report = Report([_point("t", Load.closed(1), measured)], {}, {})
    assert _printed(report)
    assert html_text(report)
