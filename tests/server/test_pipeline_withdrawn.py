"""Clients that leave while a step of a pipeline runs: what was not begun never runs, nothing is left."""

import json
import queue
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
from tritonclient.grpc import service_pb2, service_pb2_grpc

import falaj
from tests.engine.pipeline_models import DIAMOND, add_pipeline
from tests.server.serving_process import until
from tests.server.wire_serving import WireServing
from tests.serving import add_python, x_of

pytestmark = pytest.mark.core

# Each run takes down its rows and waits for the gate, which is open at first.
_STEP = """
import sys
import threading

runs, started, gate = [], threading.Semaphore(0), threading.Event()
gate.set()

class Model:
    def infer(self, batch):
        runs.append(batch["x"].ravel().tolist())
        started.release()
        gate.wait(60)
        return {"y": batch["x"] + 1}

sys.modules["falaj_test_step_NAME"] = sys.modules[__name__]
"""
_ADD = """
import sys

runs = []

class Model:
    def infer(self, batch):
        runs.append(batch["left"].ravel().tolist())
        return {"sum": batch["left"] + batch["right"]}

sys.modules["falaj_test_step_add"] = sys.modules[__name__]
"""
_PAIR = """
[[input]]
name = "left"
datatype = "FP32"
shape = [-1, 1]

[[input]]
name = "right"
datatype = "FP32"
shape = [-1, 1]

[[output]]
name = "sum"
datatype = "FP32"
shape = [-1, 1]
"""
_MODELS = ("first", "second", "other", "add", "diamond")


class _Diamond:
    """The pipeline, first -> (second, other) -> add, being served; of `other` one request runs at a time."""

    def __init__(self, engine: falaj.Engine, wire: WireServing) -> None:
        self.engine, self.wire = engine, wire
        self.steps: dict[str, ModuleType] = {
            name: sys.modules.pop(f"falaj_test_step_{name}") for name in _MODELS[:-1]
        }

    def stats(self, name: str) -> dict[str, Any]:
        return self.engine.stats(name)[0]

    def until_in_the_middle(self) -> None:
        """Until `second` runs, and `other` waits behind what runs there."""
        assert self.steps["second"].started.acquire(timeout=60)
        until(lambda: self.stats("other")["waiting_requests"] == 1, "the step is queued")

    def until_at_rest(self) -> None:
        for name in _MODELS:
            for gauge in ("inflight_requests", "waiting_requests", "waiting_rows"):
                until(lambda name=name, gauge=gauge: self.stats(name)[gauge] == 0, f"{name}: {gauge}")  # type: ignore[misc]
        stats = self.wire.stats
        until(lambda: stats()["requests_in_flight"] == 0, "no request is under way on the wire")
        until(lambda: stats()["buffered_bytes"] == 0, "nothing is buffered")


@pytest.fixture
def diamond(tmp_path: Path) -> Iterator[_Diamond]:
    for name in ("first", "second", "other"):
        add_python(tmp_path, name, _STEP.replace("NAME", name), head="max_batch_size = 1\n")
    add_python(tmp_path, "add", _ADD, tensors=_PAIR)
    add_pipeline(tmp_path, "diamond", DIAMOND)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine, WireServing(engine) as wire:
        served = _Diamond(engine, wire)
        try:
            yield served
        finally:
            for module in served.steps.values():
                if hasattr(module, "gate"):
                    module.gate.set()


def _request() -> Any:
    request = service_pb2.ModelInferRequest(model_name="diamond")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(np.ones((1, 1), np.float32).tobytes())
    return request


@contextmanager
def _stub(diamond: _Diamond) -> Iterator[Any]:
    with grpc.insecure_channel(diamond.wire.url("grpc")) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def _cancel(diamond: _Diamond) -> None:
    with _stub(diamond) as stub:
        call = stub.ModelInfer.future(_request())
        diamond.until_in_the_middle()
        assert call.cancel()
        with pytest.raises(grpc.FutureCancelledError):
            call.result()
        until(lambda: diamond.stats("diamond")["cancelled"] == 1, "the request is withdrawn")


def _close_the_channel(diamond: _Diamond) -> None:
    with _stub(diamond) as stub:
        call = stub.ModelInfer.future(_request())
        diamond.until_in_the_middle()
    assert call.code() is grpc.StatusCode.CANCELLED
    until(lambda: diamond.stats("diamond")["cancelled"] == 1, "the request is withdrawn")


def _let_the_deadline_pass(diamond: _Diamond) -> None:
    with _stub(diamond) as stub:
        call = stub.ModelInfer.future(_request(), timeout=2)
        diamond.until_in_the_middle()
        assert call.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # By the server's own clock, or because the client, whose clock was first, has left.
        until(lambda: _withdrawn(diamond) == 1, "the request is withdrawn")


def _stop_a_stream(diamond: _Diamond) -> None:
    got: queue.Queue[Any] = queue.Queue()
    with grpc_client.InferenceServerClient(diamond.wire.url("grpc")) as client:
        client.start_stream(callback=lambda result, error: got.put((result, error)))
        tensor = grpc_client.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
        client.async_stream_infer("diamond", [tensor])
        diamond.until_in_the_middle()
        client.stop_stream(cancel_requests=True)
        until(lambda: diamond.stats("diamond")["cancelled"] == 1, "the request is withdrawn")


def _http(**parameters: object) -> bytes:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    head = f"POST /v2/models/diamond/infer HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _disconnect(diamond: _Diamond) -> None:
    with socket.create_connection(("127.0.0.1", diamond.wire.ports["http"])) as client:
        client.sendall(_http())
        diamond.until_in_the_middle()
    until(lambda: diamond.stats("diamond")["cancelled"] == 1, "the request is withdrawn")


def _time_out(diamond: _Diamond) -> None:
    with socket.create_connection(("127.0.0.1", diamond.wire.ports["http"]), timeout=60) as client:
        client.sendall(_http(timeout=2_000_000))
        diamond.until_in_the_middle()
        assert client.recv(12) == b"HTTP/1.1 504"


def _withdrawn(diamond: _Diamond) -> int:
    stats = diamond.stats("diamond")
    return int(stats["cancelled"] + stats["expired"])


@pytest.mark.parametrize(
    "leave",
    [_cancel, _close_the_channel, _let_the_deadline_pass, _stop_a_stream, _disconnect, _time_out],
    ids=lambda leave: leave.__name__.strip("_"),
)
def test_steps_that_were_not_begun_never_run_when_the_client_leaves(
    diamond: _Diamond, leave: Callable[[_Diamond], None]
) -> None:
    steps = diamond.steps
    for name in ("second", "other"):
        steps[name].gate.clear()
    answers = diamond.engine.infer_stream("other", x_of(7))  # is asked at once; holds the model
    assert steps["other"].started.acquire(timeout=60)

    leave(diamond)
    # While `second` still runs: what was queued has left, and the client's request is over.
    until(lambda: _withdrawn(diamond) == 1, "the request is withdrawn")
    until(lambda: diamond.stats("other")["waiting_requests"] == 0, "the queued step has left")
    until(lambda: diamond.stats("diamond")["inflight_requests"] == 0, "the request is over")

    for name in ("second", "other"):
        steps[name].gate.set()
    (answer,) = answers
    assert answer["y"].item() == 8
    diamond.until_at_rest()
    assert [steps[name].runs for name in _MODELS[:-1]] == [[[1]], [[2]], [[7]], []]

    with _stub(diamond) as stub:
        told = stub.ModelInfer(_request())
    assert np.frombuffer(told.raw_output_contents[0], np.float32).tolist() == [6]
    assert [steps[name].runs for name in _MODELS[:-1]] == [[[1], [1]], [[2], [2]], [[7], [2]], [[3]]]
    diamond.until_at_rest()
    assert (diamond.stats("diamond")["requests_ok"], _withdrawn(diamond)) == (1, 1)
