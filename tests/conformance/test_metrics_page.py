"""The page of metrics that dashboards read."""

import time

import numpy as np
import pytest

from tests.conformance.exchange import Http
from tests.conformance.metrics_page import Page
from tests.conformance.repository import FEATURES
from tests.conformance.target import Target
from tests.conformance.tensors import in_json

pytestmark = pytest.mark.metrics

MODEL = {"model": "classifier", "version": "1"}
COUNTERS = (
    "nv_inference_request_success",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_request_duration_us",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
)
MODEL_GAUGES = ("nv_inference_pending_request_count", "nv_model_load_duration_secs")
MACHINE_GAUGES = ("nv_cpu_utilization", "nv_cpu_memory_total_bytes", "nv_cpu_memory_used_bytes")
REASONS = {"REJECTED", "CANCELED", "BACKEND", "OTHER"}
# Falaj's own, in seconds: a request's whole, its wait, the batch's run; and what the front end did.
OWN = (
    "falaj_request_seconds",
    "falaj_queue_seconds",
    "falaj_compute_seconds",
    *(f"falaj_wire_{phase}_seconds" for phase in ("read", "decode", "wait", "encode", "request")),
)


def ask(native: Http, rows: int, model: str = "classifier") -> int:
    x = in_json("x", "FP32", np.zeros((rows, FEATURES), np.float32))
    return native.infer(model, {"inputs": [x]}).status


@pytest.mark.parametrize("name", COUNTERS)
def test_counter_has_model_and_version_when_the_page_is_read(target: Target, name: str) -> None:
    """Counters by the names that dashboards expect; labels `model`, `version`."""
    page = Page(target)
    assert page.value(name, **MODEL) >= 0
    assert page.families[name].type == "counter"
    assert page.value(name, model="versions", version="3") >= 0


@pytest.mark.parametrize("name", MODEL_GAUGES)
def test_gauge_has_model_and_version_when_the_page_is_read(target: Target, name: str) -> None:
    """Gauges of models."""
    page = Page(target)
    assert page.families[name].type == "gauge"
    assert page.value(name, **MODEL) >= 0


def test_failures_have_a_reason_when_the_page_is_read(target: Target) -> None:
    """nv_inference_request_failure adds reason = REJECTED | CANCELED | BACKEND | OTHER."""
    page = Page(target)
    assert page.families["nv_inference_request_failure"].type == "counter"
    failures = [sample.labels for sample in page.samples("nv_inference_request_failure")]
    assert {labels["reason"] for labels in failures if labels["model"] == "classifier"} == REASONS
    assert all(labels.keys() == {"model", "version", "reason"} for labels in failures)


def test_machine_is_told_when_the_page_is_read(target: Target) -> None:
    """nv_cpu_utilization (0 to 1), nv_cpu_memory_{total,used}_bytes."""
    page = Page(target)
    assert all(page.families[name].type == "gauge" for name in MACHINE_GAUGES)
    utilization, total, used = (page.value(name) for name in MACHINE_GAUGES)
    assert 0 <= utilization <= 1
    assert 64 << 20 < used < total


def test_counters_grow_by_what_was_asked_when_requests_succeed(native: Http, target: Target) -> None:
    """Requests, rows and batches; durations are cumulative microseconds, of which the phases are parts."""
    began, before = time.perf_counter(), Page(target)
    assert [ask(native, rows=3) for _ in range(5)] == [200] * 5
    wall_us, after = (time.perf_counter() - began) * 1e6, Page(target)
    grown = {name: after.value(name, **MODEL) - before.value(name, **MODEL) for name in COUNTERS}
    assert grown["nv_inference_request_success"] == 5
    assert grown["nv_inference_count"] == 15
    assert 1 <= grown["nv_inference_exec_count"] <= 5
    assert 0 < grown["nv_inference_request_duration_us"] <= wall_us
    phases = sum(grown[name] for name in COUNTERS if name.endswith("_us") and "request" not in name)
    assert 0 < phases <= grown["nv_inference_request_duration_us"] + 5  # each was rounded


def test_mean_batch_is_rows_by_runs_when_requests_are_whole_batches(native: Http, target: Target) -> None:
    """Mean batch = rate(count) / rate(exec_count)."""
    names = ("nv_inference_count", "nv_inference_exec_count")
    before = Page(target)
    for _ in range(3):
        assert ask(native, rows=16) == 200
    after = Page(target)
    rows, runs = (after.value(name, **MODEL) - before.value(name, **MODEL) for name in names)
    assert rows / runs == 16


def test_no_counter_falls_when_the_page_is_read_again(native: Http, target: Target) -> None:
    """Counters only grow, whatever is asked in between, failures too."""
    before = Page(target)
    ask(native, rows=1)
    ask(native, rows=17)
    native.infer("gather", {"inputs": [in_json("index", "INT64", np.array([[99]]))]})
    after = Page(target)
    counted = [name for name, family in before.families.items() if family.type in ("counter", "histogram")]
    assert len(counted) > len(COUNTERS)
    for name in counted:
        seen = {(one.name, *sorted(one.labels.items())): one.value for one in after.families[name].samples}
        for sample in before.families[name].samples:
            if not sample.name.endswith("_created"):
                assert seen[sample.name, *sorted(sample.labels.items())] >= sample.value, sample


def test_failure_is_counted_as_the_backends_when_a_run_fails(native: Http, target: Target) -> None:
    """reason = BACKEND."""
    labels = {"model": "gather", "version": "1", "reason": "BACKEND"}
    before = Page(target).value("nv_inference_request_failure", **labels)
    native.infer("gather", {"inputs": [in_json("index", "INT64", np.array([[99]]))]})
    assert Page(target).value("nv_inference_request_failure", **labels) == before + 1


@pytest.mark.falaj_only("Triton has none of them")
@pytest.mark.parametrize("name", OWN)
def test_own_histogram_is_in_seconds_when_the_page_is_read(target: Target, name: str) -> None:
    """Falaj serves its own histograms in seconds for every phase beside those names."""
    family = Page(target).families[name]
    assert family.type == "histogram"
    bounds = [float(one.labels["le"]) for one in family.samples if one.name == f"{name}_bucket"]
    assert float("inf") in bounds
    finite = [bound for bound in bounds if bound != float("inf")]
    assert not finite or min(finite) < 1


@pytest.mark.falaj_only("Triton's page is at its port only")
def test_page_is_not_at_the_port_of_requests_when_it_is_asked_there(native: Http) -> None:
    """/metrics is on the port of metrics."""
    native.get("/metrics").error(404)
