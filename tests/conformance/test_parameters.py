"""The reserved parameters: priority, timeout, sequences, classification, shared memory, triton_*."""

from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from tests.conformance.exchange import Http
from tests.conformance.grpc_requests import arrays_of, assert_fails, parameter, raw_request
from tests.conformance.repository import CLASSES, FEATURES, IDENTITY, LABELS
from tests.conformance.tensors import binary_answer, described, from_blob, in_json

ROWS = np.random.default_rng(0).standard_normal((3, FEATURES)).astype(np.float32)
X = in_json("x", "FP32", ROWS)
FIXED = described("x", "FP32", [3], data=[1, 3, 2])
INVALID, UNIMPLEMENTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED


def scores_of(http: Http) -> np.ndarray:
    """What the classifier answers when it is not asked for classes."""
    (output,) = http.infer("classifier", {"inputs": [X]}).json()["outputs"]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def classified(count: object, **more: Any) -> dict[str, Any]:
    """A request for the top classes."""
    return {"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": count, **more}}]}


def assert_top(elements: list[str], scores: np.ndarray) -> None:
    """`value:index[:label]`, the highest value first; a class without a label has none."""
    order = np.argsort(-scores, kind="stable")[: len(elements)]
    for element, index in zip(elements, order, strict=True):
        value, place, *label = element.split(":")
        assert int(place) == index
        assert float(value) == pytest.approx(float(scores[index]), rel=1e-4, abs=1e-6)
        assert label == ([LABELS[index]] if index < len(LABELS) else [])


@pytest.mark.parametrize("count", [1, 3, CLASSES])
def test_classes_are_told_when_a_classification_is_asked_for(http: Http, count: int) -> None:
    """classification answers BYTES value:index[:label], the top ones of each row."""
    (output,) = http.infer("classifier", classified(count)).json()["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", "BYTES", [len(ROWS), count])
    for row, scores in enumerate(scores_of(http)):
        assert_top(output["data"][row * count : (row + 1) * count], scores)


def test_classes_are_all_told_when_more_are_asked_for(http: Http) -> None:
    """There are no more classes than the output has."""
    (output,) = http.infer("classifier", classified(CLASSES + 5)).json()["outputs"]
    assert output["shape"] == [len(ROWS), CLASSES]


def test_classes_are_binary_when_asked_for_so(http: Http) -> None:
    """Classes are BYTES, and travel as such."""
    told, blobs = binary_answer(http.infer("classifier", classified(1, binary_data=True)))
    (output,) = told["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [len(ROWS), 1])
    elements = from_blob("BYTES", output["shape"], blobs[0])
    for (element,), scores in zip(elements, scores_of(http), strict=True):
        assert_top([element.decode()], scores)


def test_classes_have_no_batch_when_the_model_does_not_batch(http: Http) -> None:
    """Without a batch dimension, all elements are classes; without labels, there are none."""
    request = {"inputs": [FIXED], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}
    (output,) = http.infer("fixed", request).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2])
    assert [element.split(":")[1:] for element in output["data"]] == [["1"], ["2"]]
    assert [float(element.split(":")[0]) for element in output["data"]] == [6, 4]


@pytest.mark.parametrize("count", [-1, 1.5, "1", True, None])
def test_classification_is_refused_when_its_number_is_none(http: Http, count: object) -> None:
    """classification is a whole number."""
    assert "classification" in http.infer("classifier", classified(count)).error(400)


def test_classification_is_refused_when_the_output_is_bytes(http: Http) -> None:
    """Only numbers can be the highest."""
    tensor = described("x", "BYTES", [1, 1], data=["a"])
    request = {"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"classification": 1}}]}
    http.infer(IDENTITY["BYTES"], request).error(400)


@pytest.mark.parametrize(
    ("key", "value"),
    [("priority", 0), ("priority", 1), ("timeout", 0), ("timeout", 60_000_000)],
)
def test_request_is_answered_when_it_has_a_priority_or_a_timeout(http: Http, key: str, value: int) -> None:
    """priority: 1 highest, 0 default; timeout in microseconds, 0: none."""
    answer = http.infer("fixed", {"inputs": [FIXED], "parameters": {key: value}})
    assert answer.json()["outputs"][0]["data"] == [2, 6, 4]


@pytest.mark.falaj_only("Triton takes the default in its place")
@pytest.mark.parametrize(("model", "levels"), [("fixed", 1), ("ranked", 2)])
@pytest.mark.parametrize("more", [1, 2**32])
def test_request_is_refused_when_the_model_has_no_such_priority(
    http: Http, model: str, levels: int, more: int
) -> None:
    """1 is highest, the model's last level the lowest; a lower one is a mistake, and the answer says so."""
    tensor = FIXED if model == "fixed" else described("n", "INT64", [1, 1], data=[0])
    for priority, status in ((levels, 200), (levels + more, 400)):
        answer = http.infer(model, {"inputs": [tensor], "parameters": {"priority": priority}})
        assert answer.status == status


@pytest.mark.parametrize("value", [-1, 1.5, "1", True, None, [1]])
@pytest.mark.parametrize("key", ["priority", "timeout"])
def test_request_is_refused_when_a_priority_or_timeout_is_no_number(
    http: Http, key: str, value: object
) -> None:
    """priority and timeout are whole numbers of 0 or more."""
    message = http.infer("fixed", {"inputs": [FIXED], "parameters": {key: value}}).error(400)
    assert key in message


@pytest.mark.parametrize(
    "value",
    [{"int64_param": -1}, {"double_param": 1.0}, {"string_param": "1"}, {"bool_param": True}],
    ids=str,
)
@pytest.mark.parametrize("key", ["priority", "timeout"])
def test_call_is_refused_when_a_priority_or_timeout_is_no_number(
    stub: Any, key: str, value: dict[str, Any]
) -> None:
    """The same by gRPC: int64 or uint64."""
    parameters = {key: service_pb2.InferParameter(**value)}
    request = raw_request("fixed", ("x", "FP32", np.ones(3, np.float32)), parameters=parameters)
    assert_fails(stub.ModelInfer, request, INVALID, key)


@pytest.mark.parametrize("key", ["triton_enable_empty_final_response", "triton_", "triton_anything"])
def test_request_is_refused_when_a_parameter_begins_with_triton(http: Http, stub: Any, key: str) -> None:
    """triton_* is refused, by both transports; but one of them is taken by gRPC, whose streams mind it."""
    assert "triton_" in http.infer("fixed", {"inputs": [FIXED], "parameters": {key: True}}).error(400)
    x = ("x", "FP32", np.ones(3, np.float32))
    request = raw_request("fixed", x, parameters={key: parameter(True)})
    if key == "triton_enable_empty_final_response":
        assert stub.ModelInfer(request).model_name == "fixed"
    else:
        assert_fails(stub.ModelInfer, request, INVALID, "triton_")


@pytest.mark.falaj_only("Triton passes over sequences of models that keep none")
@pytest.mark.parametrize(
    ("key", "value"),
    [("sequence_id", 7), ("sequence_id", "seven"), ("sequence_start", True), ("sequence_end", True)],
)
def test_request_of_a_sequence_is_refused_when_its_model_keeps_none(
    http: Http, stub: Any, key: str, value: bool | int | str
) -> None:
    """sequence_id (uint64 or string), sequence_start, sequence_end are reserved: a request that needs them is
    not answered as if it did not."""
    assert "sequence" in http.infer("fixed", {"inputs": [FIXED], "parameters": {key: value}}).error(400)
    x = ("x", "FP32", np.ones(3, np.float32))
    request = raw_request("fixed", x, parameters={key: parameter(value)})
    assert_fails(stub.ModelInfer, request, INVALID, "sequence")


@pytest.mark.falaj_only("Triton serves shared memory")
@pytest.mark.parametrize("where", ["input", "output"])
def test_request_is_unsupported_when_a_tensor_is_in_shared_memory(http: Http, stub: Any, where: str) -> None:
    """shared_memory_{region, offset, byte_size} of inputs and outputs: the extension is not reported."""
    own = {"shared_memory_region": "r", "shared_memory_offset": 0, "shared_memory_byte_size": 12}
    x = {key: value for key, value in FIXED.items() if key != "data"} if where == "input" else FIXED
    request = {
        "inputs": [{**x, **({"parameters": own} if where == "input" else {})}],
        "outputs": [{"name": "y", **({"parameters": own} if where == "output" else {})}],
    }
    assert "shared memory" in http.infer("fixed", request).error(501)
    message = raw_request("fixed", ("x", "FP32", np.ones(3, np.float32)))
    tensor = message.inputs[0] if where == "input" else message.outputs.add(name="y")
    if where == "input":
        message.ClearField("raw_input_contents")
    for key, value in own.items():
        tensor.parameters[key].CopyFrom(parameter(value))
    assert_fails(stub.ModelInfer, message, UNIMPLEMENTED, "shared memory")


@pytest.mark.parametrize(
    ("key", "value"),
    [("shared_memory_region", "r"), ("shared_memory_offset", 0), ("shared_memory_byte_size", 12)],
)
@pytest.mark.parametrize("where", ["input", "output"])
def test_request_is_refused_when_a_place_in_shared_memory_is_told_in_part(
    http: Http, stub: Any, where: str, key: str, value: int | str
) -> None:
    """The region and the size belong together."""
    own = {"parameters": {key: value}}
    request = {
        "inputs": [{**FIXED, **(own if where == "input" else {})}],
        "outputs": [{"name": "y", **(own if where == "output" else {})}],
    }
    assert "shared_memory_" in http.infer("fixed", request).error(400)
    message = raw_request("fixed", ("x", "FP32", np.ones(3, np.float32)))
    tensor = message.inputs[0] if where == "input" else message.outputs.add(name="y")
    tensor.parameters[key].CopyFrom(parameter(value))
    assert_fails(stub.ModelInfer, message, INVALID, "shared_memory_")


def test_tensor_itself_is_told_when_no_class_is_asked_for(http: Http, stub: Any) -> None:
    """classification 0 is none."""
    (output,) = http.infer("classifier", classified(0)).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("FP32", [len(ROWS), CLASSES])
    request = raw_request("classifier", ("x", "FP32", ROWS))
    request.outputs.add(name="y").parameters["classification"].CopyFrom(parameter(0))
    assert arrays_of(stub.ModelInfer(request))["y"].shape == (len(ROWS), CLASSES)
