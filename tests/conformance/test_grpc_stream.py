"""ModelStreamInfer: many requests on one call, and errors that do not end it."""

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from tests.conformance.grpc_requests import PATIENCE, arrays_of, raw_request
from tests.conformance.repository import IDENTITY
from tests.conformance.tensors import assert_equal

ERRORS_END = (("triton_grpc_error", "true"),)


def row_of(value: int, **more: Any) -> Any:
    """A request whose answer is `value`."""
    return raw_request(IDENTITY["INT64"], ("x", "INT64", np.array([[value]], np.int64)), **more)


def told_by(stub: Any, requests: list[Any], metadata: Any = ()) -> list[Any]:
    """Send them all, close, and take the answers until the call ends."""
    return [*stub.ModelStreamInfer(iter(requests), metadata=metadata, timeout=PATIENCE)]


def test_every_request_is_answered_once_when_many_are_sent(stub: Any) -> None:
    """ModelStreamInferResponse {infer_response}: one for each request, known by its id."""
    answers = told_by(stub, [row_of(i, id=f"r{i}") for i in range(200)])
    assert not any(answer.error_message for answer in answers)
    found = {answer.infer_response.id: arrays_of(answer.infer_response)["y"] for answer in answers}
    assert len(answers) == len(found) == 200
    for i in range(200):
        assert_equal(found[f"r{i}"], np.array([[i]], np.int64))


def test_answer_comes_when_the_stream_is_still_open(stub: Any) -> None:
    """A client may wait for an answer before it asks on."""
    requests: queue.Queue[Any] = queue.Queue()
    answers: Iterator[Any] = stub.ModelStreamInfer(iter(requests.get, None), timeout=PATIENCE)
    for i in range(3):
        requests.put(row_of(i))
        assert_equal(arrays_of(next(answers).infer_response)["y"], np.array([[i]], np.int64))
    requests.put(None)
    assert [*answers] == []


def test_stream_goes_to_several_models_when_each_request_names_one(stub: Any) -> None:
    """The model is named by each request."""
    x = np.ones((1, 2), np.float32)
    requests = [
        raw_request("versions", ("x", "FP32", x), model_version=version, id=version) for version in ("1", "3")
    ]
    requests.append(row_of(9, id="other"))
    answers = {answer.infer_response.id: answer.infer_response for answer in told_by(stub, requests)}
    assert {key: answer.model_name for key, answer in answers.items()} == {
        "1": "versions", "3": "versions", "other": IDENTITY["INT64"],
    }  # fmt: skip
    assert_equal(arrays_of(answers["3"])["y"], np.full((1, 2), 3, np.float32))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (raw_request("nobody", id="broken"), "nobody"),
        (raw_request("fixed", ("x", "FP32", np.zeros(2, np.float32)), id="broken"), "[2]"),
        (raw_request("gather", ("index", "INT64", np.array([[99]])), id="broken"), ""),
    ],
    ids=["unknown model", "wrong shape", "failing run"],
)
def test_error_stays_in_band_when_a_request_fails(stub: Any, broken: Any, told: str) -> None:
    """Errors stay in-band as error_message, and the stream goes on."""
    answers = told_by(stub, [row_of(1, id="before"), broken, row_of(2, id="after")])
    failed = [answer for answer in answers if answer.error_message]
    assert len(failed) == 1
    assert told in failed[0].error_message
    assert failed[0].infer_response.id == "broken"
    fine = {answer.infer_response.id for answer in answers if not answer.error_message}
    assert fine == {"before", "after"}


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (raw_request("nobody"), grpc.StatusCode.NOT_FOUND),
        (raw_request("fixed", ("x", "FP32", np.zeros(2, np.float32))), grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["unknown model", "wrong shape"],
)
def test_error_ends_the_stream_when_the_metadata_asks_for_it(
    stub: Any, broken: Any, code: grpc.StatusCode
) -> None:
    """With the metadata triton_grpc_error: true, an error is the call's status."""
    with pytest.raises(grpc.RpcError) as caught:
        told_by(stub, [broken], ERRORS_END)
    assert caught.value.code() is code
    assert caught.value.details()
    assert [*told_by(stub, [row_of(1)], ERRORS_END)]


def test_error_stays_in_band_when_the_metadata_says_false(stub: Any) -> None:
    """Only `true` changes how errors are told."""
    (answer,) = told_by(stub, [raw_request("nobody")], (("triton_grpc_error", "false"),))
    assert answer.error_message


def test_stream_ends_well_when_nothing_was_asked(stub: Any) -> None:
    """A stream without requests has no answers."""
    assert told_by(stub, []) == []


def test_large_tensors_pass_when_they_are_streamed(stub: Any) -> None:
    """The 4 MB default is lifted for streams too."""
    array = np.arange(8 << 20, dtype=np.uint8).reshape(1, -1)
    request = raw_request(IDENTITY["UINT8"], ("x", "UINT8", array))
    for answer in told_by(stub, [request] * 3):
        assert_equal(arrays_of(answer.infer_response)["y"], array)


def test_other_calls_are_answered_when_a_stream_is_cancelled(stub: Any) -> None:
    """A client that leaves a stream takes only its own requests with it."""
    requests: queue.Queue[Any] = queue.Queue()
    stream = stub.ModelStreamInfer(iter(requests.get, None), timeout=PATIENCE)
    requests.put(row_of(1))
    next(stream)
    requests.put(row_of(2))
    stream.cancel()
    requests.put(None)
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    assert stub.ServerLive(service_pb2.ServerLiveRequest()).live
    assert_equal(arrays_of(stub.ModelInfer(row_of(3)))["y"], np.array([[3]], np.int64))
