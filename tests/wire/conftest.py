from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.server.serving_process import Serving, until
from tests.serving import add_python
from tests.wire.siege import Siege, echo_folder, settings

# So small that a test can reach them.
_LIMITS = {
    "max_concurrent_streams": 8,
    "stream_window_bytes": 65_535,
    "connection_window_bytes": 65_535,
    "max_requests_per_stream": 1,
    "max_resets_per_second": 50,
    "max_control_frames_per_second": 400,
}
# Short, so that tests that wait for a bound end soon, and long beside what a good client on a busy machine
# may take between two requests.
_BOUNDS = settings(
    http__header_timeout_seconds=1,
    http__body_timeout_seconds=1,
    http__idle_timeout_seconds=3,
    http__write_timeout_seconds=2,
    http__max_body_bytes=4 << 20,
    grpc__handshake_timeout_seconds=1,
    grpc__write_timeout_seconds=2,
    grpc__max_message_bytes=4 << 20,
    limits__max_buffered_bytes=1 << 30,
)
# Answers when the file `gate` lies beside it.
GATED = """
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


def serving_arguments() -> list[str]:
    """Flags of `falaj serve` for tests of HTTP/2."""
    return [part for key, value in _LIMITS.items() for part in ("--set", f"grpc.{key}={value}")]


def _held(server: Serving) -> dict[str, float]:
    """What clients hold of it."""
    page = server.ask("GET", "/metrics", listener="metrics")[2].decode("utf-8")
    families = {family.name: family for family in text_string_to_metric_families(page)}
    (grpc,) = (of for of in families["falaj_connections"].samples if of.labels["protocol"] == "grpc")
    return {
        "requests": families["falaj_requests_in_flight"].samples[0].value,
        "bytes": families["falaj_wire_buffered_bytes"].samples[0].value,
        "connections": grpc.value,
    }


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("http2")


@pytest.fixture(scope="package")
def server(folder: Path) -> Iterator[Serving]:
    """A server that no test ends; it has to live to the end and to complain of nothing."""
    add_python(folder / "models", "echo")
    add_python(folder / "models", "gated", GATED)
    with Serving(folder, *serving_arguments()) as server:
        yield server
        # Nothing of all that is held any more.
        until(lambda: not any(_held(server).values()), "all was let go")
        assert server.is_ready()
        assert {event["level"] for event in server.events()} <= {"info"}


@pytest.fixture(scope="package")
def neighbour(server: Serving) -> Iterator[triton_grpc.InferenceServerClient]:
    """A client that has been connected since before the others."""
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{server.ready['grpc']}")
    yield client
    client.close()


def _ask(client: triton_grpc.InferenceServerClient) -> None:
    x = triton_grpc.InferInput("x", [2, 1], "FP32")
    x.set_data_from_numpy(np.array([[1], [2]], np.float32))
    np.testing.assert_array_equal(client.infer("echo", [x], client_timeout=60).as_numpy("y"), [[1], [2]])


@pytest.fixture
def port(server: Serving, neighbour: triton_grpc.InferenceServerClient) -> Iterator[int]:
    """The gRPC port; when the test has done its worst, a neighbour is still answered."""
    _ask(neighbour)
    yield server.ready["grpc"]
    _ask(neighbour)


@pytest.fixture
def gate(folder: Path) -> Iterator[Path]:
    """The file that the model `gated` waits for; not there at first."""
    path = folder / "models" / "gated" / "1" / "gate"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(scope="package")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    with Serving(echo_folder(tmp_path_factory.mktemp("siege")), *_BOUNDS) as server:
        yield Siege.of(server)
