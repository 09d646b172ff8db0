"""The extensions that are small: configuration, logging, trace, shared memory, and which are reported."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.exchange import Http
from tests.conformance.repository import CLASSES, FEATURES, IDENTITY
from tests.conformance.target import Target

LOG_KEYS = {"log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"}
# Paths that belong to an extension, and a method that they take.
UNREPORTED = {
    "trace": [
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/trace/setting"),
        ("GET", "/v2/models/fixed/trace/setting"),
        ("POST", "/v2/models/fixed/trace/setting"),
    ],
    **{
        f"{kind}_shared_memory": [
            ("GET", f"/v2/{kind}sharedmemory/status"),
            ("GET", f"/v2/{kind}sharedmemory/region/r/status"),
            ("POST", f"/v2/{kind}sharedmemory/region/r/register"),
            ("POST", f"/v2/{kind}sharedmemory/unregister"),
            ("POST", f"/v2/{kind}sharedmemory/region/r/unregister"),
        ]
        for kind in ("system", "cuda")
    },
}
SHARED_MEMORY = [
    (other, path)
    for extension, calls in UNREPORTED.items()
    if extension != "trace"
    for method, path in calls
    for other in ({"GET": "POST", "POST": "GET"}[method], "PUT")
]


def test_extensions_are_the_served_ones_when_reported(http: Http, target: Target) -> None:
    """Report only the extensions that are served."""
    reported = set(http.get("/v2").json()["extensions"])
    served = {
        "classification", "sequence", "sequence(string_id)", "schedule_policy",
        "model_repository", "model_repository(unload_dependents)",
        "model_configuration", "binary_tensor_data", "parameters", "statistics", "logging",
    }  # fmt: skip
    assert reported >= served
    if target.kind == "falaj":
        assert reported == served


def test_configuration_has_tritons_field_names_when_asked(http: Http) -> None:
    """GET .../config: the model's configuration as JSON (Triton's ModelConfig field names)."""
    told = http.get("/v2/models/classifier/config").json()
    assert told["name"] == "classifier"
    assert told["backend"] == "onnxruntime"
    assert told["max_batch_size"] == 16
    (x,), (y,) = told["input"], told["output"]
    assert (x["name"], x["data_type"], [int(size) for size in x["dims"]]) == ("x", "TYPE_FP32", [FEATURES])
    assert (y["name"], y["data_type"], [int(size) for size in y["dims"]]) == ("y", "TYPE_FP32", [CLASSES])
    assert y["label_filename"] == "y.txt"
    assert "dynamic_batching" in told
    assert told["version_policy"] == {"latest": {"num_versions": 1}}
    assert http.get("/v2/models/classifier/versions/1/config").json() == told


def test_configuration_has_the_whole_shape_when_the_model_does_not_batch(http: Http) -> None:
    """max_batch_size 0: dims are the tensor's; BYTES is TYPE_STRING."""
    told = http.get(f"/v2/models/{IDENTITY['BYTES']}/config").json()
    assert told["max_batch_size"] == 0
    assert "dynamic_batching" not in told
    (x,) = told["input"]
    assert (x["data_type"], [int(size) for size in x["dims"]]) == ("TYPE_STRING", [-1, -1])
    versions = http.get("/v2/models/versions/config").json()
    assert versions["version_policy"] == {"all": {}}


@pytest.mark.parametrize("path", ["nobody", "fixed/versions/9"])
def test_configuration_is_404_when_the_model_is_unknown(http: Http, path: str) -> None:
    """Unknown model or version: 404."""
    http.get(f"/v2/models/{path}/config").error(404)


@pytest.fixture
def logging_again(http: Http) -> Iterator[None]:
    """Gives the settings of the log back."""
    before = {key: value for key, value in http.get("/v2/logging").json().items() if key != "log_file"}
    yield
    assert http.post("/v2/logging", before).status == 200


def test_log_settings_are_all_told_when_asked(http: Http) -> None:
    """GET /v2/logging: log_file, log_info, log_warning, log_error, log_verbose_level, log_format."""
    told = http.get("/v2/logging").json()
    assert told.keys() == LOG_KEYS
    kinds = {"log_file": str, "log_verbose_level": int, "log_format": str}
    assert all(isinstance(value, kinds.get(key, bool)) for key, value in told.items())


@pytest.mark.usefixtures("logging_again")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("log_info", False),
        ("log_warning", False),
        ("log_error", False),
        ("log_verbose_level", 1),
        ("log_format", "ISO8601"),
    ],
)
def test_log_setting_changes_when_it_is_posted(http: Http, key: str, value: object) -> None:
    """POST /v2/logging changes what is named and answers with all settings."""
    before = http.get("/v2/logging").json()
    assert before[key] != value
    told = http.post("/v2/logging", {key: value}).json()
    assert told == {**before, key: value}
    assert http.get("/v2/logging").json() == told


@pytest.mark.parametrize(
    "body",
    [
        {"log_everything": True},
        {"log_info": 1},
        {"log_info": "false"},
        {"log_verbose_level": -1},
        {"log_verbose_level": True},
        {"log_verbose_level": "1"},
        {"log_format": "prose"},
        {"log_file": "/tmp/elsewhere"},
        {"log_verbose_level": 7, "log_info": "no"},
        [],
        b"{",
    ],
    ids=str,
)
def test_log_settings_stay_when_a_value_is_wrong(http: Http, body: object) -> None:
    """What is not known or not of its type is a 400, and nothing changes; nor may a client choose a file."""
    before = http.get("/v2/logging").json()
    http.post("/v2/logging", body).error(400)
    assert http.get("/v2/logging").json() == before


@pytest.mark.parametrize("extension", UNREPORTED)
def test_extension_is_501_when_it_is_not_reported(http: Http, extension: str) -> None:
    """trace/setting (GET and POST), shared memory (status GET, the others POST): served where reported, else
    unsupported."""
    reported = extension in http.get("/v2").json()["extensions"]
    for method, path in UNREPORTED[extension]:
        answer = http(method, path)
        if reported:
            assert answer.status not in (404, 405), path
        else:
            answer.error(501)


@pytest.mark.parametrize(("method", "path"), SHARED_MEMORY)
def test_shared_memory_is_405_when_the_method_is_wrong(http: Http, method: str, path: str) -> None:
    """status GET, the others POST: a wrong method is 405, served or not."""
    http(method, path).error(405)


def test_trace_settings_are_strings_when_they_are_served(http: Http) -> None:
    """Values are strings, null clears; where trace is not reported, there are none."""
    if "trace" not in http.get("/v2").json()["extensions"]:
        http.get("/v2/trace/setting").error(501)
        return
    path = "/v2/models/fixed/trace/setting"
    before: dict[str, Any] = http.get(path).json()
    assert all(isinstance(value, (str, list)) for value in before.values())
    assert http.post(path, {"trace_rate": "77"}).json()["trace_rate"] == "77"
    assert http.post(path, {"trace_rate": None}).json() == before
