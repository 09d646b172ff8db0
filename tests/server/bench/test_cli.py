"""`falaj bench` as its users call it."""

import csv
import json
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.server.bench.conftest import url_of
from tests.server.bench.stalling_server import GOOD, good, stalling_server
from tests.server.command_line import Run
from tests.server.wire_serving import WireServing

_QUICK = ("--warm-up", "0.02", "--window", "0.05", "--max-windows", "2")


def test_sweep_of_two_servers_is_reported_when_asked(served: WireServing, run: Run, tmp_path: Path) -> None:
    arguments = [url_of(served, "http"), "mlp", "--concurrency", "1:4:4x", "--name", "first", *_QUICK]
    arguments += ["--against", f"second={url_of(served, 'grpc')}", "--csv", "r.csv", "--html", "r.html"]
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    titles = [line for line in out.splitlines() if line.endswith(", binary: µs")]
    assert titles == ["first, binary: µs", "second, binary: µs"]
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    # In turns: what changes in the meantime touches both.
    assert [(row["target"], row["concurrency"]) for row in rows] == [
        ("first", "1"),
        ("second", "1"),
        ("first", "4"),
        ("second", "4"),
    ]
    assert all(float(row["throughput"]) > 0 and row["errors"] == "" for row in rows)
    assert (tmp_path / "r.html").read_text().count("<circle") == 3 * 4


def test_json_has_the_figures_when_asked(served: WireServing, run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((6, 32), np.float32))
    arguments = [url_of(served, "http"), "mlp", "--rate", "100", "--arrivals", "constant", "--form", "json"]
    arguments += ["--data", "x.npz", "--batch", "3", "--parameter", "priority=1", "--json", *_QUICK]
    code, out, _ = run(*arguments)
    report = json.loads(out)
    (point,) = report["points"]
    assert code == 0
    assert (point["form"], point["load"]["rate"], point["load"]["arrivals"]) == ("json", 100.0, "constant")
    assert point["errors"] == {}
    assert point["server"]["mean_batch"] >= 3
    assert report["settings"]["batch"] == 3


def test_exit_code_is_one_when_a_request_failed(run: Run) -> None:
    bad = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    with stalling_server(lambda c, n: c.sendall(GOOD if n == 0 else bad) is None) as server:
        code, out, _ = run(server.url, "m", *_QUICK)
    assert code == 1
    assert "x http 500: the status of an answer is 500" in out


def test_measured_loads_are_reported_when_the_server_is_gone_before_the_last(run: Run) -> None:
    def answer(connection: socket.socket, number: int) -> bool:
        if number == 1:  # the first of the first load, which goes on on its connection
            server.close_listener()
        return good(connection, number)

    with stalling_server(answer) as server:
        code, out, err = run(server.url, "m", "--concurrency", "1,2", *_QUICK)
    assert (code, err) == (1, "")
    assert "1 at a time" in out
    assert "2 at a time" not in out
    assert "1 of 2 loads were measured: cannot connect to 127.0.0.1" in out


@pytest.mark.parametrize(
    ("more", "code", "complaint"),
    [
        (["nope"], 1, "'nope'"),
        (["mlp", "--concurrency", "0"], 2, "--concurrency: expected a whole number of at least 1, got '0'"),
        (["mlp", "--concurrency", "1", "--rate", "1"], 2, "expected --concurrency or --rate, got both"),
        (["mlp", "--form", "xml"], 2, "--form: expected auto, json or binary, got 'xml'"),
        (["mlp", "--shape", "x:3"], 2, "input 'x' [-1, 32]: expected a shape that fits it, got [3]"),
        (["mlp", "--html", "none/r.html"], 2, "--html none/r.html: its folder does not exist"),
        (["mlp", "--max-windows", "0"], 2, "windows: expected at least 1, got 0"),
        (["mlp", "--window", "0"], 2, "window and timeout: expected more than 0 seconds"),
        (["mlp", "--against", "http://127.0.0.1:1"], 1, "127.0.0.1:1: Connection refused"),
    ],
)
def test_reason_is_one_line_when_it_cannot_begin(
    served: WireServing, run: Run, more: list[str], code: int, complaint: str
) -> None:
    got, out, err = run(url_of(served, "http"), *more)
    assert (got, out) == (code, "")
    assert err.startswith("falaj: ")
    assert complaint in err
    assert err.count("\n") == 1
