"""Deadlines, cancellation and signals hold whatever the model is doing, and touch nobody else."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import uvloop

import falaj
from falaj.server.event_loop import LoopSink
from tests import zoo
from tests.serving import GATED, QUICK, add_model, add_python, assert_clean, run_script, x_of

pytestmark = pytest.mark.core

TIMEOUT = 0.25
SLACK = 1.5  # of a loaded two-core machine under a sanitizer
Loops = Callable[[], asyncio.AbstractEventLoop]
LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[tuple[falaj.Engine, ModuleType]]:
    """An engine whose model `gated` waits for an event, beside an MLP."""
    add_python(tmp_path, "gated", GATED, head="max_batch_size = 4")
    add_model(tmp_path, zoo.mlp(), QUICK)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        module = sys.modules.pop("falaj_test_gate")
        try:
            yield engine, module
        finally:
            module.gate.set()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[falaj.Engine]:
    """An engine with a model that computes for as long as it is told to."""
    folder = tmp_path_factory.mktemp("loop")
    add_model(folder, zoo.loop_n(64), "tune_ms = 0\nmax_batch_size = 4\n")
    add_model(folder, zoo.mlp(), QUICK)
    with falaj.Engine(folder, cores=2, strict=True) as engine:
        yield engine


@contextmanager
def ends_at_deadline() -> Iterator[None]:
    start = time.monotonic()
    with pytest.raises(falaj.DeadlineExceeded):
        yield
    assert TIMEOUT * 0.9 <= time.monotonic() - start < TIMEOUT + SLACK


def assert_settled(engine: falaj.Engine, model: str) -> None:
    """Nothing is in flight; an answer is counted just after it was delivered."""
    end = time.monotonic() + 10
    while engine.stats(model)[0]["inflight_requests"]:
        assert time.monotonic() < end
        threading.Event().wait(0.001)


def ask_sync(engine: falaj.Engine, model: str, inputs: dict[str, Any]) -> None:
    engine.infer(model, inputs, timeout=TIMEOUT)


def ask_many(engine: falaj.Engine, model: str, inputs: dict[str, Any]) -> None:
    engine.infer_many(model, [inputs] * 6, timeout=TIMEOUT)


def ask_async(engine: falaj.Engine, model: str, inputs: dict[str, Any]) -> None:
    asyncio.run(engine.infer_async(model, inputs, timeout=TIMEOUT))


def ask_uvloop(engine: falaj.Engine, model: str, inputs: dict[str, Any]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(engine.infer_async(model, inputs, timeout=TIMEOUT))


HOW = pytest.mark.parametrize("ask", [ask_sync, ask_many, ask_async, ask_uvloop])


@HOW
def test_timeout_ends_the_wait_when_the_model_blocks(
    gated: tuple[falaj.Engine, ModuleType], ask: Callable[..., None]
) -> None:
    engine, module = gated
    with ends_at_deadline():
        ask(engine, "gated", x_of(1))
    assert module.started.is_set()
    assert engine.infer("mlp", {"x": np.zeros((1, 32), np.float32)})["y"].shape == (1, 2)
    module.gate.set()
    assert engine.infer("gated", x_of(2, 3))["y"].tolist() == [[2], [3]]
    assert_settled(engine, "gated")


@HOW
def test_timeout_ends_the_wait_when_the_model_computes(busy: falaj.Engine, ask: Callable[..., None]) -> None:
    start = time.perf_counter()
    busy.infer("loop_n", {"n": [[200]]})
    per_round = (time.perf_counter() - start) / 200
    rounds = int(12 * TIMEOUT / per_round)
    busy.reload("loop_n")  # idle, and without a memory of what it cost
    with ends_at_deadline():
        ask(busy, "loop_n", {"n": [[rounds]]})
    assert busy.infer("loop_n", {"n": [[1], [3]]})["done"].tolist() == [[1], [3]]


def test_others_are_answered_when_requests_of_their_batch_time_out(
    gated: tuple[falaj.Engine, ModuleType],
) -> None:
    engine, module = gated

    async def ask_all() -> list[Any]:
        first = asyncio.ensure_future(engine.infer_async("gated", x_of(0)))
        await asyncio.to_thread(module.started.wait, 30)
        waiting = [
            asyncio.ensure_future(engine.infer_async("gated", x_of(i), timeout=TIMEOUT if i % 2 else None))
            for i in range(1, 13)
        ]
        late = await asyncio.gather(*waiting[::2], return_exceptions=True)
        module.gate.set()
        return [late, await asyncio.gather(first, *waiting[1::2])]

    late, answers = asyncio.run(ask_all())
    assert [type(error) for error in late] == [falaj.DeadlineExceeded] * 6
    assert [answer["y"].item() for answer in answers] == [0, 2, 4, 6, 8, 10, 12]


@LOOPS
def test_others_are_answered_when_tasks_among_them_are_cancelled(
    gated: tuple[falaj.Engine, ModuleType], loop_factory: Loops
) -> None:
    engine, module = gated

    async def ask_all() -> list[Any]:
        tasks = [asyncio.ensure_future(engine.infer_async("gated", x_of(i))) for i in range(32)]
        await asyncio.to_thread(module.started.wait, 30)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.wait(tasks[::3])
        module.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        answers = runner.run(ask_all())
    for i, answer in enumerate(answers):
        if i % 3 == 0:
            assert isinstance(answer, asyncio.CancelledError)
        else:
            assert answer["y"].item() == i
    assert engine.infer("gated", x_of(1))["y"].item() == 1
    assert_settled(engine, "gated")


@LOOPS
def test_loop_is_woken_once_a_batch_when_many_requests_are_answered(
    tmp_path: Path, loop_factory: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_python(tmp_path, "gated", GATED, head="max_batch_size = 128")
    woken: list[int] = []

    async def ask_all(engine: falaj.Engine, gate: threading.Event, started: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        add_reader = loop.add_reader

        def counting(fd: int, callback: Callable[[], None]) -> None:
            def woke() -> None:
                woken.append(1)
                callback()

            add_reader(fd, woke)

        first = LoopSink.__init__

        def init(sink: LoopSink, own: asyncio.AbstractEventLoop, runtime: Any) -> None:
            proxy = type("Loop", (), {"add_reader": staticmethod(counting), "__weakref__": None})()
            proxies.append(proxy)
            first(sink, proxy, runtime)

        proxies: list[Any] = []
        monkeypatch.setattr(LoopSink, "__init__", init)
        blocker = asyncio.ensure_future(engine.infer_async("gated", x_of(0)))
        await asyncio.to_thread(started.wait, 30)
        tasks = [asyncio.ensure_future(engine.infer_async("gated", x_of(i))) for i in range(128)]
        await asyncio.sleep(0)  # they submit
        await asyncio.sleep(0)  # and are flushed, which would take what is answered already without a wake-up
        gate.set()
        answers = await asyncio.gather(blocker, *tasks)
        assert [a["y"].item() for a in answers[1:]] == list(range(128))
        loop.remove_reader(engine._sinks[loop]._sink.fd)

    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        module = sys.modules.pop("falaj_test_gate")
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(ask_all(engine, module.gate, module.started))
        batches = engine.stats("gated")[0]["batches"]
        del module.gate
        monkeypatch.undo()
    assert 1 <= len(woken) <= batches <= 4


def test_keyboard_interrupt_is_raised_when_a_blocking_call_waits(tmp_path: Path) -> None:
    add_python(tmp_path, "gated", GATED)
    done = run_script(
        """
        import os, signal, sys, threading, time
        import falaj
        import numpy as np

        # A shell starts what it puts in the background with SIGINT ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for call in ("infer", "infer_many"):
            engine = falaj.Engine(sys.argv[1], cores=1, strict=True)
            module = sys.modules["falaj_test_gate"]

            def interrupt():
                module.started.wait(30)
                os.kill(os.getpid(), signal.SIGINT)

            threading.Thread(target=interrupt).start()
            start = time.monotonic()
            inputs = {"x": np.zeros((1, 1), np.float32)}
            try:
                engine.infer("gated", inputs) if call == "infer" else engine.infer_many("gated", [inputs] * 3)
            except KeyboardInterrupt:
                assert time.monotonic() - start < 10
                module.gate.set()
                assert engine.infer("gated", inputs)["y"].shape == (1, 1)
                engine.close()
                print("interrupted", call)
        """,
        tmp_path,
    )
    assert_clean(done)
    assert done.stdout.split() == ["interrupted", "infer", "interrupted", "infer_many"]
