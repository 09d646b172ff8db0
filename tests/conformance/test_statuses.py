"""The table of statuses, row by row, by HTTP and by gRPC."""

import gzip
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.conformance.exchange import Http
from tests.conformance.grpc_requests import assert_fails, failure_of, raw_request
from tests.conformance.metrics_page import until
from tests.conformance.repository import IDENTITY
from tests.conformance.target import Process, Target, falaj_serve
from tests.conformance.tensors import LENGTH_FIELD, OCTETS, blob, in_json
from tests.conformance.test_waiting import busy_model, leaving_client, of_rounds, rounds_per_second, waiting

Code = grpc.StatusCode
THREE = ("x", "FP32", np.ones(3, np.float32))
TWO = ("x", "FP32", np.ones(2, np.float32))
NOWHERE = ("index", "INT64", np.array([[99]]))  # outside of the table, which the model finds
LIMIT = 65536


def stub_of(channel: grpc.Channel) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.mark.parametrize(
    ("model", "version", "tensor", "status", "code"),
    [
        ("fixed", "", TWO, 400, Code.INVALID_ARGUMENT),
        ("fixed", "0", THREE, 400, Code.INVALID_ARGUMENT),
        ("fixed", "one", THREE, 400, Code.INVALID_ARGUMENT),
        ("nobody", "", THREE, 404, Code.NOT_FOUND),
        ("nobody", "1", THREE, 404, Code.NOT_FOUND),
        ("fixed", "2", THREE, 404, Code.NOT_FOUND),
        ("fixed", str(2**63 - 1), THREE, 404, Code.NOT_FOUND),
        ("gather", "", NOWHERE, 400, Code.INVALID_ARGUMENT),
        ("reshape", "", THREE, 500, Code.INTERNAL),
    ],
    ids=[
        "wrong shape", "version 0", "version one", "unknown model", "unknown model with version",
        "unknown version", "largest version", "index out of bounds", "failing run",
    ],
)  # fmt: skip
def test_infer_fails_with_the_tables_status_when_asked_by_either_transport(
    http: Http, stub: Any, model: str, version: str, tensor: Any, status: int, code: grpc.StatusCode
) -> None:
    """invalid argument: 400 INVALID_ARGUMENT; unknown model, version: 404 NOT_FOUND; internal: 500 INTERNAL.
    Both transports tell it in the same words."""
    path = f"/versions/{version}" if version else ""
    told = http.post(f"/v2/models/{model}{path}/infer", {"inputs": [in_json(*tensor)]}).error(status)
    failure = failure_of(stub.ModelInfer, raw_request(model, tensor, model_version=version))
    assert failure.code() is code
    if version not in ("0", "one"):  # which are parts of a path here and fields there
        assert failure.details() == told


@pytest.mark.parametrize("version", ["0", "-1", "one", "01", "1.0", "%31x", "9" * 30])
@pytest.mark.parametrize("verb", ["", "/ready", "/config", "/stats", "/infer"])
def test_path_is_refused_when_its_version_is_no_number(http: Http, verb: str, version: str) -> None:
    """A version is a positive integer: else 400, or 404 where it is one that nobody has."""
    method = "POST" if verb == "/infer" else "GET"
    answer = http(method, f"/v2/models/fixed/versions/{version}{verb}")
    answer.error(404 if version == "9" * 30 and answer.status == 404 else 400)


def test_unsupported_is_501_when_asked_by_either_transport(http: Http, stub: Any) -> None:
    """unsupported: 501 UNIMPLEMENTED: a tensor of nine dimensions, which no model here can have."""
    deep = ("x", "FP32", np.ones((1,) * 9, np.float32))
    told = http.infer(IDENTITY["FP32"], {"inputs": [in_json(*deep)]}).error(501)
    assert "8" in told
    assert_fails(stub.ModelInfer, raw_request(IDENTITY["FP32"], deep), Code.UNIMPLEMENTED, "8")


@pytest.mark.own_server
def test_body_over_the_limit_is_413_when_it_is_announced(limited: Target) -> None:
    """body over the limit: 413, before any of it has come."""
    with socket.create_connection(("127.0.0.1", int(limited.http.split(":")[1])), timeout=60) as client:
        client.sendall(
            b"POST /v2/models/fixed/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (LIMIT + 1)
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.own_server
@pytest.mark.parametrize("path", ["models/fixed/infer", "repository/models/fixed/load", "logging"])
def test_body_over_the_limit_is_413_when_it_is_sent(limited: Target, path: str) -> None:
    """body over the limit: 413, on every path; what is below it is read."""
    http = Http(limited.http)
    assert http.post(f"/v2/{path}", b" " * (LIMIT - 2) + b"[]").status == 400
    assert http.post(f"/v2/{path}", b" " * (LIMIT - 1) + b"[]").error(413)


@pytest.mark.own_server
def test_body_over_the_limit_is_413_when_it_is_so_decompressed(limited: Target) -> None:
    """The limit holds after decompression: a small body may be a large one."""
    body = gzip.compress(b" " * (LIMIT - 1) + b"[]")
    assert len(body) < LIMIT
    answer = Http(limited.http).post("/v2/models/fixed/infer", body, {"Content-Encoding": "gzip"})
    assert answer.error(413)


@pytest.mark.own_server
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_message_over_the_limit_is_resource_exhausted_when_it_is_sent(
    limited: Target, compression: grpc.Compression
) -> None:
    """The own limit of gRPC messages: RESOURCE_EXHAUSTED, compressed or not; what is below it is read."""
    with grpc.insecure_channel(limited.grpc, compression=compression) as channel:
        for size, code in ((LIMIT - 1024, None), (LIMIT + 1024, Code.RESOURCE_EXHAUSTED)):
            request = raw_request(IDENTITY["UINT8"], ("x", "UINT8", np.zeros((1, size), np.uint8)))
            if code is None:
                stub_of(channel).ModelInfer(request)
            else:
                assert_fails(stub_of(channel).ModelInfer, request, code)


@pytest.mark.own_server
def test_server_is_not_ready_when_it_is_stopping(stopping: Process) -> None:
    """draining, not ready: 503 with Retry-After, and still alive; by gRPC it says so, and NOT_SERVING."""
    target = stopping.target()
    http = Http(target.http)
    assert http.get("/v2/health/ready").status == 200
    stopping.terminate()
    until(lambda: http.get("/v2/health/ready").status != 200, "the server is not ready")
    for path in ("/v2/health/ready", "/v2/models/fixed/ready"):
        answer = http.get(path)
        assert answer.status == 503
        assert answer.header("retry-after")
        assert answer.json()["ready"] is False
    assert http.get("/v2/health/live").status == 200
    with grpc.insecure_channel(target.grpc) as channel:
        assert stub_of(channel).ServerReady(service_pb2.ServerReadyRequest()).ready is False
        assert stub_of(channel).ModelReady(service_pb2.ModelReadyRequest(name="fixed")).ready is False
        assert stub_of(channel).ServerLive(service_pb2.ServerLiveRequest()).live is True
        check = channel.unary_unary("/grpc.health.v1.Health/Check", None, None)
        assert check(b"", timeout=60) == b"\x08\x02"  # NOT_SERVING


@pytest.mark.own_server
def test_request_is_499_in_the_log_when_its_client_has_left(repository_folder: Path, tmp_path: Path) -> None:
    """cancelled by the client: 499, which only the log can tell."""
    log = ("--log-format", "json", "--set", "log.access_log_sample=1")
    with falaj_serve(tmp_path, repository_folder, *log) as server, ThreadPoolExecutor(2) as pool:
        target = server.target()
        http, body = Http(target.http), json.dumps({**of_rounds(1), "id": "leaving"}).encode()
        long = of_rounds(int(rounds_per_second(http)))
        left = False
        while not left:  # before it was answered
            busy = busy_model(target, lambda: pool.submit(http.infer, "ranked", long))
            with leaving_client(target, "ranked", body):
                until(lambda: waiting(target) == 2 or any(one.done() for one in busy), "it waits")  # noqa: B023
                left = not any(one.done() for one in busy)
            assert [one.result().status for one in busy] == [200, 200]

        def statuses() -> list[int]:
            lines = [json.loads(line) for line in server.log().splitlines() if line.endswith("}")]
            return [line["status"] for line in lines if line.get("status", 200) != 200]

        until(lambda: bool(statuses()), "the request is in the log")
        assert statuses() == [499]


def test_raw_request_fails_alike_when_the_model_is_unknown(http: Http) -> None:
    """A raw request's failures are those of any infer."""
    fields = {LENGTH_FIELD: "0", "Content-Type": OCTETS}
    http.infer("nobody", blob(THREE[2]), fields).error(404)
