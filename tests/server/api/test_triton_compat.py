"""With `compat triton` clients of Triton hear what they are used to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import falaj
from falaj.server.api.app import make_app
from falaj.server.api.control_plane import ControlPlane
from tests.server.asking import Asking, error_of
from tests.serving import add_python

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def compat(engine: falaj.Engine) -> Iterator[Asking]:
    with Asking(make_app(ControlPlane(engine, triton_compat=True), None)) as ask:
        yield ask


def test_server_is_called_triton_when_compatible(compat: Asking) -> None:
    assert compat("GET", "/v2").json()["name"] == "triton"


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/mlp/ready", "/v2/models/two/versions/1/ready"]
)
def test_body_is_empty_when_something_is_ready(compat: Asking, path: str) -> None:
    response = compat("GET", path)
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("path", ["/v2/models/nope/ready", "/v2/models/mlp/versions/7/ready"])
def test_status_is_400_without_a_body_when_the_model_is_unknown(compat: Asking, path: str) -> None:
    response = compat("GET", path)
    assert (response.status_code, response.content) == (400, b"")


def test_status_is_400_without_a_body_when_the_server_drains(engine: falaj.Engine) -> None:
    control = ControlPlane(engine, triton_compat=True, is_draining=lambda: True)
    with Asking(make_app(control, None)) as ask:
        for path in ("/v2/health/ready", "/v2/models/mlp/ready"):
            response = ask("GET", path)
            assert (response.status_code, response.content) == (400, b"")
        assert ask("GET", "/v2/health/live").status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/nope", 404, "Request for unknown model: 'nope' is not found"),
        ("/nope/config", 404, "Request for unknown model: 'nope' is not found"),
        ("/mlp/versions/7", 404, "Request for unknown model: 'mlp' version 7 is not found"),
        ("/nope/versions/7/config", 404, "Request for unknown model: 'nope' version 7 is not found"),
        ("/broken", 404, "Request for unknown model: 'broken' has no available versions"),
        ("/broken/versions/1", 503, "Request for unknown model: 'broken' version 1 is not at ready state"),
        ("/nope/stats", 404, "requested model 'nope' is not available"),
        ("/broken/stats", 404, "requested model 'broken' is not available"),
        ("/mlp/versions/7/stats", 404, "requested model version is not available for model 'mlp'"),
        (
            "/mlp/versions/x",
            400,
            "failed to get model version from specified version string 'x' (details: stol), version should "
            "be an integral value > 0",
        ),
    ],
)
def test_error_is_in_tritons_words_when_a_model_is_asked_for(
    compat: Asking, path: str, status: int, text: str
) -> None:
    assert error_of(compat("GET", f"/v2/models{path}"), status) == text


def test_error_is_in_tritons_words_when_models_are_changed(models: Path) -> None:
    add_python(models, "broken", "raise RuntimeError('no good')")
    with falaj.Engine(models, cores=1, models=[]) as engine:
        with Asking(make_app(ControlPlane(engine, triton_compat=True), None)) as ask:
            load, unload = ("/v2/repository/models/{}/load", "/v2/repository/models/{}/unload")
            told = error_of(ask("POST", load.format("nope")), 404)
            assert told == "failed to load 'nope', failed to poll from model repository"
            told = error_of(ask("POST", load.format("broken")), 400)
            assert told.startswith("load failed for model 'broken': ")
            assert "no good" in told
            assert ask("POST", unload.format("nope")).status_code == 200  # Triton minds it not
        fixed = ControlPlane(engine, triton_compat=True, may_change=False)
        with Asking(make_app(fixed, None)) as ask:
            told = error_of(ask("POST", load.format("broken")), 503)
            assert told == "explicit model load / unload is not allowed if polling is enabled"
