"""What is recorded of requests by HTTP and gRPC, as spans, before they are exported."""

import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc

import falaj
from falaj import _core
from tests.engine.pipeline_models import add_pipeline
from tests.server.serving_process import until
from tests.server.tracing.spans import (
    ALWAYS,
    PARENT,
    PARTS,
    TRACE,
    Span,
    assert_in_order,
    taken,
    traceparent,
)
from tests.server.wire_serving import WireServing
from tests.serving import GATED, add_python

pytestmark = pytest.mark.core

NEVER = (False, 1, -1, True, True)
_NONE: Mapping[str, str] = MappingProxyType({})
_OWN = {"falaj.model.name": "echo", "falaj.model.version": 1, "falaj.request.rows": 2, "falaj.batch.rows": 2}
_FAILING = """
class Model:
    def infer(self, batch):
        raise ValueError("no")
"""
# One behind the other, by names of their own.
_GRAPH = """
[[input]]
name = "x"
[[step]]
name = "once"
model = "ONCE"
inputs = { x = "x" }
outputs = { y = "h" }
[[step]]
name = "again"
model = "AGAIN"
inputs = { x = "h" }
outputs = { y = "y" }
[[output]]
name = "y"
"""
# Longer than names are kept, by characters that must not be cut in two.
_LONG = "فلج" * 30


class Traced:
    """A server in this process, every request of which is sampled, and its clients."""

    def __init__(self, engine: falaj.Engine, serving: WireServing) -> None:
        self.serving = serving
        self.tracing = _core.Tracing(engine.runtime)
        self.tracing.describe("127.0.0.1", serving.ports["http"], serving.ports["grpc"])
        self.tracing.publish(ALWAYS, {})
        self.http = http.client.HTTPConnection(serving.url(), timeout=60)
        self.channel = grpc.insecure_channel(serving.url("grpc"))
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def ask(
        self,
        model: str = "echo",
        fields: Mapping[str, str] = _NONE,
        *,
        body: bytes | None = None,
        path: str = "",
    ) -> int:
        """Ask by HTTP; return the status."""
        x = {"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}
        content = json.dumps({"inputs": [x]}).encode() if body is None else body
        self.http.request("POST", path or f"/v2/models/{model}/infer", content, dict(fields))
        response = self.http.getresponse()
        response.read()
        return response.status

    def one(self) -> Span:
        """The one request that was sampled since the last look."""
        (root,) = taken(self.tracing)
        return root

    def close(self) -> None:
        self.http.close()
        self.channel.close()


def message(model: str = "echo") -> Any:
    """The same request by gRPC."""
    x = service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[2, 1])
    raw = np.array([1, 2], np.float32).tobytes()
    return service_pb2.ModelInferRequest(model_name=model, inputs=[x], raw_input_contents=[raw])


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    models = tmp_path_factory.mktemp("models")
    add_python(models, "echo")
    add_python(models, "bad", _FAILING)
    add_python(models, "gated", GATED)
    add_python(models, _LONG)
    for name, once, again in (
        ("graph", "echo", "echo"),
        ("fails", "echo", "bad"),
        ("outer", "graph", "echo"),
    ):
        add_pipeline(models, name, _GRAPH.replace("ONCE", once).replace("AGAIN", again))
    with falaj.Engine(models, cores=2, strict=True) as engine, WireServing(engine) as serving:
        serves = Traced(engine, serving)
        yield serves
        serves.close()


@pytest.fixture(autouse=True)
def _begin_anew(traced: Traced) -> None:
    traced.tracing.publish(ALWAYS, {})
    taken(traced.tracing)


def test_spans_tell_the_request_when_it_came_by_http(traced: Traced) -> None:
    begin = time.time_ns()
    fields = {"TraceParent": traceparent(), "tracestate": "vendor=opaque, other@place=x:y"}
    assert traced.ask(fields=fields, path="/v2/models/echo/versions/1/infer?token=secret") == 200
    end = time.time_ns()
    root = traced.one()
    assert (root.name, root.kind, root.trace, root.parent) == ("infer echo", "server", TRACE, PARENT)
    assert (root.state, root.flags, root.is_error) == ("vendor=opaque, other@place=x:y", 0x301, False)
    assert root.attributes == {
        **_OWN,
        "http.request.method": "POST",
        "http.route": "/v2/models/{model}/versions/{version}/infer",
        "url.path": "/v2/models/echo/versions/1/infer",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": traced.serving.ports["http"],
    }
    assert [part.name for part in root.parts] == PARTS
    assert {part.parent for part in root.parts} == {root.id}
    assert {(part.kind, part.state, part.flags) for part in root.parts} == {("internal", root.state, 0x101)}
    assert_in_order(root, begin, end)


@pytest.mark.parametrize("stream", [False, True])
def test_spans_tell_the_request_when_it_came_by_grpc(traced: Traced, stream: bool) -> None:
    metadata = (("traceparent", traceparent()), ("tracestate", "a=1"), ("tracestate", "b=2"))
    begin = time.time_ns()
    if stream:
        answers = list(traced.stub.ModelStreamInfer(iter([message(), message()]), metadata=metadata))
        assert [answer.error_message for answer in answers] == ["", ""]
    else:
        traced.stub.ModelInfer(message(), metadata=metadata)
    end = time.time_ns()
    roots = taken(traced.tracing)
    assert len(roots) == 1 + stream
    for root in roots:
        assert (root.name, root.kind, root.trace, root.parent) == ("infer echo", "server", TRACE, PARENT)
        assert (root.state, root.is_error) == ("a=1,b=2", False)
        method = "ModelStreamInfer" if stream else "ModelInfer"
        assert root.attributes.pop("falaj.batch.rows") in (2, 4)
        assert root.attributes == {
            **{key: value for key, value in _OWN.items() if key != "falaj.batch.rows"},
            "rpc.system.name": "grpc",
            "rpc.method": f"inference.GRPCInferenceService/{method}",
            "rpc.response.status_code": "OK",
            "server.address": "127.0.0.1",
            "server.port": traced.serving.ports["grpc"],
        }
        assert [part.name for part in root.parts] == PARTS
        assert_in_order(root, begin, end)


def test_steps_are_spans_of_the_request_when_it_asks_a_pipeline(traced: Traced) -> None:
    begin = time.time_ns()
    assert traced.ask("outer", {"traceparent": traceparent()}) == 200
    end = time.time_ns()
    root = traced.one()
    names = ["parse", "queue", "compute", "step once", "step again", "serialise"]
    assert [part.name for part in root.parts] == names
    nested, last = root.part("step once"), root.part("step again")
    assert [part.name for part in nested.parts] == ["queue", "compute", "step once", "step again"]
    for step in (*nested.parts[2:], last):
        assert step.attributes == {"falaj.pipeline.step": step.name.split()[1], **_OWN}
        assert [part.name for part in step.parts] == ["queue", "compute"]
        assert_in_order(step, begin, end)
    assert nested.attributes["falaj.model.name"] == "graph"
    # One behind the other, inside of the whole's time of computing.
    first, second = nested.parts[2:]
    times = [root.part("compute").begin, first.begin, first.end, second.begin, second.end]
    assert [*times, last.begin, last.end] == sorted([*times, last.begin, last.end])
    assert last.end <= root.part("compute").end
    assert {span.trace for span in (first, second, last)} == {TRACE}


def test_step_says_why_when_it_is_the_one_that_failed(traced: Traced) -> None:
    assert traced.ask("fails") == 500
    root = traced.one()
    assert root.is_error
    once, again = root.part("step once"), root.part("step again")
    assert (once.is_error, again.is_error) == (False, True)
    assert again.attributes["error.type"] == "INTERNAL"
    assert again.attributes["falaj.model.name"] == "bad"


def test_steps_are_not_recorded_when_the_request_is_not_sampled(traced: Traced) -> None:
    assert traced.ask("graph", {"traceparent": traceparent(sampled=False)}) == 200
    assert taken(traced.tracing) == []


def test_trace_begins_here_when_the_client_has_none(traced: Traced) -> None:
    traced.ask()
    traced.stub.ModelInfer(message())
    first, second = taken(traced.tracing)
    assert first.trace != second.trace
    assert (first.parent, second.parent, first.flags, first.state) == ("", "", 0x101, "")


def test_spans_end_where_the_request_did_when_it_failed(traced: Traced) -> None:
    assert traced.ask(body=b'{"inputs": ') == 400
    root = traced.one()
    assert (root.name, [part.name for part in root.parts]) == ("infer echo", ["parse"])
    assert (root.is_error, root.attributes["http.response.status_code"]) == (False, 400)
    assert traced.ask("nobody%FF") == 404
    root = traced.one()
    assert (root.name, root.is_error) == ("infer nobody?", False)
    assert "falaj.model.version" not in root.attributes
    assert traced.ask("bad") == 500
    root = traced.one()
    assert ([part.name for part in root.parts], root.is_error) == (PARTS, True)
    assert root.attributes["error.type"] == "500"
    for asked, code in ((message("nobody"), "NOT_FOUND"), (message("bad"), "INTERNAL")):
        with pytest.raises(grpc.RpcError):
            traced.stub.ModelInfer(asked)
        root = traced.one()
        assert root.attributes["rpc.response.status_code"] == code
        assert root.is_error == (code == "INTERNAL")
        assert root.attributes.get("error.type") == ("INTERNAL" if code == "INTERNAL" else None)


def test_spans_have_no_compute_when_the_deadline_passed_in_the_queue(traced: Traced) -> None:
    gate: Any = sys.modules["falaj_test_gate"]
    gate.gate.clear()
    gate.started.clear()
    running = traced.stub.ModelInfer.future(message("gated"))
    assert gate.started.wait(60)
    with pytest.raises(grpc.RpcError) as failed:
        traced.stub.ModelInfer(message("gated"), timeout=0.2)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
    gate.gate.set()
    running.result()
    roots: list[Span] = []
    until(lambda: roots.extend(taken(traced.tracing)) is None and len(roots) == 2, "both were recorded")
    (late,) = [root for root in roots if root.attributes["rpc.response.status_code"] != "OK"]
    assert "compute" not in [part.name for part in late.parts]


@pytest.mark.parametrize("by", ["http", "grpc"])
def test_spans_say_cancelled_when_the_client_leaves(traced: Traced, by: str) -> None:
    gate: Any = sys.modules["falaj_test_gate"]
    gate.gate.clear()
    gate.started.clear()
    if by == "http":
        client = http.client.HTTPConnection(traced.serving.url(), timeout=60)
        x = {"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}
        client.request("POST", "/v2/models/gated/infer", json.dumps({"inputs": [x]}))
        assert gate.started.wait(60)
        client.close()
    else:
        call = traced.stub.ModelInfer.future(message("gated"))
        assert gate.started.wait(60)
        call.cancel()
    roots: list[Span] = []
    until(lambda: roots.extend(taken(traced.tracing)) is None and bool(roots), "it was recorded")
    gate.gate.set()
    (root,) = roots
    told = root.attributes.get("rpc.response.status_code", root.attributes.get("http.response.status_code"))
    assert told == (499 if by == "http" else "CANCELLED")
    assert [part.name for part in root.parts] == ["parse"]


def test_name_is_cut_between_characters_when_it_is_long(traced: Traced) -> None:
    traced.stub.ModelInfer(message(_LONG))
    root = traced.one()
    assert root.attributes["falaj.model.name"] == _LONG[:64]  # 128 bytes
    assert root.attributes["falaj.model.version"] == 1


@pytest.mark.parametrize(("rate", "count", "sampled"), [(1, -1, 100), (7, -1, 14), (7, 3, 3), (3, 0, 0)])
def test_sampled_requests_are_exactly_so_many_when_they_are_counted(
    traced: Traced, rate: int, count: int, sampled: int
) -> None:
    traced.tracing.publish(NEVER, {"echo": (True, rate, count, True, True)})
    before = traced.tracing.counts()["recorded"]
    for _ in range(50):
        traced.ask()
        traced.stub.ModelInfer(message())
        traced.ask("bad")  # to which the rule does not apply
    assert len(taken(traced.tracing)) == sampled
    assert traced.tracing.counts()["recorded"] - before == sampled
    assert traced.tracing.left() == {"": -1, "echo": -1 if count < 0 else count - sampled}


@pytest.mark.parametrize(
    ("parent_based", "parent", "sampled"),
    [(True, True, 10), (True, False, 0), (False, True, 2), (False, False, 2)],
)
def test_clients_decision_is_followed_when_it_shall_be(
    traced: Traced, parent_based: bool, parent: bool, sampled: int
) -> None:
    traced.tracing.publish((True, 5, -1, parent_based, True), {})
    for _ in range(10):
        traced.ask(fields={"traceparent": traceparent(sampled=parent)})
    roots = taken(traced.tracing)
    assert len(roots) == sampled
    assert {root.trace for root in roots} <= {TRACE}


def test_nothing_is_recorded_when_tracing_is_off(traced: Traced) -> None:
    traced.tracing.publish(NEVER, {})
    before = traced.tracing.counts()
    traced.ask(fields={"traceparent": traceparent()})
    traced.stub.ModelInfer(message(), metadata=(("traceparent", traceparent()),))
    assert (taken(traced.tracing), traced.tracing.counts()) == ([], before)


def test_records_are_dropped_and_counted_when_nobody_takes_them(traced: Traced) -> None:
    before = traced.tracing.counts()
    for _ in range(70):
        answers = traced.stub.ModelStreamInfer(iter([message()] * 120))
        assert sum(answer.error_message == "" for answer in answers) == 120
    after = traced.tracing.counts()
    assert after["recorded"] - before["recorded"] == 8400
    assert after["dropped"] - before["dropped"] == 8400 - 8192
    assert len(taken(traced.tracing)) == 8192
    traced.ask()
    assert traced.one().name == "infer echo"


_HEX = st.text("0123456789abcdefABCDEF-", max_size=60)
_FIELD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)
_GOOD = traceparent()
_NEAR = st.tuples(st.integers(0, len(_GOOD) - 1), st.characters(min_codepoint=33, max_codepoint=126)).map(
    lambda changed: _GOOD[: changed[0]] + changed[1] + _GOOD[changed[0] + 1 :]
)


def _expected(text: str) -> bool:
    """Whether the specification has this followed: Trace Context, 3.2."""
    parts = text.split("-")
    if [len(part) for part in parts[:4]] != [2, 32, 16, 2] or (len(parts) > 4 and parts[0] == "00"):
        return False
    if any(c not in "0123456789abcdef" for part in parts[:4] for c in part) or parts[0] == "ff":
        return False
    return parts[1] != "0" * 32 and parts[2] != "0" * 16


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(f"{_GOOD},{_GOOD}")
@example(f"{_GOOD}-more")
@example(f"cc{_GOOD[2:]}-what-comes-later")
@example(f"cc{_GOOD[2:]}.x")
@example(f"ff{_GOOD[2:]}")
@example(_GOOD.upper())
@example(traceparent(trace="0" * 32))
@example(traceparent(parent="0" * 16))
@given(st.one_of(_HEX, _FIELD, _NEAR))
def test_trace_goes_on_only_when_the_traceparent_is_well_formed(traced: Traced, text: str) -> None:
    traced.tracing.publish((True, 1, -1, False, True), {})
    traced.ask(fields={"traceparent": text})
    traced.stub.ModelInfer(message(), metadata=(("traceparent", text),))
    roots = taken(traced.tracing)
    assert len(roots) == 2
    for root in roots:
        parts = text.split("-")
        if _expected(text):
            assert (root.trace, root.parent) == (parts[1], parts[2])
        else:
            assert root.parent == ""
            assert root.trace not in text


def test_trace_begins_anew_when_the_traceparent_comes_twice(traced: Traced) -> None:
    traced.http.putrequest("POST", "/v2/models/echo/infer")
    traced.http.putheader("traceparent", traceparent())
    traced.http.putheader("traceparent", traceparent())
    traced.http.putheader("content-length", "2")
    traced.http.endheaders(b"{}")
    traced.http.getresponse().read()
    assert traced.one().parent == ""


@pytest.mark.parametrize("state", ["a", "=b", "A=b", "a=", "a=b=c", "a=1," * 40, "a=" + "x" * 511])
def test_tracestate_is_dropped_when_it_is_malformed(traced: Traced, state: str) -> None:
    traced.stub.ModelInfer(message(), metadata=(("traceparent", traceparent()), ("tracestate", "k=v")))
    assert traced.one().state == "k=v"
    traced.ask(fields={"traceparent": traceparent(), "tracestate": state})
    root = traced.one()
    assert (root.trace, root.state) == (TRACE, "")
