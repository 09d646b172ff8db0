"""ModelInfer: contents, parameters, sizes and what is refused."""

from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from tests.conformance.grpc_requests import (
    arrays_of,
    assert_fails,
    parameter,
    raw_request,
    typed_request,
)
from tests.conformance.repository import AWKWARD_NAME, IDENTITY
from tests.conformance.tensors import CONTENTS, assert_equal, blob

INVALID = grpc.StatusCode.INVALID_ARGUMENT
LEFT = ("left", "INT32", np.array([[5, 6, 7, 8]], np.int32))
RIGHT = ("right", "INT32", np.array([[1, 2, 3, 4]], np.int32))
BOTH = {"sum": LEFT[2] + RIGHT[2], "difference": LEFT[2] - RIGHT[2]}
OUT_OF_RANGE = [
    ("INT8", -129),
    ("INT8", 128),
    ("INT16", -32769),
    ("INT16", 32768),
    ("UINT8", 256),
    ("UINT16", 65536),
]


def requested(*names: str) -> list[Any]:
    """Outputs that are asked for."""
    return [service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in names]


@pytest.mark.parametrize("make", [raw_request, typed_request])
def test_answer_has_every_output_raw_when_none_is_asked_for(stub: Any, make: Any) -> None:
    """Always answer in raw_output_contents, however the inputs came; without `outputs`, all of them."""
    response = stub.ModelInfer(make("add_sub", LEFT, RIGHT, id="mine"))
    assert (response.model_name, response.model_version, response.id) == ("add_sub", "1", "mine")
    assert [output.name for output in response.outputs] == ["sum", "difference"]
    for name, array in arrays_of(response).items():
        assert_equal(array, BOTH[name])


def test_answer_has_the_asked_outputs_when_some_are_asked_for(stub: Any) -> None:
    """outputs: those, in the order of the request."""
    response = stub.ModelInfer(raw_request("add_sub", LEFT, RIGHT, outputs=requested("difference")))
    assert [*arrays_of(response)] == ["difference"]
    response = stub.ModelInfer(raw_request("add_sub", LEFT, RIGHT, outputs=requested("difference", "sum")))
    assert [*arrays_of(response)] == ["difference", "sum"]


def test_raw_contents_follow_the_inputs_when_they_come_in_another_order(stub: Any) -> None:
    """The order of raw_input_contents follows `inputs`, not the model's."""
    response = stub.ModelInfer(raw_request("add_sub", RIGHT, LEFT))
    assert_equal(arrays_of(response)["difference"], BOTH["difference"])


@pytest.mark.parametrize("typed", ["left", "right", "both"])
def test_request_is_refused_when_contents_are_beside_raw_contents(stub: Any, typed: str) -> None:
    """If raw_input_contents is not empty, no input may carry `contents`: INVALID_ARGUMENT."""
    request = raw_request("add_sub", LEFT, RIGHT)
    for tensor in request.inputs:
        if typed in (tensor.name, "both"):
            tensor.contents.int_contents.extend([1, 2, 3, 4])
    assert_fails(stub.ModelInfer, request, INVALID, "contents")


def test_request_is_refused_when_one_input_is_raw_and_the_other_typed(stub: Any) -> None:
    """One way for all inputs: the raw contents of some and the typed of others do not go together."""
    request = raw_request("add_sub", LEFT, RIGHT)
    del request.raw_input_contents[1]
    request.inputs[1].contents.int_contents.extend([1, 2, 3, 4])
    assert_fails(stub.ModelInfer, request, INVALID)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_request_is_refused_when_raw_contents_are_not_one_for_each_input(stub: Any, count: int) -> None:
    """raw_input_contents: one for each input."""
    request = raw_request("add_sub", LEFT, RIGHT)
    request.raw_input_contents[:] = [blob(LEFT[2])] * count
    assert_fails(stub.ModelInfer, request, INVALID)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_request_is_refused_when_raw_contents_do_not_fit_the_shape(stub: Any, size: int) -> None:
    """Raw contents are the bytes of the shape, neither more nor less."""
    request = raw_request("add_sub", LEFT, RIGHT)
    request.raw_input_contents[0] = bytes(size)
    assert_fails(stub.ModelInfer, request, INVALID, "left")


@pytest.mark.parametrize("count", [0, 3, 5])
def test_request_is_refused_when_typed_contents_do_not_fit_the_shape(stub: Any, count: int) -> None:
    """Typed contents have an element for each of the shape's."""
    request = typed_request("add_sub", LEFT, RIGHT)
    request.inputs[0].contents.int_contents[:] = [1] * count
    assert_fails(stub.ModelInfer, request, INVALID, "inputs[0]")


def test_request_is_refused_when_contents_are_in_another_types_field(stub: Any) -> None:
    """contents: int_contents for INT32, no other."""
    request = typed_request("add_sub", LEFT, RIGHT)
    request.inputs[0].contents.ClearField("int_contents")
    request.inputs[0].contents.int64_contents.extend([1, 2, 3, 4])
    assert_fails(stub.ModelInfer, request, INVALID)


@pytest.mark.falaj_only("Triton truncates silently")
@pytest.mark.parametrize(("datatype", "value"), OUT_OF_RANGE)
def test_integer_is_refused_when_its_field_is_wider_than_its_type(
    stub: Any, datatype: str, value: int
) -> None:
    """int_contents and uint_contents carry narrow types too: a value out of the type's range is an error."""
    request = service_pb2.ModelInferRequest(model_name=IDENTITY[datatype])
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[1, 1])
    getattr(tensor.contents, CONTENTS[datatype]).append(value)
    assert_fails(stub.ModelInfer, request, INVALID, str(value))


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_request_is_refused_when_a_half_has_typed_contents(stub: Any, datatype: str) -> None:
    """FP16 and BF16 travel raw: no field of `contents` is theirs."""
    request = service_pb2.ModelInferRequest(model_name=IDENTITY[datatype])
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[1, 1])
    tensor.contents.fp32_contents.append(1)
    assert_fails(stub.ModelInfer, request, INVALID)


@pytest.mark.parametrize("twice", ["input", "output"])
def test_request_is_refused_when_a_tensor_is_there_twice(stub: Any, twice: str) -> None:
    """Duplicate inputs or outputs are errors, as by HTTP."""
    if twice == "input":
        request = raw_request("add_sub", LEFT, RIGHT, LEFT)
    else:
        request = raw_request("add_sub", LEFT, RIGHT, outputs=requested("sum", "sum"))
    assert_fails(stub.ModelInfer, request, INVALID, "left" if twice == "input" else "sum")


def test_request_is_refused_when_names_types_or_shapes_are_not_the_models(stub: Any) -> None:
    """Inputs and outputs are those of the model's metadata."""
    name, datatype, array = LEFT
    refused = [
        raw_request("add_sub", LEFT),
        raw_request("add_sub", LEFT, RIGHT, ("other", datatype, array)),
        raw_request("add_sub", (name, "INT64", array.astype(np.int64)), RIGHT),
        raw_request("add_sub", (name, "INT31", array), RIGHT),
        raw_request("add_sub", (name, datatype, array[:, :3]), RIGHT),
        raw_request("add_sub", LEFT, RIGHT, outputs=requested("product")),
    ]
    for request in refused:
        assert_fails(stub.ModelInfer, request, INVALID)
    negative = raw_request("add_sub", LEFT, RIGHT)
    negative.inputs[0].shape[0] = -1
    assert_fails(stub.ModelInfer, negative, INVALID)


def test_infer_asks_the_version_when_the_request_names_one(stub: Any) -> None:
    """model_version, else the highest."""
    x = ("x", "FP32", np.ones((1, 2), np.float32))
    for asked, version, factor in (("1", "1", 1), ("3", "3", 3), ("", "3", 3)):
        response = stub.ModelInfer(raw_request("versions", x, model_version=asked))
        assert response.model_version == version
        assert_equal(arrays_of(response)["y"], np.full((1, 2), factor, np.float32))


def test_infer_finds_the_model_when_its_name_is_awkward(stub: Any) -> None:
    """A name is text: nothing in it is encoded."""
    response = stub.ModelInfer(raw_request(AWKWARD_NAME, ("x", "FP32", np.ones((1, 2), np.float32))))
    assert response.model_name == AWKWARD_NAME


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=64))
def test_id_is_echoed_when_it_is_any_text(stub: Any, text: str) -> None:
    """`id` is echoed."""
    assert stub.ModelInfer(raw_request("add_sub", LEFT, RIGHT, id=text)).id == text


@pytest.mark.parametrize(
    "value",
    [
        {"bool_param": True},
        {"int64_param": -(2**63)},
        {"string_param": "text"},
        {"double_param": 1.5},
        {"uint64_param": 2**64 - 1},
    ],
    ids=lambda value: next(iter(value)),
)
def test_parameter_is_taken_when_it_is_of_any_kind(stub: Any, value: dict[str, Any]) -> None:
    """InferParameter: bool=1, int64=2, string=3, double=4, uint64=5; of the request, an input, an output."""
    request = raw_request("add_sub", LEFT, RIGHT, outputs=requested("sum"))
    for parameters in (request.parameters, request.inputs[0].parameters, request.outputs[0].parameters):
        parameters["my_own"].CopyFrom(service_pb2.InferParameter(**value))
    assert_equal(arrays_of(stub.ModelInfer(request))["sum"], BOTH["sum"])


@pytest.mark.parametrize("kind", ["int64_param", "uint64_param"])
@pytest.mark.parametrize("key", ["priority", "timeout"])
def test_reserved_number_is_taken_when_it_is_signed_or_unsigned(stub: Any, key: str, kind: str) -> None:
    """tritonclient sends priority as uint64; the reserved numbers come in either field."""
    value = service_pb2.InferParameter(**{kind: 60_000_000 if key == "timeout" else 1})
    stub.ModelInfer(raw_request("add_sub", LEFT, RIGHT, parameters={key: value}))


def test_message_passes_when_it_is_far_above_four_megabytes(stub: Any) -> None:
    """Lift the 4 MB message default, both ways."""
    array = np.arange(16 << 20, dtype=np.uint8).reshape(16, -1)
    response = stub.ModelInfer(raw_request(IDENTITY["UINT8"], ("x", "UINT8", array)))
    assert_equal(arrays_of(response)["y"], array)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_message_passes_when_it_is_compressed(stub: Any, compression: grpc.Compression) -> None:
    """gRPC's own compression, which tritonclient offers."""
    array = np.arange(1 << 16, dtype=np.int32).reshape(1, -1)
    request = raw_request(IDENTITY["INT32"], ("x", "INT32", array))
    assert_equal(arrays_of(stub.ModelInfer(request, compression=compression))["y"], array)


def test_answer_is_empty_when_the_request_has_no_rows(stub: Any) -> None:
    """A dimension may be 0: no elements in, none out, raw or typed."""
    empty = ("x", "INT64", np.zeros((0, 3), np.int64))
    for make in (raw_request, typed_request):
        response = stub.ModelInfer(make("transpose", empty))
        assert_equal(arrays_of(response)["y"], np.zeros((3, 0), np.int64))


def test_classification_is_by_parameter_when_asked_by_grpc(stub: Any) -> None:
    """`classification` of an output counts by gRPC too; the answer is raw BYTES."""
    x = ("x", "FP32", np.ones((2, 32), np.float32))
    request = raw_request("classifier", x, outputs=requested("y"))
    request.outputs[0].parameters["classification"].CopyFrom(parameter(2))
    response = stub.ModelInfer(request)
    assert (response.outputs[0].datatype, response.outputs[0].shape) == ("BYTES", [2, 2])
    assert all(element.count(b":") in (1, 2) for element in arrays_of(response)["y"].reshape(-1))
