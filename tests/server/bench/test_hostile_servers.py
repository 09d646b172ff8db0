"""Servers that answer wrongly, late or not at all: errors by kind, and the load generator goes on."""

import socket
import threading
from typing import Any

import pytest

from falaj._core import InvalidInput, Unavailable
from falaj.server.bench.load import Load
from falaj.server.bench.measure import measure
from falaj.server.bench.measured import Measured
from falaj.server.bench.target import Target
from tests.server.bench.stalling_server import GOOD, Answer, StallingServer, good, stalling_server

pytestmark = pytest.mark.core


def _measure(server: StallingServer, load: Load, **more: Any) -> Measured:
    timeout = more.pop("timeout_s", 5.0)
    settings: dict[str, Any] = {"warm_up_s": 0.0, "window_s": 0.2, "max_windows": 2, **more}
    return measure(Target(server.url, "m", timeout_s=timeout), load, **settings)


def _after_the_first(answer: bytes, *, close: bool = False) -> Answer:
    def reply(connection: socket.socket, number: int) -> bool:
        connection.sendall(GOOD if number == 0 else answer)
        return number == 0 or not close

    return reply


def _head(status: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (_after_the_first(_head("503 No", '{"error":"full"}')), "http 503", '503: {"error":"full"}'),
        (_after_the_first(b"HTTP/1.1 200 OK\r\n\r\n"), "malformed", "no Content-Length"),
        (_after_the_first(b"nonsense\r\n\r\n"), "malformed", "does not begin as HTTP/1.1"),
        (_after_the_first(b"x" * 20_000), "malformed", "does not end"),
        (_after_the_first(GOOD + b"more"), "malformed", "bytes come after"),
        (_after_the_first(b"", close=True), "closed", "closed a connection"),
        (_after_the_first(b"HTTP/1.1 200 OK\r\nContent-Le", close=True), "closed", "closed a connection"),
    ],
    ids=["status", "no-length", "not-http", "endless", "more", "closed", "cut-off"],
)
def test_errors_are_of_their_kind_when_answers_are_wrong(answer: Answer, kind: str, text: str) -> None:
    with stalling_server(answer) as server:
        measured = _measure(server, Load.closed(2))
    assert measured.answered == 0
    assert set(measured.errors) == {kind}
    assert text in measured.error_texts[kind]
    assert measured.windows[-1].errors > 0
    assert measured.throughput == measured.p99_us == measured.client_cpu_us_per_request == 0


def _chunked(connection: socket.socket, _number: int) -> bool:
    for part in (
        b"HTTP/1.1 200 OK\r\nTransfer-",
        b"Encoding: chunked\r\n\r\n1\r\n{",
        b"\r\n1\r\n}\r\n0\r\n\r\n",
    ):
        connection.sendall(part)
    return True


def _closing(connection: socket.socket, _number: int) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
    return False


@pytest.mark.parametrize("answer", [_chunked, _closing], ids=["chunked", "closing"])
def test_answers_count_when_a_server_has_other_ways(answer: Answer) -> None:
    with stalling_server(answer) as server:
        measured = _measure(server, Load.closed(2))
    assert measured.errors == {}
    assert 0 < measured.answered <= server.requests


def test_requests_time_out_when_a_server_hangs() -> None:
    never = threading.Event()

    def answer(connection: socket.socket, number: int) -> bool:
        return good(connection, number) if number % 3 != 2 else never.wait(20)

    with stalling_server(answer) as server:
        try:
            measured = _measure(server, Load.closed(2), timeout_s=0.1, window_s=0.5)
        finally:
            never.set()
    assert measured.errors.keys() == {"timeout"}
    assert measured.answered > 0
    assert 2 <= measured.errors["timeout"] <= server.requests


def test_all_are_errors_when_nothing_is_ever_answered() -> None:
    never = threading.Event()

    def answer(connection: socket.socket, number: int) -> bool:
        return good(connection, number) if number == 0 else never.wait(20)

    with stalling_server(answer) as server:
        try:
            measured = _measure(server, Load.open(50, connections=4), timeout_s=0.3)
        finally:
            never.set()
    assert measured.answered == 0
    assert set(measured.errors) == {"timeout"}
    assert measured.unsent > 0  # four wait, and the others for them


def test_first_request_is_refused_when_the_server_refuses_it() -> None:
    with (
        stalling_server(
            lambda c, _: bool(c.sendall(_head("400 Bad", '{"error":"no such thing"}')) is None)
        ) as s,
        pytest.raises(Unavailable, match="HTTP 400: no such thing"),
    ):
        _measure(s, Load.closed(1))


_STALL = 0.4


def _stalls_once(lock: threading.Lock, at: int) -> Answer:
    """All connections stop for a while at one request, as for a collection of garbage."""

    def answer(connection: socket.socket, number: int) -> bool:
        with lock:
            if number == at:
                threading.Event().wait(_STALL)
        return good(connection, number)

    return answer


def test_stall_shows_when_latency_counts_from_the_intended_time() -> None:
    rate, seconds = 200.0, 1.0
    with stalling_server(_stalls_once(threading.Lock(), 60)) as server:
        settings: dict[str, Any] = {"window_s": seconds, "max_windows": 1}
        measured = _measure(server, Load.open(rate, arrivals="constant", connections=4), **settings)
    assert measured.errors == {}
    # Of 200 requests the 80 that should have been sent during the stall waited, evenly, up to all of it: a
    # load generator that waited with the server would have seen four such.
    assert measured.answered == pytest.approx(rate * seconds, rel=0.2)
    assert measured.max_us >= _STALL * 1e6 * 0.95
    assert measured.p90_us >= 0.3 * _STALL * 1e6
    assert measured.p50_us < measured.p90_us


def test_stall_is_one_request_when_the_loop_is_closed() -> None:
    with stalling_server(_stalls_once(threading.Lock(), 10)) as server:
        measured = _measure(server, Load.closed(1), window_s=1.0, max_windows=1)
    assert measured.max_us >= _STALL * 1e6 * 0.95
    assert measured.p50_us < 0.5 * _STALL * 1e6


def test_backlog_shows_when_a_server_cannot_keep_the_rate() -> None:
    lock, seconds = threading.Lock(), 0.02

    def slowly(connection: socket.socket, number: int) -> bool:
        with lock:  # fifty a second, however many ask
            threading.Event().wait(seconds)
        return good(connection, number)

    with stalling_server(slowly) as server:
        load = Load.open(500, arrivals="constant", connections=4)
        measured = _measure(server, load, window_s=0.5, max_windows=2)
    assert measured.errors == {}
    assert measured.throughput <= 1.2 / seconds
    # Of five hundred that came most were never sent, and each that was waited longer than the one before.
    assert measured.unsent > 300
    assert measured.windows[1].p50_us > measured.windows[0].p50_us > 5 * seconds * 1e6
    assert not measured.stable


@pytest.mark.parametrize(
    "metadata",
    [
        b"nonsense",
        b"[" * 100_000,
        b'{"inputs": 5}',
        b'{"inputs": [5]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": "y"}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP31", "shape": [1]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-7]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1000000000000000000000]}]}',
    ],
)
def test_metadata_is_refused_when_it_makes_no_sense(metadata: bytes) -> None:
    server = stalling_server(good, metadata=metadata)
    with server as serving, pytest.raises(InvalidInput):
        _measure(serving, Load.closed(1))


@pytest.mark.parametrize(
    "stats",
    [
        b"nonsense",
        b"[]",
        b'{"model_stats": []}',
        b'{"model_stats": [{"inference_stats": 3}]}',
        b'{"model_stats": [{"inference_stats": {"success": {"count": Infinity}}}]}',
        b'{"model_stats": [{"inference_stats": {"success": {"count": "x"}}}]}',
        b'{"model_stats": [{"inference_stats": {}}]}',
    ],
)
def test_breakdown_is_none_when_statistics_make_no_sense(stats: bytes) -> None:
    with stalling_server(good, stats=stats) as server:
        measured = _measure(server, Load.closed(1), window_s=0.1)
    assert measured.errors == {}
    assert measured.server is None
