"""The serving half of `make demo`: `falaj serve` in a process of its own, asked by HTTP."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_CLIENTS = 8


@contextmanager
def serving(repository: Path) -> Iterator[dict[str, Any]]:
    """Run the server on free ports; yield its ready line. Raises RuntimeError where it does not end well."""
    flags = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--log-level", "warning"]
    command = [sys.executable, "-m", "falaj.server", "serve", "--repository", str(repository), *flags]
    with subprocess.Popen(
        [*command, "--set", "server.drain_seconds=0"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(60)
    if status != 0:
        raise RuntimeError(f"the server ended with exit code {status}")


def ask_one(connection: HTTPConnection, row: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Send one row as JSON; return the answer. Raises RuntimeError with what the server said if it fails."""
    tensor = {"name": "X", "shape": [1, row.size], "datatype": "FP32", "data": row.tolist()}
    connection.request("POST", "/v2/models/digits/infer", json.dumps({"inputs": [tensor]}))
    response = connection.getresponse()
    answer: dict[str, Any] = json.loads(response.read())
    if response.status != 200:
        raise RuntimeError(f"HTTP {response.status}: {answer['error']}")
    return answer


def ask_all(port: int, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Ask for every row's label, one row a request, from several clients at once."""

    def ask_share(first: int) -> list[int]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        labels = [ask_one(connection, row)["outputs"][0]["data"][0] for row in rows[first::_CLIENTS]]
        connection.close()
        return labels

    answers = np.empty(len(rows), dtype=np.int64)
    with ThreadPoolExecutor(_CLIENTS) as pool:
        for first, labels in enumerate(pool.map(ask_share, range(_CLIENTS))):
            answers[first::_CLIENTS] = labels
    return answers


def show(repository: Path, rows: npt.NDArray[np.float32], expected: npt.NDArray[np.int64]) -> bool:
    """Serve, ask, print; return whether every answer was as expected."""
    begin = time.perf_counter()
    with serving(repository) as ports:
        print(f"\nfalaj serve: ready in {time.perf_counter() - begin:.2f} s: {json.dumps(ports)}")
        connection = HTTPConnection("127.0.0.1", ports["http"], timeout=30)
        print(f"POST /v2/models/digits/infer -> {json.dumps(ask_one(connection, rows[0]))[:200]}...")
        connection.close()
        begin = time.perf_counter()
        answers = ask_all(ports["http"], rows)
        seconds = time.perf_counter() - begin
        agree = int((answers == expected).sum())
        print(f"{len(rows)} requests by HTTP from {_CLIENTS} clients in {seconds * 1000:.0f} ms;")
        print(f"  {agree} of {len(rows)} answers are scikit-learn's own")
    return agree == len(rows)
