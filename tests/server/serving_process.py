"""`falaj serve` as a process of its own, as its users run it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
_PATIENCE = 60  # seconds: of a loaded two-core machine


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what another process does on its own."""
    end, pause = time.monotonic() + _PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < end, f"it did not happen: {what}"
        pause.wait(0.01)


class Serving:
    """A server on free ports of this machine, until the context is left.

    Attributes:
        ready: The line that it wrote when it was ready; empty where it ended before.
    """

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._log = folder / "server.log"
        ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
        command = [sys.executable, "-m", "falaj.server", "serve", "--repository", str(folder / "models")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *ports, "--drain-seconds", "0", "--log-format", "json", *arguments],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> "Serving":
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.ready = json.loads(line) if line else {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait for its end; return its exit status."""
        return self._process.wait(_PATIENCE)

    def output(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text(encoding="utf-8")

    def events(self) -> list[dict[str, Any]]:
        """The lines of its log so far."""
        lines = self.output().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def until_said(self, text: str) -> None:
        until(lambda: any(text in event["msg"] for event in self.events()), text)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        listener: str = "http",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own; returns status, header fields and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ready[listener], timeout=_PATIENCE)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), dict(headers))
            response = connection.getresponse()
            answered = {name.lower(): value for name, value in response.getheaders()}
            return response.status, answered, response.read()
        finally:
            connection.close()

    def infer(self, model: str, rows: int = 1, columns: int = 1) -> tuple[int, dict[str, Any]]:
        """Ask a model about ones; returns status and answer."""
        data = [1.0] * (rows * columns)
        tensor = {"name": "x", "shape": [rows, columns], "datatype": "FP32", "data": data}
        status, _, answer = self.ask("POST", f"/v2/models/{model}/infer", {"inputs": [tensor]})
        return status, json.loads(answer)

    def is_ready(self) -> bool:
        return self.ask("GET", "/v2/health/ready")[0] == 200
