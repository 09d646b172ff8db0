"""Models written in Python, and what the queue does around them: levels, bounds, padding, slo_ms."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import falaj
from tests import zoo
from tests.serving import add_model, add_python, assert_same, x_of

pytestmark = pytest.mark.core

RECORDING = """
import sys
import threading

gate, lock = threading.Event(), threading.Lock()
order = []
running = threading.Semaphore(0)

class Model:
    def infer(self, batch):
        running.release()
        gate.wait(60)
        with lock:
            order.extend(batch["x"].ravel().tolist())
        return {"y": batch["x"]}

sys.modules["falaj_test_recording"] = sys.modules[__name__]
"""


def recording() -> ModuleType:
    return sys.modules.pop("falaj_test_recording")


def waiting(engine: falaj.Engine, model: str, count: int) -> None:
    """Wait until so many requests are in the queue."""
    pause = threading.Event()
    while engine.stats(model)[0]["waiting_requests"] != count:
        pause.wait(0.002)


def test_parameters_and_folder_are_handed_over_when_model_has_load(tmp_path: Path) -> None:
    code = """
    class Model:
        def load(self, parameters, folder):
            self.add = parameters["add"] + float((folder / "weight.txt").read_text())
        def infer(self, batch):
            return {"y": batch["x"] + self.add}
    """
    folder = add_python(tmp_path, "adds", code, head="parameters = { add = 2.5 }")
    (folder / "weight.txt").write_text("40")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        assert engine.infer("adds", x_of(1, 2))["y"].tolist() == [[43.5], [44.5]]


def test_arrays_are_plain_and_writable_when_model_gets_them(tmp_path: Path) -> None:
    code = """
    import numpy
    class Model:
        def infer(self, batch):
            x = batch["x"]
            assert type(batch) is dict and type(x) is numpy.ndarray and x.flags.owndata
            x += 1
            return {"y": x[:, ::-1], "extra": None}
    """
    add_python(tmp_path, "adds", code)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        inputs = x_of(1, 2)
        assert engine.infer("adds", inputs)["y"].tolist() == [[2], [3]]
        assert inputs["x"].tolist() == [[1], [2]]


@pytest.mark.parametrize("datatype", zoo.DATATYPES)
def test_values_pass_unchanged_when_model_echoes(tmp_path: Path, datatype: str) -> None:
    tensors = "".join(
        f'[[{kind}]]\nname = "{name}"\ndatatype = "{datatype}"\nshape = [-1, -1]\n'
        for kind, name in (("input", "x"), ("output", "y"))
    )
    add_python(tmp_path, "echo", tensors=tensors)
    rng = np.random.default_rng(0)
    requests = [{"x": zoo.random_array(rng, datatype, (2, 1 + i % 3))} for i in range(12)]
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        for request, answer in zip(requests, engine.infer_many("echo", requests), strict=True):
            assert_same(answer, {"y": request["x"]})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "model.py: importing it raised ZeroDivisionError: division by zero"),
        ("x = 1", r"model.py: has no class 'Model' \(python_class\)"),
        ("class Model: pass", r"class 'Model' has no method `infer\(self, batch\)`"),
        ("class Model:\n  def __init__(self): raise OSError('no disk')\n  infer = 3", "no method `infer"),
        ("Model = 3", "has no class 'Model'"),
        ("def f(:", "importing it raised SyntaxError"),
    ],
)
def test_load_raises_invalid_input_when_the_file_is_wrong(tmp_path: Path, code: str, message: str) -> None:
    add_python(tmp_path, "wrong", code)
    with falaj.Engine(tmp_path, cores=1) as engine, pytest.raises(falaj.InvalidInput, match=message):
        engine.load("wrong")


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("raise OSError('no disk')", falaj.InternalError, "could not be loaded: OSError: no disk"),
        ("raise falaj.InvalidInput('bad parameter')", falaj.InvalidInput, "bad parameter"),
        ("raise falaj.Unsupported('no such card')", falaj.Unsupported, "no such card"),
    ],
)
def test_load_raises_and_says_why_when_the_model_cannot_load(
    tmp_path: Path, body: str, error: type[Exception], message: str
) -> None:
    code = f"import falaj\nclass Model:\n  def load(self, parameters, folder):\n    {body}\n  infer = load\n"
    add_python(tmp_path, "wrong", code)
    with falaj.Engine(tmp_path, cores=1) as engine:
        with pytest.raises(error, match=message) as caught:
            engine.load("wrong")
        assert type(caught.value) is error


INFER_ERRORS: list[tuple[str, type[Exception], str]] = [
    ("raise KeyError('missing')", falaj.InternalError, "the Python model raised KeyError: 'missing'"),
    ("raise falaj.InvalidInput('too dark')", falaj.InvalidInput, "too dark"),
    ("raise falaj.Unavailable('later')", falaj.Unavailable, "later"),
    ("raise SystemExit(3)", falaj.InternalError, "SystemExit"),
    ("return None", falaj.InternalError, "infer returned .*NoneType.*, expected a dict of arrays"),
    ("return {}", falaj.InternalError, "has no output 'y'"),
    ("return {'y': x.astype('f8')}", falaj.InternalError, r"output 'y': expected FP32 \[-1, 1\], got FP64"),
    ("return {'y': x[[0, 0], :0]}", falaj.InternalError, r"output 'y'.*\[2, 0\]"),
    ("return {'y': x[:, :0]}", falaj.InternalError, r"output 'y'.*\[1, 0\]"),
    ("return {'y': x[0]}", falaj.InternalError, r"output 'y'.*\[1\]"),
    ("return {'y': 'text'}", falaj.InternalError, "output 'y': expected FP32"),
    ("return {'y': object()}", falaj.InternalError, "output 'y': expected FP32"),
]


@pytest.mark.parametrize(("body", "error", "message"), INFER_ERRORS)
@pytest.mark.parametrize("head", ["max_batch_size = 4", "max_batch_size = 0"])
def test_caller_is_told_when_infer_goes_wrong(
    tmp_path: Path, head: str, body: str, error: type[Exception], message: str
) -> None:
    code = f"import falaj\nclass Model:\n  def infer(self, batch):\n    x = batch['x']\n    {body}\n"
    add_python(tmp_path, "wrong", code, head=head)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        for _ in range(2):
            with pytest.raises(error, match=message) as caught:
                engine.infer("wrong", x_of(1))
            assert type(caught.value) is error


def test_caller_is_told_when_a_batch_has_another_number_of_rows(tmp_path: Path) -> None:
    code = "class Model:\n  def infer(self, batch):\n    return {'y': batch['x'][1:]}\n"
    add_python(tmp_path, "wrong", code, head="max_batch_size = 4")
    with (
        falaj.Engine(tmp_path, cores=1, strict=True) as engine,
        pytest.raises(falaj.InternalError, match=r"output 'y'.*\[1, 1\]"),
    ):
        engine.infer("wrong", x_of(1, 2))


def test_only_the_raising_request_fails_when_batched_with_others(tmp_path: Path) -> None:
    code = """
    import falaj
    class Model:
        def infer(self, batch):
            if (batch["x"] == 13).any():
                raise falaj.InvalidInput("unlucky")
            return {"y": batch["x"]}
    """
    add_python(tmp_path, "unlucky", code)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        answers = engine.infer_many("unlucky", [x_of(i) for i in range(20)], return_exceptions=True)
        for i, answer in enumerate(answers):
            if i == 13:
                assert type(answer) is falaj.InvalidInput
            else:
                assert answer["y"].item() == i
        assert engine.stats("unlucky")[0]["retried_alone"] >= 1


@pytest.mark.parametrize("instances", [1, 3])
def test_instances_run_beside_each_other_when_configured(tmp_path: Path, instances: int) -> None:
    code = """
    import sys
    import threading

    objects, running, gate = [], threading.Semaphore(0), threading.Event()

    class Model:
        def __init__(self):
            objects.append(self)
            self.busy = threading.Lock()
        def infer(self, batch):
            assert self.busy.acquire(blocking=False), "one object runs twice at a time"
            running.release()
            gate.wait(60)
            self.busy.release()
            return {"y": batch["x"]}

    sys.modules["falaj_test_recording"] = sys.modules[__name__]
    """
    add_python(tmp_path, "many", code, head=f"instances = {instances}\nmax_batch_size = 1")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine, ThreadPoolExecutor(8) as callers:
        module = recording()
        asked = [callers.submit(engine.infer, "many", x_of(i)) for i in range(6)]
        for _ in range(instances):
            assert module.running.acquire(timeout=60)
        waiting(engine, "many", 6 - instances)
        assert not module.running.acquire(blocking=False)
        module.gate.set()
        assert [future.result(30)["y"].item() for future in asked] == list(range(6))
        assert len(module.objects) == instances


def submit_blocked(
    engine: falaj.Engine, module: ModuleType, callers: ThreadPoolExecutor, model: str
) -> "Future[Any]":
    """Put a request into the model that holds it until the gate is opened."""
    first = callers.submit(engine.infer, model, x_of(0))
    assert module.running.acquire(timeout=60)
    return first


def test_level_one_passes_the_others_when_priorities_differ(tmp_path: Path) -> None:
    head = "max_batch_size = 1\npriority_levels = 3\ndefault_priority = 2"
    add_python(tmp_path, "levels", RECORDING, head=head)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine, ThreadPoolExecutor(16) as callers:
        module = recording()
        asked = [submit_blocked(engine, module, callers, "levels")]
        sent = [(3, 30), (0, 20), (1, 10), (3, 31), (2, 21), (1, 11)]
        for i, (priority, value) in enumerate(sent):
            asked.append(callers.submit(engine.infer, "levels", x_of(value), priority=priority))
            waiting(engine, "levels", i + 1)
        with pytest.raises(falaj.InvalidInput, match=r"priority of 0 \(default\) to 3, got 4"):
            engine.infer("levels", x_of(1), priority=4)
        module.gate.set()
        for future in asked:
            future.result(30)
        assert module.order == [0, 10, 11, 20, 21, 30, 31]


@pytest.mark.parametrize(
    ("head", "fits", "message"),
    [
        ("max_batch_size = 1\nmax_queue_rows = 3", 3, "the queue is full .*of 3 rows"),
        ("max_batch_size = 1\nmax_queue_requests = 2", 2, "the queue is full .*2 requests at priority 1"),
    ],
)
def test_request_is_refused_when_the_queue_is_full(
    tmp_path: Path, head: str, fits: int, message: str
) -> None:
    add_python(tmp_path, "full", RECORDING, head=head)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine, ThreadPoolExecutor(8) as callers:
        module = recording()
        asked = [submit_blocked(engine, module, callers, "full")]
        for i in range(fits):
            asked.append(callers.submit(engine.infer, "full", x_of(i)))
            waiting(engine, "full", i + 1)
        with pytest.raises(falaj.Unavailable, match=message):
            engine.infer("full", x_of(1))
        assert engine.stats("full")[0]["refused_full"] == 1
        module.gate.set()
        for future in asked:
            future.result(30)
        assert engine.infer("full", x_of(7))["y"].item() == 7


def test_request_is_refused_when_it_would_miss_slo_ms(tmp_path: Path) -> None:
    add_python(tmp_path, "slow", RECORDING, head="max_batch_size = 1\nslo_ms = 20")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine, ThreadPoolExecutor(8) as callers:
        module = recording()
        # Its cost is learned: 0.2 s a run.
        timer = threading.Timer(0.2, module.gate.set)
        timer.start()
        engine.infer("slow", x_of(0))
        timer.join()
        assert module.running.acquire(timeout=60)
        module.gate.clear()
        first = submit_blocked(engine, module, callers, "slow")
        try:
            with pytest.raises(falaj.Unavailable, match=r"overloaded, an answer is expected in .* slo_ms"):
                engine.infer("slow", x_of(1), timeout=60)
        finally:
            module.gate.set()
        assert engine.stats("slow")[0]["refused_slo"] == 1
        first.result(30)


def test_default_timeout_holds_when_request_names_none(tmp_path: Path) -> None:
    head = "default_timeout_ms = 100\nallow_timeout_override = false"
    add_python(tmp_path, "late", RECORDING, head=head)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        module = recording()
        try:
            for timeout in (None, 60.0):
                with pytest.raises(falaj.DeadlineExceeded):
                    engine.infer("late", x_of(1), timeout=timeout)
        finally:
            module.gate.set()


PADDED = """
tune_ms = 0
max_batch_size = 16

[[input]]
name = "token_ids"
pad_axis = 1
mask = "attention_mask"
"""


@pytest.mark.parametrize("many", [True, False])
def test_answers_equal_unpadded_reference_when_lengths_are_padded(tmp_path: Path, many: bool) -> None:
    model = zoo.transformer_encoder()
    add_model(tmp_path, model, PADDED)
    reference = zoo.Reference(model)
    rng = np.random.default_rng(0)
    requests = [
        {"token_ids": rng.integers(1, 100, (int(rng.integers(1, 4)), int(length)))}
        for length in rng.integers(1, 40, 48)
    ]
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        assert [tensor["name"] for tensor in engine.describe(model.name)["inputs"]] == ["token_ids"]
        if many:
            answers = engine.infer_many(model.name, requests)
        else:
            with ThreadPoolExecutor(24) as callers:
                ask: Callable[[Any], Any] = lambda request: engine.infer(model.name, request)  # noqa: E731
                answers = list(callers.map(ask, requests))
        for request, answer in zip(requests, answers, strict=True):
            tokens = request["token_ids"]
            expected = reference.run({"token_ids": tokens, "attention_mask": np.ones_like(tokens)})
            assert_same(answer, expected)
        [stats] = engine.stats(model.name)
        assert stats["real_elements"] == sum(request["token_ids"].size for request in requests)
        if many:
            assert stats["batches"] < len(requests)
            assert stats["padded_elements"] > 0
        with pytest.raises(falaj.InvalidInput, match="has no input 'attention_mask'"):
            engine.infer(model.name, {**requests[0], "attention_mask": requests[0]["token_ids"]})
