import json
import os
import select
import socket
import ssl
import subprocess
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

import falaj
from falaj import _core
from tests.certificates import Authority, Certificate
from tests.serving import add_python

pytestmark = pytest.mark.core

BODY = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [2.5]}]}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[falaj.Engine]:
    add_python(tmp_path / "models", "echo")
    with falaj.Engine(tmp_path / "models") as engine:
        yield engine


@pytest.fixture
def wire(engine: falaj.Engine) -> Iterator[_core.WireServer]:
    server = _core.WireServer(engine.runtime, {"http.header_timeout": 1.0})
    yield server
    server.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _files(
    certificate: Certificate, client_ca: Path | None = None, *, require: bool = False
) -> dict[str, Any]:
    return {
        "certificate": str(certificate.certificate),
        "key": str(certificate.key),
        "client_ca": None if client_ca is None else str(client_ca),
        "require_client_certificate": require,
    }


def _infer(port: int, context: ssl.SSLContext, rows: int = 1) -> Any:
    connection = HTTPSConnection("localhost", port, context=context, timeout=60)
    try:
        data = [float(i) for i in range(rows)]
        body = {"inputs": [{"name": "x", "shape": [rows, 1], "datatype": "FP32", "data": data}]}
        connection.request("POST", "/v2/models/echo/infer", json.dumps(body))
        answer = connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())["outputs"][0]["data"]
    finally:
        connection.close()


def _serial(port: int, context: ssl.SSLContext) -> str:
    with (
        socket.create_connection(("localhost", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        certificate = wrapped.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def test_http_answers_by_tls_when_bodies_are_small_and_large(
    wire: _core.WireServer, authority: Authority
) -> None:
    port = wire.listen("http", "127.0.0.1", 0, _files(authority.issue("server")))
    wire.start()
    context = ssl.create_default_context(cafile=str(authority.certificate))
    assert _infer(port, context) == [0.0]
    assert _infer(port, context, 200_000) == [float(i) for i in range(200_000)]
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert _infer(port, context) == [0.0]
    curl = [
        "curl",
        "-s",
        "--cacert",
        str(authority.certificate),
        f"https://localhost:{port}/v2/models/echo/infer",
    ]
    # A sanitizer that is preloaded for the server is not for curl, which hangs with it.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [*curl, "-d", json.dumps(BODY)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["outputs"][0]["data"] == [2.5]


def test_grpc_answers_by_tls_when_the_client_trusts_it(wire: _core.WireServer, authority: Authority) -> None:
    port = wire.listen("grpc", "127.0.0.1", 0, _files(authority.issue("server")))
    wire.start()
    trust = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    client = triton_grpc.InferenceServerClient(f"localhost:{port}", ssl=True, creds=trust)
    x = triton_grpc.InferInput("x", [3, 1], "FP32")
    x.set_data_from_numpy(np.array([[1], [2], [3]], np.float32))
    np.testing.assert_array_equal(client.infer("echo", [x]).as_numpy("y"), [[1], [2], [3]])
    client.close()


def test_client_certificate_decides_when_one_is_required(
    wire: _core.WireServer, authority: Authority
) -> None:
    files = _files(authority.issue("server"), authority.certificate, require=True)
    port = wire.listen("http", "127.0.0.1", 0, files)
    wire.start()
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _infer(port, context)
    own = authority.issue("client")
    context.load_cert_chain(own.certificate, own.key)
    assert _infer(port, context) == [0.0]
    connection = HTTPSConnection("localhost", port, context=context, timeout=60)
    connection.request("GET", "/v2")
    (event,) = _events(wire)
    assert event[10:] == (True, "CN=client,O=Falaj tests")
    connection.close()
    stranger = Authority(authority.certificate.parent, "stranger").issue("nobody")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(stranger.certificate, stranger.key)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _infer(port, context)
    assert wire.stats()["http"]["refused"]["tls"] == 2


def _events(wire: _core.WireServer) -> list[tuple[Any, ...]]:
    assert select.select([wire.fd], [], [], 20)[0], "nothing came over the bridge"
    return wire.take()


def test_certificate_is_exchanged_when_reloaded_and_kept_when_the_new_one_is_bad(
    wire: _core.WireServer, authority: Authority, tmp_path: Path
) -> None:
    served, fresh = authority.issue("server"), authority.issue("fresh")
    port = wire.listen("http", "127.0.0.1", 0, _files(served))
    wire.start()
    context = ssl.create_default_context(cafile=str(authority.certificate))
    kept = HTTPSConnection("localhost", port, context=context, timeout=60)
    kept.request("POST", "/v2/models/echo/infer", json.dumps(BODY))
    assert kept.getresponse().read()
    before = _serial(port, context)

    served.certificate.write_bytes(fresh.certificate.read_bytes())
    with pytest.raises(_core.InvalidInput, match=r"does not belong to|cannot be used"):
        wire.reload_tls()
    assert _serial(port, context) == before
    served.key.write_bytes(fresh.key.read_bytes())
    wire.reload_tls()
    assert _serial(port, context) != before
    kept.request("POST", "/v2/models/echo/infer", json.dumps(BODY))
    assert kept.getresponse().status == 200, "an open connection goes on"
    kept.close()


def test_good_client_is_answered_when_others_send_garbage_or_stall(
    wire: _core.WireServer, authority: Authority
) -> None:
    port = wire.listen("http", "127.0.0.1", 0, _files(authority.issue("server")))
    wire.start()
    context = ssl.create_default_context(cafile=str(authority.certificate))
    hostile = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(20)]
    for i, client in enumerate(hostile):
        if i % 4 == 1:
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        elif i % 4 == 2:
            client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)))
        elif i % 4 == 3:
            client.sendall(bytes(i % 256 for i in range(4096)))
    for _ in range(20):
        assert _infer(port, context) == [0.0]
    for client in hostile:  # those that stall are sent away by the handshake's timeout
        client.settimeout(60)
        try:
            while client.recv(4096):
                pass
        except ConnectionError:
            pass
        client.close()
    assert wire.stats()["http"]["refused"]["tls"] == 20


@pytest.mark.parametrize("missing", ["certificate", "key", "client_ca"])
def test_listen_says_which_file_is_bad_when_it_cannot_be_used(
    wire: _core.WireServer, authority: Authority, tmp_path: Path, missing: str
) -> None:
    files = _files(authority.issue("server"), authority.certificate)
    files[missing] = str(tmp_path / "nowhere.pem")
    with pytest.raises(_core.InvalidInput, match=rf"TLS: {missing} '.*nowhere.pem' cannot be used"):
        wire.listen("http", "127.0.0.1", 0, files)
