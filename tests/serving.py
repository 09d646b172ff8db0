"""Repositories of zoo models and of models written in Python, as the tests of the engine need them."""

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.zoo import Arrays, ZooModel, save

QUICK = "tune_ms = 0\n"  # no trials at load

ECHO = """
class Model:
    def infer(self, batch):
        return {"y": batch["x"]}
"""
# Runs wait for an event of the module, which lies in sys.modules under this name when the model is loaded.
GATED = """
import sys
import threading

started, gate = threading.Event(), threading.Event()

class Model:
    def infer(self, batch):
        started.set()
        gate.wait(60)
        return {"y": batch["x"]}

sys.modules["falaj_test_gate"] = sys.modules[__name__]
"""
# One FP32 input and output of one row of one element.
X_TO_Y = """
[[input]]
name = "x"
datatype = "FP32"
shape = [-1, 1]

[[output]]
name = "y"
datatype = "FP32"
shape = [-1, 1]
"""


def add_model(repository: Path, model: ZooModel, toml: str = QUICK, version: int = 1) -> Path:
    """Save a zoo model with a `model.toml`; return the version's folder."""
    folder = save(model, repository, version)
    (folder.parent / "model.toml").write_text(toml, encoding="utf-8")
    return folder


def add_python(
    repository: Path, name: str, code: str = ECHO, *, head: str = "", tensors: str = X_TO_Y, version: int = 1
) -> Path:
    """Write a Python model; `head` are top-level keys of its `model.toml`. Return the version's folder."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(textwrap.dedent(code), encoding="utf-8")
    (folder.parent / "model.toml").write_text(f"{textwrap.dedent(head)}\n{tensors}", encoding="utf-8")
    return folder


def x_of(*values: float) -> Arrays:
    """Rows of the one-element input of X_TO_Y."""
    return {"x": np.array(values, dtype=np.float32)[:, None]}


def assert_same(actual: Arrays, expected: Arrays, where: str = "") -> None:
    """Equal names, types and shapes; floats up to the rounding of other kernels, the rest exactly."""
    assert actual.keys() == expected.keys(), where
    for name, array in expected.items():
        got = actual[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape), (where, name)
        if array.dtype.kind in "fV":  # V: bfloat16
            wide_got, wide = got.astype(np.float64), array.astype(np.float64)
            np.testing.assert_allclose(wide_got, wide, rtol=1e-4, atol=1e-5, err_msg=f"{where} {name}")
        else:
            np.testing.assert_array_equal(got, array, err_msg=f"{where} {name}")


def run_script(
    code: str, *arguments: object, env: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, from the checkout; return what it wrote."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env=None if env is None else dict(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def assert_clean(done: subprocess.CompletedProcess[str]) -> None:
    """The script ended well and complained of nothing."""
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
