"""Where the server under test is, and how it is started where no address was given."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

ROOT = Path(__file__).parents[2]
_PATIENCE = 60  # seconds: of a loaded two-core machine

Kind = Literal["falaj", "triton"]


@dataclass(frozen=True)
class Target:
    """A server under test. Addresses are host:port; `metrics` is empty where they were not told."""

    http: str
    grpc: str
    metrics: str = ""
    kind: Kind = "falaj"


class Process:
    """A server of this checkout on free ports of the loopback interface, until the context is left.

    It says by one line of JSON on standard output when it is ready and on which ports. It is ended by
    SIGTERM, and has to end with status 0.

    Args:
        folder: Its working folder, where its log is left.
        module: What is run, with `arguments`.
    """

    def __init__(self, folder: Path, module: str, *arguments: str) -> None:
        self._log = folder / f"{module}.log"
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.ports: dict[str, int] = {}

    def __enter__(self) -> "Process":
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(_PATIENCE)
            raise AssertionError(f"the server ended before it was ready:\n{self.log()}")
        ready = json.loads(line)
        assert ready.pop("event") == "ready", ready
        self.ports = ready
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.terminate()
            status = self._process.wait(_PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        assert status == 0, f"the server ended with status {status}:\n{self.log()}"

    def terminate(self) -> None:
        """Tell it to end."""
        self._process.send_signal(signal.SIGTERM)

    def log(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def target(self, kind: Kind = "falaj") -> Target:
        """Where it listens."""
        http, grpc, metrics = (f"127.0.0.1:{self.ports[name]}" for name in ("http", "grpc", "metrics"))
        return Target(http, grpc, metrics, kind)


def falaj_serve(folder: Path, repository: Path, *arguments: str) -> Process:
    """The server of this checkout, over a repository."""
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    own = ("serve", "--repository", str(repository), "--drain-seconds", "0", *ports)
    return Process(folder, "falaj.server", *own, *arguments)


def asgi_serve(folder: Path, repository: Path) -> Process:
    """The same app in another server of ASGI."""
    return Process(folder, "tests.conformance.asgi_server", str(repository))
