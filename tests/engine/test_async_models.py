"""Python models whose methods are `async def`: what runs on their event loop, and how it ends there."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import falaj
from tests.server.serving_process import until
from tests.serving import add_python, x_of
from tests.streaming import DECOUPLED, ENDING

pytestmark = pytest.mark.core


@pytest.fixture
def ending(tmp_path: Path) -> Any:
    add_python(tmp_path, "ending", ENDING, head=DECOUPLED)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        yield engine, sys.modules.pop("falaj_test_ending")


@pytest.mark.parametrize(
    ("what", "ends"),
    [
        (0, ["opened", "closed by CancelledError"]),
        (1, ["opened", "closed by CancelledError"]),
        (2, ["opened", "closed by GeneratorExit"]),
        (3, ["opened", "went on", "closed by GeneratorExit"]),
    ],
)
def test_generator_leaves_its_contexts_when_nobody_wants_more(
    ending: Any, what: int, ends: list[str]
) -> None:
    engine, module = ending
    answers = engine.infer_stream("ending", x_of(what))
    if what > 0:
        next(answers)
    if what != 2:
        assert module.waiting.wait(60)
    answers.close()
    assert module.ended.wait(60)
    assert module.ends == ends
    until(lambda: engine.stats("ending")[0]["inflight_requests"] == 0, "the instance is free")


def test_generator_is_cancelled_when_its_deadline_passes_at_an_await(ending: Any) -> None:
    engine, module = ending
    answers = engine.infer_stream("ending", x_of(1), timeout=1.0)
    assert next(answers)["y"].item() == 1
    with pytest.raises(falaj.DeadlineExceeded):
        next(answers)
    assert module.ended.wait(60)
    assert module.ends == ["opened", "closed by CancelledError"]
    assert next(engine.infer_stream("ending", x_of(2)))["y"].item() == 2


def test_generator_is_cancelled_when_its_model_is_unloaded(tmp_path: Path) -> None:
    add_python(tmp_path, "ending", ENDING, head=DECOUPLED + "drain_seconds = 0.05\n")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        answers = engine.infer_stream("ending", x_of(1))
        next(answers)
        engine.unload("ending")
        assert sys.modules.pop("falaj_test_ending").ends[-1] == "closed by CancelledError"
        with pytest.raises(falaj.Unavailable):
            next(answers)


ASYNC_ONCE = """
import asyncio
import sys

import falaj
import numpy as np

cancelled = []

class Model:
    async def load(self, parameters, folder):
        self.added = parameters["add"]
        self.loop = asyncio.get_running_loop()
        self.work = asyncio.Queue()
        self.task = asyncio.create_task(self.add())

    async def add(self):  # goes on between requests
        try:
            while True:
                values, answer = await self.work.get()
                answer.set_result(values + np.float32(self.added))
        except asyncio.CancelledError:
            cancelled.append(self)
            raise

    async def infer(self, batch):
        assert asyncio.get_running_loop() is self.loop
        x = batch["x"]
        if (x == 13).any():
            raise falaj.InvalidInput("unlucky")
        if (x == 14).any():
            raise SystemExit(3)
        if (x == 15).any():
            return 15
        answer = self.loop.create_future()
        await self.work.put((x, answer))
        return {"y": await answer}

sys.modules["falaj_test_once"] = sys.modules[__name__]
"""


def _loops() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("falaj-async-")]


def test_infer_and_load_run_on_one_loop_when_they_are_async(tmp_path: Path) -> None:
    add_python(tmp_path, "once", ASYNC_ONCE, head="parameters = { add = 0.5 }\ninstances = 2\n")
    add_python(tmp_path, "echo")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        module = sys.modules.pop("falaj_test_once")
        assert _loops() == ["falaj-async-once"]  # of two instances; a plain model has none
        answers = engine.infer_many("once", [x_of(i) for i in range(20)], return_exceptions=True)
        for i, answer in enumerate(answers):
            if i == 13:
                assert type(answer) is falaj.InvalidInput
            elif i in (14, 15):
                assert type(answer) is falaj.InternalError
            else:
                assert answer["y"].item() == i + 0.5
        with pytest.raises(falaj.InternalError, match="SystemExit"):
            engine.infer("once", x_of(14))
        with pytest.raises(falaj.InternalError, match="infer returned <class 'int'>, expected a dict"):
            engine.infer("once", x_of(15))
        engine.reload("once")
        assert len(module.cancelled) == 2  # tasks of the version that is gone
        assert engine.infer("once", x_of(1))["y"].item() == 1.5
        sys.modules.pop("falaj_test_once")
    assert _loops() == []


def test_loop_goes_on_when_a_task_of_the_models_own_raises_system_exit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
    import asyncio
    class Model:
        async def infer(self, batch):
            if batch["x"][0, 0] == 1:
                async def leave():
                    raise SystemExit(3)
                self.task = asyncio.create_task(leave())
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            elif batch["x"][0, 0] == 2:
                assert isinstance(self.task.exception(), SystemExit)
            return {"y": batch["x"]}
    """
    add_python(tmp_path, "leaves", code)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        for value in (1, 2, 1, 3):
            assert engine.infer("leaves", x_of(value))["y"].item() == value
    assert "a task of its own raised what ends an event loop" in caplog.text


def test_instances_meet_on_their_loop_when_they_share_what_belongs_to_it(tmp_path: Path) -> None:
    code = """
    import asyncio
    barrier = asyncio.Barrier(3)
    class Model:
        async def infer(self, batch):
            await barrier.wait()
            return {"y": batch["x"]}
    """
    add_python(tmp_path, "meet", code, head="instances = 3\nmax_batch_size = 1\n")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine, ThreadPoolExecutor(3) as callers:
        asked = [callers.submit(engine.infer, "meet", x_of(i)) for i in range(3)]
        assert [future.result(60)["y"].item() for future in asked] == [0, 1, 2]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("def stream(self, batch):\n    return twice(batch)", 2),
        ("async def stream(self, batch):\n    return twice(batch)", 2),
        (
            "async def stream(self, batch):\n    return [batch]",
            "returned <class 'list'>, expected an async iterator",
        ),
        ("async def stream(self, batch):\n    return None", "returned <class 'NoneType'>, expected an async"),
        ("async def stream(self, batch):\n    raise falaj.InvalidInput('too dark')\n    yield", "too dark"),
        ("async def stream(self, batch):\n    yield {'y': batch['x'][:, :0]}", r"output 'y'.*\[1, 0\]"),
        ("async def stream(self, batch):\n    raise SystemExit(3)\n    yield", "SystemExit"),
    ],
)
def test_stream_may_give_its_iterator_in_any_way_when_it_is_async(
    tmp_path: Path, method: str, expected: int | str
) -> None:
    code = (
        "import falaj\nasync def twice(batch):\n  for _ in range(2):\n    yield {'y': batch['x']}\n"
        f"class Model:\n  {method}\n"
    )
    add_python(tmp_path, "any", code, head=DECOUPLED)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        for _ in range(2):
            if isinstance(expected, int):
                answers = list(engine.infer_stream("any", x_of(7)))
                assert [answer["y"].item() for answer in answers] == [7] * expected
            else:
                with pytest.raises((falaj.InternalError, falaj.InvalidInput), match=expected):
                    list(engine.infer_stream("any", x_of(7)))


def test_load_raises_what_an_async_load_does_when_it_fails(tmp_path: Path) -> None:
    code = """
    class Model:
        async def load(self, parameters, folder):
            raise OSError("no disk")
        async def infer(self, batch):
            return batch
    """
    add_python(tmp_path, "wrong", code)
    with falaj.Engine(tmp_path, cores=1) as engine:
        with pytest.raises(falaj.InternalError, match="could not be loaded: OSError: no disk"):
            engine.load("wrong")
        until(lambda: _loops() == [], "its loop is closed")


def test_slow_reader_leaves_the_loop_to_others_when_its_stream_is_full(tmp_path: Path) -> None:
    add_python(tmp_path, "ending", ENDING, head=DECOUPLED + "instances = 2\n")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        slow = engine.infer_stream("ending", x_of(2))
        next(slow)
        answers = engine.infer_stream("ending", x_of(2))
        for _ in range(2000):  # neither waits for anything but its reader
            assert next(answers)["y"].item() == 2
        assert next(slow)["y"].item() == 2
        for each in (slow, answers):
            each.close()  # type: ignore[attr-defined]
    sys.modules.pop("falaj_test_ending")
