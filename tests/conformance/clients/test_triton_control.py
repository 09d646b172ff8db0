"""tritonclient's other methods: health, metadata, statistics, the repository, logging."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.conformance.clients.triton import TritonClient, statuses_of
from tests.conformance.repository import CLASSES, FEATURES, IDENTITY, scaled_bytes

_X = {"x": ("FP32", np.ones((1, 2), np.float32))}


@pytest.fixture
def spare(client: TritonClient) -> Iterator[TritonClient]:
    """A client that may do with the model `spare` as it likes."""
    yield client
    client.ask("load_model", "spare")


def test_server_and_models_are_ready_when_they_serve(client: TritonClient) -> None:
    assert client.ask("is_server_live") is True
    assert client.ask("is_server_ready") is True
    assert client.ask("is_model_ready", "classifier") is True
    assert client.ask("is_model_ready", "versions", "3") is True


@pytest.mark.falaj_only("Triton says of any name that it is not ready")
@pytest.mark.parametrize(("name", "version"), [("nowhere", ""), ("versions", "2")])
def test_model_is_unknown_when_the_repository_has_none(client: TritonClient, name: str, version: str) -> None:
    if client.by_http:  # of which the client passes no error on here
        assert client.ask("is_model_ready", name, version) is False
        return
    with pytest.raises(InferenceServerException) as unknown:
        client.ask("is_model_ready", name, version)
    assert "NOT_FOUND" in statuses_of(unknown.value)


def test_server_metadata_is_told_when_asked(client: TritonClient) -> None:
    told = client.told("get_server_metadata")
    assert told["name"] in ("falaj", "triton")
    assert told["version"]
    assert {"binary_tensor_data", "statistics", "model_repository"} <= {*told["extensions"]}


def test_model_metadata_is_told_when_asked(client: TritonClient) -> None:
    told = client.told("get_model_metadata", "classifier", "1")
    assert told["name"] == "classifier"
    assert told["versions"] == ["1"]
    assert told["platform"] == "onnxruntime_onnx"
    for tensor, width in ((told["inputs"][0], FEATURES), (told["outputs"][0], CLASSES)):
        assert tensor["datatype"] == "FP32"
        assert [int(size) for size in tensor["shape"]] == [-1, width]


def test_model_config_is_told_when_asked(client: TritonClient) -> None:
    told = client.told("get_model_config", "classifier")
    config = told if client.by_http else told["config"]
    assert config["max_batch_size"] == 16
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert [int(size) for size in config["output"][0]["dims"]] == [CLASSES]


def _successes(client: TritonClient, model: str) -> tuple[int, int]:
    (told,) = client.told("get_inference_statistics", model)["model_stats"]
    # Zeros are left out by the JSON of protobuf.
    return int(told["inference_stats"]["success"].get("count", 0)), int(told.get("inference_count", 0))


def test_statistics_grow_when_requests_succeed(client: TritonClient) -> None:
    client.infer("classifier", {"x": ("FP32", np.ones((1, FEATURES), np.float32))})
    requests, rows = _successes(client, "classifier")
    for _ in range(3):
        client.infer("classifier", {"x": ("FP32", np.ones((2, FEATURES), np.float32))})
    assert _successes(client, "classifier") == (requests + 3, rows + 6)


def test_statistics_have_every_model_when_none_is_named(client: TritonClient) -> None:
    told = client.told("get_inference_statistics")["model_stats"]
    assert {*IDENTITY.values(), "classifier"} <= {model["name"] for model in told}


def _state(client: TritonClient, name: str) -> set[str]:
    told = client.told("get_model_repository_index")
    models = told if client.by_http else told["models"]
    return {model.get("state", "") for model in models if model["name"] == name}


def test_model_serves_when_it_was_loaded_again(spare: TritonClient) -> None:
    spare.ask("unload_model", "spare")
    assert spare.ask("is_model_ready", "spare") is False
    assert _state(spare, "spare") == {"UNAVAILABLE"}
    with pytest.raises(InferenceServerException):
        spare.infer("spare", _X)
    spare.ask("load_model", "spare")
    assert _state(spare, "spare") == {"READY"}
    assert spare.infer("spare", _X).as_numpy("y").tolist() == [[1, 1]]


def test_model_is_unloaded_when_dependents_are_too(spare: TritonClient) -> None:
    spare.ask("unload_model", "spare", unload_dependents=True)
    assert spare.ask("is_model_ready", "spare") is False


def test_model_has_another_batch_when_loaded_with_a_configuration(spare: TritonClient) -> None:
    config = {
        "name": "spare",
        "backend": "onnxruntime",
        "max_batch_size": 3,
        "input": _input(),
        "output": _output(),
    }
    spare.ask("load_model", "spare", config=json.dumps(config))
    told = spare.told("get_model_config", "spare")
    assert (told if spare.by_http else told["config"])["max_batch_size"] == 3
    assert spare.infer("spare", _X).as_numpy("y").tolist() == [[1, 1]]


def test_model_is_another_when_loaded_with_its_file(spare: TritonClient) -> None:
    config = {
        "name": "spare",
        "backend": "onnxruntime",
        "max_batch_size": 8,
        "input": _input(),
        "output": _output(),
    }
    files: dict[str, Any] = {"file:1/model.onnx": scaled_bytes(9)}
    spare.ask("load_model", "spare", config=json.dumps(config), files=files)
    assert spare.infer("spare", _X).as_numpy("y").tolist() == [[9, 9]]


def _input() -> list[dict[str, Any]]:
    return [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}]


def _output() -> list[dict[str, Any]]:
    return [{"name": "y", "data_type": "TYPE_FP32", "dims": [2]}]


def test_load_fails_with_a_reason_when_it_cannot_be(client: TritonClient) -> None:
    with pytest.raises(InferenceServerException, match="nowhere"):
        client.ask("load_model", "nowhere")
    with pytest.raises(InferenceServerException):
        client.ask("load_model", "spare", config="{")
    broken = {"file:1/model.onnx": base64.b64encode(b"x")}
    with pytest.raises(InferenceServerException):  # files without a configuration
        client.ask("load_model", "spare", files=broken)
    assert client.infer("spare", _X).as_numpy("y").tolist() == [[1, 1]]


def test_log_settings_change_when_asked(client: TritonClient) -> None:
    def level() -> int:
        told = client.told("get_log_settings")
        if client.by_http:
            return int(told["log_verbose_level"])
        setting = told["settings"]["log_verbose_level"]
        return int(setting.get("uint32_param", 0))

    before = level()
    try:
        client.ask("update_log_settings", {"log_verbose_level": 1})
        assert level() == 1
    finally:
        client.ask("update_log_settings", {"log_verbose_level": before})
    assert level() == before


@pytest.mark.falaj_only("Triton serves them")
def test_extension_is_refused_when_it_is_not_served(client: TritonClient) -> None:
    for method in ("get_trace_settings", "get_system_shared_memory_status", "get_cuda_shared_memory_status"):
        with pytest.raises(InferenceServerException) as refused:
            client.ask(method)
        assert {"501", "UNIMPLEMENTED"} & {*statuses_of(refused.value)}
