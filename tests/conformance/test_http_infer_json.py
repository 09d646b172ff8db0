"""Infer with data in JSON: the forms of requests and answers, and what is refused."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.exchange import Http
from tests.conformance.repository import IDENTITY
from tests.conformance.tensors import described, in_json

LEFT = described("left", "INT32", [1, 4], data=[5, 6, 7, 8])
RIGHT = described("right", "INT32", [1, 4], data=[1, 2, 3, 4])
TWO_BY_THREE = described("x", "INT64", [2, 3])
RANGES = {
    datatype: (int(np.iinfo(datatype.lower()).min), int(np.iinfo(datatype.lower()).max))
    for datatype in ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
}
PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_answer_has_every_output_when_none_is_asked_for(http: Http) -> None:
    """{model_name, model_version, outputs: [{name, shape, datatype, data}]}; no `outputs` means all."""
    told = http.infer("add_sub", {"inputs": [LEFT, RIGHT]}).json()
    assert told == {
        "model_name": "add_sub",
        "model_version": "1",
        "outputs": [
            {"name": "sum", "shape": [1, 4], "datatype": "INT32", "data": [6, 8, 10, 12]},
            {"name": "difference", "shape": [1, 4], "datatype": "INT32", "data": [4, 4, 4, 4]},
        ],
    }


def test_answer_has_the_asked_outputs_when_some_are_asked_for(http: Http) -> None:
    """outputs?: [{name}]: those, in the order of the request."""
    request = {"inputs": [RIGHT, LEFT], "outputs": [{"name": "difference"}]}
    told = http.infer("add_sub", request).json()
    assert [(output["name"], output["data"]) for output in told["outputs"]] == [("difference", [4, 4, 4, 4])]
    both = {"inputs": [LEFT, RIGHT], "outputs": [{"name": "difference"}, {"name": "sum"}]}
    assert [output["name"] for output in http.infer("add_sub", both).json()["outputs"]] == [
        "difference",
        "sum",
    ]


@PROPERTY
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64))
def test_id_is_echoed_when_it_is_any_text(http: Http, text: str) -> None:
    """`id` is echoed."""
    told = http.infer("add_sub", {"id": text, "inputs": [LEFT, RIGHT]}).json()
    assert told["id"] == text


def test_id_is_absent_when_the_request_has_none(http: Http) -> None:
    """id? in the response."""
    assert "id" not in http.infer("add_sub", {"inputs": [LEFT, RIGHT]}).json()


@pytest.mark.parametrize(
    "data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]], [[[1], [2, 3]], [4, [5, 6]]]], ids=str
)
def test_data_are_row_major_when_flat_or_nested(http: Http, data: list[Any]) -> None:
    """`data` is row-major, nested or flat."""
    (output,) = http.infer("transpose", {"inputs": [{**TWO_BY_THREE, "data": data}]}).json()["outputs"]
    assert (output["shape"], output["data"]) == ([3, 2], [1, 4, 2, 5, 3, 6])


@pytest.mark.parametrize("data", [[], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7], [[1, 2, 3], [4, 5]]], ids=str)
def test_request_is_refused_when_elements_are_missing_or_left_over(http: Http, data: list[Any]) -> None:
    """The element count must equal the shape's product."""
    http.infer("transpose", {"inputs": [{**TWO_BY_THREE, "data": data}]}).error(400)


@pytest.mark.parametrize("value", ["1", "0", '"true"', "null", "1.0", "{}"])
def test_bool_is_refused_when_it_is_no_json_boolean(http: Http, value: str) -> None:
    """BOOL takes JSON booleans only."""
    tensor = json.dumps(described("x", "BOOL", [1, 2]))[:-1] + f', "data": [true, {value}]}}'
    http.infer(IDENTITY["BOOL"], f'{{"inputs": [{tensor}]}}'.encode()).error(400)


@pytest.mark.parametrize("value", [1, True, None, 1.5, {}])
def test_bytes_element_is_refused_when_it_is_no_string(http: Http, value: object) -> None:
    """BYTES are JSON strings."""
    tensor = described("x", "BYTES", [1, 2], data=["a", value])
    http.infer(IDENTITY["BYTES"], {"inputs": [tensor]}).error(400)


@pytest.mark.parametrize("value", ['"1"', "true", "null", "1.5", "{}"])
def test_integer_is_refused_when_it_is_of_another_kind(http: Http, value: str) -> None:
    """An element has to be of its tensor's data type."""
    tensor = json.dumps(described("x", "INT32", [1, 1]))[:-1] + f', "data": [{value}]}}'
    http.infer(IDENTITY["INT32"], f'{{"inputs": [{tensor}]}}'.encode()).error(400)


@pytest.mark.parametrize("datatype", RANGES)
def test_integer_passes_when_it_is_at_the_end_of_its_range(http: Http, datatype: str) -> None:
    """Both ends of an integer type's range are of the range."""
    low, high = RANGES[datatype]
    tensor = described("x", datatype, [1, 2], data=[low, high])
    assert http.infer(IDENTITY[datatype], {"inputs": [tensor]}).json()["outputs"][0]["data"] == [low, high]


@pytest.mark.falaj_only("Triton truncates silently")
@pytest.mark.parametrize("datatype", RANGES)
@pytest.mark.parametrize("side", [0, 1], ids=["below", "above"])
def test_integer_is_refused_when_it_is_out_of_range(http: Http, datatype: str, side: int) -> None:
    """An integer out of its type's range is an error, and the answer says which."""
    value = RANGES[datatype][side] + (1 if side else -1)
    tensor = described("x", datatype, [1, 2], data=[0, value])
    message = http.infer(IDENTITY[datatype], {"inputs": [tensor]}).error(400)
    assert str(value) in message
    assert datatype in message


@pytest.mark.parametrize("datatype", RANGES)
def test_integers_are_unchanged_when_drawn_from_the_whole_range(http: Http, datatype: str) -> None:
    """JSON carries every integer exactly, of 64 bits too."""
    low, high = RANGES[datatype]

    @PROPERTY
    @given(values=st.lists(st.integers(low, high), min_size=1, max_size=8))
    def check(values: list[int]) -> None:
        tensor = described("x", datatype, [1, len(values)], data=values)
        (output,) = http.infer(IDENTITY[datatype], {"inputs": [tensor]}).json()["outputs"]
        assert output["data"] == values

    check()


@PROPERTY
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_doubles_are_unchanged_when_written_in_json(http: Http, values: list[float]) -> None:
    """FP64 in JSON: the shortest digits that are the number, both ways."""
    tensor = described("x", "FP64", [1, len(values)], data=values)
    (output,) = http.infer(IDENTITY["FP64"], {"inputs": [tensor]}).json()["outputs"]
    assert [*map(float, output["data"])] == values


@PROPERTY
@given(values=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_strings_are_unchanged_when_written_in_json(http: Http, values: list[str]) -> None:
    """BYTES are JSON strings: of any characters, NUL too, escaped or not."""
    tensor = described("x", "BYTES", [1, len(values)], data=values)
    plain = json.dumps({"inputs": [tensor]}, ensure_ascii=False).encode()
    for body in ({"inputs": [tensor]}, plain):
        assert http.infer(IDENTITY["BYTES"], body).json()["outputs"][0]["data"] == values


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_float_is_what_json_libraries_write_when_it_is_not_finite(http: Http, value: str) -> None:
    """What Python's json writes for NaN and infinities is read, and written back."""
    body = f'{{"inputs":[{{"name":"x","shape":[1,1],"datatype":"FP32","data":[{value}]}}]}}'.encode()
    (output,) = http.infer(IDENTITY["FP32"], body).json()["outputs"]
    assert [json.dumps(element) for element in output["data"]] == [value]


@pytest.mark.parametrize("inputs", [[LEFT, RIGHT, LEFT], [LEFT, LEFT]])
def test_request_is_refused_when_an_input_is_there_twice(http: Http, inputs: list[Any]) -> None:
    """Duplicate inputs are errors."""
    assert "left" in http.infer("add_sub", {"inputs": inputs}).error(400)


def test_request_is_refused_when_an_output_is_asked_for_twice(http: Http) -> None:
    """Duplicate outputs are errors."""
    request = {"inputs": [LEFT, RIGHT], "outputs": [{"name": "sum"}, {"name": "sum"}]}
    assert "sum" in http.infer("add_sub", request).error(400)


@pytest.mark.parametrize("depth", [1000, 1_000_000])
@pytest.mark.parametrize("where", ["data", "parameters", "unknown"])
def test_request_is_refused_when_it_is_nested_too_deeply(http: Http, depth: int, where: str) -> None:
    """Cap the nesting depth: in data, and in what is read past."""
    deep = "[" * depth + "1" + "]" * depth
    data = deep if where == "data" else "[1]"
    more = "" if where == "data" else f', "{where}": {deep}'
    body = f'{{"inputs":[{{"name":"x","shape":[1,1],"datatype":"INT32","data":{data}}}]{more}}}'
    http.infer(IDENTITY["INT32"], body.encode()).error(400)


@pytest.mark.parametrize("value", ["text", 7, -7, 1.5, True])
def test_parameter_is_taken_when_it_is_a_string_number_or_bool(http: Http, value: object) -> None:
    """Parameters are string, number or bool: of the request, an input and an output."""
    own = {"parameters": {"my_own": value}}
    request = {"inputs": [{**LEFT, **own}, RIGHT], "outputs": [{"name": "sum", **own}], **own}
    assert http.infer("add_sub", request).json()["outputs"][0]["data"] == [6, 8, 10, 12]


@pytest.mark.falaj_only("Triton passes over what it does not know")
@pytest.mark.parametrize("value", [None, [], [1], {}, {"a": 1}])
@pytest.mark.parametrize("where", ["request", "input", "output"])
def test_parameter_is_refused_when_it_is_of_another_kind(http: Http, value: object, where: str) -> None:
    """Parameters are string, number or bool, nothing else."""
    own = {"parameters": {"my_own": value}}
    request = {
        "inputs": [{**LEFT, **(own if where == "input" else {})}, RIGHT],
        "outputs": [{"name": "sum", **(own if where == "output" else {})}],
        **(own if where == "request" else {}),
    }
    assert "my_own" in http.infer("add_sub", request).error(400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'{"inputs": [}',
        b'{"inputs": 1}',
        b'{"inputs": [1]}',
        b'{"inputs": []}',
        b'{"id": 7, "inputs": []}',
        b'{"inputs": [], "outputs": {}}',
        b'{"parameters": []}',
        b'{"inputs": []} x',
        b'{"inputs": [{"name": "\xff"}]}',
        b"\xef\xbb\xbf",
    ],
    ids=repr,
)
def test_request_is_refused_when_its_json_is_malformed(http: Http, body: bytes) -> None:
    """Request {id?, parameters?, inputs: [...], outputs?: [...]}: what is no such request is a 400."""
    http.infer("add_sub", body).error(400)


@pytest.mark.parametrize("missing", ["name", "shape", "datatype", "data"])
def test_request_is_refused_when_an_input_lacks_a_key(http: Http, missing: str) -> None:
    """inputs: [{name, shape, datatype, parameters?, data}]."""
    broken = {key: value for key, value in LEFT.items() if key != missing}
    http.infer("add_sub", {"inputs": [broken, RIGHT]}).error(400)


@pytest.mark.parametrize(
    "shape", [[-1, 4], [1.5, 4], ["1", 4], 4, [4], [1, 1, 4], [1, 3], [2**62, 2**62]], ids=str
)
def test_request_is_refused_when_a_shape_does_not_fit(http: Http, shape: object) -> None:
    """A shape is whole numbers of 0 or more that fit the model's."""
    http.infer("add_sub", {"inputs": [{**LEFT, "shape": shape}, RIGHT]}).error(400)


def test_request_is_refused_when_names_or_types_are_not_the_models(http: Http) -> None:
    """Inputs and outputs are those of the model's metadata."""
    for inputs in ([LEFT], [LEFT, RIGHT, {**LEFT, "name": "other"}], [{**LEFT, "datatype": "INT64"}, RIGHT]):
        http.infer("add_sub", {"inputs": inputs}).error(400)
    http.infer("add_sub", {"inputs": [LEFT, {**RIGHT, "datatype": "INT31"}]}).error(400)
    http.infer("add_sub", {"inputs": [LEFT, RIGHT], "outputs": [{"name": "product"}]}).error(400)


def test_answer_is_empty_when_the_request_has_no_rows(http: Http) -> None:
    """A dimension may be 0: no elements in, none out."""
    tensor = in_json("x", "INT64", np.zeros((0, 3), np.int64))
    (output,) = http.infer("transpose", {"inputs": [tensor]}).json()["outputs"]
    assert (output["shape"], output["data"]) == ([3, 0], [])
