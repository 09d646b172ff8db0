"""What is told of a model's work is what it did."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import falaj
from falaj.server.api import shapes
from falaj.server.api.control_plane import ControlPlane
from tests import zoo
from tests.serving import GATED, QUICK, add_model, add_python, x_of

pytestmark = pytest.mark.core

_PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


def _rows(count: int) -> dict[str, np.ndarray[Any, Any]]:
    return {"x": np.zeros((count, 32), dtype=np.float32)}


def _stats(engine: falaj.Engine, name: str | None = None, version: int | None = None) -> list[dict[str, Any]]:
    told = ControlPlane(engine).statistics(name, version)
    msgspec.convert(told, shapes.Statistics, strict=True)
    rows: list[dict[str, Any]] = told["model_stats"]
    return rows


def test_statistics_are_zero_when_nothing_was_asked(models: Path) -> None:
    add_model(models, zoo.mlp(), QUICK)
    with falaj.Engine(models, cores=1, strict=True) as engine:
        [row] = _stats(engine, "mlp")
    assert (row["last_inference"], row["inference_count"], row["execution_count"]) == (0, 0, 0)
    assert row["batch_stats"] == []
    none = {"count": 0, "ns": 0}
    assert all(duration == none for duration in row["inference_stats"].values())
    assert row["memory_usage"][0]["byte_size"] > 0


def test_statistics_count_requests_rows_and_batches_by_size_when_asked(models: Path) -> None:
    add_model(models, zoo.mlp(), QUICK)
    with falaj.Engine(models, cores=1, strict=True) as engine:
        before = time.time_ns() // 1_000_000
        for rows in (1, 1, 3, 32):
            engine.infer("mlp", _rows(rows))
        [row] = _stats(engine, "mlp", 1)
        after = time.time_ns() // 1_000_000
    assert before - 1 <= row["last_inference"] <= after + 1
    assert (row["inference_count"], row["execution_count"]) == (37, 4)
    phases = row["inference_stats"]
    assert {phases[phase]["count"] for phase in ("success", *_PHASES)} == {4}
    assert phases["success"]["ns"] >= sum(phases[phase]["ns"] for phase in _PHASES[:3])
    sizes = {size["batch_size"]: size for size in row["batch_stats"]}
    assert {size: one["compute_infer"]["count"] for size, one in sizes.items()} == {1: 2, 3: 1, 32: 1}
    # Each request was a batch of its own, so both sums are the same.
    for phase in _PHASES[1:]:
        assert sum(one[phase]["ns"] for one in sizes.values()) == phases[phase]["ns"]
        assert all(one[phase]["count"] == one["compute_infer"]["count"] for one in sizes.values())


def test_size_is_the_mean_when_batches_are_larger_than_the_bound(models: Path) -> None:
    add_model(models, zoo.mlp(), QUICK)
    with falaj.Engine(models, cores=1, strict=True) as engine:
        most = engine.describe("mlp")["max_batch_size"]
        for rows in (most + 10, most + 20):
            engine.infer("mlp", _rows(rows))
        [size] = _stats(engine)[0]["batch_stats"]
    assert (size["batch_size"], size["compute_infer"]["count"]) == (most + 15, 2)


def test_refusals_are_failures_when_they_are_counted(models: Path) -> None:
    add_python(models, "gated", GATED, head="max_batch_size = 1\nmax_queue_rows = 1")
    with falaj.Engine(models, cores=1, strict=True) as engine:
        module = sys.modules.pop("falaj_test_gate")
        threads = [threading.Thread(target=engine.infer, args=("gated", x_of(1))) for _ in range(2)]
        try:
            threads[0].start()
            assert module.started.wait(30)
            with pytest.raises(falaj.DeadlineExceeded):
                engine.infer("gated", x_of(1), timeout=0)
            with pytest.raises(falaj.InvalidInput):
                engine.infer("gated", {"x": np.zeros((1, 2), dtype=np.float32)})
            [row] = _stats(engine, "gated")
            assert row["inference_stats"]["fail"] == {"count": 2, "ns": 0}
        finally:
            module.gate.set()
            threads[0].join()


def test_statistics_are_of_all_versions_when_none_is_named(engine: falaj.Engine) -> None:
    assert [row["version"] for row in _stats(engine, "two")] == ["1", "3"]
    assert [row["version"] for row in _stats(engine, "two", 1)] == ["1"]
    assert {row["name"] for row in _stats(engine)} >= {"mlp", "tokens", "two"}
    for name, version in (("nope", None), ("two", 2)):
        with pytest.raises(falaj.NotFound):
            _stats(engine, name, version)
    with pytest.raises(falaj.Unavailable):
        _stats(engine, "broken")
