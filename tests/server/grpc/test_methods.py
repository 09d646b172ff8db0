"""Triton's client hears the same of the server by gRPC as others do by HTTP."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import InferenceServerException

import falaj
from falaj.server.api.control_plane import ControlPlane
from falaj.server.grpc.failure import GrpcFailure
from falaj.server.grpc.methods import GrpcMethods
from tests import zoo
from tests.server.log_switches import Logs
from tests.server.wire_serving import WireServing
from tests.serving import QUICK, add_model, add_python
from tests.zoo.model import serialise

pytestmark = pytest.mark.core

_SERVICE = "/inference.GRPCInferenceService/"


@pytest.fixture
def client(serving: WireServing) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(serving.url("grpc")) as client:
        yield client


def _status_of(call: Any, *args: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as raised:
        call(*args, **more)
    return str(raised.value.status()).removeprefix("StatusCode."), str(raised.value.message())


def test_server_and_models_are_described_as_by_http_when_asked(
    client: triton.InferenceServerClient, engine: falaj.Engine
) -> None:
    control = ControlPlane(engine)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("mlp")
    assert client.is_model_ready("two", "3")
    assert not client.is_model_ready("broken")
    told = client.get_server_metadata(as_json=True)
    assert told == control.server_metadata()
    told = client.get_model_metadata("mlp", as_json=True)
    assert told["platform"] == "onnxruntime_onnx"
    # int64 is text in a message's JSON.
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "32"]}]
    assert client.get_model_metadata("two").versions == ["1", "3"]
    told_config = json_format.MessageToDict(
        client.get_model_config("mlp").config, preserving_proto_field_name=True
    )
    assert told_config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["32"]}]
    assert told_config["max_batch_size"] == control.model_config("mlp", None)["max_batch_size"]


def test_statistics_are_those_by_http_when_asked(
    client: triton.InferenceServerClient, engine: falaj.Engine
) -> None:
    engine.infer("mlp", {"x": np.zeros((3, 32), dtype=np.float32)})
    [told] = client.get_inference_statistics("mlp").model_stats
    [row] = ControlPlane(engine).statistics("mlp", None)["model_stats"]
    assert told.inference_stats.success.count == row["inference_stats"]["success"]["count"] > 0
    assert told.inference_count == row["inference_count"]
    assert [size.batch_size for size in told.batch_stats] == [
        size["batch_size"] for size in row["batch_stats"]
    ]
    assert abs(told.last_inference - row["last_inference"]) <= 1000
    assert {row.name for row in client.get_inference_statistics().model_stats} == {"mlp", "two"}


@pytest.mark.parametrize(
    "method", ["is_model_ready", "get_model_metadata", "get_model_config", "get_inference_statistics"]
)
def test_status_says_what_is_wrong_when_a_model_is_not_there(
    client: triton.InferenceServerClient, method: str
) -> None:
    call = getattr(client, method)
    assert _status_of(call, "nope")[0] == "NOT_FOUND"
    assert "version 7" in _status_of(call, "mlp", "7")[1]
    for version in ("x", "0", "-1", "9" * 5000):
        status, text = _status_of(call, "mlp", version)
        assert status == "INVALID_ARGUMENT"
        assert "version" in text
    if method != "is_model_ready":
        assert _status_of(call, "broken")[0] == "UNAVAILABLE"


def test_models_are_loaded_listed_and_unloaded_when_asked(models: Path) -> None:
    add_model(models, zoo.mlp(), QUICK)
    add_python(models, "b")
    with (
        falaj.Engine(models, cores=1, models=["b"]) as engine,
        WireServing(engine) as serving,
        triton.InferenceServerClient(serving.url("grpc")) as client,
    ):

        def index() -> list[tuple[str, str, str]]:
            rows = client.get_model_repository_index().models
            return [(row.name, row.version, row.state) for row in rows]

        assert index() == [("b", "1", "READY"), ("mlp", "", "UNAVAILABLE")]
        client.load_model("mlp")
        client.load_model("mlp", config=json.dumps({"max_batch_size": 2}))
        assert client.get_model_config("mlp").config.max_batch_size == 2
        client.load_model("given", config="{}", files={"file:4/model.onnx": serialise(zoo.mlp().proto)})
        assert index() == [("b", "1", "READY"), ("given", "4", "READY"), ("mlp", "1", "READY")]
        client.unload_model("b")
        client.unload_model("given", unload_dependents=True)
        assert index() == [("b", "", "UNAVAILABLE"), ("mlp", "1", "READY")]
        request = service_pb2.RepositoryIndexRequest(ready=True)
        with grpc.insecure_channel(serving.url("grpc")) as channel:
            ready = GRPCInferenceServiceStub(channel).RepositoryIndex(request).models
        assert [row.name for row in ready] == ["mlp"]
        assert _status_of(client.load_model, "nope")[0] == "NOT_FOUND"
        assert _status_of(client.unload_model, "nope")[0] == "NOT_FOUND"
        assert _status_of(client.load_model, "mlp", config="[]")[0] == "INVALID_ARGUMENT"
        assert "config" in _status_of(client.load_model, "mlp", files={"file:1/x": b""})[1]
        code = {"file:1/model.py": b""}
        assert _status_of(client.load_model, "py", config="{}", files=code)[0] == "UNIMPLEMENTED"


def test_parameters_are_refused_when_they_are_of_another_kind(engine: falaj.Engine) -> None:
    methods = GrpcMethods(ControlPlane(engine))
    for name, parameter in (
        ("config", {"bytes_param": b"{}"}),
        ("config", {"bool_param": True}),
        ("config", {}),
        ("file:1/x", {"string_param": "x"}),
        ("other", {"int64_param": 1}),
    ):
        request = service_pb2.RepositoryModelLoadRequest(model_name="mlp")
        request.parameters[name].CopyFrom(service_pb2.ModelRepositoryParameter(**parameter))
        with pytest.raises(GrpcFailure, match=name) as raised:
            asyncio.run(_answers(methods, "RepositoryModelLoad", request.SerializeToString()))
        assert raised.value.status == 3
    request = service_pb2.RepositoryModelLoadRequest(repository_name="r", model_name="mlp")
    with pytest.raises(GrpcFailure, match="'r'") as raised:
        asyncio.run(_answers(methods, "RepositoryModelLoad", request.SerializeToString()))
    assert raised.value.status == 12


async def _answers(methods: GrpcMethods, name: str, body: bytes) -> list[bytes]:
    method = name if name.startswith("/") else f"{_SERVICE}{name}"
    return [answer async for answer in methods.call(method, body)]


def test_log_settings_are_read_and_changed_when_asked(engine: falaj.Engine) -> None:
    logs = Logs()
    with (
        WireServing(engine, ControlPlane(engine, logs=logs)) as serving,
        triton.InferenceServerClient(serving.url("grpc")) as client,
    ):
        assert "logging" in client.get_server_metadata().extensions
        told = client.get_log_settings()
        assert {name: _value(told.settings[name]) for name in told.settings} == logs.values
        told = client.update_log_settings(
            {"log_info": False, "log_verbose_level": 3, "log_format": "ISO8601"}
        )
        assert {name: _value(told.settings[name]) for name in told.settings} == logs.values
        assert (logs.values["log_info"], logs.values["log_verbose_level"]) == (False, 3)
        assert _status_of(client.update_log_settings, {"nope": True})[0] == "INVALID_ARGUMENT"


def _value(setting: Any) -> Any:
    return getattr(setting, setting.WhichOneof("parameter_choice"))


def test_status_is_unimplemented_when_an_extension_or_method_is_not_served(
    client: triton.InferenceServerClient, channel: grpc.Channel
) -> None:
    for call in (
        client.get_trace_settings, client.get_system_shared_memory_status,
        client.unregister_system_shared_memory, client.get_cuda_shared_memory_status,
        client.unregister_cuda_shared_memory,
    ):  # fmt: skip
        status, text = _status_of(call)
        assert (status, "not served" in text) == ("UNIMPLEMENTED", True)
    for method in ("/inference.GRPCInferenceService/Nope", "/other.Service/ServerLive"):
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(method)(b"")
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name)),
    st.binary(max_size=40),
)
def test_call_answers_or_fails_properly_when_the_message_is_any_bytes(
    engine: falaj.Engine, name: str, body: bytes
) -> None:
    methods = GrpcMethods(ControlPlane(engine, may_change=False))
    told: GrpcFailure | bytes
    try:
        [told] = asyncio.run(_answers(methods, name, body))
    except GrpcFailure as failure:
        told = failure
    if isinstance(told, GrpcFailure):
        assert told.status in (3, 5, 12, 14)
        assert told.text
    else:
        getattr(service_pb2, f"{name}Response")().ParseFromString(told)


def test_name_is_text_of_any_kind_when_asked_for(client: triton.InferenceServerClient) -> None:
    for name in ("a/b", "ü", "%2F", " ", "x" * 1000, "\u0000"):
        assert _status_of(client.get_model_metadata, name)[0] == "NOT_FOUND"
