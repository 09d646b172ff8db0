"""Reference: what the Python API of ONNX Runtime lacks is made good."""

import threading

import ml_dtypes
import numpy as np
import pytest

from tests import zoo


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_reference_answers_alike_when_threads_share_it() -> None:
    model = zoo.identity("BF16", inputs=2)
    session = zoo.Reference(model)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for i in range(50):
            inputs = model.sample(rng(1000 * seed + i), 4)
            outputs = session.run(inputs)
            if not all(
                np.array_equal(outputs[name.replace("x", "y")], array) for name, array in inputs.items()
            ):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_reference_takes_bytes_and_str_when_input_is_bytes() -> None:
    session = zoo.Reference(zoo.identity("BYTES", seed=5))
    shape = (2, *zoo.identity("BYTES", seed=5).inputs[0].shape[1:])
    for item in (b"\xc3\xa9", "é"):
        out = session.run({"x0": np.full(shape, item, dtype=np.object_)})["y0"]
        assert set(out.ravel()) == {b"\xc3\xa9"}
    with pytest.raises(UnicodeDecodeError):
        session.run({"x0": np.full(shape, b"\xff", dtype=np.object_)})


def test_reference_gives_bfloat16_when_output_is_bf16() -> None:
    model = zoo.elementwise("BF16")
    assert zoo.reference(model, model.sample(rng(), 2))["y"].dtype == ml_dtypes.bfloat16
