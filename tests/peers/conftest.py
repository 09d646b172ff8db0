"""Falaj as a process, for clients that others wrote."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.serving_process import Serving
from tests.serving import X_TO_Y, add_python

PROTOCOLS = [Path(__file__).parent, Path(__file__).parents[1] / "fuzz"]  # where the .proto files are

# What each client does, and says `ok …` of.
CHECKS = [
    "unary",
    "control",
    "large",
    "errors",
    "deadline",
    "cancel",
    "many",
    "stream",
    "stream_cancel",
    "health",
    "gzip",
    "keepalive",
]

# Answers when the file `gate` lies beside it.
_GATED = """
import threading
from pathlib import Path

class Model:
    def load(self, parameters, folder):
        self.gate = Path(folder) / "gate"

    def infer(self, batch):
        while not self.gate.exists():
            threading.Event().wait(0.01)
        return {"y": batch["x"]}
"""
_TWO_SECONDS = """
import threading

class Model:
    def infer(self, batch):
        threading.Event().wait(2)
        return {"y": batch["x"]}
"""


class Gated:
    """The model `gated`, which answers from when it is opened."""

    def __init__(self, repository: Path) -> None:
        self._version = add_python(repository, "gated", _GATED)

    def open(self) -> None:
        (self._version / "gate").touch()


@pytest.fixture
def gated(tmp_path: Path) -> Gated:
    return Gated(tmp_path / "models")


@pytest.fixture
def server(tmp_path: Path, gated: Gated) -> Iterator[Serving]:
    """A server that clients may ping as often as they like; in the end it has to part in peace."""
    add_python(tmp_path / "models", "echo")
    add_python(tmp_path / "models", "wide", tensors=X_TO_Y.replace("[-1, 1]", "[-1, 1024]"))
    add_python(tmp_path / "models", "two_seconds", _TWO_SECONDS)
    with Serving(tmp_path, "--set", "grpc.min_ping_interval_seconds=0") as server:
        yield server
        gated.open()
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert {event["level"] for event in server.events()} <= {"info"}
