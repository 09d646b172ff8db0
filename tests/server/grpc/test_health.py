"""The health service tells what the server's readiness is, and its changes."""

import threading
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

import falaj
from falaj.server.api.control_plane import ControlPlane
from falaj.server.grpc.schema import message
from tests.server.wire_serving import WireServing

pytestmark = pytest.mark.core

_SERVICE = "inference.GRPCInferenceService"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def draining() -> threading.Event:
    return threading.Event()


@pytest.fixture
def stub(engine: falaj.Engine, draining: threading.Event) -> Iterator[HealthStub]:
    control = ControlPlane(engine, is_draining=draining.is_set)
    with WireServing(engine, control) as serving, grpc.insecure_channel(serving.url("grpc")) as channel:
        yield HealthStub(channel)


def _asked(service: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("service", ["", _SERVICE])
def test_check_tells_readiness_when_asked(stub: HealthStub, draining: threading.Event, service: str) -> None:
    assert stub.Check(_asked(service)).status == _SERVING
    draining.set()
    assert stub.Check(_asked(service)).status == _NOT_SERVING


@pytest.mark.parametrize("service", ["mlp", "inference", "grpc.health.v1.Health"])
def test_check_finds_nothing_when_the_service_is_unknown(stub: HealthStub, service: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Check(_asked(service))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_list_tells_of_each_service_when_asked(engine: falaj.Engine) -> None:
    with WireServing(engine) as serving, grpc.insecure_channel(serving.url("grpc")) as channel:
        body = channel.unary_unary("/grpc.health.v1.Health/List")(b"")
    told = message("grpc.health.v1.HealthListResponse").FromString(body)
    statuses = {name: one.status for name, one in told.statuses.items()}  # type: ignore[attr-defined]
    assert statuses == {"": _SERVING, _SERVICE: _SERVING}


def test_watch_tells_of_each_change_when_readiness_changes(
    stub: HealthStub, draining: threading.Event
) -> None:
    watching = stub.Watch(_asked(_SERVICE), timeout=60)
    assert next(watching).status == _SERVING
    draining.set()
    assert next(watching).status == _NOT_SERVING
    draining.clear()
    assert next(watching).status == _SERVING
    watching.cancel()


def test_watch_goes_on_when_the_service_is_unknown(stub: HealthStub) -> None:
    watching = stub.Watch(_asked("nope"), timeout=60)
    assert next(watching).status == _UNKNOWN
    assert watching.is_active()
    watching.cancel()


def test_watches_do_not_keep_others_waiting_when_there_are_many(
    engine: falaj.Engine, draining: threading.Event
) -> None:
    control = ControlPlane(engine, is_draining=draining.is_set)
    with WireServing(engine, control) as serving:
        serving.bridge._max_running = 2
        with grpc.insecure_channel(serving.url("grpc")) as channel:
            stub = HealthStub(channel)
            watching = [stub.Watch(_asked("")) for _ in range(5)]
            assert [next(one).status for one in watching] == [_SERVING] * 5
            assert stub.Check(_asked(""), timeout=60).status == _SERVING
            for one in watching:
                one.cancel()
