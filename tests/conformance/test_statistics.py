"""The statistics extension, which load tools read."""

import time
from typing import Any
from urllib.parse import quote

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from tests.conformance.exchange import Http
from tests.conformance.grpc_requests import arrays_of, assert_fails, raw_request
from tests.conformance.repository import AWKWARD_NAME, FEATURES
from tests.conformance.tensors import in_json

PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
ANSWERED = tuple(phase for phase in PHASES if phase != "fail")


def stats_of(http: Http, path: str) -> dict[str, Any]:
    """The one entry of `model_stats`."""
    told = http.get(f"/v2/models/{path}/stats").json()
    assert told.keys() == {"model_stats"}
    (entry,) = told["model_stats"]
    found: dict[str, Any] = entry
    return found


def runs_of(entry: dict[str, Any]) -> dict[int, int]:
    """How often a batch of each size has run."""
    return {batch["batch_size"]: batch["compute_infer"]["count"] for batch in entry["batch_stats"]}


def ask(native: Http, rows: int) -> None:
    tensor = in_json("x", "FP32", np.zeros((rows, FEATURES), np.float32))
    assert native.infer("classifier", {"inputs": [tensor]}).status == 200


def test_statistics_have_count_and_time_of_every_phase_when_asked(http: Http) -> None:
    """model_stats[]: inference_stats.{...}.{count, ns}, inference_count, execution_count, batch_stats[]."""
    entry = stats_of(http, "classifier")
    assert (entry["name"], entry["version"]) == ("classifier", "1")
    for phase in PHASES:
        assert entry["inference_stats"][phase].keys() == {"count", "ns"}
    assert isinstance(entry["inference_count"], int)
    assert isinstance(entry["execution_count"], int)
    assert isinstance(entry["batch_stats"], list)


def test_statistics_grow_by_what_was_asked_when_requests_succeed(native: Http) -> None:
    """Counts are of requests, inference_count of rows, execution_count of batches; times are nanoseconds."""
    before, began = stats_of(native, "classifier"), time.time()
    for _ in range(4):
        ask(native, rows=3)
    wall_ns = (time.time() - began) * 1e9
    after = stats_of(native, "classifier")
    assert after["inference_count"] - before["inference_count"] == 12
    assert 1 <= after["execution_count"] - before["execution_count"] <= 4
    grown = {
        phase: {
            key: after["inference_stats"][phase][key] - before["inference_stats"][phase][key]
            for key in ("count", "ns")
        }
        for phase in PHASES
    }
    assert [grown[phase]["count"] for phase in ANSWERED] == [4] * 5
    assert grown["fail"] == {"count": 0, "ns": 0}
    assert 0 < grown["compute_infer"]["ns"] <= grown["success"]["ns"] <= wall_ns
    assert sum(grown[phase]["ns"] for phase in ANSWERED[1:]) <= wall_ns
    assert (began - 1) * 1000 <= after["last_inference"] <= (time.time() + 1) * 1000


def test_batch_statistics_count_each_size_when_batches_run(native: Http) -> None:
    """batch_stats[]: how often a batch of each size ran; together they are all rows and all runs."""
    before = stats_of(native, "classifier")
    for rows in (1, 5, 5):
        ask(native, rows)
    after = stats_of(native, "classifier")
    ran = {size: count - runs_of(before).get(size, 0) for size, count in runs_of(after).items()}
    assert {size: count for size, count in ran.items() if count} == {1: 1, 5: 2}
    assert sum(size * count for size, count in runs_of(after).items()) == after["inference_count"]
    assert sum(runs_of(after).values()) == after["execution_count"]
    for batch in after["batch_stats"]:
        for phase in ("compute_input", "compute_infer", "compute_output"):
            assert batch[phase].keys() == {"count", "ns"}


def test_failures_are_counted_apart_when_a_run_fails(native: Http) -> None:
    """inference_stats.fail counts requests that were run and failed; they count as nothing else."""
    before = stats_of(native, "gather")
    bad = in_json("index", "INT64", np.array([[99]]))
    assert native.infer("gather", {"inputs": [bad]}).status >= 400
    after = stats_of(native, "gather")
    counts = [after["inference_stats"][p]["count"] - before["inference_stats"][p]["count"] for p in PHASES]
    assert counts[:2] == [0, 1]
    assert after["inference_count"] == before["inference_count"]


def test_statistics_have_every_model_and_version_when_none_is_named(http: Http) -> None:
    """/v2/models/stats."""
    entries = http.get("/v2/models/stats").json()["model_stats"]
    found = [(entry["name"], entry["version"]) for entry in entries]
    assert {("versions", "1"), ("versions", "3"), (AWKWARD_NAME, "1"), ("fixed", "1")} <= set(found)
    assert len(set(found)) == len(found)


def test_statistics_are_of_one_version_when_it_is_named(http: Http) -> None:
    """/v2/models/{m}[/versions/{v}]/stats."""
    both = http.get("/v2/models/versions/stats").json()["model_stats"]
    assert [entry["version"] for entry in both] == ["1", "3"]
    assert stats_of(http, "versions/versions/3")["version"] == "3"
    assert stats_of(http, quote(AWKWARD_NAME, safe=""))["name"] == AWKWARD_NAME


@pytest.mark.parametrize("path", ["nobody", "fixed/versions/9"])
def test_statistics_are_404_when_the_model_is_unknown(http: Http, path: str) -> None:
    """Unknown model or version: 404."""
    http.get(f"/v2/models/{path}/stats").error(404)


def test_statistics_are_those_of_http_when_asked_by_grpc(stub: Any, native: Http) -> None:
    """ModelStatistics has the same fields and counts requests of both transports."""
    x = ("x", "FP32", np.zeros((2, FEATURES), np.float32))
    before = stats_of(native, "classifier")
    assert arrays_of(stub.ModelInfer(raw_request("classifier", x)))["y"].shape == (2, 5)
    (told,) = stub.ModelStatistics(
        service_pb2.ModelStatisticsRequest(name="classifier", version="1")
    ).model_stats
    assert (told.name, told.version) == ("classifier", "1")
    assert told.inference_count == before["inference_count"] + 2
    assert told.inference_stats.success.count == before["inference_stats"]["success"]["count"] + 1
    assert told.inference_stats.success.ns > before["inference_stats"]["success"]["ns"]
    assert (
        sum(batch.batch_size * batch.compute_infer.count for batch in told.batch_stats)
        == told.inference_count
    )
    unknown = service_pb2.ModelStatisticsRequest(name="classifier", version="9")
    assert_fails(stub.ModelStatistics, unknown, grpc.StatusCode.NOT_FOUND)
