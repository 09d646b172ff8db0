"""Places in requests: what decoders read there, and where they are."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.server.bench import marked
from falaj.server.bench.requests import grpc_raw, http_binary, http_json
from falaj.server.bench.sequences import Sequences
from falaj.server.bench.target import Target

_INPUTS: Any = {"x": ("FP32", np.ones((1, 2), np.float32))}
_NUMBERS = st.integers(0, 2**64 - 1)


def _target(last_id: int = 99, **parameters: Any) -> Target:
    return Target("http://h:1", "m", parameters=parameters, sequences=Sequences(5, 0.2, 42, last_id))


@given(_NUMBERS)
def test_number_is_read_when_it_is_padded(value: int) -> None:
    assert json.loads(marked.json_number("slot", value).content) == value
    from tritonclient.grpc import service_pb2

    read: Any = service_pb2.InferParameter.FromString(b"\x28" + marked.proto_number("slot", value).content)
    assert read.uint64_param == value


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6), st.integers(1, 2000))
def test_places_move_along_when_parts_are_joined(parts: list[tuple[bytes, bool]], number: int) -> None:
    place = marked.proto_flag("end", True)
    whole = marked.proto_field(
        number, marked.joined(*(marked.joined(content, place) if has else content for content, has in parts))
    )
    assert len(whole.places) == sum(has for _, has in parts)
    for what, text, at, _base, _each in whole.places:
        assert (what, text) == ("end", False)
        assert whole.content[at : at + 1] == b"\x01"


@pytest.mark.parametrize("make", [http_json, http_binary])
@pytest.mark.parametrize("parameters", [{}, {"priority": 1}])
def test_request_is_a_whole_sequence_when_it_is_made_in_json(make: Any, parameters: dict[str, Any]) -> None:
    request = make(_INPUTS, _target(**parameters))
    size = dict(request.headers).get("Inference-Header-Content-Length", len(request.body))
    head = json.loads(request.body[: int(size)])
    head["parameters"].pop("binary_data_output", None)
    whole = {"sequence_id": 42, "sequence_start": True, "sequence_end": True}
    assert head["parameters"] == whole | parameters
    widths = {"sequence": 20, "start": 5, "end": 5}
    found = {what: request.body[at : at + widths[what]].strip() for what, _, at, _, _ in request.places}
    assert found == {"sequence": b"42", "start": b"true", "end": b"true"}


@pytest.mark.parametrize(("last_id", "kind"), [(99, "int64_param"), (2**64 - 1, "uint64_param")])
def test_request_is_a_whole_sequence_when_it_is_made_in_protobuf(last_id: int, kind: str) -> None:
    from tritonclient.grpc import service_pb2

    request = grpc_raw(_INPUTS, _target(last_id, priority=1))
    read: Any = service_pb2.ModelInferRequest.FromString(request.body)
    parameters = read.parameters
    assert parameters["sequence_id"].WhichOneof("parameter_choice") == kind
    assert getattr(parameters["sequence_id"], kind) == 42
    assert parameters["sequence_start"].bool_param
    assert parameters["sequence_end"].bool_param
    assert parameters["priority"].uint64_param == 1
    assert read.model_name == "m"
    assert [what for what, *_ in request.places] == ["sequence", "start", "end"]
