"""Models and a server for the tests of shared memory."""

from pathlib import Path

import numpy as np
from onnx import helper

from tests.serving import QUICK, add_model
from tests.wire.shared_file import PREFIX
from tests.zoo import ZooModel, elementwise, no_batch, tokens
from tests.zoo.model import build, sampler, value

# Elements of a row of the model `large`: 128 KiB, which are worth attaching.
WIDE = 32_768
FLAGS = ("--allow-shared-memory", "--set", f"shared_memory.prefix={PREFIX}")


def large() -> ZooModel:
    """Build `x` FP32 [batch, WIDE] -> `y`, its negative, and `top` INT64 [batch, 1], where it is highest."""
    nodes = [
        helper.make_node("Neg", ["x"], ["y"]),
        helper.make_node("ArgMax", ["x"], ["top"], axis=1, keepdims=1),
    ]
    outputs = [value("y", "FP32", ["batch", WIDE]), value("top", "INT64", ["batch", 1])]
    proto = build("large", nodes, [value("x", "FP32", ["batch", WIDE])], outputs)
    return ZooModel("large", proto, sampler({"x": ("FP32", (WIDE,))}), batchable=True)


def add_models(models: Path) -> None:
    """Write the repository."""
    for model in (
        large(),
        elementwise("FP32"),
        elementwise("BOOL"),
        elementwise("INT64"),
        tokens(),
        no_batch(),
    ):
        batch = "max_batch_size = 0\n" if model.name == no_batch().name else "max_batch_size = 8\n"
        add_model(models, model, QUICK + batch)


def wide(rows: int, seed: int = 0) -> np.ndarray:
    """Rows for `large`."""
    return np.random.default_rng(seed).standard_normal((rows, WIDE)).astype(np.float32)
