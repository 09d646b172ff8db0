"""Pipelines of real models, in process."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import falaj
from tests.engine.pipeline_models import (
    BRANCHES,
    CHAIN,
    DIAMOND,
    add,
    add_models,
    add_pipeline,
    dense,
    merged_chain,
    merged_diamond,
    save,
)
from tests.serving import QUICK, add_python

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[falaj.Engine]:
    folder = tmp_path_factory.mktemp("models")
    add_models(folder)
    add_pipeline(folder, "chain", CHAIN)
    add_pipeline(folder, "diamond", DIAMOND)
    add_pipeline(folder, "branches", BRANCHES)
    first, second, other = dense(8, 16, 0), dense(16, 4, 1), dense(16, 4, 2)
    save(folder, "merged_chain", merged_chain(first, second))
    save(folder, "merged_diamond", merged_diamond(first, second, other, add(4)))
    with falaj.Engine(folder, cores=2, strict=True) as engine:
        yield engine


def _x(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 8)).astype(np.float32)


def _reference(x: np.ndarray, *layers: tuple[int, int, int]) -> np.ndarray:
    for inputs, outputs, seed in layers:
        weights = np.random.default_rng(seed).standard_normal((inputs, outputs)) / np.sqrt(inputs)
        x = np.tanh(x @ weights.astype(np.float32))
    return x


def test_pipeline_tells_what_it_takes_when_it_is_described(engine: falaj.Engine) -> None:
    told = engine.describe("diamond")
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 8]}]
    assert told["outputs"] == [{"name": "s", "datatype": "FP32", "shape": [-1, 4]}]
    assert (told["platform"], told["version"], told["max_batch_size"]) == ("ensemble", 1, 16)


@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize(
    ("pipeline", "output", "merged", "of_merged"),
    [("chain", "score", "merged_chain", "b_y"), ("diamond", "s", "merged_diamond", "d_sum")],
)
def test_pipeline_answers_bit_for_bit_as_the_merged_graph_when_rows_are_the_same(
    engine: falaj.Engine, pipeline: str, output: str, merged: str, of_merged: str, rows: int
) -> None:
    x = _x(rows, rows)
    answer = engine.infer(pipeline, {"x": x})[output]
    np.testing.assert_array_equal(answer, engine.infer(merged, {"a_x": x})[of_merged])


def test_pipeline_answers_each_when_many_are_asked_at_once(engine: falaj.Engine) -> None:
    requests = [{"x": _x(1 + i % 3, i)} for i in range(300)]
    answers = engine.infer_many("chain", requests)
    for request, answer in zip(requests, answers, strict=True):
        expected = _reference(request["x"], (8, 16, 0), (16, 4, 1))
        np.testing.assert_allclose(answer["score"], expected, rtol=1e-5, atol=1e-6)


def test_pipeline_answers_a_loop_when_it_is_awaited(engine: falaj.Engine) -> None:
    async def ask() -> list[dict[str, Any]]:
        return await asyncio.gather(*(engine.infer_async("diamond", {"x": _x(1, i)}) for i in range(50)))

    for seed, answer in enumerate(asyncio.run(ask())):
        hidden = _reference(_x(1, seed), (8, 16, 0))
        expected = _reference(hidden, (16, 4, 1)) + _reference(hidden, (16, 4, 2))
        np.testing.assert_allclose(answer["s"], expected, rtol=1e-5, atol=1e-6)


def test_pipeline_counts_its_own_and_its_models_theirs_when_it_is_asked(engine: falaj.Engine) -> None:
    before = {
        name: engine.stats(name)[0]["inference_stats"]["success"]["count"] for name in ("chain", "first")
    }
    engine.infer("chain", {"x": _x(5)})
    for name, count in before.items():
        stats = engine.stats(name)[0]["inference_stats"]
        assert stats["success"]["count"] == count + 1
        assert stats["success"]["ns"] >= stats["queue"]["ns"] + stats["compute_infer"]["ns"]


def test_branch_is_taken_when_its_scalar_says_so(engine: falaj.Engine) -> None:
    x = np.abs(_x(2))
    up, down = engine.infer("branches", {"x": x}), engine.infer("branches", {"x": -x})
    np.testing.assert_allclose(up["y"], _reference(x, (8, 16, 0)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(down["y"], _reference(-x, (8, 16, 3)), rtol=1e-5, atol=1e-6)
    assert (up["route"].tolist(), down["route"].tolist()) == ([[1], [1]], [[-1], [-1]])


def test_request_fails_when_no_branch_or_several_are_taken(engine: falaj.Engine) -> None:
    with pytest.raises(falaj.InvalidInput, match=r"output 'y': no step has made it"):
        engine.infer("branches", {"x": np.zeros((1, 8), np.float32)})
    with pytest.raises(
        falaj.InvalidInput, match=r"step 'positive': `when`, tensor 'route'.*rows differ: 1 in"
    ):
        engine.infer("branches", {"x": np.array([[1.0] * 8, [-1.0] * 8], np.float32)})


def test_default_stands_in_when_no_branch_is_taken(tmp_path: Path) -> None:
    add_models(tmp_path)
    text = BRANCHES.replace('name = "y"\n\n[[output]]', 'name = "y"\ndefault = -2.5\n\n[[output]]')
    add_pipeline(tmp_path, "branches", text)
    with falaj.Engine(tmp_path, cores=2, strict=True, models=["branches"]) as engine:
        assert {row["name"] for row in engine.models()} == {"branches", "sign", "first", "widened"}
        answer = engine.infer("branches", {"x": np.zeros((2, 8), np.float32)})
        np.testing.assert_array_equal(answer["y"], np.full((2, 16), -2.5, np.float32))


_DOUBLE = """
class Model:
    def infer(self, batch):
        if batch["x"].max() > 1e6:
            raise ValueError("too large")
        return {"y": batch["x"] * 2}
"""
_DOUBLED = """
[[input]]
name = "x"
[[step]]
model = "double"
inputs = { x = "x" }
outputs = { y = "twice" }
[[step]]
name = "again"
model = "double"
inputs = { x = "twice" }
outputs = { y = "y" }
[[output]]
name = "y"
"""


def test_step_runs_user_code_when_its_model_is_python(tmp_path: Path) -> None:
    add_python(tmp_path, "double", _DOUBLE, head="max_batch_size = 8")
    add_pipeline(tmp_path, "doubled", _DOUBLED)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        answers = engine.infer_many("doubled", [{"x": np.full((1, 1), i, np.float32)} for i in range(40)])
        assert [float(answer["y"][0, 0]) for answer in answers] == [4.0 * i for i in range(40)]
        with pytest.raises(
            falaj.Error, match=r"pipeline 'doubled' version 1, step 'again': model 'double' vers"
        ):
            engine.infer("doubled", {"x": np.full((1, 1), 7e5, np.float32)})


def test_timeout_ends_the_whole_when_a_step_hangs(tmp_path: Path) -> None:
    gated = """
import threading
gate = threading.Event()
class Model:
    def infer(self, batch):
        gate.wait(60)
        return {"y": batch["x"]}
import sys
sys.modules["falaj_test_pipeline_gate"] = sys.modules[__name__]
"""
    add_python(tmp_path, "double", gated)
    add_pipeline(tmp_path, "doubled", _DOUBLED)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        try:
            with pytest.raises(falaj.DeadlineExceeded, match="'doubled'"):
                engine.infer("doubled", {"x": np.zeros((1, 1), np.float32)}, timeout=0.05)
        finally:
            sys.modules.pop("falaj_test_pipeline_gate").gate.set()  # type: ignore[attr-defined]
        stats = engine.stats("doubled")[0]
        assert (stats["expired"], stats["requests_ok"]) == (1, 0)


def test_nothing_is_lost_when_a_steps_model_is_reloaded_under_load(tmp_path: Path) -> None:
    add_models(tmp_path)
    add_pipeline(tmp_path, "chain", CHAIN)
    with falaj.Engine(tmp_path, cores=2, strict=True, models=["chain"]) as engine:
        stop = threading.Event()
        failures: list[BaseException] = []
        answered = [0]

        def ask() -> None:
            expected = _reference(_x(2), (8, 16, 0), (16, 4, 1))
            try:
                while not stop.is_set():
                    answer = engine.infer("chain", {"x": _x(2)})["score"]
                    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)
                    answered[0] += 1
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        for model in ("first", "chain"):
            engine.reload(model)
        stop.set()
        thread.join()
        assert failures == []
        assert answered[0] > 0


def test_pipeline_waits_for_models_that_fit_when_one_is_replaced(tmp_path: Path) -> None:
    add_models(tmp_path)
    add_pipeline(tmp_path, "chain", CHAIN)
    with falaj.Engine(tmp_path, cores=2, strict=True, models=["chain"]) as engine:
        save(tmp_path, "second", dense(9, 4, 1), version=2)
        engine.unload("second")
        engine.load("second")
        state = {row["name"]: row for row in engine.models()}
        assert state["chain"]["state"] == "UNAVAILABLE"
        assert (
            "its models have changed and fit no more: step[1].inputs.x: input 'x' of"
            in state["chain"]["reason"]
        )
        with pytest.raises(falaj.Unavailable, match=r"model 'second' version 2 is FP32 \[-1, 9\]"):
            engine.infer("chain", {"x": _x(1)})
        save(tmp_path, "second", dense(16, 4, 7), version=3)
        engine.unload("second")
        engine.load("second")
        expected = _reference(_x(1), (8, 16, 0), (16, 4, 7))
        np.testing.assert_allclose(
            engine.infer("chain", {"x": _x(1)})["score"], expected, rtol=1e-5, atol=1e-6
        )
        engine.unload("first")
        with pytest.raises(falaj.Unavailable, match="step 'first': model 'first' is not in service"):
            engine.infer("chain", {"x": _x(1)})
        engine.load("first")
        engine.infer("chain", {"x": _x(1)})


def test_pinned_version_is_asked_when_a_later_one_is_served_too(tmp_path: Path) -> None:
    add_models(tmp_path)
    save(tmp_path, "second", dense(16, 4, 7), version=2)
    toml = QUICK + '[versions]\npolicy = "all"\n'
    (tmp_path / "second" / "model.toml").write_text(toml, encoding="utf-8")
    add_pipeline(tmp_path, "latest", CHAIN)
    add_pipeline(tmp_path, "pinned", CHAIN.replace('model = "second"', 'model = "second"\nversion = 1'))
    with falaj.Engine(tmp_path, cores=2, strict=True, models=["latest", "pinned"]) as engine:
        for name, seed in (("latest", 7), ("pinned", 1)):
            expected = _reference(_x(1), (8, 16, 0), (16, 4, seed))
            np.testing.assert_allclose(
                engine.infer(name, {"x": _x(1)})["score"], expected, rtol=1e-5, atol=1e-6
            )


def test_dependents_are_unloaded_with_it_when_no_other_pipeline_needs_them(tmp_path: Path) -> None:
    add_models(tmp_path)
    add_pipeline(tmp_path, "chain", CHAIN)
    add_pipeline(tmp_path, "outer", CHAIN.replace('"first"', '"chain"').replace('{ x = "x" }', '{ x = "x" }'))
    add_pipeline(tmp_path, "diamond", DIAMOND)
    with falaj.Engine(tmp_path, cores=2, strict=True, models=["chain", "diamond"]) as engine:
        engine.unload("diamond", dependents=True)
        assert {row["name"] for row in engine.models()} == {"chain", "first", "second"}
        engine.unload("chain", dependents=True)
        assert engine.models() == []


_NEST = """
[[input]]
name = "x"
[[step]]
model = "MODEL"
inputs = { x = "x" }
outputs = { OUT = "score" }
[[output]]
name = "score"
"""


def test_pipeline_of_pipelines_answers_when_none_needs_itself(tmp_path: Path) -> None:
    add_models(tmp_path)
    add_pipeline(tmp_path, "a_outer", _NEST.replace("MODEL", "chain").replace("OUT", "score"))
    add_pipeline(tmp_path, "chain", CHAIN)
    add_pipeline(tmp_path, "one", _NEST.replace("MODEL", "two").replace("OUT", "score"))
    add_pipeline(tmp_path, "two", _NEST.replace("MODEL", "one").replace("OUT", "score"))
    with falaj.Engine(tmp_path, cores=2) as engine:
        expected = _reference(_x(3), (8, 16, 0), (16, 4, 1))
        np.testing.assert_allclose(
            engine.infer("a_outer", {"x": _x(3)})["score"], expected, rtol=1e-5, atol=1e-6
        )
        told = {row["name"]: row["reason"] for row in engine.models() if row["state"] != "READY"}
        assert set(told) == {"one", "two"}
        assert (
            "in a circle: 'two' -> 'one' -> 'two'" in told["two"] or "'one' -> 'two' -> 'one'" in told["one"]
        )


def test_loading_names_what_does_not_fit_when_a_pipeline_is_wrong(tmp_path: Path) -> None:
    add_models(tmp_path)
    add_pipeline(tmp_path, "chain", CHAIN.replace('model = "second"', 'model = "first"\nname = "second"'))
    add_pipeline(tmp_path, "lonely", CHAIN.replace('model = "second"', 'model = "absent"'))
    with falaj.Engine(tmp_path, cores=2, models=[]) as engine:
        with pytest.raises(
            falaj.InvalidInput, match=r"chain: step\[1\]\.inputs\.x: input 'x' of model 'first'"
        ):
            engine.load("chain")
        with pytest.raises(
            falaj.Unavailable, match="pipeline 'lonely': step 'absent': model 'absent' is not"
        ):
            engine.load("lonely")
        save(tmp_path, "absent", dense(16, 4, 1))
        engine.load("absent")  # and with it what has waited for it
        engine.infer("lonely", {"x": _x(1)})
