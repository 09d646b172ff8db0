"""Answers that are kept are shared by all transports, told of in statistics and metrics, never mixed up."""

import asyncio
import http.client
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

import falaj
from falaj.server.api.statistics import version_statistics
from tests.engine.pipeline_models import add_pipeline
from tests.server.serving_process import until
from tests.server.wire_serving import WireServing
from tests.serving import GATED, add_python, x_of

pytestmark = pytest.mark.core

_CACHE = "[cache]\n"


@pytest.fixture
def serving(models: Path) -> Iterator[tuple[falaj.Engine, WireServing]]:
    add_python(models, "m", head=_CACHE)
    add_python(models, "gated", GATED, head=_CACHE)
    with falaj.Engine(models, cores=2, strict=True) as engine, WireServing(engine) as wire:
        yield engine, wire


def _json(wire: WireServing, model: str, rows: list[list[float]], **more: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", wire.ports["http"], timeout=60)
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(rows), 1], "data": rows}
    connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor], **more}))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def _binary(wire: WireServing, model: str, x: Any) -> Any:
    tensor = http_client.InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    with http_client.InferenceServerClient(wire.url()) as client:
        return client.infer(model, [tensor]).as_numpy("y")


def _grpc(wire: WireServing, model: str, x: Any) -> Any:
    tensor = grpc_client.InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    with grpc_client.InferenceServerClient(wire.url("grpc")) as client:
        return client.infer(model, [tensor]).as_numpy("y")


def test_transports_share_an_entry_when_they_ask_the_same(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    engine, wire = serving
    x = np.array([[1.5], [-2]], dtype=np.float32)
    for _ in range(2):
        status, answer = _json(wire, "m", x.tolist(), id="its own")
        assert (status, answer["id"], answer["outputs"][0]["data"]) == (200, "its own", [1.5, -2])
        np.testing.assert_array_equal(_binary(wire, "m", x), x)
        np.testing.assert_array_equal(_grpc(wire, "m", x), x)
        np.testing.assert_array_equal(engine.infer("m", {"x": x})["y"], x)
    stats = engine.stats("m")[0]
    assert (stats["batches"], stats["cache_hits"], stats["cache_misses"]) == (1, 7, 1)


def test_classification_answers_each_as_asked_when_the_answer_was_kept(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    engine, wire = serving
    plain = _json(wire, "m", [[3.0]])[1]["outputs"][0]
    asked = [{"name": "y", "parameters": {"classification": 1}}]
    classes = _json(wire, "m", [[3.0]], outputs=asked)[1]["outputs"][0]
    assert (plain["data"], classes["data"]) == ([3.0], ["3:0"])
    assert engine.stats("m")[0]["cache_hits"] == 1


def test_requests_share_a_run_when_they_come_by_all_transports_at_once(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    engine, wire = serving
    gated = sys.modules["falaj_test_gate"]
    x = np.array([[7]], dtype=np.float32)
    asks: list[Any] = [
        lambda: _json(wire, "gated", [[7]])[1]["outputs"][0]["data"],
        lambda: _binary(wire, "gated", x).ravel().tolist(),
        lambda: _grpc(wire, "gated", x).ravel().tolist(),
        lambda: asyncio.run(engine.infer_async("gated", x_of(7)))["y"].ravel().tolist(),
    ]
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(asks[0])
        gated.started.wait(60)
        others = [pool.submit(asks[i % 4]) for i in range(15)]
        until(lambda: engine.stats("gated")[0]["cache_joined"] == 15, "all wait for the first")
        gated.gate.set()
        assert [future.result(60) for future in (first, *others)] == [[7]] * 16
    stats = engine.stats("gated")[0]
    assert (stats["batches"], stats["cache_hits"], stats["cache_misses"]) == (1, 15, 1)


def test_request_answers_the_others_when_its_client_leaves(serving: tuple[falaj.Engine, WireServing]) -> None:
    engine, wire = serving
    gated = sys.modules["falaj_test_gate"]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
    leaving = http.client.HTTPConnection("127.0.0.1", wire.ports["http"], timeout=60)
    leaving.request("POST", "/v2/models/gated/infer", json.dumps({"inputs": [tensor]}))
    gated.started.wait(60)
    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(_json, wire, "gated", [[1]])
        until(lambda: engine.stats("gated")[0]["cache_joined"] == 1, "the other waits")
        leaving.close()
        until(lambda: engine.stats("gated")[0]["cancelled"] == 1, "the server has seen that it left")
        gated.gate.set()
        assert staying.result(60)[1]["outputs"][0]["data"] == [1]
    assert engine.stats("gated")[0]["batches"] == 1


def test_statistics_count_hits_apart_when_they_are_read(serving: tuple[falaj.Engine, WireServing]) -> None:
    engine, wire = serving
    for _ in range(4):
        _json(wire, "m", [[1.0], [2.0]])
    until(lambda: engine.stats("m")[0]["inflight_requests"] == 0, "all is counted")
    told = version_statistics(engine.stats("m")[0])
    counts = {phase: told["inference_stats"][phase]["count"] for phase in told["inference_stats"]}
    assert counts == {
        "success": 4, "fail": 0, "queue": 4, "compute_input": 1, "compute_infer": 1, "compute_output": 1,
        "cache_hit": 3, "cache_miss": 1,
    }  # fmt: skip
    assert told["inference_stats"]["cache_hit"]["ns"] > 0
    assert told["inference_stats"]["cache_miss"]["ns"] > 0
    assert (told["inference_count"], told["execution_count"]) == (2, 1)
    with grpc_client.InferenceServerClient(wire.url("grpc")) as client:
        by_grpc = client.get_inference_statistics("m", as_json=True)["model_stats"][0]["inference_stats"]
    assert by_grpc["cache_hit"]["count"] == "3"


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_request_is_run_and_not_kept_when_it_asks_for_no_cache(
    serving: tuple[falaj.Engine, WireServing], transport: str
) -> None:
    engine, wire = serving
    x = np.array([[1]], dtype=np.float32)

    def ask(cache: bool) -> None:
        if transport == "json":
            status, answer = _json(wire, "m", [[1]], parameters={"cache": cache})
            assert (status, answer["outputs"][0]["data"]) == (200, [1])
            return
        tensor = grpc_client.InferInput("x", x.shape, "FP32")
        tensor.set_data_from_numpy(x)
        with grpc_client.InferenceServerClient(wire.url("grpc")) as client:
            answer = client.infer("m", [tensor], parameters={"cache": cache})
        assert answer.as_numpy("y").tolist() == [[1]]

    def counts() -> tuple[int, ...]:
        stats = engine.stats("m")[0]
        kinds = ("hits", "misses", "skipped", "entries")
        return (stats["batches"], *(stats[f"cache_{kind}"] for kind in kinds))

    ask(cache=False)
    assert counts() == (1, 0, 0, 1, 0)
    ask(cache=True)
    assert counts() == (2, 0, 1, 1, 1)
    ask(cache=False)
    assert counts() == (3, 0, 1, 2, 1)
    ask(cache=True)
    assert counts() == (3, 1, 1, 2, 1)


def test_request_runs_apart_from_its_equals_when_it_asks_for_no_cache(
    serving: tuple[falaj.Engine, WireServing],
) -> None:
    engine, wire = serving
    gated = sys.modules["falaj_test_gate"]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(_json, wire, "gated", [[1]])
        gated.started.wait(60)
        apart = pool.submit(_json, wire, "gated", [[1]], parameters={"cache": False})
        until(lambda: engine.stats("gated")[0]["cache_skipped"] == 1, "it is queued")
        gated.gate.set()
        assert [future.result(60)[0] for future in (first, apart)] == [200, 200]
    stats = engine.stats("gated")[0]
    assert (stats["batches"], stats["cache_joined"]) == (2, 0)


def test_request_is_refused_when_its_cache_is_no_truth(serving: tuple[falaj.Engine, WireServing]) -> None:
    _, wire = serving
    for wrong in ("false", 0):
        status, answer = _json(wire, "m", [[1]], parameters={"cache": wrong})
        assert (status, "parameters.cache: expected true or false" in answer["error"]) == (400, True)


def test_steps_are_run_when_a_pipeline_is_asked_for_no_cache(tmp_path: Path) -> None:
    add_python(tmp_path, "m", head=_CACHE)
    add_pipeline(
        tmp_path,
        "chain",
        '[[input]]\nname = "x"\n\n[[step]]\nmodel = "m"\ninputs = { x = "x" }\noutputs = { y = "y" }\n\n'
        '[[output]]\nname = "y"\n',
    )
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine, WireServing(engine) as wire:
        for cache in (True, True, False):
            assert _json(wire, "chain", [[1]], parameters={"cache": cache})[0] == 200
        stats = engine.stats("m")[0]
        assert (stats["cache_hits"], stats["cache_misses"], stats["cache_skipped"]) == (1, 1, 1)


def test_model_config_tells_of_the_cache_when_it_has_one(serving: tuple[falaj.Engine, WireServing]) -> None:
    _, wire = serving
    with grpc_client.InferenceServerClient(wire.url("grpc")) as client:
        assert client.get_model_config("m").config.response_cache.enable
