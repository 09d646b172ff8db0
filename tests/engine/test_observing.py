"""What an engine tells about the work that it did and does."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import falaj
from tests import zoo
from tests.serving import GATED, QUICK, add_model, add_python, x_of

pytestmark = pytest.mark.core

PHASES = ("queue", "compute_input", "compute_infer", "compute_output")
ROWS = {"x": np.zeros((2, 32), dtype=np.float32)}


@pytest.fixture
def engine(tmp_path: Path) -> falaj.Engine:
    add_model(tmp_path, zoo.mlp(), QUICK)
    return falaj.Engine(tmp_path, cores=2, strict=True)


def test_stats_sum_phases_over_requests_when_asked_many_times(engine: falaj.Engine) -> None:
    with engine:
        for _ in range(5):
            engine.infer("mlp", ROWS)
        engine.infer_many("mlp", [ROWS] * 20)
        [stats] = engine.stats()
        told = stats["inference_stats"]
    assert stats["inference_count"] == 50
    assert told["success"]["count"] == 25
    assert told["fail"] == {"count": 0, "ns": 0}
    assert {told[phase]["count"] for phase in PHASES} == {25}
    assert all(told[phase]["ns"] > 0 for phase in PHASES[1:])
    # Delivery comes after an answer is there.
    assert told["success"]["ns"] >= sum(told[phase]["ns"] for phase in PHASES[:3])
    assert sum(count for _, count in stats["request_ns_histogram"]) == 25
    assert stats["ok_run_ns"] > stats["run_ns"]  # some shared a batch


def test_stats_count_what_did_not_fit_the_model_when_shapes_are_wrong(engine: falaj.Engine) -> None:
    with engine:
        with pytest.raises(falaj.InvalidInput):
            engine.infer("mlp", {"x": np.zeros((2, 31), dtype=np.float32)})
        [stats] = engine.stats("mlp")
    assert (stats["refused_invalid"], stats["requests_failed"]) == (1, 0)


def test_stats_tell_how_long_loading_took_when_a_model_is_loaded(engine: falaj.Engine) -> None:
    with engine:
        [stats] = engine.stats()
    assert 0 < stats["load_seconds"] < 60


def test_stats_hold_whatever_is_served_when_models_come_and_go(tmp_path: Path) -> None:
    add_python(tmp_path, "stays")
    add_python(tmp_path, "goes")
    failed: list[BaseException] = []
    stop = threading.Event()
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:

        def look() -> None:
            try:
                while not stop.is_set():
                    assert "stays" in {row["name"] for row in engine.stats()}
                    assert engine.stuck(60) == {}
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(50):
            engine.unload("goes")
            engine.load("goes")
        stop.set()
        thread.join()
    assert failed == []


def test_stuck_names_the_version_when_its_batch_does_not_end(tmp_path: Path) -> None:
    add_python(tmp_path, "gated", GATED, head="max_batch_size = 4")
    add_model(tmp_path, zoo.mlp(), QUICK)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        module = sys.modules.pop("falaj_test_gate")
        assert engine.stuck(0) == {}
        asking = threading.Thread(target=engine.infer, args=("gated", x_of(1)))
        asking.start()
        try:
            assert module.started.wait(30)
            engine.infer("mlp", ROWS)
            stuck = engine.stuck(0)
            assert stuck.keys() == {("gated", 1)}
            assert 0 < stuck["gated", 1] < 60
            assert engine.stuck(60) == {}
        finally:
            module.gate.set()
            asking.join()


def test_engine_loads_only_the_models_named_when_some_are(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        add_python(tmp_path, name)
    with falaj.Engine(tmp_path, cores=1, models=["a", "c"], strict=True) as engine:
        assert [row["name"] for row in engine.models()] == ["a", "c"]
        engine.load("b")
        assert [row["name"] for row in engine.models()] == ["a", "b", "c"]
    with falaj.Engine(tmp_path, cores=1, models=[]) as engine:
        assert engine.models() == []
    with pytest.raises(falaj.Unavailable, match="model 'd' was not loaded: model 'd' has no folder"):
        falaj.Engine(tmp_path, cores=1, models=["a", "d"], strict=True)
