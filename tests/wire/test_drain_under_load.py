"""Restarts, ends and reloads under load: no request of a client that follows the rules fails."""

import http.client
import json
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.server.serving_process import Serving, until
from tests.serving import add_python

pytestmark = pytest.mark.core

_PATIENCE = 60  # seconds
_THREADS = 4  # of each kind of client
_RELOADS = 20
# Adds what its version is, so that an answer tells who gave it; takes a moment, so that some are in flight.
_PLUS = """
import threading

class Model:
    def infer(self, batch):
        threading.Event().wait(0.002)
        return {{"y": batch["x"] + {plus}}}
"""

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
# Asks a model about a number once; returns what it was told, None where it sees that the server is leaving
# and has sent nothing.
AskOnce = Callable[[float], float | None]


class HttpClient:
    """Keeps one connection. Where the server has said `Connection: close`, it does not come back."""

    def __init__(self, port: int, model: str) -> None:
        self._path = f"/v2/models/{model}/infer"
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._leaving = False

    def __call__(self, value: float) -> float | None:
        if self._leaving:
            return None
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}
        self._connection.request("POST", self._path, json.dumps({"inputs": [tensor]}))
        response = self._connection.getresponse()
        told = response.read()
        assert response.status == 200, (response.status, told)
        self._leaving = response.will_close
        return float(json.loads(told)["outputs"][0]["data"][0])

    def close(self) -> None:
        self._connection.close()


class GrpcClient:
    """A channel of its own, by stubs of grpcio.

    Where GOAWAY has come it connects anew, without a word, and takes along what it had begun and not
    written: the "transparent" one of gRPC's retries; it makes no other here. Without it such calls end as
    UNAVAILABLE, whatever the server does.
    """

    def __init__(self, port: int, model: str) -> None:
        self._model = model
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        grpc.channel_ready_future(self._channel).result(_PATIENCE)
        self._infer = service_pb2_grpc.GRPCInferenceServiceStub(self._channel).ModelInfer

    def __call__(self, value: float) -> float | None:
        request = service_pb2.ModelInferRequest(
            model_name=self._model, raw_input_contents=[np.float32(value).tobytes()]
        )
        request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
        answer = self._infer(request, timeout=_PATIENCE)
        return float(np.frombuffer(answer.raw_output_contents[0], np.float32)[0])

    def close(self) -> None:
        self._channel.close()


class TritonClient:
    """NVIDIA's client."""

    def __init__(self, port: int, model: str) -> None:
        self._model = model
        self._client = triton_grpc.InferenceServerClient(
            f"127.0.0.1:{port}", channel_args=[("grpc.use_local_subchannel_pool", 1)]
        )

    def __call__(self, value: float) -> float | None:
        x = triton_grpc.InferInput("x", [1, 1], "FP32")
        x.set_data_from_numpy(np.array([[value]], np.float32))
        answer = self._client.infer(self._model, [x], client_timeout=_PATIENCE).as_numpy("y")
        assert answer is not None
        return float(answer[0, 0])

    def close(self) -> None:
        self._client.close()


_KINDS: tuple[type[HttpClient | GrpcClient | TritonClient], ...] = (HttpClient, GrpcClient, TritonClient)


class Load:
    """Threads that ask without a pause until they are told to turn away, or see that the server leaves.

    Attributes:
        answers: Of each thread, how many it has.
        failures: What went wrong, in words.
    """

    def __init__(self, server: Serving, model: str, right: Callable[[float, float], bool]) -> None:
        self._right = right
        self._away = threading.Event()
        self.failures: list[str] = []
        self._kinds = [kind for kind in _KINDS for _ in range(_THREADS)]
        self.answers = [0] * len(self._kinds)
        self._threads = []
        for index, kind in enumerate(self._kinds):
            client = kind(server.ready["http" if kind is HttpClient else "grpc"], model)
            self._threads.append(threading.Thread(target=self._run, args=(index, client)))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self.goes_on()

    def goes_on(self, *kinds: type, number: int = 5) -> None:
        """Wait until each client, or each of these kinds, has so many answers more."""
        enough = {
            index: self.answers[index] + number
            for index, kind in enumerate(self._kinds)
            if not kinds or kind in kinds
        }

        def done() -> bool:
            return all(self.answers[i] >= then for i, then in enough.items()) or bool(self.failures)

        until(done, "all clients are answered")
        assert not self.failures

    def turn_away(self) -> None:
        """Begin no request any more."""
        self._away.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def ended(self, *kinds: type) -> bool:
        """Whether all clients of these kinds have stopped, or one has failed."""
        threads = zip(self._kinds, self._threads, strict=True)
        return bool(self.failures) or not any(thread.is_alive() for kind, thread in threads if kind in kinds)

    def _run(self, index: int, client: HttpClient | GrpcClient | TritonClient) -> None:
        try:
            for i in count():
                if self._away.is_set():
                    return
                value = float(i % 1000)
                told = client(value)
                if told is None:
                    return
                assert self._right(value, told), f"asked {value}, was told {told}"
                self.answers[index] += 1
        except BaseException as failure:
            self.failures.append(f"{type(client).__name__}: {failure!r}")
        finally:
            client.close()


@contextmanager
def _loaded(server: Serving, model: str, right: Callable[[float, float], bool]) -> Iterator[Load]:
    load = Load(server, model, right)
    try:
        load.start()
        yield load
    finally:
        load.turn_away()
        load.join()
    assert load.failures == []


def _is_same(value: float, told: float) -> bool:
    return value == told


def test_no_request_fails_when_the_server_ends_under_load(tmp_path: Path) -> None:
    add_python(tmp_path / "models", "plus", _PLUS.format(plus=0), head="max_batch_size = 8")
    gate = add_python(tmp_path / "models", "gated", _GATED, head="max_batch_size = 8") / "gate"
    with Serving(tmp_path, "--drain-seconds", "600") as server:
        with _loaded(server, "plus", _is_same) as load:
            server.send(signal.SIGTERM)
            until(lambda: not server.is_ready(), "readiness turns false")
            # Clients that understand `Connection: close` leave by themselves; the others are answered until
            # they turn away, on new connections too.
            until(lambda: load.ended(HttpClient), "clients that were told to have left")
            load.goes_on(GrpcClient, TritonClient)
            assert server.infer("plus")[0] == 200
            load.turn_away()
            load.join()
        with _in_flight(server, gate.parent) as answers:
            server.send(signal.SIGTERM)  # the window is over
            server.until_said("no new connections from now on")
            gate.touch()
        assert answers == [0.0, 1.0]
        assert server.wait() == 0


@contextmanager
def _in_flight(server: Serving, folder: Path) -> Iterator[list[float | None]]:
    """A request by HTTP and one by gRPC that are under way; their answers when the context is left."""
    clients: list[HttpClient | TritonClient] = [
        HttpClient(server.ready["http"], "gated"),
        TritonClient(server.ready["grpc"], "gated"),
    ]
    answers: list[float | None] = [None] * len(clients)

    def ask(index: int) -> None:
        answers[index] = clients[index](float(index))
        clients[index].close()

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(clients))]
    for thread in threads:
        thread.start()
    try:
        until(lambda: _under_way(server) == len(clients), "all are under way")
        yield answers
    finally:
        (folder / "gate").touch()
        for thread in threads:
            thread.join()


def _under_way(server: Serving) -> float:
    page = server.ask("GET", "/metrics", listener="metrics")[2].decode()
    line = next(line for line in page.splitlines() if line.startswith("falaj_requests_in_flight "))
    return float(line.split()[1])


def test_every_answer_is_of_one_of_two_versions_when_models_are_replaced_under_load(tmp_path: Path) -> None:
    models = tmp_path / "models"
    add_python(models, "plus", _PLUS.format(plus=1000), head="max_batch_size = 8", version=1)
    current = 1  # the version that serves, or is about to be replaced

    def is_right(value: float, told: float) -> bool:
        # Looked at after the answer: the version that gave it is this one, or its neighbours'.
        version, rest = divmod(told - value, 1000)
        return rest == 0 and current - 1 <= version <= current + 1

    with Serving(tmp_path) as server, _loaded(server, "plus", is_right) as load:
        for version in range(2, _RELOADS + 2):
            # Whole at once: written under a name that is no version.
            made = add_python(tmp_path / "made", "plus", _PLUS.format(plus=1000 * version), version=version)
            shutil.copytree(made, models / "plus" / f"{version}.tmp")
            (models / "plus" / f"{version}.tmp").rename(models / "plus" / str(version))
            if version % 2:
                server.send(signal.SIGHUP)
            else:
                status, _, told = server.ask("POST", "/v2/repository/models/plus/load")
                assert status == 200, told
            until(lambda version=version: _version(server) == version, f"version {version} serves")  # type: ignore[misc]
            current = version
            load.goes_on(number=2)


def _version(server: Serving) -> int:
    """The version that answers those that name none."""
    status, answer = server.infer("plus")
    assert status == 200
    version, rest = divmod(answer["outputs"][0]["data"][0] - 1, 1000)
    assert rest == 0
    return int(version)
