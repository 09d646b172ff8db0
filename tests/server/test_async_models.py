"""Models on an event loop of their own that clients leave while they wait for others."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

import falaj
from tests.server.serving_process import until
from tests.server.wire_serving import WireServing
from tests.serving import add_python
from tests.streaming import DECOUPLED, ENDING

pytestmark = pytest.mark.core

_CUT = ["opened", "closed by CancelledError"]
_ONCE = """
import asyncio

class Model:
    async def infer(self, batch):
        await asyncio.sleep(0)
        return {"y": batch["x"] + 1}
"""


@pytest.fixture
def serving(models: Path) -> Iterator[tuple[falaj.Engine, WireServing, Any]]:
    add_python(models, "ending", ENDING, head=DECOUPLED)
    add_python(models, "once", _ONCE)
    with falaj.Engine(models, cores=2, strict=True) as engine, WireServing(engine) as wire:
        yield engine, wire, sys.modules.pop("falaj_test_ending")


def _request(model: str, value: float, **parameters: int) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(np.array([[value]], np.float32).tobytes())
    for name, number in parameters.items():
        request.parameters[name].int64_param = number
    return request


def _http(value: float) -> bytes:
    body = json.dumps({"x": value}).encode()
    head = (
        f"POST /v2/models/ending/generate_stream HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize("value", [0, 1])
def test_generator_is_cancelled_at_its_await_when_a_grpc_client_cancels(
    serving: tuple[falaj.Engine, WireServing, Any], value: float
) -> None:
    engine, wire, ending = serving
    with grpc.insecure_channel(wire.url("grpc")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelStreamInfer(iter([_request("ending", value)]))
        if value == 1:
            assert next(call).infer_response.raw_output_contents[0] == np.float32(1).tobytes()
        assert ending.waiting.wait(60)
        call.cancel()
        assert ending.ended.wait(60)
    assert ending.ends == _CUT
    until(lambda: engine.stats("ending")[0]["inflight_requests"] == 0, "the request is withdrawn")


@pytest.mark.parametrize("value", [0, 1])
def test_generator_is_cancelled_at_its_await_when_an_http_client_leaves(
    serving: tuple[falaj.Engine, WireServing, Any], value: float
) -> None:
    engine, wire, ending = serving
    with socket.create_connection(("127.0.0.1", wire.ports["http"]), timeout=60) as client:
        client.sendall(_http(value))
        assert ending.waiting.wait(60)
    assert ending.ended.wait(60)
    assert ending.ends == _CUT
    until(lambda: engine.stats("ending")[0]["inflight_requests"] == 0, "the request is withdrawn")


def test_generator_is_cancelled_at_its_await_when_its_time_is_over(
    serving: tuple[falaj.Engine, WireServing, Any],
) -> None:
    _, wire, ending = serving
    with grpc.insecure_channel(wire.url("grpc")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        first, last = stub.ModelStreamInfer(iter([_request("ending", 1, timeout=1_000_000)]))
    assert first.infer_response.raw_output_contents[0] == np.float32(1).tobytes()
    assert "deadline passed" in last.error_message
    assert ending.ended.wait(60)
    url = f"http://{wire.url()}/v2/models/ending/generate_stream"
    text = httpx.post(url, json={"x": 1, "timeout": 1_000_000}, timeout=60).text
    assert "deadline passed" in text.split("\n\n")[1]
    until(lambda: ending.ends == _CUT * 2, "its second request is over")


def test_answer_comes_back_when_infer_is_async(serving: tuple[falaj.Engine, WireServing, Any]) -> None:
    _, wire, _ = serving
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    told = httpx.post(f"http://{wire.url()}/v2/models/once/infer", json={"inputs": [tensor]}, timeout=60)
    assert told.json()["outputs"][0]["data"] == [2]
    with grpc.insecure_channel(wire.url("grpc")) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(_request("once", 5))
    assert answer.raw_output_contents[0] == np.float32(6).tobytes()
