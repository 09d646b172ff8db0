"""Answers that are kept: in process, of Python models that count their runs."""

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import falaj
from falaj.server.errors import ConfigError
from falaj.server.model_config import CacheConfig, ModelConfig
from falaj.server.triton_config import parse_config_pbtxt
from tests import zoo
from tests.engine.pipeline_models import add_pipeline
from tests.server.serving_process import until
from tests.serving import GATED, QUICK, add_model, add_python, x_of

pytestmark = pytest.mark.core

_CACHE = "[cache]\n"
_BYTES = """
[[input]]
name = "x"
datatype = "BYTES"
shape = [-1, -1]

[[output]]
name = "y"
datatype = "BYTES"
shape = [-1, -1]
"""


def _counts(engine: falaj.Engine, model: str = "m") -> tuple[int, int, int]:
    """Batches that ran, hits and misses."""
    stats = engine.stats(model)[0]
    return stats["batches"], stats["cache_hits"], stats["cache_misses"]


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[falaj.Engine]:
    add_python(tmp_path, "m", head=_CACHE)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        yield engine


def test_infer_runs_once_when_inputs_are_equal(echo: falaj.Engine) -> None:
    for _ in range(3):
        assert echo.infer("m", x_of(1, 2))["y"].ravel().tolist() == [1, 2]
    assert asyncio.run(echo.infer_async("m", x_of(1, 2)))["y"].ravel().tolist() == [1, 2]
    many = echo.infer_many("m", [x_of(1, 2)] * 5)
    assert [answer["y"].ravel().tolist() for answer in many] == [[1, 2]] * 5
    assert _counts(echo) == (1, 8, 1)


def test_infer_runs_each_when_rows_or_values_differ(echo: falaj.Engine) -> None:
    for values in ((1,), (2,), (1, 2), (2, 1), (0.0,), (-0.0,), ()):
        assert echo.infer("m", x_of(*values))["y"].ravel().tolist() == list(values)
    assert _counts(echo) == (7, 0, 7)
    assert echo.infer("m", x_of())["y"].shape == (0, 1)
    assert _counts(echo) == (7, 1, 7)


def test_infer_answers_by_bits_when_values_are_not_numbers(echo: falaj.Engine) -> None:
    bits = np.array([[0x7FC00001], [0xFFC12345]], dtype=np.uint32)
    for _ in range(2):
        answer = echo.infer("m", {"x": bits.view(np.float32)})["y"]
        assert answer.view(np.uint32).tolist() == bits.tolist()
    assert _counts(echo) == (1, 1, 1)


def test_infer_gives_memory_of_its_own_when_the_answer_was_kept(echo: falaj.Engine) -> None:
    for _ in range(3):
        answer = echo.infer("m", x_of(1))["y"]
        assert answer.tolist() == [[1]]
        answer[:] = 9


def test_infer_keeps_large_arrays_when_they_are_run_where_they_lie(echo: falaj.Engine) -> None:
    x = np.arange(20_000, dtype=np.float32)[:, None]
    for _ in range(3):
        np.testing.assert_array_equal(echo.infer("m", {"x": x.copy()})["y"], x)
    assert _counts(echo) == (1, 2, 1)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.lists(st.binary(max_size=4), max_size=3), max_size=30))
def test_infer_answers_as_without_a_cache_when_elements_are_bytes(
    tmp_path_factory: pytest.TempPathFactory, asked: list[list[bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    add_python(folder, "m", head=_CACHE, tensors=_BYTES)
    with falaj.Engine(folder, cores=1, strict=True) as engine:
        for elements in asked:
            x = np.empty((1, len(elements)), dtype=object)
            x[0, :] = elements
            assert engine.infer("m", {"x": x})["y"].tolist() == [elements]
        distinct = len({tuple(elements) for elements in asked})
        assert _counts(engine) == (distinct, len(asked) - distinct, distinct)


def test_infer_shares_one_run_when_it_is_asked_meanwhile(tmp_path: Path) -> None:
    add_python(tmp_path, "m", GATED, head=_CACHE)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        gated = sys.modules["falaj_test_gate"]

        async def ask() -> list[Any]:
            first = asyncio.create_task(engine.infer_async("m", x_of(1)))
            await asyncio.to_thread(gated.started.wait)
            others = [asyncio.create_task(engine.infer_async("m", x_of(1))) for _ in range(50)]
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(falaj.DeadlineExceeded):
                await engine.infer_async("m", x_of(1), timeout=0.01)
            others[0].cancel()
            gated.gate.set()
            return await asyncio.gather(first, *others, return_exceptions=True)

        answers = asyncio.run(ask())
        assert [type(answer) for answer in answers[:2]] == [asyncio.CancelledError] * 2
        assert [answer["y"].tolist() for answer in answers[2:]] == [[[1]]] * 49
        assert _counts(engine)[0] == 1
        assert engine.stats("m")[0]["cache_joined"] == 51


def test_infer_tells_the_error_of_each_run_when_the_model_fails(tmp_path: Path) -> None:
    code = """
    class Model:
        runs = 0
        def infer(self, batch):
            Model.runs += 1
            if Model.runs < 3:
                raise ValueError(f"run {Model.runs}")
            return {"y": batch["x"]}
    """
    add_python(tmp_path, "m", code, head=_CACHE)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        for run in (1, 2):
            with pytest.raises(falaj.InternalError, match=f"run {run}"):
                engine.infer("m", x_of(1))
        for _ in range(2):
            assert engine.infer("m", x_of(1))["y"].tolist() == [[1]]
        assert engine.stats("m")[0]["cache_hits"] == 1


def test_reload_empties_the_cache_when_a_version_replaces_another(tmp_path: Path) -> None:
    add_python(tmp_path, "m", head=_CACHE)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        for _ in range(2):
            engine.infer("m", x_of(1))
        assert _counts(engine) == (1, 1, 1)
        doubles = 'class Model:\n    def infer(self, batch):\n        return {"y": 2 * batch["x"]}\n'
        add_python(tmp_path, "m", doubles, head=_CACHE, version=2)
        engine.load("m")
        for _ in range(2):
            assert engine.infer("m", x_of(1))["y"].tolist() == [[2]]
        assert _counts(engine) == (1, 1, 1)
        engine.reload("m")
        assert engine.infer("m", x_of(1))["y"].tolist() == [[2]]
        assert _counts(engine) == (1, 0, 1)


def test_infer_stays_within_bytes_when_keys_are_many(tmp_path: Path) -> None:
    add_python(tmp_path, "m", head="[cache]\nmax_bytes = 65536\n")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        for value in range(500):
            engine.infer("m", x_of(value))
            assert engine.stats("m")[0]["cache_bytes"] <= 65536
        stats = engine.stats("m")[0]
        assert stats["cache_entries"] + stats["cache_evicted"] == 500
        assert stats["cache_entries"] > 50
        engine.infer("m", x_of(499))
        assert engine.stats("m")[0]["cache_hits"] == 1


def test_infer_keeps_nothing_when_the_answer_is_larger_than_its_share(tmp_path: Path) -> None:
    add_python(tmp_path, "m", head="[cache]\nmax_bytes = 65536\n")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        large = {"x": np.ones((4096, 1), dtype=np.float32)}
        for _ in range(2):
            engine.infer("m", large)
        assert _counts(engine) == (2, 0, 2)


def test_infer_runs_again_when_what_was_kept_is_too_old(tmp_path: Path) -> None:
    add_python(tmp_path, "m", head="[cache]\nttl_ms = 0.000001\n")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        for _ in range(3):
            engine.infer("m", x_of(1))
        assert _counts(engine) == (3, 0, 3)
        assert engine.stats("m")[0]["cache_outdated"] == 2


def test_infer_gives_the_outputs_that_are_asked_for_when_all_are_kept(tmp_path: Path) -> None:
    model = zoo.mlp()
    add_model(tmp_path, model, QUICK + _CACHE)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        x = np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32)
        first = engine.infer(model.name, {"x": x})
        for name, array in first.items():
            only = engine.infer(model.name, {"x": x}, outputs=[name])
            assert list(only) == [name]
            np.testing.assert_array_equal(only[name], array)
        assert engine.stats(model.name)[0]["cache_misses"] == 1


def _chain(steps: int) -> str:
    """A pipeline of so many steps of the model `m`, one behind the other."""
    text = '[[input]]\nname = "t0"\n\n'
    for i in range(steps):
        text += f'[[step]]\nname = "s{i}"\nmodel = "m"\n'
        text += f'inputs = {{ x = "t{i}" }}\noutputs = {{ y = "t{i + 1}" }}\n\n'
    return text + f'[[output]]\nname = "t{steps}"\n'


@pytest.mark.parametrize("steps", [1, 2, 256])
def test_pipeline_is_answered_when_its_steps_answers_were_kept(tmp_path: Path, steps: int) -> None:
    add_python(tmp_path, "m", head=_CACHE)
    add_pipeline(tmp_path, "chain", _chain(steps))
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        x = x_of(1)["x"]
        for _ in range(3):
            assert engine.infer("chain", {"t0": x}, timeout=60)[f"t{steps}"].tolist() == [[1]]
        many = engine.infer_many("chain", [{"t0": x}] * 5, timeout=60)
        assert [answer[f"t{steps}"].tolist() for answer in many] == [[[1]]] * 5
        stats = engine.stats("m")[0]
        assert (stats["cache_misses"], stats["cache_hits"]) == (1, 8 * steps - 1)
        assert engine.stats("chain")[0]["requests_ok"] == 8


def test_pipeline_fails_when_its_step_is_refused_at_once(tmp_path: Path) -> None:
    add_python(tmp_path, "m", GATED, head="max_queue_rows = 1\ninstances = 1\n[cache]\n")
    add_pipeline(tmp_path, "chain", _chain(1))
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine, ThreadPoolExecutor(2) as pool:
        gated = sys.modules["falaj_test_gate"]
        running = pool.submit(engine.infer, "m", x_of(1))
        assert gated.started.wait(60)
        waiting = pool.submit(engine.infer, "m", x_of(2))
        until(lambda: engine.stats("m")[0]["waiting_requests"] == 1, "the queue is full")
        with pytest.raises(falaj.Unavailable, match=r"step 's0'.*queue is full"):
            engine.infer("chain", {"t0": x_of(3)["x"]}, timeout=60)
        gated.gate.set()
        assert (running.result(60)["y"].tolist(), waiting.result(60)["y"].tolist()) == ([[1]], [[2]])


def test_cache_config_is_refused_when_bytes_or_time_are_out_of_range() -> None:
    for wrong, key in (({"max_bytes": 100}, "max_bytes"), ({"ttl_ms": 0.0}, "ttl_ms")):
        with pytest.raises(ConfigError) as caught:
            CacheConfig(**wrong)
        assert caught.value.key == key


def test_config_pbtxt_sets_the_cache_when_it_enables_it() -> None:
    assert ModelConfig().cache is None
    for text, expected in (("true", CacheConfig()), ("false", None)):
        config, warnings = parse_config_pbtxt(f"response_cache {{ enable: {text} }}", source="config.pbtxt")
        assert (config.cache, warnings) == (expected, [])
