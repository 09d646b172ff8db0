"""What padding is filled with, for every floating-point type: the nearest value of the type."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import falaj
from tests.serving import QUICK, add_model
from tests.zoo import ZooModel, numpy_dtype
from tests.zoo.model import build, sampler, value

pytestmark = pytest.mark.core

# Ties, the largest, the overflow, the smallest normal and subnormals of binary16; what rounds twice wrongly.
VALUES = [0.0, 1.5, -2.0, 0.1, 2049.0, 65504.0, 65519.9, 65520.0, -1e9, 6.2e-5, 6e-8, 3e-8, 2.9e-8, 1e-12,
          -4.3e-6, 1 + 2**-11 + 2**-40, 2.0**-14 - 2.0**-26]  # fmt: skip


def _uncut(datatype: str) -> ZooModel:
    """Answers with its input, and calls its length by another name, so that padding is not cut off."""
    proto = build(
        "uncut",
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", datatype, ["batch", "n"])],
        [value("y", datatype, ["batch", "m"])],
    )
    return ZooModel("uncut", proto, sampler({"x": (datatype, (4,))}), batchable=True)


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
@pytest.mark.parametrize("pad", VALUES)
def test_padding_is_the_nearest_value_of_the_type(tmp_path: Path, datatype: str, pad: float) -> None:
    toml = (
        f'{QUICK}instances = 1\nmax_batch_size = 8\n[[input]]\nname = "x"\npad_axis = 1\npad_value = {pad}\n'
    )
    add_model(tmp_path, _uncut(datatype), toml)
    dtype = numpy_dtype(datatype)
    short, long = np.zeros((1, 1), dtype), np.ones((1, 3), dtype)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        answers = engine.infer_many("uncut", [{"x": short}, {"x": long}])
    with np.errstate(over="ignore"):
        filled = np.array(pad, dtype=np.float64).astype(dtype)
    assert answers[0]["y"].tobytes() == np.array([[0, filled, filled]], dtype).tobytes()
    assert answers[1]["y"].tobytes() == long.tobytes()
