"""Models that answer a request any number of times, asked in process."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import falaj
from falaj.server.errors import ConfigError
from falaj.server.model_config import CacheConfig, ModelConfig
from tests import zoo
from tests.server.serving_process import until
from tests.serving import QUICK, add_model, add_python, x_of
from tests.streaming import ASYNC_COUNTING, COUNTING, DECOUPLED

pytestmark = pytest.mark.core


@pytest.fixture(params=[COUNTING, ASYNC_COUNTING], ids=["generator", "async"])
def code(request: pytest.FixtureRequest) -> str:
    code: str = request.param
    return code


@pytest.fixture
def engine(tmp_path: Path, code: str) -> Iterator[falaj.Engine]:
    add_python(tmp_path, "count", code, head=DECOUPLED)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        yield engine


def _counting() -> Any:
    return sys.modules["falaj_test_counting"]


def _values(answers: Any) -> list[float]:
    return [float(answer["y"][0, 0]) for answer in answers]


async def _values_async(engine: falaj.Engine, count: float, **more: Any) -> list[float]:
    return [float(a["y"][0, 0]) async for a in engine.infer_stream_async("count", x_of(count), **more)]


def test_infer_stream_gives_each_answer_in_order_when_iterated(engine: falaj.Engine) -> None:
    for count in (0, 1, 5, 100):
        assert _values(engine.infer_stream("count", x_of(count))) == [float(i) for i in range(count)]
        assert asyncio.run(_values_async(engine, count)) == [float(i) for i in range(count)]
    assert _counting().closed == 8
    # A batch is counted out after its answer is.
    until(lambda: engine.stats("count")[0]["inflight_requests"] == 0, "the last batch is over")
    stats = engine.stats("count")[0]
    assert (stats["requests_ok"], stats["waiting_rows"]) == (8, 0)


def test_infer_stream_holds_the_model_back_when_answers_are_not_taken(engine: falaj.Engine) -> None:
    answers = engine.infer_stream("count", x_of(10_000))
    counting = _counting()
    for i in range(50):
        assert float(next(answers)["y"][0, 0]) == i
        assert (
            counting.made <= i + 12
        )  # 8 that are not taken, the one taken, and the one that waits to go out
    answers.close()  # type: ignore[attr-defined]
    assert counting.ended.wait(60)
    assert counting.made <= 62
    assert engine.stats("count")[0]["cancelled"] == 1


def test_infer_stream_async_holds_the_model_back_when_answers_are_not_taken(engine: falaj.Engine) -> None:
    async def take_some() -> None:
        answers = engine.infer_stream_async("count", x_of(10_000))
        for i in range(50):
            assert float((await anext(answers))["y"][0, 0]) == i
            await asyncio.sleep(0)
            assert _counting().made <= i + 12
        await answers.aclose()

    asyncio.run(take_some())
    assert _counting().ended.wait(60)


def test_infer_stream_ends_the_generator_when_the_task_is_cancelled(engine: falaj.Engine) -> None:
    async def cancel() -> None:
        got: asyncio.Event = asyncio.Event()

        async def take() -> None:
            async for _ in engine.infer_stream_async("count", x_of(10_000)):
                got.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(take())
        await got.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert _counting().ended.wait(60)


def test_infer_stream_raises_at_its_deadline_when_the_model_goes_on(engine: falaj.Engine) -> None:
    answers = engine.infer_stream("count", x_of(10_000), timeout=0.2)
    next(answers)
    until(lambda: engine.stats("count")[0]["expired"] == 1, "its time is over")
    # What was given before it is still there.
    with pytest.raises(falaj.DeadlineExceeded):
        list(answers)
    assert _counting().ended.wait(60)
    assert asyncio.run(_values_async(engine, 2)) == [0, 1]


def test_infer_stream_gives_what_came_before_when_the_model_fails(engine: falaj.Engine) -> None:
    answers = engine.infer_stream("count", x_of(-3))
    assert _values([next(answers) for _ in range(3)]) == [0, 1, 2]
    with pytest.raises(falaj.InternalError, match="three is enough"):
        next(answers)
    assert _counting().closed == 1
    with pytest.raises(falaj.InternalError, match="stream yielded <class 'int'>, expected a dict"):
        list(engine.infer_stream("count", x_of(-1)))
    assert _values(engine.infer_stream("count", x_of(2))) == [0, 1]


def test_infer_is_refused_when_the_model_answers_several_times(engine: falaj.Engine) -> None:
    with pytest.raises(falaj.Unsupported, match="ask it by infer_stream"):
        engine.infer("count", x_of(1))
    with pytest.raises(falaj.InvalidInput, match="no input 'z'"):
        list(engine.infer_stream("count", {**x_of(1), "z": [[1.0]]}))


def test_infer_stream_gives_one_answer_when_the_model_answers_once(tmp_path: Path) -> None:
    model = zoo.mlp()
    add_model(tmp_path, model, QUICK)
    x = {"x": np.ones((2, 32), dtype=np.float32)}
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        expected = engine.infer(model.name, x)
        (answer,) = engine.infer_stream(model.name, x)
        assert answer.keys() == expected.keys()
        np.testing.assert_array_equal(answer["y"], expected["y"])


def test_streams_share_the_instances_when_they_are_many(tmp_path: Path, code: str) -> None:
    add_python(tmp_path, "count", code, head=DECOUPLED + "instances = 4\n")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:

        async def ask() -> list[list[float]]:
            return await asyncio.gather(*(_values_async(engine, i % 20) for i in range(200)))

        assert asyncio.run(ask()) == [[float(j) for j in range(i % 20)] for i in range(200)]
        assert engine.stats("count")[0]["requests_ok"] == 200


def test_each_stream_is_in_order_when_others_leave_at_random(tmp_path: Path, code: str) -> None:
    add_python(tmp_path, "count", code, head=DECOUPLED + "instances = 8\n")
    random = np.random.default_rng(0)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:

        async def take(count: int, most: int) -> None:
            answers = engine.infer_stream_async("count", x_of(count))
            got: list[float] = []
            while len(got) < most:
                answer = await anext(answers, None)
                if answer is None:
                    break
                got.append(float(answer["y"][0, 0]))
            await answers.aclose()
            assert got == [float(i) for i in range(min(count, most))]

        async def ask() -> None:
            await asyncio.gather(*(take(*map(int, random.integers((0, 1), 40))) for _ in range(400)))

        asyncio.run(ask())
        until(lambda: engine.stats("count")[0]["inflight_requests"] == 0, "all are over")
        stats = engine.stats("count")[0]
        assert stats["requests_ok"] + stats["cancelled"] == 400
        assert (stats["requests_failed"], stats["waiting_rows"]) == (0, 0)


def test_slow_reader_holds_back_its_own_stream_only_when_there_are_instances(
    tmp_path: Path, code: str
) -> None:
    add_python(tmp_path, "count", code, head=DECOUPLED + "instances = 2\n")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        slow = engine.infer_stream("count", x_of(1000))
        next(slow)
        for _ in range(5):
            assert len(_values(engine.infer_stream("count", x_of(100)))) == 100
        assert len(_values(slow)) == 999


def test_reload_lets_a_stream_end_when_it_is_under_way(tmp_path: Path, code: str) -> None:
    add_python(tmp_path, "count", code, head=DECOUPLED)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        answers = engine.infer_stream("count", x_of(30))
        got = [next(answers)]
        reloading = threading.Thread(target=engine.reload, args=("count",))
        reloading.start()
        got += answers
        reloading.join()
        assert _values(got) == [float(i) for i in range(30)]
        assert _values(engine.infer_stream("count", x_of(1))) == [0]


def test_unload_cuts_a_stream_when_its_time_to_drain_has_passed(tmp_path: Path, code: str) -> None:
    add_python(tmp_path, "count", code, head=DECOUPLED + "drain_seconds = 0.05\n")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        answers = engine.infer_stream("count", x_of(10_000))
        next(answers)
        engine.unload("count")
        assert _counting().ended.is_set()
        with pytest.raises(falaj.Unavailable, match="before it had given all answers"):
            list(answers)


def test_decoupled_is_refused_when_the_model_cannot_be(tmp_path: Path) -> None:
    model = zoo.mlp()
    add_model(tmp_path, model, QUICK + DECOUPLED)
    add_python(tmp_path, "once", head=DECOUPLED)
    with falaj.Engine(tmp_path, cores=2) as engine:
        reasons = {row["name"]: row["reason"] for row in engine.models()}
    assert "an ONNX model answers a request once" in reasons[model.name]
    assert "has no method `stream(self, batch)`" in reasons["once"]
    with pytest.raises(ConfigError) as caught:
        ModelConfig(decoupled=True, cache=CacheConfig())
    assert caught.value.key == "cache"
