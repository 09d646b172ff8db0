"""`--compat triton`: what clients of Triton have come to rely on, and what Falaj says without it."""

from pathlib import Path

import grpc
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.conformance.exchange import Http
from tests.conformance.metrics_page import until
from tests.conformance.repository import IDENTITY
from tests.conformance.target import Target, falaj_serve

pytestmark = [pytest.mark.own_server, pytest.mark.falaj_only("it is Falaj that has this mode")]

_UNKNOWN = "Request for unknown model: 'nobody' is not found"
_PATHS = ("/v2/health/live", "/v2/health/ready", "/v2/models/classifier/ready")


@pytest.fixture
def as_triton(compat: Target) -> Http:
    return Http(compat.http)


def test_server_is_called_triton_when_compatible(as_triton: Http, compat: Target) -> None:
    """With --compat triton the server name is `triton`, by either transport."""
    assert as_triton.get("/v2").json()["name"] == "triton"
    with tritonclient.grpc.InferenceServerClient(compat.grpc) as client:
        assert client.get_server_metadata().name == "triton"


def test_server_is_called_falaj_when_not_compatible(native: Http) -> None:
    """Server name in /v2 is `falaj`."""
    assert native.get("/v2").json()["name"] == "falaj"


@pytest.mark.parametrize("path", _PATHS)
def test_health_has_no_body_when_compatible(as_triton: Http, path: str) -> None:
    """Health and ready bodies are empty."""
    answer = as_triton.get(path)
    assert (answer.status, answer.content()) == (200, b"")


@pytest.mark.parametrize("path", _PATHS)
def test_health_has_a_body_when_not_compatible(native: Http, path: str) -> None:
    """The default: health with a JSON body."""
    answer = native.get(path)
    assert answer.status == 200
    assert answer.json()["live" if path.endswith("live") else "ready"] is True


@pytest.mark.parametrize("version", ["", "/versions/9"])
def test_model_is_400_when_it_is_not_ready_and_compatible(as_triton: Http, version: str) -> None:
    """Not-ready is 400, and the body is empty."""
    answer = as_triton.get(f"/v2/models/classifier{version}/ready" if version else "/v2/models/nobody/ready")
    assert (answer.status, answer.content()) == (400, b"")


def test_server_is_400_when_it_is_stopping_and_compatible(repository_folder: Path, tmp_path: Path) -> None:
    """Not-ready is 400."""
    stays = ("--drain-seconds", "600", "--compat", "triton")
    with falaj_serve(tmp_path, repository_folder, *stays) as server:
        http = Http(server.target().http)
        server.terminate()
        until(lambda: http.get("/v2/health/ready").status != 200, "the server is not ready")
        for path in _PATHS[1:]:
            answer = http.get(path)
            assert (answer.status, answer.content()) == (400, b"")
        assert http.get(_PATHS[0]).status == 200


@pytest.mark.parametrize("path", ["/v2/models/nobody", "/v2/models/nobody/config", "/v2/models/nobody/infer"])
def test_error_text_is_tritons_when_compatible(as_triton: Http, path: str) -> None:
    """Error texts follow Triton's; the status stays the table's."""
    request = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}
    answer = as_triton.post(path, request) if path.endswith("infer") else as_triton.get(path)
    assert answer.error(404) == _UNKNOWN


def test_error_text_is_tritons_when_asked_by_grpc(compat: Target) -> None:
    """Error texts follow Triton's, by gRPC too."""
    with grpc.insecure_channel(compat.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for call, request in (
            (stub.ModelInfer, service_pb2.ModelInferRequest(model_name="nobody")),
            (stub.ModelMetadata, service_pb2.ModelMetadataRequest(name="nobody")),
        ):
            with pytest.raises(grpc.RpcError) as failure:
                call(request)
            assert failure.value.code() is grpc.StatusCode.NOT_FOUND
            assert failure.value.details() == _UNKNOWN


def test_no_client_hears_an_error_when_it_asks_whether_a_model_is_ready(compat: Target) -> None:
    """As with Triton, a model that is unknown is not ready."""
    with tritonclient.http.InferenceServerClient(compat.http) as by_http:
        assert by_http.is_model_ready("nobody") is False
        assert by_http.is_model_ready("classifier") is True
    with tritonclient.grpc.InferenceServerClient(compat.grpc) as by_grpc:
        assert by_grpc.is_model_ready("nobody") is False
        assert by_grpc.is_model_ready("classifier", "1") is True
        with pytest.raises(InferenceServerException, match=_UNKNOWN):
            by_grpc.get_model_config("nobody")


def test_platform_is_onnx_runtimes_when_compatible_or_not(as_triton: Http, native: Http) -> None:
    """`platform` is `onnxruntime_onnx`."""
    for http in (as_triton, native):
        assert http.get(f"/v2/models/{IDENTITY['FP32']}").json()["platform"] == "onnxruntime_onnx"
