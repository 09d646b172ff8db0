"""Models that answer a request any number of times, by ModelStreamInfer and by server-sent events."""

import asyncio
import http.client
import json
import queue
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
from tritonclient.utils import InferenceServerException

import falaj
from tests.server.serving_process import until
from tests.server.wire_serving import WireServing
from tests.serving import add_python
from tests.streaming import ASYNC_COUNTING, COUNTING, DECOUPLED

pytestmark = pytest.mark.core

_TEXT = """
import numpy as np

class Model:
    def stream(self, batch):
        for word in batch["text_input"][0].decode().split():
            yield {"text_output": np.array([word.encode()], dtype=object)}
"""
_TEXT_TENSORS = """
[[input]]
name = "text_input"
datatype = "BYTES"
shape = [1]

[[output]]
name = "text_output"
datatype = "BYTES"
shape = [1]
"""
_LARGE = """
import sys
import threading

import numpy as np

made, ended = 0, threading.Event()

class Model:
    def stream(self, batch):
        global made
        try:
            while True:
                made += 1
                yield {"y": np.zeros((65536, 1), dtype=np.float32)}
        finally:
            ended.set()

sys.modules["falaj_test_large"] = sys.modules[__name__]
"""


_ASYNC_LARGE = _LARGE.replace("def stream", "async def stream")


@pytest.fixture(params=[(COUNTING, _LARGE), (ASYNC_COUNTING, _ASYNC_LARGE)], ids=["generator", "async"])
def serving(models: Path, request: pytest.FixtureRequest) -> Iterator[tuple[falaj.Engine, WireServing]]:
    counting, large = request.param
    add_python(models, "count", counting, head=DECOUPLED + "instances = 4\n")
    add_python(models, "words", _TEXT, head=DECOUPLED + "max_batch_size = 0\n", tensors=_TEXT_TENSORS)
    add_python(models, "large", large, head=DECOUPLED)
    add_python(models, "echo")
    with falaj.Engine(models, cores=2, strict=True) as engine, WireServing(engine) as wire:
        yield engine, wire


class _Stream:
    """One ModelStreamInfer call of Triton's client."""

    def __init__(self, wire: WireServing) -> None:
        self.client = grpc_client.InferenceServerClient(wire.url("grpc"))
        self.got: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()
        self.client.start_stream(callback=lambda result, error: self.got.put((result, error)))

    def ask(self, model: str, value: float, id: str = "", **more: Any) -> None:
        tensor = grpc_client.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.array([[value]], dtype=np.float32))
        self.client.async_stream_infer(model, [tensor], request_id=id, **more)

    def next(self) -> Any:
        result, error = self.got.get(timeout=60)
        if error is not None:
            raise error
        return result

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_stream(cancel_requests=True)
        self.client.close()


def _final(result: Any) -> bool | None:
    parameters = result.get_response().parameters
    return parameters["triton_final_response"].bool_param if "triton_final_response" in parameters else None


def test_stream_gives_each_answer_with_the_id_when_asked_by_grpc(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    with _Stream(serving[1]) as stream:
        stream.ask("count", 5, "a")
        for i in range(5):
            result = stream.next()
            assert (result.get_response().id, result.as_numpy("y").tolist()) == ("a", [[i]])
            assert _final(result) is False
        stream.ask("echo", 7, "b")
        result = stream.next()
        assert (result.get_response().id, result.as_numpy("y").tolist()) == ("b", [[7]])
        assert _final(result) is None


def test_stream_tells_of_the_end_when_the_client_wants_an_empty_answer(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    with _Stream(serving[1]) as stream:
        for count in (0, 2):
            stream.ask("count", count, "a", enable_empty_final_response=True)
            finals = [_final(stream.next()) for _ in range(count)]
            last = stream.next()
            response = last.get_response()
            assert (finals, _final(last)) == ([False] * count, True)
            assert (response.id, len(response.outputs), response.model_name) == ("a", 0, "count")
        stream.ask("echo", 7, enable_empty_final_response=True)
        assert _final(stream.next()) is True


def test_stream_tells_the_error_when_the_model_fails_after_some(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    with _Stream(serving[1]) as stream:
        stream.ask("count", -3)
        for i in range(3):
            assert stream.next().as_numpy("y").tolist() == [[i]]
        with pytest.raises(InferenceServerException, match="three is enough"):
            stream.next()
        stream.ask("count", 1)
        assert stream.next().as_numpy("y").tolist() == [[0]]


def test_stream_ends_at_the_deadline_when_the_model_goes_on(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    with _Stream(serving[1]) as stream:
        stream.ask("large", 0, timeout=300_000)
        failed = None
        while failed is None:
            _, failed = stream.got.get(timeout=60)
        assert "deadline passed" in str(failed)
    assert sys.modules["falaj_test_large"].ended.wait(60)


def test_stream_answers_many_requests_when_they_are_mixed(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    with _Stream(serving[1]) as stream:
        for i in range(200):
            stream.ask("count", i % 7, str(i), enable_empty_final_response=True)
        seen: dict[str, list[float]] = {}
        ended = 0
        while ended < 200:
            result = stream.next()
            response = result.get_response()
            if _final(result):
                ended += 1
            else:
                seen.setdefault(response.id, []).append(float(result.as_numpy("y")[0, 0]))
    assert seen == {str(i): [float(j) for j in range(i % 7)] for i in range(200) if i % 7}


def test_stream_ends_the_generator_when_the_client_leaves(serving: tuple[falaj.Engine, WireServing]) -> None:
    engine, wire = serving
    with _Stream(wire) as stream:
        stream.ask("large", 0)
        stream.next()
    assert sys.modules["falaj_test_large"].ended.wait(60)
    until(lambda: engine.stats("large")[0]["inflight_requests"] == 0, "the request is withdrawn")


def test_infer_is_refused_when_the_model_answers_several_times(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    wire = serving[1]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
    connection = http.client.HTTPConnection("127.0.0.1", wire.ports["http"], timeout=60)
    connection.request("POST", "/v2/models/count/infer", json.dumps({"inputs": [tensor]}))
    response = connection.getresponse()
    assert (response.status, "decoupled" in json.loads(response.read())["error"]) == (501, True)
    connection.close()
    x = grpc_client.InferInput("x", [1, 1], "FP32")
    x.set_data_from_numpy(np.ones((1, 1), dtype=np.float32))
    with (
        grpc_client.InferenceServerClient(wire.url("grpc")) as client,
        pytest.raises(InferenceServerException, match="decoupled") as caught,
    ):
        client.infer("count", [x])
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def _post(wire: WireServing, path: str, body: object) -> httpx.Response:
    return httpx.post(f"http://{wire.url()}/v2/models/{path}", json=body, timeout=60)


def _events(text: str) -> list[Any]:
    assert text == "" or text.endswith("\n\n")
    return [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n")[:-1]]


def test_generate_stream_sends_an_event_for_each_answer_when_asked(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    response = _post(serving[1], "words/generate_stream", {"text_input": "the quick fox", "id": "7"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    told = {"id": "7", "model_name": "words", "model_version": "1"}
    assert _events(response.text) == [{**told, "text_output": word} for word in ("the", "quick", "fox")]
    assert _events(_post(serving[1], "words/versions/1/generate_stream", {"text_input": ""}).text) == []
    numbers = _events(_post(serving[1], "count/generate_stream", {"parameters": {"x": 3}}).text)
    assert [event["y"] for event in numbers] == [0, 1, 2]
    assert _events(_post(serving[1], "echo/generate_stream", {"x": [[1.5], [2]]}).text)[0]["y"] == [1.5, 2]


def test_generate_gives_the_one_answer_when_there_is_one(serving: tuple[falaj.Engine, WireServing]) -> None:
    assert _post(serving[1], "words/generate", {"text_input": "one"}).json()["text_output"] == "one"
    assert _post(serving[1], "echo/generate", {"x": 4}).json()["y"] == 4
    for text in ("", "two words"):
        response = _post(serving[1], "words/generate", {"text_input": text})
        assert (response.status_code, "exactly 1 answer" in response.json()["error"]) == (400, True)


def test_generate_says_what_is_wrong_when_the_request_is(serving: tuple[falaj.Engine, WireServing]) -> None:
    for path, body, status, text in (
        ("words/generate_stream", {}, 400, "'text_input'"),
        ("words/generate_stream", {"text_input": 5}, 400, "text_input"),
        ("words/generate", {"text_input": "a", "parameters": 5}, 400, "$.parameters"),
        ("words/generate", {"text_input": "a", "timeout": "soon"}, 400, "timeout"),
        ("words/generate", {"text_input": "a", "id": 5}, 400, "id"),
        ("nobody/generate_stream", {"text_input": "a"}, 404, "nobody"),
    ):
        response = _post(serving[1], path, body)
        assert (response.status_code, text in response.json()["error"]) == (status, True), response.text


def test_generate_stream_tells_the_error_in_the_stream_when_the_model_fails_after_some(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    events = _events(_post(serving[1], "count/generate_stream", {"x": -2}).text)
    assert [event.get("y") for event in events] == [0, 1, None]
    assert "three is enough" in events[2]["error"]


def test_generate_stream_ends_at_the_deadline_when_the_client_is_slow(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    body = {"x": 0, "parameters": {"timeout": 300_000}}
    events = _events(_post(serving[1], "large/generate_stream", body).text)
    assert "deadline passed" in events[-1]["error"]
    assert sys.modules["falaj_test_large"].ended.wait(60)


def test_generate_stream_holds_the_model_back_and_ends_it_when_the_client_takes_nothing_and_leaves(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    engine, wire = serving
    body = b'{"x": 0}'
    with socket.create_connection(("127.0.0.1", wire.ports["http"])) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"POST /v2/models/large/generate_stream HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n"
        client.sendall(head.encode() + b"\r\n" + body)
        assert client.recv(12) == b"HTTP/1.1 200"
        large = sys.modules["falaj_test_large"]
        for i in range(50):  # time enough for a model that nobody holds back
            assert _post(wire, "echo/generate", {"x": i}).json()["y"] == i
        assert large.made < 100
    assert large.ended.wait(60)
    until(lambda: engine.stats("large")[0]["inflight_requests"] == 0, "the request is withdrawn")


def test_slow_grpc_client_holds_back_its_own_stream_only_when_it_takes_nothing(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    _, wire = serving
    large = sys.modules["falaj_test_large"]

    async def read_little() -> None:
        import grpc.aio
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        options = [("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)]
        async with grpc.aio.insecure_channel(wire.url("grpc"), options=options) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = service_pb2.ModelInferRequest(model_name="large")
            request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
            request.raw_input_contents.append(b"\0\0\0\0")
            call = stub.ModelStreamInfer()
            await call.write(request)
            await call.read()
            with _Stream(wire) as other:
                other.ask("count", 500, enable_empty_final_response=True)
                assert [_final(other.next()) for _ in range(501)] == [False] * 500 + [True]
            assert large.made < 100
            call.cancel()

    asyncio.run(read_little())
    assert large.ended.wait(60)
