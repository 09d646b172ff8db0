"""The load generator against real servers: it counts what they answered and finds what is wrong."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.faulty_server import Answer, faulty_server, response

SECONDS = 0.2
BODY = b'{"inputs":[]}'


class Echo:
    """A bare server. `answered` is its own count, known once it was stopped."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.pid = self._process.pid
        self.port: int = ready["http"] if "http" in ready else ready["grpc"]
        self.answered = -1

    def stop(self) -> None:
        self._process.terminate()
        output, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        self.answered = json.loads(output)["requests"]


@contextmanager
def echo(programs: Path, name: str, *arguments: str) -> Iterator[Echo]:
    if not (programs / name).is_file():
        pytest.fail(f"{name} was not built: `make test` installs libgrpc++-dev first")
    server = Echo([str(programs / name), *arguments])
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def body_file(tmp_path: Path) -> Path:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    return path


def run_load(
    programs: Path, port: int, body: Path, *arguments: str, protocol: str = "http"
) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the figures."""
    command = [str(programs / "wire_load"), "--protocol", protocol, "--port", str(port), "--path", "/a/b"]
    command += ["--body-file", str(body), "--seconds", str(SECONDS), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    figures: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, figures


def cpu_seconds(pid: int) -> float:
    """What /proc says of a process: user and system time, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("name", "protocol", "connections", "streams"),
    [
        ("beast_echo", "http", 1, 1),
        ("beast_echo", "http", 16, 1),
        ("nghttp2_echo", "grpc", 16, 1),
        ("nghttp2_echo", "grpc", 1, 64),
        ("nghttp2_echo", "grpc", 2, 8),
        ("grpcpp_echo", "grpc", 2, 8),
    ],
)
def test_counts_agree_when_an_echo_server_answers(
    programs: Path, body_file: Path, name: str, protocol: str, connections: int, streams: int
) -> None:
    with echo(programs, name, "--reply-bytes", "77") as server:
        asked = ["--connections", str(connections), "--streams", str(streams), "--pid", str(server.pid)]
        code, figures = run_load(programs, server.port, body_file, *asked, protocol=protocol)
    assert (code, figures["errors"], figures["first_error"]) == (0, 0, "")
    assert server.answered == figures["answered"]
    assert 0 < figures["requests"] < figures["answered"]
    assert figures["answer_bytes"] == 77
    assert SECONDS <= figures["seconds"] < 10 * SECONDS
    assert figures["requests_per_second"] == pytest.approx(figures["requests"] / figures["seconds"], rel=1e-3)
    assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["p999_us"] <= figures["max_us"]
    assert figures["server_cpu_us"] * figures["requests"] / 1e6 == pytest.approx(
        figures["server_cpu_seconds"], rel=1e-3
    )


def test_message_comes_back_when_nghttp2_echoes_it(programs: Path, tmp_path: Path) -> None:
    body = tmp_path / "large"
    body.write_bytes(bytes(300_000))  # more than a frame, more than the default window
    with echo(programs, "nghttp2_echo") as server:
        code, figures = run_load(programs, server.port, body, "--streams", "4", protocol="grpc")
    assert (code, figures["answer_bytes"]) == (0, 300_000)


def test_large_body_arrives_when_the_socket_takes_it_in_pieces(programs: Path, tmp_path: Path) -> None:
    body = tmp_path / "large"
    body.write_bytes(bytes(5_000_000))
    with echo(programs, "beast_echo") as server:
        code, figures = run_load(programs, server.port, body, "--connections", "2")
    assert (code, server.answered) == (0, figures["answered"])


def test_server_cpu_is_that_of_the_process_when_its_pid_is_given(programs: Path, body_file: Path) -> None:
    with echo(programs, "beast_echo", "--threads", "2") as server:
        before = cpu_seconds(server.pid)
        asked = ("--connections", "4", "--pid", str(server.pid), "--warm-up", "0", "--seconds", "0.5")
        _, figures = run_load(programs, server.port, body_file, *asked)
        used = cpu_seconds(server.pid) - before
    assert figures["server_cpu_seconds"] == pytest.approx(used, rel=0.1, abs=0.03)


def test_server_cpu_is_not_told_when_no_pid_is_given(programs: Path, body_file: Path) -> None:
    with echo(programs, "beast_echo") as server:
        _, figures = run_load(programs, server.port, body_file)
    assert "server_cpu_us" not in figures
    assert figures["own_cpu_seconds"] > 0


def _send_and_go_on(text: bytes) -> Answer:
    def answer(connection: socket.socket, _number: int) -> bool:
        connection.sendall(text)
        return True

    return answer


def _close_after(connection: socket.socket, _number: int) -> bool:
    connection.sendall(response(b"right"))
    return False


def _close_instead(_connection: socket.socket, number: int) -> bool:
    return number < 3 and _send_and_go_on(response(b"right"))(_connection, number)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_send_and_go_on(response(b"wrong", "500 Internal Server Error")), "status of an answer is 500"),
        (_send_and_go_on(response(b"wrong", "204 No Content")), "status of an answer is 204"),
        (_close_after, "closed a connection"),
        (_close_instead, "closed a connection"),
        (_send_and_go_on(response(b"right") + b"more"), "bytes come after an answer's Content-Length"),
        (_send_and_go_on(b"HTTP/1.1 200 OK\r\n\r\n"), "no Content-Length"),
        (_send_and_go_on(b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n1"), "no Content-Length"),
        (_send_and_go_on(b"SSH-2.0-something\r\n\r\n"), "does not begin as HTTP/1.1"),
        (_send_and_go_on(b"x" * 20_000), "head of an answer does not end"),
    ],
    ids=[
        "500",
        "204",
        "close-after",
        "close-instead",
        "more",
        "no-length",
        "bad-length",
        "not-http",
        "endless",
    ],
)
def test_error_is_found_when_an_answer_is_wrong(
    programs: Path, body_file: Path, answer: Answer, error: str
) -> None:
    with faulty_server(answer) as server:
        code, figures = run_load(programs, server.port, body_file, "--connections", "2")
    assert code == 1
    assert figures["errors"] > 0
    assert error in figures["first_error"]


def _longer_every_fifth(connection: socket.socket, number: int) -> bool:
    connection.sendall(response(b"right" if number % 5 else b"longer"))
    return True


def test_wrong_lengths_are_counted_when_they_differ_from_the_first(programs: Path, body_file: Path) -> None:
    with faulty_server(_longer_every_fifth) as server:  # the first is the longer one
        code, figures = run_load(programs, server.port, body_file, "--rate", "500", "--warm-up", "0")
    assert code == 1
    assert figures["first_error"] == "an answer is not as long as the first one"
    assert figures["answered"] == (server.requests + 4) // 5
    assert figures["errors"] == server.requests - figures["answered"]


def test_lengths_are_right_when_they_differ_by_less_than_the_slack(programs: Path, body_file: Path) -> None:
    with faulty_server(_longer_every_fifth) as server:
        code, figures = run_load(programs, server.port, body_file, "--length-slack", "1")
    assert (code, figures["answered"]) == (0, server.requests)


def _byte_by_byte(connection: socket.socket, _number: int) -> bool:
    for byte in response(b"right"):
        connection.sendall(bytes([byte]))
    return True


def test_answer_is_understood_when_it_comes_in_pieces(programs: Path, body_file: Path) -> None:
    with faulty_server(_byte_by_byte) as server:
        code, figures = run_load(programs, server.port, body_file, "--connections", "3")
    assert (code, figures["answered"], figures["answer_bytes"]) == (0, server.requests, 5)


def test_failed_calls_are_counted_when_every_fifth_ends_with_a_status(
    programs: Path, body_file: Path
) -> None:
    with echo(programs, "nghttp2_echo", "--threads", "1", "--fail-every", "5") as server:
        asked = ("--rate", "500", "--streams", "8", "--warm-up", "0")
        code, figures = run_load(programs, server.port, body_file, *asked, protocol="grpc")
    assert code == 1
    assert figures["first_error"] == "the gRPC status of an answer is 14"
    assert figures["answered"] == server.answered
    assert figures["errors"] == (figures["answered"] + figures["errors"]) // 5 > 0


def test_error_is_found_when_a_grpc_server_speaks_http_1(programs: Path, body_file: Path) -> None:
    with echo(programs, "beast_echo") as server:
        code, figures = run_load(programs, server.port, body_file, protocol="grpc")
    assert (code, figures["answered"]) == (1, 0)
    assert figures["errors"] > 0


_SLOW = 0.02


def _slowly(connection: socket.socket, _number: int) -> bool:
    time.sleep(_SLOW)
    connection.sendall(response(b"right"))
    return True


def test_latency_is_that_of_the_server_when_it_is_asked_one_at_a_time(
    programs: Path, body_file: Path
) -> None:
    with faulty_server(_slowly) as server:
        _, figures = run_load(programs, server.port, body_file)
    assert _SLOW * 1e6 <= figures["p50_us"] < 3 * _SLOW * 1e6


def test_waiting_counts_when_arrivals_outrun_the_server(programs: Path, body_file: Path) -> None:
    rate = 4 / _SLOW
    with faulty_server(_slowly) as server:
        asked = ("--rate", str(rate), "--warm-up", "0")
        code, figures = run_load(programs, server.port, body_file, *asked)
    assert code == 0
    assert figures["requests"] == pytest.approx(rate * SECONDS, rel=0.5)
    assert figures["answered"] == server.requests == figures["requests"] + 1  # the warm-up's
    # The last of n waits for all before it, less the time over which they arrived.
    assert figures["max_us"] / 1e6 >= figures["requests"] * _SLOW - SECONDS - _SLOW


def test_arrivals_are_the_same_when_the_rate_is(programs: Path, body_file: Path) -> None:
    with echo(programs, "beast_echo") as server:
        runs = [run_load(programs, server.port, body_file, "--rate", "2000")[1] for _ in range(2)]
    assert runs[0]["requests"] == runs[1]["requests"] > 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--connection", "2"], "expected one of"),
        (["--connections"], "expected a value"),
        (["--connections", "0"], "at least 1"),
        (["--seconds", "much"], "expected a number"),
        (["--protocol", "http/2"], "expected http or grpc"),
        (["--streams", "2"], "expected 1 with HTTP"),
        (["--header", "nonsense"], "expected 'name: value'"),
        (["--body-file", "no such file"], "cannot be read"),
        (["--port", "1"], "cannot connect to 127.0.0.1:1: Connection refused"),
        (["--port", "1", "--pid", "999999999"], "process 999999999"),
    ],
)
def test_reason_is_told_when_it_cannot_begin(programs: Path, arguments: list[str], complaint: str) -> None:
    command = [str(programs / "wire_load"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
