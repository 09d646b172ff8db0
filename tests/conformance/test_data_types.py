"""The fourteen data types, each by every way that a tensor may travel."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.exchange import Http
from tests.conformance.grpc_requests import arrays_of, raw_request, typed_request
from tests.conformance.repository import IDENTITY
from tests.conformance.tensors import (
    CONTENTS,
    assert_equal,
    binary_answer,
    binary_request,
    blob,
    described,
    from_blob,
    from_json,
    in_json,
    of_bytes,
)
from tests.zoo import DATATYPES, numpy_dtype, random_array

HALVES = ("FP16", "BF16")
FLOATS = {"FP16": np.uint16, "BF16": np.uint16, "FP32": np.uint32, "FP64": np.uint64}
PROPERTY = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SHAPES = st.tuples(st.integers(0, 5), st.integers(0, 5))
SEEDS = st.integers(0, 2**32 - 1)
IN_JSON = [
    pytest.param(datatype, marks=pytest.mark.falaj_only("Triton refuses FP16 and BF16 in JSON"))
    if datatype in HALVES
    else datatype
    for datatype in DATATYPES
]


def drawn(datatype: str, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Random elements of any value; of floats, finite ones."""
    return random_array(np.random.default_rng(seed), datatype, shape)


@pytest.mark.parametrize("datatype", IN_JSON)
@PROPERTY
@given(shape=SHAPES, seed=SEEDS)
def test_elements_are_unchanged_when_they_travel_as_json(
    http: Http, datatype: str, shape: tuple[int, int], seed: int
) -> None:
    """Every data type in JSON; accepting FP16 and BF16 there is allowed."""
    array = drawn(datatype, shape, seed)
    (output,) = http.infer(IDENTITY[datatype], {"inputs": [in_json("x", datatype, array)]}).json()["outputs"]
    assert output["datatype"] == datatype
    assert_equal(from_json(output), array)


@pytest.mark.parametrize("datatype", DATATYPES)
@PROPERTY
@given(shape=SHAPES, seed=SEEDS)
def test_elements_are_unchanged_when_they_travel_as_binary_data(
    http: Http, datatype: str, shape: tuple[int, int], seed: int
) -> None:
    """Every data type as a blob behind the JSON, there and back."""
    array = drawn(datatype, shape, seed)
    data = blob(array)
    tensor = described("x", datatype, array.shape, parameters={"binary_data_size": len(data)})
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    told, blobs = binary_answer(http.infer(IDENTITY[datatype], *binary_request(request, data)))
    (output,) = told["outputs"]
    assert output["datatype"] == datatype
    assert_equal(from_blob(datatype, output["shape"], blobs[0]), array)


@pytest.mark.parametrize("datatype", DATATYPES)
@PROPERTY
@given(shape=SHAPES, seed=SEEDS)
def test_elements_are_unchanged_when_they_travel_raw_by_grpc(
    stub: Any, datatype: str, shape: tuple[int, int], seed: int
) -> None:
    """Every data type in raw_input_contents; FP16 and BF16 travel raw."""
    array = drawn(datatype, shape, seed)
    response = stub.ModelInfer(raw_request(IDENTITY[datatype], ("x", datatype, array)))
    assert response.outputs[0].datatype == datatype
    assert_equal(arrays_of(response)["y"], array)


@pytest.mark.parametrize("datatype", CONTENTS)
@PROPERTY
@given(shape=SHAPES, seed=SEEDS)
def test_elements_are_unchanged_when_they_travel_typed_by_grpc(
    stub: Any, datatype: str, shape: tuple[int, int], seed: int
) -> None:
    """contents: bool; int (INT8/16/32); int64; uint (UINT8/16/32); uint64; fp32; fp64; bytes."""
    array = drawn(datatype, shape, seed)
    response = stub.ModelInfer(typed_request(IDENTITY[datatype], ("x", datatype, array)))
    assert response.outputs[0].datatype == datatype
    assert_equal(arrays_of(response)["y"], array)


@pytest.mark.parametrize("datatype", FLOATS)
def test_floats_keep_their_bits_when_they_are_not_finite_or_tiny(
    http: Http, stub: Any, datatype: str
) -> None:
    """NaN, infinities, -0 and the smallest numbers as binary data: tensors are bits, not numbers."""
    dtype, bits = numpy_dtype(datatype), FLOATS[datatype]
    sign = 1 << (8 * dtype.itemsize - 1)
    infinity = int(np.array(np.inf, dtype).view(bits))
    patterns = [
        infinity,
        infinity | sign,
        infinity + 1,
        (infinity | sign) + 1,
        2 * sign - 1,
        sign,
        1,
        sign | 1,
    ]
    array = np.array([patterns], bits).view(dtype)
    tensor = described("x", datatype, array.shape, parameters={"binary_data_size": array.nbytes})
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    _, blobs = binary_answer(http.infer(IDENTITY[datatype], *binary_request(request, blob(array))))
    assert_equal(from_blob(datatype, array.shape, blobs[0]), array)
    response = stub.ModelInfer(raw_request(IDENTITY[datatype], ("x", datatype, array)))
    assert_equal(arrays_of(response)["y"], array)


@pytest.mark.falaj_only("Triton refuses FP16 and BF16 in JSON")
@pytest.mark.parametrize(("datatype", "largest"), [("FP16", 65504.0), ("BF16", 3.3895313892515355e38)])
def test_half_is_refused_in_json_when_it_is_out_of_range(http: Http, datatype: str, largest: float) -> None:
    """What would become infinite is out of its type's range."""
    fine = described("x", datatype, [1, 2], data=[largest, -largest])
    (output,) = http.infer(IDENTITY[datatype], {"inputs": [fine]}).json()["outputs"]
    assert_equal(from_json(output), np.array([[largest, -largest]], numpy_dtype(datatype)))
    http.infer(IDENTITY[datatype], {"inputs": [{**fine, "data": [0, 2 * largest]}]}).error(400)


@PROPERTY
@given(elements=st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_bytes_are_unchanged_when_they_are_no_text(http: Http, stub: Any, elements: list[bytes]) -> None:
    """BYTES are bytes: whatever is in them, by binary data and by gRPC."""
    array = of_bytes(elements, (1, len(elements)))
    tensor = described("x", "BYTES", array.shape, parameters={"binary_data_size": len(blob(array))})
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    assert binary_answer(http.infer(IDENTITY["BYTES"], *binary_request(request, blob(array))))[1] == [
        blob(array)
    ]
    for make in (raw_request, typed_request):
        response = stub.ModelInfer(make(IDENTITY["BYTES"], ("x", "BYTES", array)))
        assert_equal(arrays_of(response)["y"], array)
