"""The endpoints of HTTP besides infer: metadata, health, names in paths, wrong methods and unknown paths."""

from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.exchange import Http
from tests.conformance.repository import AWKWARD_NAME, CLASSES, FEATURES, IDENTITY, models
from tests.conformance.target import Target
from tests.conformance.tensors import in_json
from tests.zoo import DATATYPES

AWKWARD = quote(AWKWARD_NAME, safe="")
GETS = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/fixed",
    "/v2/models/fixed/versions/1",
    "/v2/models/fixed/ready",
    "/v2/models/fixed/config",
    "/v2/models/fixed/stats",
    "/v2/models/stats",
)
POSTS = (
    "/v2/models/fixed/infer",
    "/v2/models/fixed/versions/1/infer",
    "/v2/repository/index",
    "/v2/repository/models/fixed/load",
    "/v2/repository/models/fixed/unload",
)
UNKNOWN = (
    "/",
    "/v1/models/fixed",
    "/v2/model",
    "/v2/health",
    "/v2/health/lively",
    "/v2/models/fixed/ready/now",
    "/v2/models/fixed/versions",
    "/v2/models/fixed/versions/1/2/ready",
    "/v2/models/fixed/predict",
    "/v2/repository",
    "/v2/repository/models/fixed/reload",
)


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata_has_name_version_and_extensions_when_asked(
    http: Http, target: Target, path: str
) -> None:
    """GET /v2: {name, version, extensions[]}; accept /v2/ too. The name is `falaj` (side 1)."""
    told = http.get(path).json()
    assert told.keys() == {"name", "version", "extensions"}
    assert told["name"] == target.kind
    assert isinstance(told["version"], str)
    assert told["version"]
    assert all(isinstance(extension, str) for extension in told["extensions"])
    assert len(set(told["extensions"])) == len(told["extensions"])


@pytest.mark.parametrize("what", ["live", "ready"])
def test_health_is_200_when_the_server_serves(http: Http, target: Target, what: str) -> None:
    """health/live, health/ready: 200 when true; by default with a JSON body (side 1)."""
    answer = http.get(f"/v2/health/{what}")
    assert answer.status == 200
    if target.kind == "falaj":
        assert answer.json() == {what: True}


def test_model_metadata_has_the_batch_dimension_when_the_model_batches(http: Http) -> None:
    """{name, versions[], platform, inputs, outputs}; the shape includes the batch; side 3: platform."""
    assert http.get("/v2/models/classifier").json() == {
        "name": "classifier",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, FEATURES]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, CLASSES]}],
    }


@pytest.mark.parametrize(
    ("model", "shape"), [("fixed", [3]), ("transpose", [-1, -1]), ("pairs", [-1, -1, 2]), ("words", [-1, 1])]
)
def test_metadata_shape_has_minus_one_when_a_dimension_is_variable(
    http: Http, model: str, shape: list[int]
) -> None:
    """-1 = variable."""
    (tensor,) = http.get(f"/v2/models/{model}").json()["inputs"]
    assert tensor["shape"] == shape


@pytest.mark.parametrize("datatype", DATATYPES)
def test_metadata_names_the_data_type_when_it_is_any_of_fourteen(http: Http, datatype: str) -> None:
    """The data types by their names in the protocol."""
    told = http.get(f"/v2/models/{IDENTITY[datatype]}").json()
    assert [tensor["datatype"] for tensor in told["inputs"] + told["outputs"]] == [datatype] * 2


def test_metadata_lists_every_version_when_there_are_several(http: Http) -> None:
    """/v2/models/{m}[/versions/{v}]: versions[]."""
    whole = http.get("/v2/models/versions").json()
    assert sorted(whole["versions"]) == ["1", "3"]
    for version in ("1", "3"):
        one = http.get(f"/v2/models/versions/versions/{version}").json()
        assert (one["name"], one["inputs"]) == ("versions", whole["inputs"])


@pytest.mark.parametrize("path", ["fixed", "fixed/versions/1", "versions/versions/3"])
def test_model_is_ready_when_it_is_in_service(http: Http, path: str) -> None:
    """GET .../ready: 200."""
    assert http.get(f"/v2/models/{path}/ready").status == 200


@pytest.mark.falaj_only("Triton has no such endpoint")
def test_model_names_are_listed_when_asked_as_kserve_does(http: Http) -> None:
    """Side 5: GET /v2/models answers the list of names."""
    told = http.get("/v2/models").json()
    assert told.keys() == {"models"}
    assert {model.name for model in models()} <= set(told["models"])


@pytest.mark.parametrize("path", ["", "/versions/1", "/ready", "/config", "/stats"])
def test_model_is_found_when_its_name_is_percent_encoded(http: Http, path: str) -> None:
    """Model names may be any [^/]+, percent-encoded."""
    answer = http.get(f"/v2/models/{AWKWARD}{path}")
    assert answer.status == 200
    if path in ("", "/versions/1", "/config"):
        assert answer.json()["name"] == AWKWARD_NAME


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(encoded=st.lists(st.booleans(), min_size=64, max_size=64), lower=st.booleans())
def test_infer_finds_the_model_when_any_character_of_its_name_is_encoded(
    http: Http, encoded: list[bool], lower: bool
) -> None:
    """A character that need not be percent-encoded may be, in digits of either case."""
    name = "".join(
        f"%{byte:02{'x' if lower else 'X'}}" if must or not chr(byte).isalnum() or byte > 127 else chr(byte)
        for byte, must in zip(AWKWARD_NAME.encode(), encoded, strict=False)
    )
    (x,) = http.get(f"/v2/models/{name}").json()["inputs"]
    request = {"inputs": [{"name": x["name"], "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    answer = http.infer(name, request).json()
    assert (answer["model_name"], answer["outputs"][0]["data"]) == (AWKWARD_NAME, [7, 14])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=40)
)
def test_unknown_model_is_404_when_its_name_is_any_text(http: Http, name: str) -> None:
    """Unknown model: 404 with {"error": "..."}; any name can be asked for."""
    if name in {model.name for model in models()} | {"stats"} or set(name) == {"."}:
        return
    assert http.get(f"/v2/models/{quote(name, safe='')}").error(404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", GETS)
def test_method_is_refused_when_the_path_is_read(http: Http, method: str, path: str) -> None:
    """A wrong method is 405 with {"error": "..."}."""
    assert http(method, path).error(405)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", POSTS)
def test_method_is_refused_when_the_path_is_posted_to(http: Http, method: str, path: str) -> None:
    """A wrong method is 405 with {"error": "..."}."""
    answer = http(method, path)
    assert answer.error(405)
    assert "POST" in (answer.header("allow") or "")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", UNKNOWN)
def test_path_is_404_when_it_is_unknown(http: Http, method: str, path: str) -> None:
    """An unknown path is 404 with {"error": "..."}."""
    assert http(method, path).error(404)


def test_query_changes_nothing_when_a_path_has_one(http: Http) -> None:
    """The endpoints are paths: what follows a question mark is none of their business."""
    assert http.get("/v2/models/fixed?a=/infer").body == http.get("/v2/models/fixed").body
    request = {"inputs": [{"name": "x", "shape": [3], "datatype": "FP32", "data": [1, 2, 3]}]}
    assert http("POST", "/v2/models/fixed/infer?a=b", request).json()["outputs"][0]["data"] == [2, 4, 6]


def test_infer_asks_the_version_when_the_path_names_one(http: Http) -> None:
    """POST /v2/models/{m}[/versions/{v}]/infer: the named version answers, else the highest."""
    request = {"inputs": [in_json("x", "FP32", np.ones((1, 2), np.float32))]}
    for path, version, factor in (("/versions/1", "1", 1), ("/versions/3", "3", 3), ("", "3", 3)):
        told = http.post(f"/v2/models/versions{path}/infer", request).json()
        assert (told["model_name"], told["model_version"]) == ("versions", version)
        assert told["outputs"][0]["data"] == [factor, factor]
