"""Opening, closing, forking and leaving: no hang, no noise, nothing left behind."""

import asyncio
import gc
import os
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

import falaj
from tests import zoo
from tests.serving import QUICK, add_model, add_python, assert_clean, run_script, x_of

pytestmark = pytest.mark.core

not_under_tsan = pytest.mark.skipif(
    "libtsan" in os.environ.get("LD_PRELOAD", ""),
    reason="ThreadSanitizer's runtime cannot start threads in the child of a process that had some",
)

X = np.zeros((1, 32), dtype=np.float32)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    add_model(tmp_path, zoo.mlp(), QUICK)
    return tmp_path


def test_every_call_raises_unavailable_when_engine_is_closed(models: Path) -> None:
    with falaj.Engine(models, cores=1) as engine:
        engine.infer("mlp", {"x": X})
    engine.close()
    engine.close()
    for call in (
        lambda: engine.infer("mlp", {"x": X}),
        lambda: engine.infer_many("mlp", [{"x": X}]),
        lambda: asyncio.run(engine.infer_async("mlp", {"x": X})),
        lambda: engine.load("mlp"),
        lambda: engine.reload("mlp"),
        lambda: engine.unload("mlp"),
        lambda: engine.models(),
        lambda: engine.describe("mlp"),
        lambda: engine.stats(),
        lambda: engine.stats("mlp"),
    ):
        with pytest.raises(falaj.Unavailable, match="closed"):
            call()


def test_accepted_requests_are_answered_when_engine_is_closed_under_them(tmp_path: Path) -> None:
    code = """
    import threading
    started, gate = threading.Event(), threading.Event()
    class Model:
        def load(self, parameters, folder):
            Model.folder = folder
        def infer(self, batch):
            (self.folder / "started").touch()
            while not (self.folder / "gate").exists():
                gate.wait(0.01)
            return {"y": batch["x"]}
    """
    folder = add_python(tmp_path, "slow", code, head="max_batch_size = 2")
    engine = falaj.Engine(tmp_path, cores=1, strict=True)
    answers: list[float] = []
    callers = [
        threading.Thread(target=lambda i=i: answers.append(engine.infer("slow", x_of(i))["y"].item()))
        for i in range(8)
    ]
    for caller in callers:
        caller.start()
    waiting = threading.Event()
    while engine.stats("slow")[0]["inflight_requests"] < 8:
        waiting.wait(0.01)
    closer = threading.Thread(target=engine.close)
    closer.start()
    (folder / "gate").touch()
    for thread in (*callers, closer):
        thread.join(60)
        assert not thread.is_alive()
    assert sorted(answers) == list(range(8))


def test_engine_is_closed_when_leaving_the_context_by_an_exception(models: Path) -> None:
    with pytest.raises(KeyError), falaj.Engine(models, cores=1) as engine:
        raise KeyError("mine")
    with pytest.raises(falaj.Unavailable):
        engine.infer("mlp", {"x": X})


def test_nothing_is_kept_alive_when_engine_is_closed(models: Path) -> None:
    small, large = X.copy(), np.zeros((1024, 32), dtype=np.float32)
    kept = [weakref.ref(small), weakref.ref(large)]

    async def ask(engine: falaj.Engine, *arrays: np.ndarray) -> None:
        await asyncio.gather(*(engine.infer_async("mlp", {"x": x}) for x in arrays))

    engine = falaj.Engine(models, cores=2)
    kept.append(weakref.ref(engine))  # type: ignore[arg-type]
    engine.infer("mlp", {"x": small})
    engine.infer("mlp", {"x": large}, timeout=30)
    engine.infer_many("mlp", [{"x": small}, {"x": large}])
    asyncio.run(ask(engine, small, large))
    engine.close()
    del small, large, engine
    gc.collect()
    assert [reference() for reference in kept] == [None, None, None]


def test_loops_are_served_one_after_the_other_when_each_is_closed(models: Path) -> None:
    with falaj.Engine(models, cores=1) as engine:
        for _ in range(50):
            assert asyncio.run(engine.infer_async("mlp", {"x": X}))["y"].shape == (1, 2)
        gc.collect()
        assert len(engine._sinks) <= 1


PRELUDE = """
import asyncio, os, sys, threading
import numpy as np
import falaj

x = {"x": np.zeros((1, 32), np.float32)}
engine = falaj.Engine(sys.argv[1], cores=2)
engine.infer("mlp", x)
"""


def run(code: str, models: Path) -> str:
    done = run_script(PRELUDE + code, models)
    assert_clean(done)
    return done.stdout


@pytest.mark.parametrize("way", ["_exit", "exit"])
@not_under_tsan
def test_child_needs_an_engine_of_its_own_when_process_forks(models: Path, way: str) -> None:
    code = f"""
def serve():
    mine = falaj.Engine(sys.argv[1], cores=2)
    assert mine.infer("mlp", x)["y"].shape == (1, 2)
    assert asyncio.run(mine.infer_async("mlp", x, timeout=20))["y"].shape == (1, 2)
    return mine

asyncio.run(engine.infer_async("mlp", x))
child = os.fork()
if child == 0:
    for call in (
        lambda: engine.infer("mlp", x),
        lambda: engine.infer_many("mlp", [x]),
        lambda: asyncio.run(engine.infer_async("mlp", x)),
        lambda: engine.load("mlp"),
        lambda: engine.models(),
        lambda: engine.stats(),
    ):
        try:
            call()
        except falaj.Unavailable as error:
            assert "fork" in str(error), error
        else:
            os._exit(3)
    mine = serve()
    engine.close()
    del engine
    if {way == "_exit"}:
        mine.close()
        os._exit(0)
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert engine.infer("mlp", x)["y"].shape == (1, 2)
print("parent still serves")
"""
    assert run(code, models).split() == ["parent", "still", "serves"]


@not_under_tsan
def test_child_of_a_child_serves_when_process_forks_twice(models: Path) -> None:
    code = """
def descend(depth):
    if depth == 0:
        return
    child = os.fork()
    if child == 0:
        with falaj.Engine(sys.argv[1], cores=1) as mine:
            mine.infer("mlp", x)
            descend(depth - 1)
            mine.infer("mlp", x)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

descend(2)
"""
    run(code, models)


EXITS = {
    "without_close": "",
    "by_sys_exit": "sys.exit(0)",
    "with_two_engines": "other = falaj.Engine(sys.argv[1], cores=1, watch=0.01)",
    "after_a_loop": "asyncio.run(engine.infer_async('mlp', x))",
    "with_an_open_loop": """
loop = asyncio.new_event_loop()
loop.run_until_complete(engine.infer_async("mlp", x))
""",
    "with_a_running_loop_in_a_thread": """
running = threading.Event()
async def ask_for_ever():
    while True:
        await engine.infer_async("mlp", x)
        running.set()
def background():
    try:
        asyncio.run(ask_for_ever())
    except falaj.Unavailable:
        pass
threading.Thread(target=background, daemon=True).start()
running.wait(30)
""",
    "with_a_thread_that_infers": """
running = threading.Event()
def ask_for_ever():
    try:
        while True:
            engine.infer("mlp", x)
            running.set()
    except falaj.Unavailable:
        pass
threading.Thread(target=ask_for_ever, daemon=True).start()
running.wait(30)
""",
    "in_a_cycle": """
class Cycle: pass
cycle = Cycle()
cycle.engine, cycle.self = engine, cycle
del engine
""",
}


@pytest.mark.parametrize("way", EXITS)
def test_interpreter_exits_silently_when_engine_is_still_open(models: Path, way: str) -> None:
    run(EXITS[way], models)


def test_engine_is_collected_when_nobody_holds_it(models: Path) -> None:
    code = """
import gc, weakref
gone = weakref.ref(engine)
del engine
gc.collect()
assert gone() is None
"""
    run(code, models)
