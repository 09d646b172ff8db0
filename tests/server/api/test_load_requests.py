"""Models are loaded, overridden, listed and unloaded by requests."""

import base64
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import falaj
from falaj.server.api import shapes
from falaj.server.api.app import make_app
from falaj.server.api.control_plane import ControlPlane
from tests import zoo
from tests.server.asking import Asking, error_of
from tests.server.serving_process import until
from tests.serving import ECHO, QUICK, add_model, add_python, x_of
from tests.zoo.model import serialise

pytestmark = pytest.mark.core

_X_TO_Y = {
    "max_batch_size": 4,
    "backend": "python",
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
}
# Tells that it is being loaded and waits until it may be.
_SLOW = """
import sys
import threading

loading, gate = threading.Event(), threading.Event()
sys.modules["falaj_test_loading"] = sys.modules[__name__]

class Model:
    def load(self, parameters, folder):
        loading.set()
        gate.wait(60)

    def infer(self, batch):
        return {"y": batch["x"]}
"""


@contextmanager
def serving(
    models: Path, loaded: list[str] | None = None, **options: Any
) -> Iterator[tuple[Asking, falaj.Engine]]:
    with falaj.Engine(models, cores=1, models=loaded) as engine:
        control = ControlPlane(engine, **options)
        with Asking(make_app(control, None)) as ask:
            yield ask, engine
        control.close()


def load(ask: Asking, name: str, **parameters: Any) -> Any:
    return ask("POST", f"/v2/repository/models/{name}/load", {"parameters": parameters})


def index(ask: Asking, body: Any = None) -> dict[tuple[str, str], tuple[str, str]]:
    rows = ask("POST", "/v2/repository/index", body).json()
    msgspec.convert(rows, list[shapes.IndexEntry], strict=True)
    return {(row["name"], row["version"]): (row["state"], row["reason"]) for row in rows}


def base64_of(model: zoo.ZooModel) -> str:
    return base64.b64encode(serialise(model.proto)).decode()


def test_model_is_loaded_listed_and_unloaded_when_asked(models: Path) -> None:
    add_python(models, "a")
    add_python(models, "b", version=2)
    with serving(models, loaded=[]) as (ask, engine):
        assert index(ask) == {
            ("a", ""): ("UNAVAILABLE", "not loaded"),
            ("b", ""): ("UNAVAILABLE", "not loaded"),
        }
        assert index(ask, {"ready": True}) == {}
        for body in (None, b"", {}, {"parameters": {}}):
            response = ask("POST", "/v2/repository/models/b/load", body)
            assert (response.status_code, response.content) == (200, b"")
        assert index(ask)["b", "2"] == ("READY", "")
        assert index(ask, {"ready": True}) == {("b", "2"): ("READY", "")}
        assert engine.infer("b", x_of(1))["y"].item() == 1
        response = ask("POST", "/v2/repository/models/b/unload", {"parameters": {"unload_dependents": False}})
        assert (response.status_code, response.content) == (200, b"")
        assert index(ask)["b", ""] == ("UNAVAILABLE", "not loaded")
        assert "not loaded" in error_of(ask("POST", "/v2/repository/models/b/unload"), 404)


def test_index_tells_why_when_a_model_cannot_be_loaded(models: Path) -> None:
    add_python(models, "broken", "raise RuntimeError('no good')")
    with serving(models) as (ask, _):
        [(state, reason)] = index(ask).values()
        assert state == "UNAVAILABLE"
        assert "no good" in reason
        assert "no good" in error_of(load(ask, "broken"), 400)
        assert "'nope' has no folder" in error_of(load(ask, "nope"), 404)
        assert index(ask).keys() == {("broken", "1")}


def test_index_tells_that_a_model_is_loading_when_it_is(models: Path) -> None:
    add_python(models, "slow", _SLOW)
    add_python(models, "other")
    with serving(models, loaded=["other"]) as (ask, engine):
        loading = threading.Thread(target=engine.load, args=("slow",))
        loading.start()
        try:
            until(lambda: "falaj_test_loading" in sys.modules, "the model's module was imported")
            module = sys.modules.pop("falaj_test_loading")
            assert module.loading.wait(30)
            assert index(ask) == {("slow", ""): ("LOADING", ""), ("other", "1"): ("READY", "")}
            assert index(ask, {"ready": True}) == {("other", "1"): ("READY", "")}
        finally:
            module.gate.set()
            loading.join()
        assert index(ask)["slow", "1"] == ("READY", "")


def test_index_tells_what_is_served_when_the_folder_is_away(models: Path, tmp_path: Path) -> None:
    add_python(models, "a")
    with serving(models) as (ask, _):
        models.rename(tmp_path / "away")
        assert index(ask) == {("a", "1"): ("READY", "")}


def test_config_is_used_once_when_given(models: Path) -> None:
    add_model(models, zoo.mlp(), QUICK)
    with serving(models) as (ask, engine):
        config = json.dumps({"max_batch_size": 3, "parameters": {"falaj.tune_ms": {"string_value": "0"}}})
        assert load(ask, "mlp", config=config).status_code == 200
        assert ask("GET", "/v2/models/mlp/config").json()["max_batch_size"] == 3
        assert load(ask, "mlp").status_code == 200
        assert engine.describe("mlp")["config"]["max_batch_size"] is None


def test_files_are_served_when_given_with_a_config(models: Path) -> None:
    model = zoo.identity("FP32", 2, seed=3)
    with serving(models) as (ask, engine):
        response = load(
            ask, "given", **{"config": '{"name": "given"}', "file:5/model.onnx": base64_of(model)}
        )
        assert response.status_code == 200, response.text
        assert index(ask) == {("given", "5"): ("READY", "")}
        assert engine.describe("given")["inputs"][0]["name"] == model.inputs[0].name


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"confg": "{}"}, "'confg' is unknown; expected config or file:<version>/<name>"),
        ({"unload_dependents": "true"}, "unknown"),
        ({"config": "{"}, "config: expected a ModelConfig in JSON"),
        ({"config": "[]"}, "config: expected a JSON object"),
        ({"config": '{"inputs": []}'}, "unknown field 'inputs' of ModelConfig; did you mean 'input'?"),
        ({"config": '{"name": "other"}'}, "expected the model's name 'mlp', got 'other'"),
        ({"config": '{"max_batch_size": -1}'}, "max_batch_size"),
        ({"config": '{"sequence_batching": {"iterative_sequence": true}}'}, "not supported yet"),
        ({"config": '{"input": [{"name": "z"}]}'}, "the model has no input 'z'"),
        ({"file:1/model.onnx": ""}, "'config' is missing"),
        ({"config": "{}", "file:1/model.onnx": "a"}, "'file:1/model.onnx' is not base64"),
        ({"config": "{}", "file:1/model.onnx": "a b c d!"}, "is not base64"),
        ({"config": "{}", "file:1/model.onnx": "ü"}, "is not base64"),
        ({"config": "{}", "file:../../etc/x": "", "file:1/model.onnx": ""}, "expected <version>/<file name>"),
        ({"config": "{}", "file:model.onnx": ""}, "expected a file of a version"),
        ({"config": "{}", "file:1/model.onnx": ""}, "could not load"),
    ],
)
def test_load_is_refused_and_what_serves_untouched_when_parameters_are_wrong(
    models: Path, parameters: dict[str, str], text: str
) -> None:
    add_model(models, zoo.mlp(), QUICK)
    with serving(models) as (ask, engine):
        before = engine.describe("mlp")
        assert text in error_of(load(ask, "mlp", **parameters), 400)
        assert engine.describe("mlp") == before
        assert index(ask)["mlp", "1"][0] == "READY"


@pytest.mark.parametrize(
    "body",
    [{"parameters": {"config": {}}}, {"parameters": {"config": None}}, {"parameters": []}, {"config": "{}"}],
)
def test_load_is_refused_when_its_body_has_another_shape(models: Path, body: Any) -> None:
    with serving(models) as (ask, _):
        error_of(ask("POST", "/v2/repository/models/m/load", body), 400)


@pytest.mark.parametrize(
    "body",
    [
        {"parameters": {"unload_dependants": True}},
        {"parameters": {"unload_dependents": "true"}},
        {"unload_dependents": True},
    ],
)
def test_unload_is_refused_and_the_model_stays_when_parameters_are_wrong(models: Path, body: Any) -> None:
    add_python(models, "a")
    with serving(models) as (ask, _):
        error_of(ask("POST", "/v2/repository/models/a/unload", body), 400)
        assert index(ask)["a", "1"] == ("READY", "")


def test_python_code_is_not_taken_from_a_request_when_it_is_not_allowed(models: Path) -> None:
    code = {"config": json.dumps(_X_TO_Y), "file:1/model.py": base64.b64encode(ECHO.encode()).decode()}
    with serving(models) as (ask, _):
        text = error_of(load(ask, "sent", **code), 501)
        assert text == (
            "load parameter 'file:1/model.py': Python code is loaded from the repository's folder only"
        )
        assert index(ask) == {}
    with serving(models, may_bring_code=True) as (ask, engine):
        assert load(ask, "sent", **code).status_code == 200
        assert engine.infer("sent", x_of(4))["y"].item() == 4


def test_python_file_is_taken_as_code_by_no_other_name_when_sent(models: Path) -> None:
    for name in ("model.PY", "model.pyc", "model.txt"):
        config = json.dumps(_X_TO_Y | {"default_model_filename": name})
        files = {f"file:1/{name}": base64.b64encode(ECHO.encode()).decode()}
        with serving(models) as (ask, _):
            assert load(ask, "sent", config=config, **files).status_code >= 400
            assert index(ask, {"ready": True}) == {}


def test_models_are_not_changed_when_requests_may_not(models: Path) -> None:
    add_python(models, "a")
    with serving(models, may_change=False) as (ask, _):
        for action in ("load", "unload"):
            text = error_of(ask("POST", f"/v2/repository/models/a/{action}"), 503)
            assert "model_control" in text
        assert index(ask) == {("a", "1"): ("READY", "")}


@pytest.mark.parametrize("name", ["..%2Fx", "%2Fetc", "a%2F..%2Fb", "..%2F..%2Ftmp"])
def test_load_is_refused_when_the_name_is_a_path(models: Path, tmp_path: Path, name: str) -> None:
    files = {"config": "{}", "file:1/model.onnx": base64_of(zoo.mlp())}
    with serving(models) as (ask, _):
        before = sorted(tmp_path.rglob("*"))
        error_of(load(ask, name), 404)
        error_of(load(ask, name, **files), 404)
        assert sorted(tmp_path.rglob("*")) == before
        assert index(ask) == {}
