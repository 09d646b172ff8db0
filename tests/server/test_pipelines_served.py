"""Pipelines over HTTP and gRPC, as Triton's clients and configurations expect them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

import falaj
from falaj.server.errors import ConfigError
from falaj.server.pipeline_config import PipelineModel
from falaj.server.triton_config import parse_config_pbtxt
from tests.engine.pipeline_models import CHAIN, add_models, add_pipeline
from tests.server.wire_serving import WireServing

_STEPS = """
ensemble_scheduling {
  step [
    {
      model_name: "first" model_version: -1
      input_map { key: "x" value: "raw" }
      output_map { key: "y" value: "hidden" }
    },
    {
      model_name: "second" model_version: 1
      input_map { key: "x" value: "hidden" }
      output_map { key: "y" value: "score" }
    }
  ]
}
"""
_ENSEMBLE = (
    """
name: "ensemble"
platform: "ensemble"
max_batch_size: 8
input [ { name: "raw" data_type: TYPE_FP32 dims: [ 8 ] } ]
output [ { name: "score" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""
    + _STEPS
)


_TWO_OUTPUTS = 'output_map { key: "y" value: "hidden" } output_map { key: "z" value: "w" }'


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServing]:
    folder = tmp_path_factory.mktemp("models")
    add_models(folder)
    add_pipeline(folder, "chain", CHAIN)
    (folder / "ensemble" / "1").mkdir(parents=True)  # as Triton wants it
    (folder / "ensemble" / "config.pbtxt").write_text(_ENSEMBLE, encoding="utf-8")
    with (
        falaj.Engine(folder, cores=2, strict=True, models=["chain", "ensemble"]) as engine,
        WireServing(engine) as serving,
    ):
        serving.engine = engine  # type: ignore[attr-defined]
        yield serving


def _x(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32)


def _ask_client(client: Any, module: Any, model: str, name: str, x: np.ndarray) -> Any:
    tensor = module.InferInput(name, list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    return client.infer(model, [tensor]).as_numpy("score")


@pytest.mark.parametrize("kind", ["http", "grpc"])
@pytest.mark.parametrize(("model", "name"), [("chain", "x"), ("ensemble", "raw")])
def test_pipeline_answers_tritons_client_when_it_is_asked(
    serving: WireServing, kind: str, model: str, name: str
) -> None:
    module: Any = getattr(tritonclient, kind)
    engine: falaj.Engine = serving.engine  # type: ignore[attr-defined]
    with module.InferenceServerClient(serving.url(kind)) as client:
        for rows in (1, 5):
            hidden = engine.infer("first", {"x": _x(rows)})["y"]
            expected = engine.infer("second", {"x": hidden})["y"]
            np.testing.assert_array_equal(_ask_client(client, module, model, name, _x(rows)), expected)


def test_pipeline_tells_of_itself_when_tritons_client_asks(serving: WireServing) -> None:
    with tritonclient.http.InferenceServerClient(serving.url()) as client:
        assert client.is_model_ready("ensemble")
        told = client.get_model_metadata("ensemble")
        assert (told["platform"], told["versions"]) == ("ensemble", ["1"])
        assert told["inputs"] == [{"name": "raw", "datatype": "FP32", "shape": [-1, 8]}]
        config = client.get_model_config("ensemble")
        steps = config["ensemble_scheduling"]["step"]
        assert [(step["model_name"], step["model_version"]) for step in steps] == [
            ("first", -1),
            ("second", 1),
        ]
        assert steps[1]["input_map"] == {"x": "hidden"}
        before = client.get_inference_statistics("ensemble")["model_stats"][0]["inference_count"]
        _ask_client(client, tritonclient.http, "ensemble", "raw", _x(3))
        stats = client.get_inference_statistics("ensemble")["model_stats"][0]
        assert stats["inference_count"] == before + 3
        assert stats["inference_stats"]["compute_infer"]["ns"] > 0


def test_request_is_told_which_step_failed_when_one_does(serving: WireServing) -> None:
    with tritonclient.http.InferenceServerClient(serving.url()) as client:
        tensor = tritonclient.http.InferInput("x", [1, 9], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 9), np.float32))
        with pytest.raises(
            tritonclient.http.InferenceServerException, match=r"'chain'.*expected FP32 \[-1, 8\]"
        ):
            client.infer("chain", [tensor])


def _parse(text: str) -> tuple[PipelineModel, list[str]]:
    config, warnings = parse_config_pbtxt(text, source="config.pbtxt", model_name="ensemble")
    assert isinstance(config, PipelineModel)
    return config, warnings


def test_ensemble_is_a_pipeline_when_config_pbtxt_has_one() -> None:
    config, warnings = _parse(
        _ENSEMBLE + 'parameters { key: "falaj.max_queue_rows" value { string_value: "7" } }'
    )
    assert warnings == []
    assert (config.max_batch_size, config.max_queue_rows) == (8, 7)
    assert config.pipeline is not None
    assert [(step.model, step.version) for step in config.pipeline.step] == [("first", None), ("second", 1)]
    assert config.pipeline.input[0].shape == (-1, 8)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (("", "instance_group { count: 2 }"), "instance_group is ignored"),
        (
            ("ensemble_scheduling {", "ensemble_scheduling { max_inflight_requests: 4"),
            "ensemble_scheduling.max_inflight_requests is ignored: max_queue_rows",
        ),
        (
            ('output_map { key: "y" value: "hidden" }', _TWO_OUTPUTS),
            "ensemble_scheduling.step[0].output_map['z'] is ignored: nothing uses its tensor",
        ),
    ],
)
def test_ensemble_warns_when_something_does_nothing(change: tuple[str, str], warning: str) -> None:
    old, new = change
    _, warnings = _parse(_ENSEMBLE.replace(old, new, 1) if old else _ENSEMBLE + new)
    assert len(warnings) == 1
    assert warning in warnings[0]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"hidden" }\n      output', '"gone" }\n      output', "ensemble_scheduling.step[1].input_map.x"),
        ('value: "score"', 'value: "other"', "output[0].name"),
        ('"hidden" }\n    },', '"raw" }\n    },', "ensemble_scheduling.step[0].output_map.y"),
        ("model_version: 1", "model_version: -2", "ensemble_scheduling.step[1]"),
        ('platform: "ensemble"', 'platform: "ensemble" backend: "python"', "backend"),
        ('platform: "ensemble"', 'platform: "onnxruntime_onnx"', "platform"),
        (_STEPS, "", "ensemble_scheduling.step"),
    ],
)
def test_ensemble_names_the_key_when_it_is_wrong(old: str, new: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(_ENSEMBLE.replace(old, new, 1))
    assert caught.value.key == key


def test_folder_needs_no_version_when_it_is_an_ensemble(tmp_path: Path) -> None:
    add_models(tmp_path)
    (tmp_path / "ensemble").mkdir()
    (tmp_path / "ensemble" / "config.pbtxt").write_text(_ENSEMBLE, encoding="utf-8")
    with falaj.Engine(tmp_path, cores=2, strict=True, models=["ensemble"]) as engine:
        assert engine.infer("ensemble", {"raw": _x(2)})["score"].shape == (2, 4)
