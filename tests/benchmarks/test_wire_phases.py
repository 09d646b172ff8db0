"""The server's own part of the latency, from its histograms."""

import http.server
import threading

import pytest

from benchmarks.wire.phases import counts, p99
from benchmarks.wire.servers import Server

_PAGE = """# TYPE falaj_wire_{phase}_seconds histogram
falaj_wire_{phase}_seconds_bucket{{protocol="http",le="0.001"}} {low}
falaj_wire_{phase}_seconds_bucket{{protocol="http",le="0.004"}} {high}
falaj_wire_{phase}_seconds_bucket{{protocol="http",le="+Inf"}} {high}
falaj_wire_{phase}_seconds_bucket{{protocol="grpc",le="0.001"}} 7
"""


def _histogram(low: int, high: int) -> dict[float, float]:
    return {0.001: low, 0.004: high, float("inf"): high}


def test_p99_is_of_what_came_in_between_when_the_server_ran_before() -> None:
    before = {phase: _histogram(0, 1000) for phase in ("read", "decode", "encode")}
    after = {
        "read": _histogram(100, 1100),  # all hundred up to 1 ms
        "decode": _histogram(98, 1100),  # two of them up to 4 ms
        "encode": _histogram(99, 1100),
    }
    assert p99(before, after) == pytest.approx(0.001 + 0.004 + 0.001)


def test_p99_is_not_told_when_nothing_came() -> None:
    nothing = {phase: _histogram(0, 1000) for phase in ("read", "decode", "encode")}
    assert p99(nothing, nothing) is None
    assert counts(Server("other", {"http": 1}, None), "http") == {"read": {}, "decode": {}, "encode": {}}


def test_counts_are_those_of_the_protocol_when_read_from_a_server() -> None:
    page = "".join(_PAGE.format(phase=phase, low=5, high=9) for phase in ("read", "decode", "encode"))

    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        told = counts(Server("falaj", {"metrics": server.server_port}, None), "http")
        thread.join()
    assert told == {phase: _histogram(5, 9) for phase in ("read", "decode", "encode")}
