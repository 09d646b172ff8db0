"""Sequences of stateful models through every transport."""

import json
import queue
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

import falaj
from tests.engine.sequence_models import add_behind, add_by_row, add_sum
from tests.server.wire_serving import WireServing

pytestmark = pytest.mark.core

# (model, x, id, start, end) -> y
Ask = Callable[[str, float, int | str, bool, bool], float]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServing]:
    root = tmp_path_factory.mktemp("models")
    add_sum(root, sequence="idle_timeout_ms = 600000")
    add_by_row(root, slots=3)
    add_behind(root, "piped", "sum")
    with falaj.Engine(root, cores=2, strict=True) as engine, WireServing(engine, io_threads=2) as serving:
        yield serving


def _http_body(x: float, id_: int | str, start: bool, end: bool) -> dict[str, Any]:
    return {
        "parameters": {"sequence_id": id_, "sequence_start": start, "sequence_end": end},
        "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [x]}],
        "outputs": [{"name": "y"}],
    }


@contextmanager
def _by_http(served: WireServing) -> Iterator[Ask]:
    connection = HTTPConnection("127.0.0.1", served.ports["http"])

    def ask(model: str, x: float, id_: int | str, start: bool, end: bool) -> float:
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps(_http_body(x, id_, start, end)))
        answer = json.loads(connection.getresponse().read())
        return float(answer["outputs"][0]["data"][0])

    yield ask
    connection.close()


@contextmanager
def _by_http_client(served: WireServing) -> Iterator[Ask]:
    client = http_client.InferenceServerClient(served.url())

    def ask(model: str, x: float, id_: int | str, start: bool, end: bool) -> float:
        tensor = http_client.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.array([[x]], np.float32))
        answer = client.infer(model, [tensor], sequence_id=id_, sequence_start=start, sequence_end=end)
        return float(answer.as_numpy("y").item())

    yield ask
    client.close()


def _grpc_input(x: float) -> Any:
    tensor = grpc_client.InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[x]], np.float32))
    return [tensor]


@contextmanager
def _by_grpc(served: WireServing) -> Iterator[Ask]:
    client = grpc_client.InferenceServerClient(served.url("grpc"))

    def ask(model: str, x: float, id_: int | str, start: bool, end: bool) -> float:
        answer = client.infer(model, _grpc_input(x), sequence_id=id_, sequence_start=start, sequence_end=end)
        return float(answer.as_numpy("y").item())

    yield ask
    client.close()


@contextmanager
def _by_stream(served: WireServing) -> Iterator[Ask]:
    client = grpc_client.InferenceServerClient(served.url("grpc"))
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.start_stream(lambda result, error: answers.put(error or result))

    def ask(model: str, x: float, id_: int | str, start: bool, end: bool) -> float:
        client.async_stream_infer(
            model, _grpc_input(x), sequence_id=id_, sequence_start=start, sequence_end=end
        )
        answer = answers.get(timeout=60)
        if isinstance(answer, Exception):
            raise answer
        return float(answer.as_numpy("y").item())

    yield ask
    client.stop_stream()
    client.close()


@pytest.mark.parametrize("transport", [_by_http, _by_http_client, _by_grpc, _by_stream])
@pytest.mark.parametrize("model", ["sum", "by_row", "piped"])
def test_sequences_add_up_when_they_are_interleaved(
    served: WireServing, transport: Callable[[WireServing], AbstractContextManager[Ask]], model: str
) -> None:
    def follow_one(ask: Ask, seed: int, i: int, dice: random.Random) -> None:
        # by_row has no control that tells it the id, so texts do as well.
        id_ = (seed + 1) * 1000 + i if model != "by_row" or i % 2 else f"{transport.__name__}/{seed}/{i}"
        total, length = 0.0, dice.randint(1, 6)
        for step in range(length):
            x = dice.randint(0, 99)
            total += x
            assert ask(model, x, id_, step == 0, step == length - 1) == total

    def follow(seed: int) -> None:
        dice = random.Random(seed)
        with transport(served) as ask:
            for i in range(5):
                follow_one(ask, seed, i, dice)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(follow, range(6)))


def test_stream_answers_a_sequence_in_order_when_its_requests_are_all_sent_at_once(
    served: WireServing,
) -> None:
    client = grpc_client.InferenceServerClient(served.url("grpc"))
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.start_stream(lambda result, error: answers.put(error or result))
    for step in range(50):
        client.async_stream_infer(
            "sum", _grpc_input(1), request_id=str(step), sequence_id=99, sequence_start=step == 0,
            sequence_end=step == 49,
        )  # fmt: skip
    got = [answers.get(timeout=60) for _ in range(50)]
    client.stop_stream()
    client.close()
    assert [answer.get_response().id for answer in got] == [str(step) for step in range(50)]
    assert [answer.as_numpy("y").item() for answer in got] == [*range(1, 51)]


def test_request_is_refused_on_every_transport_when_its_sequence_was_not_begun(served: WireServing) -> None:
    connection = HTTPConnection("127.0.0.1", served.ports["http"])
    connection.request("POST", "/v2/models/sum/infer", json.dumps(_http_body(1, "lost", False, False)))
    response = connection.getresponse()
    assert response.status == 400
    assert "sequence 'lost' is not under way" in json.loads(response.read())["error"]
    connection.close()
    for transport in (_by_grpc, _by_stream):
        with (
            transport(served) as ask,
            pytest.raises(grpc_client.InferenceServerException, match="sequence 12345 is not under way"),
        ):
            ask("sum", 1, 12345, False, False)


def test_statistics_and_configuration_tell_of_sequences_when_asked(served: WireServing) -> None:
    client = http_client.InferenceServerClient(served.url())
    config = client.get_model_config("sum")
    assert config["sequence_batching"]["oldest"] == {}
    assert config["sequence_batching"]["state"] == [{"input_name": "sum_in", "output_name": "sum_out"}]
    assert client.get_model_config("by_row")["sequence_batching"]["direct"] == {}
    metadata = client.get_model_metadata("sum")
    client.close()
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["x"]


def test_client_that_leaves_loses_nothing_of_others_when_its_request_was_under_way(
    served: WireServing,
) -> None:
    with _by_grpc(served) as ask:
        assert ask("sum", 1, 501, True, False) == 1
        for _ in range(20):
            connection = HTTPConnection("127.0.0.1", served.ports["http"])
            connection.request("POST", "/v2/models/sum/infer", json.dumps(_http_body(1, 777, True, False)))
            connection.close()
        assert ask("sum", 1, 501, False, True) == 2
