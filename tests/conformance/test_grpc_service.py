"""The methods of gRPC besides infer, and the health service."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from tritonclient.grpc import service_pb2

from tests.conformance.exchange import Http
from tests.conformance.grpc_requests import PATIENCE, assert_fails, failure_of
from tests.conformance.repository import AWKWARD_NAME, CLASSES, FEATURES, IDENTITY
from tests.conformance.target import Target
from tests.zoo import DATATYPES

SERVICE = "inference.GRPCInferenceService"
SHARED_MEMORY = [
    f"{kind}SharedMemory{verb}"
    for kind in ("System", "Cuda")
    for verb in ("Status", "Register", "Unregister")
]
SERVED = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelConfig",
    "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "LogSettings",
)  # fmt: skip
SERVING, NOT_FOUND = b"\x08\x01", grpc.StatusCode.NOT_FOUND


def health(channel: grpc.Channel, method: str, service: str) -> Any:
    """A call of grpc.health.v1, whose messages are small enough to be written as bytes."""
    make = channel.unary_stream if method == "Watch" else channel.unary_unary
    call = make(f"/grpc.health.v1.Health/{method}", None, None)
    return call(b"\x0a" + bytes([len(service)]) + service.encode() if service else b"", timeout=PATIENCE)


def test_server_is_live_and_ready_when_it_serves(stub: Any) -> None:
    """ServerLive, ServerReady."""
    assert stub.ServerLive(service_pb2.ServerLiveRequest()).live is True
    assert stub.ServerReady(service_pb2.ServerReadyRequest()).ready is True


def test_server_metadata_is_that_of_http_when_asked(stub: Any, native: Http) -> None:
    """ServerMetadata: name, version, extensions."""
    told = stub.ServerMetadata(service_pb2.ServerMetadataRequest())
    assert json_format.MessageToDict(told) == native.get("/v2").json()


@pytest.mark.parametrize(("name", "version"), [("fixed", ""), ("fixed", "1"), (AWKWARD_NAME, "")])
def test_model_is_ready_when_it_is_in_service(stub: Any, name: str, version: str) -> None:
    """ModelReady."""
    assert stub.ModelReady(service_pb2.ModelReadyRequest(name=name, version=version)).ready is True


def test_model_metadata_has_the_batch_dimension_when_the_model_batches(stub: Any) -> None:
    """ModelMetadata: versions, platform, inputs and outputs; -1 = variable."""
    told = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="classifier"))
    assert (told.name, [*told.versions], told.platform) == ("classifier", ["1"], "onnxruntime_onnx")
    (x,), (y,) = told.inputs, told.outputs
    assert (x.name, x.datatype, [*x.shape]) == ("x", "FP32", [-1, FEATURES])
    assert (y.name, y.datatype, [*y.shape]) == ("y", "FP32", [-1, CLASSES])


@pytest.mark.parametrize("datatype", DATATYPES)
def test_model_metadata_is_that_of_http_when_asked(stub: Any, native: Http, datatype: str) -> None:
    """ModelMetadata says what GET /v2/models/{m} says."""
    told = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=IDENTITY[datatype]))
    written = json_format.MessageToDict(told)
    for tensor in written["inputs"] + written["outputs"]:
        tensor["shape"] = [int(size) for size in tensor["shape"]]
    assert written == native.get(f"/v2/models/{IDENTITY[datatype]}").json()


def test_model_config_is_that_of_http_when_asked(stub: Any, native: Http) -> None:
    """ModelConfig: Triton's message."""
    told = stub.ModelConfig(service_pb2.ModelConfigRequest(name="classifier")).config
    expected = native.get("/v2/models/classifier/config").json()
    assert (
        (told.name, told.max_batch_size)
        == ("classifier", 16)
        == (expected["name"], expected["max_batch_size"])
    )
    assert json_format.ParseDict(expected, type(told)()) == told
    assert [(one.name, one.data_type, [*one.dims]) for one in told.input] == [("x", 11, [FEATURES])]


@pytest.mark.parametrize("name", ["classifier", ""])
def test_model_statistics_have_the_model_when_it_or_all_are_asked_for(stub: Any, name: str) -> None:
    """ModelStatistics: of one model, or of all."""
    told = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=name))
    names = {model.name for model in told.model_stats}
    assert names == {"classifier"} if name else names >= {"classifier", "fixed", AWKWARD_NAME}
    assert all(model.version for model in told.model_stats)


def test_index_has_every_model_when_asked(stub: Any) -> None:
    """RepositoryIndex, by Triton's protobuf (side 2)."""
    for ready in (False, True):
        told = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=ready))
        states = {(model.name, model.version): model.state for model in told.models}
        assert states["versions", "3"] == states[AWKWARD_NAME, "1"] == "READY"


@pytest.mark.parametrize("key", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_call_is_not_found_when_the_model_is_unknown(stub: Any, key: str) -> None:
    """Unknown model, version: NOT_FOUND."""
    make = getattr(service_pb2, f"{key}Request")
    assert_fails(getattr(stub, key), make(name="nobody"), NOT_FOUND, "nobody")
    assert_fails(getattr(stub, key), make(name="fixed", version="9"), NOT_FOUND, "9")


@pytest.mark.falaj_only("Triton answers that it is not ready")
def test_model_ready_is_not_found_when_the_model_is_unknown(stub: Any) -> None:
    """Unknown model: NOT_FOUND, by ModelReady too."""
    assert_fails(stub.ModelReady, service_pb2.ModelReadyRequest(name="nobody"), NOT_FOUND, "nobody")


@pytest.mark.parametrize("version", ["0", "-1", "one", "1.0", " 1"])
def test_call_is_refused_when_the_version_is_no_number(stub: Any, version: str) -> None:
    """Versions are positive integers."""
    request = service_pb2.ModelMetadataRequest(name="fixed", version=version)
    assert_fails(stub.ModelMetadata, request, grpc.StatusCode.INVALID_ARGUMENT)
    infer = service_pb2.ModelInferRequest(model_name="fixed", model_version=version)
    assert_fails(stub.ModelInfer, infer, grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("method", SERVED)
def test_method_is_there_when_the_protocol_has_it(channel: grpc.Channel, method: str) -> None:
    """Package `inference`, service `GRPCInferenceService`: these answer, if only that something is wrong."""
    call = channel.unary_unary(f"/{SERVICE}/{method}", None, None)
    answer = call.future(b"", timeout=PATIENCE)
    assert answer.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, NOT_FOUND)


def test_extensions_are_unimplemented_when_they_are_not_reported(stub: Any, native: Http) -> None:
    """TraceSetting and shared memory: served where the metadata says so (side 4), else UNIMPLEMENTED."""
    reported = native.get("/v2").json()["extensions"]
    calls = {
        "trace": ["TraceSetting"],
        "system_shared_memory": SHARED_MEMORY[:3],
        "cuda_shared_memory": SHARED_MEMORY[3:],
    }
    for extension, methods in calls.items():
        for method in methods:
            call, request = getattr(stub, method), getattr(service_pb2, f"{method}Request")()
            if extension in reported:
                if method.endswith(("Status", "Setting")):
                    call(request)
            else:
                assert_fails(call, request, grpc.StatusCode.UNIMPLEMENTED, "not served")


@pytest.mark.parametrize(
    "method",
    [f"/{SERVICE}/ModelGuess", "/inference.Nothing/ModelInfer", "/inference.grpcinferenceservice/ServerLive"],
)
def test_call_is_unimplemented_when_the_method_is_unknown(channel: grpc.Channel, method: str) -> None:
    """UNIMPLEMENTED is what gRPC says of a method that is not there."""
    failure = failure_of(channel.unary_unary(method, None, None), b"")
    assert failure.code() is grpc.StatusCode.UNIMPLEMENTED


def test_call_is_refused_when_the_message_is_malformed(channel: grpc.Channel) -> None:
    """Bytes that are no message of the method's type are the client's fault, not ours."""
    for method in ("ModelMetadata", "ModelInfer", "RepositoryModelLoad"):
        failure = failure_of(channel.unary_unary(f"/{SERVICE}/{method}", None, None), b"\x0a\xff")
        assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT, method


def test_log_settings_are_those_of_http_when_asked(stub: Any, native: Http, target: Target) -> None:
    """LogSettings: each value in the field of its type."""
    told = stub.LogSettings(service_pb2.LogSettingsRequest()).settings
    values = {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in told.items()}
    assert values == native.get("/v2/logging").json()
    assert told["log_info"].WhichOneof("parameter_choice") == "bool_param"
    assert told["log_verbose_level"].WhichOneof("parameter_choice") == "uint32_param"
    assert told["log_format"].WhichOneof("parameter_choice") == "string_param"


@pytest.fixture
def verbose_again(native: Http) -> Iterator[None]:
    """Gives the settings of the log back."""
    before = {key: value for key, value in native.get("/v2/logging").json().items() if key != "log_file"}
    yield
    assert native.post("/v2/logging", before).status == 200


@pytest.mark.usefixtures("verbose_again")
def test_log_settings_change_when_some_are_given(stub: Any, native: Http) -> None:
    """LogSettings with settings changes those and answers with all."""
    request = service_pb2.LogSettingsRequest()
    request.settings["log_verbose_level"].uint32_param = 3
    request.settings["log_warning"].bool_param = False
    told = stub.LogSettings(request).settings
    assert (told["log_verbose_level"].uint32_param, told["log_warning"].bool_param) == (3, False)
    seen = native.get("/v2/logging").json()
    assert (seen["log_verbose_level"], seen["log_warning"]) == (3, False)


@pytest.mark.usefixtures("verbose_again")
def test_log_settings_stay_when_one_of_them_is_unknown(stub: Any, native: Http) -> None:
    """A setting that is not known, or of another type, is an error, and none is changed."""
    for key, value in (("log_everything", {"bool_param": True}), ("log_info", {"string_param": "yes"})):
        request = service_pb2.LogSettingsRequest()
        request.settings["log_verbose_level"].uint32_param = 5
        request.settings[key].CopyFrom(service_pb2.LogSettingsRequest.SettingValue(**value))
        assert_fails(stub.LogSettings, request, grpc.StatusCode.INVALID_ARGUMENT, key)
        assert native.get("/v2/logging").json()["log_verbose_level"] != 5


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_service_says_serving_when_the_server_is_ready(channel: grpc.Channel, service: str) -> None:
    """grpc.health.v1.Health, for the server and for its service: SERVING is 1."""
    assert health(channel, "Check", service) == SERVING


def test_health_service_answers_not_found_when_the_service_is_unknown(channel: grpc.Channel) -> None:
    """grpc.health.v1: an unknown service is NOT_FOUND."""
    with pytest.raises(grpc.RpcError) as caught:
        health(channel, "Check", "inference.Nothing")
    assert caught.value.code() is NOT_FOUND


@pytest.mark.falaj_only("Triton's health service has no Watch")
def test_health_watch_begins_with_the_state_when_asked(channel: grpc.Channel) -> None:
    """grpc.health.v1: Watch tells the state at once; of an unknown service, SERVICE_UNKNOWN (3)."""
    for service, state in (("", SERVING), (SERVICE, SERVING), ("inference.Nothing", b"\x08\x03")):
        watching = health(channel, "Watch", service)
        assert next(watching) == state
        watching.cancel()
