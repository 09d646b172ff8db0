"""The model repository extension: index, load, unload; configurations and files that come with a request."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from tests.conformance.exchange import Answer, Http
from tests.conformance.grpc_requests import arrays_of, assert_fails, raw_request
from tests.conformance.repository import AWKWARD_NAME, IDENTITY, models, scaled_bytes
from tests.conformance.target import Target
from tests.conformance.tensors import in_json

LOAD = "/v2/repository/models/spare/load"
UNLOAD = "/v2/repository/models/spare/unload"
ONES = np.ones((1, 2), np.float32)
CONFIG: dict[str, Any] = {
    "name": "spare",
    "backend": "onnxruntime",
    "max_batch_size": 8,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2]}],
    "parameters": {
        "falaj.tune_ms": {"string_value": "0"}
    },  # no trials, whose outcome the configuration tells
}


def file_of(factor: int) -> str:
    """A model's file as HTTP carries it."""
    return base64.b64encode(scaled_bytes(factor)).decode()


def overriding(config: dict[str, Any] | str, **files: str) -> dict[str, Any]:
    """A load request with a configuration and files."""
    text = config if isinstance(config, str) else json.dumps(config)
    return {"parameters": {"config": text, **files}}


def factor_of(http: Http, path: str = "spare") -> float:
    """What the model multiplies by."""
    (output,) = http.infer(path, {"inputs": [in_json("x", "FP32", ONES)]}).json()["outputs"]
    factor: float = output["data"][0]
    return factor


def states(http: Http, request: object = b"") -> dict[tuple[str, str], str]:
    """The state of each model and version."""
    rows = http.post("/v2/repository/index", request).json()
    return {(row["name"], row.get("version", "")): row.get("state", "") for row in rows}


@pytest.fixture
def spare(http: Http) -> Iterator[Http]:
    """The server, whose model `spare` a test may change: it is loaded again from its folder."""
    yield http
    assert http.post(LOAD).status == 200
    assert factor_of(http) == 1


@pytest.fixture
def spare_by_grpc(stub: Any, native: Http) -> Iterator[Any]:
    """The same for a test that uses gRPC."""
    yield stub
    assert native.post(LOAD).status == 200
    assert factor_of(native) == 1


@pytest.mark.parametrize("request_body", [b"", {}, {"ready": False}, {"ready": True}])
def test_index_lists_what_is_there_when_asked(http: Http, request_body: object) -> None:
    """body empty or {"ready": bool}; answers a bare array [{name, version, state, reason}]."""
    rows = http.post("/v2/repository/index", request_body).json()
    assert isinstance(rows, list)
    assert all(set(row) <= {"name", "version", "state", "reason"} for row in rows)
    found = states(http, request_body)
    assert {model.name for model in models()} <= {name for name, _ in found}
    assert found["versions", "1"] == found["versions", "3"] == found[AWKWARD_NAME, "1"] == "READY"


@pytest.mark.parametrize("request_body", [{"ready": 1}, {"ready": "true"}, [], b"{", b"true"])
def test_index_is_refused_when_its_request_is_malformed(http: Http, request_body: object) -> None:
    """body empty or {"ready": bool}, nothing else."""
    http.post("/v2/repository/index", request_body).error(400)


@pytest.mark.parametrize("body", [b"", {}, {"parameters": {}}])
def test_model_is_in_service_when_it_was_loaded(spare: Http, body: object) -> None:
    """POST .../load; loading what is loaded is no error."""
    assert spare.post(LOAD, body).status == 200
    assert factor_of(spare) == 1
    assert states(spare)["spare", "1"] == "READY"


@pytest.mark.parametrize(
    "body", [b"", {"parameters": {"unload_dependents": False}}, {"parameters": {"unload_dependents": True}}]
)
def test_model_is_out_of_service_when_it_was_unloaded(spare: Http, target: Target, body: object) -> None:
    """POST .../unload with unload_dependents, which tritonclient always sends."""
    assert spare.post(UNLOAD, body).status == 200
    assert ("spare", "1") not in states(spare, {"ready": True})
    assert states(spare).get(("spare", "1")) != "READY"
    assert spare.get("/v2/models/spare/ready").status != 200
    request = {"inputs": [in_json("x", "FP32", ONES)]}
    spare.infer("spare", request).error(404 if target.kind == "falaj" else 400)
    assert spare.post(LOAD).status == 200
    assert factor_of(spare) == 1


@pytest.mark.parametrize("value", [1, "true", None])
def test_unload_is_refused_when_unload_dependents_is_no_bool(http: Http, value: object) -> None:
    """{"parameters": {"unload_dependents": bool}}."""
    http.post(UNLOAD, {"parameters": {"unload_dependents": value}}).error(400)
    assert factor_of(http) == 1


def test_model_is_loaded_as_told_when_a_configuration_comes_along(spare: Http) -> None:
    """`config`, a JSON string, replaces the configuration until the model is loaded without one."""
    assert spare.get("/v2/models/spare/config").json()["max_batch_size"] == 8
    assert spare.post(LOAD, overriding({**CONFIG, "max_batch_size": 2})).status == 200
    assert spare.get("/v2/models/spare/config").json()["max_batch_size"] == 2
    three = in_json("x", "FP32", np.ones((3, 2), np.float32))
    spare.infer("spare", {"inputs": [three]}).error(400)
    assert spare.post(LOAD).status == 200
    assert spare.get("/v2/models/spare/config").json()["max_batch_size"] == 8
    assert spare.infer("spare", {"inputs": [three]}).status == 200


def test_model_is_made_of_the_files_when_they_come_along(spare: Http) -> None:
    """`file:1/model.onnx`, base64, with a `config`: the folder's own files are not used."""
    files = {"file:1/model.onnx": file_of(5), "file:4/model.onnx": file_of(6)}
    config = {**CONFIG, "version_policy": {"all": {}}}
    assert spare.post(LOAD, overriding(config, **files)).status == 200
    assert factor_of(spare, "spare/versions/1") == 5
    assert factor_of(spare) == factor_of(spare, "spare/versions/4") == 6
    assert spare.post(LOAD).status == 200
    assert factor_of(spare) == 1
    spare.get("/v2/models/spare/versions/4").error(404)


def test_model_comes_into_being_when_only_files_say_so(http: Http) -> None:
    """A model without a folder may come with a request; unloaded, it is gone."""
    config = {**CONFIG, "name": "visitor"}
    body = overriding(config, **{"file:1/model.onnx": file_of(9)})
    assert http.post("/v2/repository/models/visitor/load", body).status == 200
    try:
        assert factor_of(http, "visitor") == 9
        assert states(http)["visitor", "1"] == "READY"
    finally:
        assert http.post("/v2/repository/models/visitor/unload").status == 200
    assert http.get("/v2/models/visitor/ready").status != 200


def test_model_is_loaded_when_its_name_is_percent_encoded(http: Http) -> None:
    """Model names may be any [^/]+, percent-encoded, here too."""
    path = quote(AWKWARD_NAME, safe="")
    assert http.post(f"/v2/repository/models/{path}/load").status == 200
    assert http.get(f"/v2/models/{path}/ready").status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"parameters": {"unknown": 1}},
        {"parameters": {"unload_dependents": True}},
        {"parameters": {"config": 1}},
        {"parameters": {"config": {"name": "spare"}}},
        {"parameters": []},
        {"config": "{}"},
        overriding("{"),
        overriding("[]"),
        overriding(json.dumps({**CONFIG, "max_batch": 1})),
        overriding({**CONFIG, "name": "another"}),
        {"parameters": {"file:1/model.onnx": file_of(5)}},
        overriding(CONFIG, **{"file:1/model.onnx": "not base64"}),
        overriding(CONFIG, **{"file:../1/model.onnx": file_of(5)}),
        overriding(CONFIG, **{"file:1/../../model.onnx": file_of(5)}),
        overriding(CONFIG, **{"file:/1/model.onnx": file_of(5)}),
        overriding(CONFIG, **{"file:model.onnx": file_of(5)}),
        overriding(CONFIG, **{"file:1/model.onnx": base64.b64encode(b"no model").decode()}),
        b"{",
        [],
    ],
    ids=[
        "unknown", "unload's", "number", "object", "list", "beside", "cut", "array", "key", "name",
        "no config", "no base64", "parent", "inner parent", "root", "no version", "no model",
        "no json", "no object",
    ],
)  # fmt: skip
def test_model_stays_as_it_is_when_a_load_request_is_wrong(spare: Http, body: object) -> None:
    """Any other key is an error; what cannot be loaded leaves what is in service alone."""
    assert spare.post(LOAD, body).error(400)
    assert factor_of(spare) == 1
    assert states(spare)["spare", "1"] == "READY"


def test_model_is_not_ready_when_it_could_not_be_loaded(spare: Http, target: Target) -> None:
    """Not ready: 503 with Retry-After; the index tells the state and the reason."""
    assert spare.post(UNLOAD).status == 200
    broken = overriding(CONFIG, **{"file:1/model.onnx": base64.b64encode(b"no model").decode()})
    assert spare.post(LOAD, broken).status >= 400
    rows = spare.post("/v2/repository/index").json()
    (row,) = [row for row in rows if row["name"] == "spare"]
    assert row["state"] == "UNAVAILABLE"
    assert row["reason"]
    answer = spare.get("/v2/models/spare/ready")
    if target.kind == "triton":
        assert answer.status == 400
        return
    assert answer.status == 503
    assert_told_not_ready(answer)
    infer = spare.infer("spare", {"inputs": [in_json("x", "FP32", ONES)]})
    assert infer.error(503)
    assert infer.header("retry-after")


def assert_told_not_ready(answer: Answer) -> None:
    """The body of side 1, and when to ask again."""
    assert answer.header("retry-after")
    told = answer.json()
    assert told["ready"] is False
    assert told["error"]


@pytest.mark.falaj_only("Triton answers 400")
@pytest.mark.parametrize("verb", ["load", "unload"])
def test_request_is_404_when_the_model_is_nowhere(http: Http, verb: str) -> None:
    """Unknown model: 404."""
    http.post(f"/v2/repository/models/nobody/{verb}").error(404)


def test_model_is_loaded_as_told_when_asked_by_grpc(spare_by_grpc: Any) -> None:
    """RepositoryModelLoad, by Triton's protobuf (side 2): string_param for config, bytes_param for files."""
    request = service_pb2.RepositoryModelLoadRequest(model_name="spare")
    request.parameters["config"].string_param = json.dumps(CONFIG)
    request.parameters["file:1/model.onnx"].bytes_param = scaled_bytes(5)
    spare_by_grpc.RepositoryModelLoad(request)
    x = raw_request("spare", ("x", "FP32", ONES))
    assert arrays_of(spare_by_grpc.ModelInfer(x))["y"].tolist() == [[5, 5]]


def test_model_is_out_of_service_when_unloaded_by_grpc(spare_by_grpc: Any, target: Target) -> None:
    """RepositoryModelUnload with unload_dependents."""
    request = service_pb2.RepositoryModelUnloadRequest(model_name="spare")
    request.parameters["unload_dependents"].bool_param = False
    spare_by_grpc.RepositoryModelUnload(request)
    index = spare_by_grpc.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True))
    assert "spare" not in {model.name for model in index.models}
    gone = grpc.StatusCode.NOT_FOUND if target.kind == "falaj" else grpc.StatusCode.UNAVAILABLE
    assert_fails(spare_by_grpc.ModelInfer, raw_request("spare", ("x", "FP32", ONES)), gone, "spare")


def test_load_is_refused_when_its_parameters_are_wrong_by_grpc(stub: Any) -> None:
    """Any other key is an error, and so are values of another type."""
    for key, value in (
        ("unknown", {"bool_param": True}),
        ("config", {"int64_param": 1}),
        ("config", {"string_param": "{"}),
        ("file:1/model.onnx", {"bytes_param": b"without config"}),
        ("config", {}),
    ):
        request = service_pb2.RepositoryModelLoadRequest(model_name="spare")
        request.parameters[key].CopyFrom(service_pb2.ModelRepositoryParameter(**value))
        assert_fails(stub.RepositoryModelLoad, request, grpc.StatusCode.INVALID_ARGUMENT)


def test_other_models_answer_when_one_is_loaded_again(http: Http) -> None:
    """Loading one model is none of the others' business."""
    before = http.get(f"/v2/models/{IDENTITY['INT8']}").body
    assert http.post("/v2/repository/models/fixed/load").status == 200
    assert http.get(f"/v2/models/{IDENTITY['INT8']}").body == before
