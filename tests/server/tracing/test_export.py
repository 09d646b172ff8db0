"""`falaj serve` exports to real collectors, and answers whatever becomes of them."""

import json
import signal
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from falaj.server.errors import ConfigError
from falaj.server.ops.tracing import Tracing
from falaj.server.tracing.exporter import open_outlet
from tests.certificates import Authority
from tests.server.serving_process import Serving, until
from tests.server.tracing.collector import GrpcCollector, HttpCollector
from tests.server.tracing.spans import PARENT, PARTS, TRACE, assert_in_order, traceparent
from tests.server.tracing.test_spans import message
from tests.serving import add_python, assert_clean, run_script

Collectors = Callable[[], HttpCollector | GrpcCollector]
# Of requests: those of a ring, and of one export of 3 MiB.
_MOST_WAITING = 8192 + (3 << 20) // 600
_COLLECTORS: dict[str, Collectors] = {"http/protobuf": HttpCollector, "grpc": GrpcCollector}


def _serving(folder: Path, endpoint: str, protocol: str, *more: str, rate: int = 1) -> Serving:
    add_python(folder / "models", "echo")
    values = {"enabled": "true", "endpoint": endpoint, "protocol": protocol, "rate": str(rate)}
    flags = [part for key, value in values.items() for part in ("--set", f"tracing.{key}={value}")]
    return Serving(folder, *flags, *more)


def _counts(server: Serving) -> dict[str, float]:
    """The metrics of tracing, by the part of their name, or reason, that tells them apart."""
    _, _, page = server.ask("GET", "/metrics", listener="metrics")
    lines = [line for line in page.decode().splitlines() if line.startswith("falaj_trace_")]
    pairs = (line.rpartition(" ") for line in lines)
    return {
        name.removeprefix("falaj_trace_").replace("_total", ""): float(value)
        for name, _, value in pairs
        if "_created" not in name
    }


@pytest.mark.parametrize("protocol", _COLLECTORS)
def test_spans_reach_the_collector_when_it_is_there(tmp_path: Path, protocol: str) -> None:
    more = ("tracing.headers=x-token=abc=,x-other=1", "tracing.resource=service.name=fraud,team=a")
    with _COLLECTORS[protocol]() as collector:
        sets = [part for text in more for part in ("--set", text)]
        with _serving(tmp_path, collector.endpoint, protocol, *sets) as server:
            begin = time.time_ns()
            x = {"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}
            headers = {"traceparent": traceparent()}
            assert server.ask("POST", "/v2/models/echo/infer", {"inputs": [x]}, headers=headers)[0] == 200
            with grpc.insecure_channel(f"127.0.0.1:{server.ready['grpc']}") as channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                stub.ModelInfer(message(), metadata=(("traceparent", traceparent()),))
                list(stub.ModelStreamInfer(iter([message()] * 3)))
            end = time.time_ns()
            roots = collector.wait_for(5)
            until(lambda: _counts(server)["exported"] == 5, "it is counted")
            counts = _counts(server)
        assert counts == {
            "requests": 5, "exported": 5, 'dropped{reason="full"}': 0, 'dropped{reason="export"}': 0,
        }  # fmt: skip
        assert [root.trace == TRACE and root.parent == PARENT for root in roots].count(True) == 2
        for root in roots:
            assert root.name == "infer echo"
            assert [part.name for part in root.parts] == PARTS
            assert_in_order(root, begin, end)
            over_http = "http.route" in root.attributes
            assert root.attributes["server.port"] == server.ready["http" if over_http else "grpc"]
    resource, *_ = collector.resources()
    told = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert (told["service.name"], told["team"]) == ("fraud", "a")
    assert told["telemetry.sdk.name"] == "falaj"
    (scope,) = resource.scope_spans
    assert scope.scope.name == "falaj"
    assert scope.schema_url.startswith("https://opentelemetry.io/schemas/")
    for headers in collector.headers:
        assert (headers["x-token"], headers["x-other"]) == ("abc=", "1")


def test_resource_is_as_the_environment_says_when_settings_do_not(tmp_path: Path) -> None:
    add_python(tmp_path / "models", "echo")
    with HttpCollector() as collector:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_RESOURCE_ATTRIBUTES": "team=b",
            "FALAJ_TRACING_ENABLED": "true",
            "FALAJ_TRACING_RATE": "1",
        }
        with Serving(tmp_path, env=environment) as server:
            assert server.infer("echo")[0] == 200
            collector.wait_for(1)
    told = {pair.key: pair.value.string_value for pair in collector.resources()[0].resource.attributes}
    assert (told["service.name"], told["team"]) == ("falaj", "b")


@pytest.mark.parametrize("protocol", _COLLECTORS)
def test_spans_are_encrypted_when_the_collector_asks_for_it(tmp_path: Path, protocol: str) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("localhost")
    collector: HttpCollector | GrpcCollector
    if protocol == "grpc":
        collector = GrpcCollector((issued.key.read_bytes(), issued.certificate.read_bytes()))
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        collector = HttpCollector(context)
    trusts = ("--set", f"tracing.ca_file={authority.certificate}")
    with collector, _serving(tmp_path, collector.endpoint, protocol, *trusts) as server:
        assert collector.endpoint.startswith("https://")
        server.infer("echo")
        collector.wait_for(1)


def test_export_is_tried_again_when_the_collector_is_busy(tmp_path: Path) -> None:
    with HttpCollector() as collector, _serving(tmp_path, collector.endpoint, "http/protobuf") as server:
        collector.refusing = 1
        server.infer("echo")
        collector.wait_for(1)
        until(lambda: _counts(server)["exported"] == 1, "it is counted")
        assert _counts(server)['dropped{reason="export"}'] == 0


def test_requests_are_answered_and_spans_dropped_when_the_collector_stalls(tmp_path: Path) -> None:
    patient = ("--set", "tracing.timeout_seconds=600")
    with (
        HttpCollector() as collector,
        _serving(tmp_path, collector.endpoint, "http/protobuf", *patient) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.ready['grpc']}") as channel,
    ):
        collector.open.clear()
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = 0
        while _counts(server)['dropped{reason="full"}'] == 0:
            assert asked <= _MOST_WAITING, "the buffer has no bound"
            answers = list(stub.ModelStreamInfer(iter([message()] * 1500)))
            assert [answer.error_message for answer in answers] == [""] * 1500
            asked += 1500
        collector.open.set()
        counts: dict[str, float] = {}

        def settled() -> bool:
            counts.update(_counts(server))
            return counts["requests"] == sum(value for name, value in counts.items() if name != "requests")

        until(settled, "each request is exported or counted as dropped")
        assert (counts["requests"], counts['dropped{reason="export"}']) == (asked, 0)
        assert len(collector.requests()) == counts["exported"] > 0
        server.infer("echo")
        until(lambda: _counts(server)["exported"] > counts["exported"], "the next one is exported")


def test_spans_are_counted_as_lost_when_the_collector_takes_too_long(tmp_path: Path) -> None:
    short = ("--set", "tracing.timeout_seconds=0.5")
    with (
        HttpCollector() as collector,
        _serving(tmp_path, collector.endpoint, "http/protobuf", *short) as server,
    ):
        collector.open.clear()
        server.infer("echo")
        until(lambda: _counts(server)['dropped{reason="export"}'] == 1, "the export was given up")
        server.until_said("traces are lost, the collector does not take them")
        collector.open.set()
        server.infer("echo")
        server.until_said("traces are exported again")


@pytest.mark.parametrize("protocol", _COLLECTORS)
def test_server_serves_and_ends_when_there_is_no_collector(tmp_path: Path, protocol: str) -> None:
    more = ("--set", "tracing.timeout_seconds=0.5")
    with _serving(tmp_path, "http://127.0.0.1:1", protocol, *more) as server:
        assert server.infer("echo")[0] == 200
        until(lambda: _counts(server)['dropped{reason="export"}'] == 1, "it is counted")
        assert server.infer("echo")[0] == 200
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        lines = server.output().splitlines()
        assert all(line.startswith("{") for line in lines), "a library wrote among the lines of the log"


def test_last_spans_are_exported_when_the_server_ends(tmp_path: Path) -> None:
    with HttpCollector() as collector, _serving(tmp_path, collector.endpoint, "http/protobuf") as server:
        server.infer("echo")
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert len(collector.requests()) == 1


def _http(server: Serving) -> Any:
    return tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.ready['http']}")


def _grpc(server: Serving) -> Any:
    return tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.ready['grpc']}")


def _told(settings: Any) -> dict[str, str | list[str]]:
    """The settings as HTTP has them, whichever client read them."""
    if isinstance(settings, dict):
        return settings
    lists = {name: list(setting.value) for name, setting in settings.settings.items()}
    return {name: value if name == "trace_level" else value[0] for name, value in lists.items()}


@pytest.mark.parametrize("connect", [_http, _grpc])
def test_settings_change_what_is_traced_when_tritons_client_sets_them(
    tmp_path: Path, connect: Callable[[Serving], Any]
) -> None:
    add_python(tmp_path / "models", "other")
    with (
        HttpCollector() as collector,
        _serving(tmp_path, collector.endpoint, "http/protobuf", "--set", "tracing.level=off") as server,
    ):
        client = connect(server)
        extensions = client.get_server_metadata()
        assert "trace" in (extensions["extensions"] if connect is _http else extensions.extensions)
        start = {
            "trace_file": "", "trace_level": ["OFF"], "trace_rate": "1", "trace_count": "-1",
            "log_frequency": "0", "trace_mode": "opentelemetry",
        }  # fmt: skip
        assert _told(client.get_trace_settings()) == start
        server.infer("echo")

        changes = {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "3"}
        assert _told(client.update_trace_settings("echo", changes)) == {**start, **changes}
        assert _told(client.get_trace_settings("other")) == start
        for _ in range(10):
            server.infer("echo")
            server.infer("other")
        assert _told(client.get_trace_settings("echo"))["trace_count"] == "0"
        assert {root.name for root in collector.wait_for(3)} == {"infer echo"}

        told = _told(client.update_trace_settings(settings={"trace_level": "TIMESTAMPS"}))
        assert told == {**start, "trace_level": ["TIMESTAMPS"]}
        assert _told(client.get_trace_settings("other"))["trace_level"] == ["TIMESTAMPS"]
        cleared = dict.fromkeys(changes)
        assert _told(client.update_trace_settings("echo", cleared)) == told
        server.infer("echo")
        server.infer("other")
        assert [root.name for root in collector.wait_for(5)].count("infer echo") == 4
        assert _told(client.update_trace_settings(settings={"trace_level": None})) == start
        _assert_refused(client)
        assert _told(client.get_trace_settings()) == start
        server.infer("other")
        client.close()
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert len(collector.requests()) == 5


def _assert_refused(client: Any) -> None:
    for values, text in (
        ({"trace_levl": "OFF"}, "did you mean 'trace_level'"),
        ({"trace_rate": "0"}, "expected 1 to 4294967295, got '0'"),
        ({"trace_rate": "many"}, "expected 1 to 4294967295, got 'many'"),
        ({"trace_count": "-2"}, "expected -1 to 2147483647"),
        ({"trace_level": "LOUD"}, "expected OFF or TIMESTAMPS, got 'LOUD'"),
        ({"trace_level": ["OFF", "TIMESTAMPS"]}, "got both"),
        ({"trace_level": ["TENSORS"]}, "TENSORS is not supported"),
        ({"trace_file": "/tmp/x"}, "no file is written"),
        ({"log_frequency": "5"}, "no files are written"),
        ({"trace_mode": "triton"}, "opentelemetry"),
        ({"trace_rate": "5", "trace_file": "x"}, "no file is written"),
    ):
        with pytest.raises(InferenceServerException, match="trace setting") as failed:
            client.update_trace_settings(settings=values)
        assert text in str(failed.value), values
    for call in (client.get_trace_settings, client.update_trace_settings):
        with pytest.raises(InferenceServerException, match="'nobody' is not known"):
            call("nobody")


def test_settings_are_refused_by_http_when_they_are_no_texts(tmp_path: Path) -> None:
    with HttpCollector() as collector, _serving(tmp_path, collector.endpoint, "http/protobuf") as server:
        for body in (
            {"trace_rate": 5},
            {"trace_level": []},
            {"trace_level": 1},
            {"trace_rate": ["1", "2"]},
            [],
        ):
            status, _, answer = server.ask("POST", "/v2/trace/setting", body)
            assert (status, list(json.loads(answer))) == (400, ["error"]), body
        assert server.ask("DELETE", "/v2/trace/setting")[0] == 405


def test_start_fails_with_the_extras_name_when_a_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for protocol, name in (("http/protobuf", "http"), ("grpc", "grpc")):
        package = f"opentelemetry.exporter.otlp.proto.{name}.trace_exporter"
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"falaj.server.tracing.{name}_exporter", raising=False)
        chosen: Any = protocol
        with pytest.raises(ConfigError, match=r"pip install 'falaj\[tracing\]'"):
            open_outlet(Tracing(protocol=chosen))


def test_opentelemetry_is_not_imported_when_tracing_is_off() -> None:
    done = run_script(
        """
        import sys
        import falaj.server.cli, falaj.server.ops.serve, falaj.server.ops.metrics, falaj.server.ops.settings
        assert not [name for name in sys.modules if name.startswith("opentelemetry")]
        """
    )
    assert_clean(done)


@pytest.mark.parametrize(
    ("values", "key", "text"),
    [
        ({"endpoint": "collector:4317"}, "endpoint", "begins with http:// or https://"),
        ({"endpoint": "http://"}, "endpoint", "begins with http:// or https://"),
        ({"headers": ("secret",)}, "headers[0]", "expected NAME=VALUE"),
        ({"resource": ("a=b", "=c")}, "resource[1]", "expected NAME=VALUE"),
        ({"ca_file": ""}, "ca_file", "path of a PEM file"),
        ({"rate": 0}, "rate", "1 to 4294967295"),
    ],
)
def test_setting_is_refused_when_it_cannot_be_meant(values: Any, key: str, text: str) -> None:
    with pytest.raises(ConfigError) as failed:
        Tracing(**values)
    assert (failed.value.key, text in failed.value.problem) == (key, True)
    assert "secret" not in str(failed.value)


def test_collectors_file_is_named_when_it_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as failed:
        open_outlet(Tracing(protocol="grpc", ca_file=str(tmp_path / "none.pem")))
    assert failed.value.key == "tracing.ca_file"
