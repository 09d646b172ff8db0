"""Every endpoint answers in the shape that the protocol, and the OpenAPI document, say."""

import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

import falaj
from falaj.server.api import shapes
from falaj.server.api.app import make_admin_app, make_app
from falaj.server.api.control_plane import ControlPlane
from tests.server.asking import Asking, error_of
from tests.server.log_switches import Logs

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v2", shapes.ServerMetadata),
        ("/v2/", shapes.ServerMetadata),
        ("/v2/health/live", shapes.Live),
        ("/v2/health/ready", shapes.Ready),
        ("/v2/models", shapes.ModelNames),
        ("/v2/models/stats", shapes.Statistics),
        ("/v2/models/mlp", shapes.ModelMetadata),
        ("/v2/models/two/versions/1", shapes.ModelMetadata),
        ("/v2/models/mlp/ready", shapes.ModelReady),
        ("/v2/models/two/versions/1/ready", shapes.ModelReady),
        ("/v2/models/mlp/stats", shapes.Statistics),
        ("/v2/models/two/versions/3/stats", shapes.Statistics),
        ("/v2/models/mlp/config", dict[str, Any]),
        ("/v2/models/two/versions/3/config", dict[str, Any]),
    ],
)
def test_get_answers_in_its_shape_when_asked(ask: Asking, path: str, shape: Any) -> None:
    response = ask("GET", path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    msgspec.convert(response.json(), shape, strict=True)
    head = ask("HEAD", path)
    assert (head.status_code, head.headers["content-type"]) == (200, "application/json")


def test_server_metadata_tells_the_served_extensions_when_asked(engine: falaj.Engine) -> None:
    with Asking(make_app(ControlPlane(engine, logs=Logs()), None)) as ask:
        told = ask("GET", "/v2").json()
    assert (told["name"], told["version"]) == ("falaj", falaj.__version__)
    assert set(told["extensions"]) == {
        "classification", "sequence", "sequence(string_id)", "model_configuration", "model_repository",
        "model_repository(unload_dependents)", "schedule_policy", "statistics", "binary_tensor_data",
        "parameters", "logging",
    }  # fmt: skip
    bare = ControlPlane(engine, may_change=False).server_metadata()["extensions"]
    assert set(told["extensions"]) - set(bare) == {"logging", "model_repository(unload_dependents)"}


def test_model_metadata_has_the_batch_dimension_when_batched(ask: Asking) -> None:
    assert ask("GET", "/v2/models/mlp").json() == {
        "name": "mlp",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 32]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }
    python = ask("GET", "/v2/models/two").json()
    assert (python["platform"], python["versions"]) == ("python", ["1", "3"])
    assert ask("GET", "/v2/models/two/versions/1").json()["versions"] == ["1"]


@pytest.mark.parametrize("tail", ["", "/ready", "/config", "/stats"])
def test_encoded_name_is_found_when_asked_for(ask: Asking, tail: str) -> None:
    name = quote("name with % and ü", safe="")
    response = ask("GET", f"/v2/models/{name}{tail}")
    assert response.status_code == 200, response.text
    assert "name with % and ü" in json.dumps(response.json(), ensure_ascii=False)


@pytest.mark.parametrize("tail", ["", "/ready", "/config", "/stats"])
def test_unknown_model_or_version_is_not_found_when_asked_for(ask: Asking, tail: str) -> None:
    assert "'nope'" in error_of(ask("GET", f"/v2/models/nope{tail}"), 404)
    assert "version 7" in error_of(ask("GET", f"/v2/models/mlp/versions/7{tail}"), 404)


@pytest.mark.parametrize("tail", ["", "/config", "/stats"])
def test_model_is_unavailable_when_it_could_not_be_loaded(ask: Asking, tail: str) -> None:
    response = ask("GET", f"/v2/models/broken{tail}")
    assert "no good" in error_of(response, 503)
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("version", ["0", "-1", "01", "1.0", "x", "9" * 30, "9" * 5000, "%31x", "1%2F2"])
@pytest.mark.parametrize("tail", ["", "/ready", "/config", "/stats"])
def test_version_is_refused_when_it_is_no_number_of_one_or_more(ask: Asking, version: str, tail: str) -> None:
    assert "version" in error_of(ask("GET", f"/v2/models/mlp/versions/{version}{tail}"), 400)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/models/mlp/trace/setting"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/v2/cudasharedmemory/region/a%2Fb/status"),
        ("POST", "/v2/cudasharedmemory/region/r/register"),
        ("POST", "/v2/systemsharedmemory/unregister"),
    ],
)
def test_extension_is_unsupported_when_it_is_not_served(ask: Asking, method: str, path: str) -> None:
    assert "not served" in error_of(ask(method, path), 501)


def test_log_settings_are_read_and_changed_when_asked(engine: falaj.Engine) -> None:
    logs = Logs()
    with Asking(make_app(ControlPlane(engine, logs=logs), None)) as ask:
        assert msgspec.convert(ask("GET", "/v2/logging").json(), shapes.LogSettings).log_info
        told = ask("POST", "/v2/logging", {"log_info": False, "log_error": None, "log_verbose_level": 2})
        assert told.json() == ask("GET", "/v2/logging").json() == logs.values
        assert (logs.values["log_info"], logs.values["log_verbose_level"]) == (False, 2)
        assert logs.values["log_error"] is True
        assert ask("POST", "/v2/logging").json() == logs.values
        assert "unknown" in error_of(ask("POST", "/v2/logging", {"log_inf": True}), 400)


def test_log_settings_are_unsupported_when_there_are_none(ask: Asking) -> None:
    error_of(ask("GET", "/v2/logging"), 501)
    error_of(ask("POST", "/v2/logging", {}), 501)


def test_infer_is_unsupported_when_it_is_answered_elsewhere(ask: Asking) -> None:
    error_of(ask("POST", "/v2/models/mlp/infer", {}), 501)


def test_admin_app_answers_probes_pages_and_metrics_when_asked(control: ControlPlane) -> None:
    accepted: list[str] = []

    def metrics(accept: str) -> tuple[bytes, str]:
        accepted.append(accept)
        return b"up 1\n", "text/plain; version=0.0.4; charset=utf-8"

    with Asking(make_admin_app(control, metrics)) as ask:
        page = ask("GET", "/metrics", headers={"accept": "application/openmetrics-text"})
        assert (page.text, page.headers["content-type"]) == (
            "up 1\n",
            "text/plain; version=0.0.4; charset=utf-8",
        )
        assert accepted == ["application/openmetrics-text"]
        assert ask("GET", "/v2/health/ready").json() == {"ready": True}
        assert ask("GET", "/v2/health/live").json() == {"live": True}
        for path in ("/docs", "/ui", "/openapi.json"):
            assert ask("GET", path).status_code == 200
        # The port of metrics is often reachable where the protocol's is not.
        for path in ("/v2/repository/models/mlp/load", "/v2/repository/models/mlp/unload", "/v2/logging"):
            error_of(ask("POST", path), 404)
